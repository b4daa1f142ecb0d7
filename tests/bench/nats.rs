//! NATS: its server where it is installed, and as much of its protocol as a question and an answer take.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::side::Side;
use crate::stream::Framing;

/// What is asked is published here.
const SUBJECT: &str = "bench.ask";
/// Bytes of one read.
const READ: usize = 64 * 1024;
/// How long its server may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// The server program: `NATS_SERVER`, or `nats-server` in the path.
pub(crate) fn server() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let named = std::env::var_os("NATS_SERVER").map(PathBuf::from);
    named.or_else(|| std::env::split_paths(&path).map(|folder| folder.join("nats-server")).find(|path| path.exists()))
}

/// Starts it, and says where it listens.
pub(crate) fn start(program: PathBuf) -> (Side, String) {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new(program);
    command.args(["--addr", "127.0.0.1", "--port", &address.port().to_string(), "--log", "/dev/null"]);
    let side = Side::run(command);
    let begun = Instant::now();
    while std::net::TcpStream::connect(address).is_err() {
        assert!(begun.elapsed() < PATIENCE, "nats-server does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    (side, address.to_string())
}

/// Connects and subscribes to a subject.
pub(crate) async fn connect(address: &str, subject: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let hello = format!("CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB {subject} 1\r\nPING\r\n");
    stream.write_all(hello.as_bytes()).await.unwrap();
    let mut said = String::new();
    while !said.ends_with("PONG\r\n") {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).await.unwrap();
        assert!(count > 0, "nats-server says {said}");
        said.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
    stream
}

/// One message: its subject, where to answer, and its bytes.
struct Message {
    subject: String,
    reply: Option<String>,
    body: Bytes,
}

/// The next message of what has come. The server's own pings come after two minutes, when all is over here.
fn message(come: &mut BytesMut) -> Option<Message> {
    let end = come.windows(2).position(|two| two == b"\r\n")?;
    let line = std::str::from_utf8(&come[..end]).unwrap();
    let mut words = line.split(' ');
    assert_eq!(words.next(), Some("MSG"), "{line}");
    let (subject, _sid) = (words.next().unwrap().to_owned(), words.next().unwrap());
    let (reply, length) = match (words.next().unwrap(), words.next()) {
        (reply, Some(length)) => (Some(reply.to_owned()), length),
        (length, None) => (None, length),
    };
    let length: usize = length.parse().unwrap();
    if come.len() < end + 2 + length + 2 {
        return None;
    }
    come.advance(end + 2);
    let body = come.split_to(length).freeze();
    come.advance(2);
    Some(Message { subject, reply, body })
}

fn publish(subject: &str, reply: Option<&str>, body: &[u8], out: &mut BytesMut) {
    let reply = reply.map(|reply| format!("{reply} ")).unwrap_or_default();
    out.extend_from_slice(format!("PUB {subject} {reply}{}\r\n", body.len()).as_bytes());
    out.extend_from_slice(body);
    out.extend_from_slice(b"\r\n");
}

/// Answers everything with itself.
pub(crate) async fn echo(address: &str) {
    let mut stream = connect(address, SUBJECT).await;
    crate::side::say(address);
    let (mut come, mut out) = (BytesMut::with_capacity(READ), BytesMut::with_capacity(READ));
    loop {
        come.reserve(READ);
        if !matches!(stream.read_buf(&mut come).await, Ok(1..)) {
            return;
        }
        while let Some(message) = message(&mut come) {
            publish(&message.reply.unwrap(), None, &message.body, &mut out);
        }
        stream.write_all(&out).await.unwrap();
        out.clear();
    }
}

/// Questions to the echo, with an inbox for their answers.
#[derive(Clone, Copy)]
pub(crate) struct Inbox;

impl Inbox {
    /// What its owner subscribes to.
    pub(crate) const SUBJECT: &str = "bench.inbox.*";
}

impl Framing for Inbox {
    fn ask(&self, id: u32, body: &[u8], out: &mut BytesMut) {
        publish(SUBJECT, Some(&format!("bench.inbox.{id}")), body, out);
    }

    fn answer(&self, come: &mut BytesMut) -> Option<(u32, Bytes)> {
        let message = message(come)?;
        Some((message.subject.rsplit('.').next().unwrap().parse().unwrap(), message.body))
    }
}
