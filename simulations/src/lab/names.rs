//! Names for servers, answered by a name server of the lab's own: it can be killed, and a server's name can lead to another address.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};

use super::Trouble;
use super::command::{run, system};

/// The word that makes this program the name server.
pub const NAMES: &str = "__names";
/// The top of all names: RFC 2606 keeps it free.
const TOP: &str = "example";
/// Where every machine reads who answers for names.
const RESOLVER: &str = "/etc/resolv.conf";
/// Seconds for which an answer may be remembered.
const REMEMBERED: u32 = 1;

/// The book from which the name server reads for each question, and the setting of all machines of the lab.
#[derive(Debug)]
pub(super) struct Book {
    file: PathBuf,
    mounted: bool,
}

impl Book {
    /// Tells all machines that names are answered at this address.
    pub(super) fn open(folder: &Path, at: Ipv4Addr) -> Result<Self, Trouble> {
        let unusable = |file: &Path, source| Trouble::File { file: file.display().to_string(), source };
        let text = format!("nameserver {at}\n");
        std::fs::create_dir_all(folder).map_err(|source| unusable(folder, source))?;
        let mut book = Self { file: folder.join("hosts"), mounted: false };
        // Where it leads into /run, that is a file system of the lab's own.
        if let Ok(link) = std::fs::read_link(RESOLVER) {
            let target = Path::new("/etc").join(link);
            let parent = target.parent().unwrap_or(Path::new("/"));
            let written = std::fs::create_dir_all(parent).and_then(|()| std::fs::write(&target, text));
            written.map_err(|source| unusable(&target, source))?;
        } else {
            let file = folder.join("resolv.conf");
            std::fs::write(&file, text).map_err(|source| unusable(&file, source))?;
            run(system("mount").arg("--bind").arg(&file).arg(RESOLVER))?;
            book.mounted = true;
        }
        Ok(book)
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Writes down where all servers are.
    pub(super) fn write<'s>(&self, servers: impl Iterator<Item = (&'s str, Ipv4Addr)>) -> Result<(), Trouble> {
        let lines: String = servers.map(|(name, at)| format!("{at} {}\n", full(name))).collect();
        let named = |source| Trouble::File { file: self.file.display().to_string(), source };
        std::fs::write(&self.file, lines).map_err(named)
    }
}

impl Drop for Book {
    fn drop(&mut self) {
        if self.mounted {
            let _gone = run(system("umount").arg(RESOLVER));
        }
    }
}

/// The whole name of a server.
pub(super) fn full(name: &str) -> String {
    format!("{name}.{TOP}")
}

/// Answers for names until it is killed.
///
/// # Errors
/// There is no such port here.
pub fn names(book: &Path) -> std::io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53))?;
    println!("{{}}");
    let mut packet = [0; 1232];
    loop {
        let (count, from) = socket.recv_from(&mut packet)?;
        let Ok(question) = Message::from_vec(&packet[..count]) else { continue };
        let hosts = std::fs::read_to_string(book).unwrap_or_default();
        if let Ok(answer) = answer(&question, &hosts).to_vec() {
            let _lost = socket.send_to(&answer, from);
        }
    }
}

fn answer(question: &Message, hosts: &str) -> Message {
    let mut answer = Message::new(question.metadata.id, MessageType::Response, question.metadata.op_code);
    answer.metadata.recursion_desired = question.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.add_queries(question.queries.iter().cloned());
    for query in &question.queries {
        let name = query.name.to_ascii();
        let lines = hosts.lines().filter_map(|line| line.split_once(' '));
        match lines.into_iter().find(|(_, host)| name.trim_end_matches('.').eq_ignore_ascii_case(host)) {
            None => answer.metadata.response_code = ResponseCode::NXDomain,
            Some((at, _)) => {
                if let (RecordType::A, Ok(at)) = (query.query_type, at.parse()) {
                    answer.add_answer(Record::from_rdata(query.name.clone(), REMEMBERED, RData::A(A(at))));
                }
            }
        }
    }
    answer
}
