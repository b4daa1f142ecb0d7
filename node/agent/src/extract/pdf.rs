//! The child's side of reading a PDF. Everything a hostile file can do happens here, in a process that may do next to nothing.

use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use rlimit::Resource;

use super::PDF_MAX;

/// Bytes of an answer: a book of a thousand pages has three million.
pub(super) const ANSWER_MAX: u64 = 32 * 1024 * 1024;
/// Pages that are read.
const PAGES: usize = 20_000;
/// Bytes of memory, the program itself included.
const MEMORY: u64 = 1024 * 1024 * 1024;
/// Seconds of work.
const CPU: u64 = 20;
/// File descriptors: the three that are open. Without a fourth there is no file, no socket and no pipe to open.
const DESCRIPTORS: u64 = 3;
/// Ends an answer. What the parser itself may have printed comes before and is not looked at.
const END: &[u8; 8] = b"kospages";

/// What the child has to say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Page numbers and texts.
    Pages(Vec<(u32, String)>),
    /// The file is broken or locked.
    Broken(String),
}

/// Takes from this process what a parser does not need: memory beyond 1 GiB, time beyond 20 s, files, sockets, children, core dumps.
///
/// # Errors
/// When a limit cannot be set; nothing should be parsed then.
pub fn confine() -> io::Result<()> {
    // macOS has no limit on the address space, and says so.
    let memory = Resource::AS.set(MEMORY, MEMORY);
    if cfg!(target_os = "linux") {
        memory?;
    }
    Resource::CPU.set(CPU, CPU)?;
    Resource::CORE.set(0, 0)?;
    Resource::FSIZE.set(0, 0)?;
    Resource::NPROC.set(0, 0)?;
    Resource::NOFILE.set(DESCRIPTORS, DESCRIPTORS)?;
    Ok(())
}

/// What the child process does: reads one PDF from standard input and writes its pages to standard output. `main` calls it before it
/// starts a thread or opens a file, and ends with what it returns.
pub fn child_main() -> ExitCode {
    let work = || -> io::Result<()> {
        confine()?;
        let mut pdf = Vec::new();
        io::stdin().lock().take(PDF_MAX + 1).read_to_end(&mut pdf)?;
        let reply = read(&pdf);
        let mut out = io::stdout().lock();
        out.write_all(&write_reply(&reply))?;
        out.flush()
    };
    if work().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn read(pdf: &[u8]) -> Reply {
    let mut document = match pdf_extract::Document::load_mem(pdf) {
        Ok(document) => document,
        Err(error) => return Reply::Broken(format!("it cannot be read as PDF: {error}")),
    };
    if document.is_encrypted() && document.decrypt("").is_err() {
        return Reply::Broken("it needs a password".to_owned());
    }
    let numbers: Vec<u32> = document.get_pages().into_keys().take(PAGES).collect();
    let mut pages = Vec::new();
    let mut cause = None;
    let mut total = 0;
    for number in &numbers {
        // The parser panics at what it does not expect. A page that it cannot read is left out.
        let page = catch_unwind(AssertUnwindSafe(|| {
            let mut text = String::new();
            let mut output = pdf_extract::PlainTextOutput::new(&mut text);
            pdf_extract::output_doc_page(&document, &mut output, *number).map(|()| text)
        }));
        match page {
            Ok(Ok(text)) => {
                total += text.len() as u64 + 8;
                if total > ANSWER_MAX - 1024 {
                    break;
                }
                pages.push((*number, text));
            }
            Ok(Err(error)) => cause = Some(error.to_string()),
            Err(_) => cause = Some("its parser panicked".to_owned()),
        }
    }
    match (pages.is_empty(), cause) {
        (true, Some(cause)) => Reply::Broken(cause),
        _ => Reply::Pages(pages),
    }
}

fn write_reply(reply: &Reply) -> Vec<u8> {
    let mut body = Vec::new();
    match reply {
        Reply::Pages(pages) => {
            body.push(1);
            for (number, text) in pages {
                body.extend_from_slice(&number.to_be_bytes());
                body.extend_from_slice(&(text.len() as u32).to_be_bytes());
                body.extend_from_slice(text.as_bytes());
            }
        }
        Reply::Broken(cause) => {
            body.push(0);
            body.extend_from_slice(cause.as_bytes());
        }
    }
    let length = body.len() as u64;
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(END);
    body
}

/// Reads an answer from its end; `None` when it is none. The child is not trusted.
pub(super) fn parse_reply(answer: &[u8]) -> Option<Reply> {
    let (rest, length) = answer.strip_suffix(END)?.split_last_chunk::<8>()?;
    let length = usize::try_from(u64::from_be_bytes(*length)).ok()?;
    let (kind, mut body) = rest.get(rest.len().checked_sub(length)?..)?.split_first()?;
    if *kind == 0 {
        return Some(Reply::Broken(String::from_utf8_lossy(body).into_owned()));
    }
    let mut pages = Vec::new();
    while !body.is_empty() {
        let (number, after) = body.split_first_chunk::<4>()?;
        let (size, after) = after.split_first_chunk::<4>()?;
        let (text, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*size)).ok()?)?;
        pages.push((u32::from_be_bytes(*number), String::from_utf8_lossy(text).into_owned()));
        body = after;
    }
    Some(Reply::Pages(pages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_back_behind_whatever_was_printed() {
        for reply in [Reply::Pages(vec![(1, "eins".into()), (7, String::new())]), Reply::Broken("locked".into())] {
            let mut answer = b"Unicode mismatch\n".to_vec();
            answer.extend(write_reply(&reply));
            assert_eq!(parse_reply(&answer), Some(reply));
            for cut in 0..answer.len() {
                assert_eq!(parse_reply(&answer[..cut]), None);
            }
        }
        assert_eq!(parse_reply(&[&[0xff; 8][..], END].concat()), None);
        assert_eq!(parse_reply(&[&[0; 8][..], END].concat()), None);
    }

    #[test]
    fn a_broken_file_is_said_to_be_broken() {
        assert!(matches!(read(b"%PDF-1.7 nonsense"), Reply::Broken(_)));
        assert!(matches!(read(b""), Reply::Broken(_)));
    }
}
