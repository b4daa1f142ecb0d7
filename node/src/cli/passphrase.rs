//! Passphrases: from a descriptor, a file or a prompt, never from the command line, and wiped after use.

use std::fs::File;
use std::io::{IsTerminal as _, Read};

use clap::Args;
use klp::Refusal;
use zeroize::Zeroizing;

use crate::fault::Fault;
use crate::services::vaults::Secret;

/// The variable that names a file with the passphrase.
const FILE: &str = "KOS_PASSPHRASE_FILE";
/// Bytes of a passphrase.
const LONGEST: usize = 1024;

/// Where the passphrase comes from when nobody is to be asked.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Passphrase {
    /// Read the passphrase, one line, from this file descriptor; 0 is standard input [env, a file: KOS_PASSPHRASE_FILE]
    #[arg(long, value_name = "N")]
    passphrase_fd: Option<u32>,
}

impl Passphrase {
    /// The passphrase, when a descriptor or file gives it.
    pub(super) fn given(&self) -> Result<Option<Secret>, Fault> {
        match (self.passphrase_fd, std::env::var_os(FILE).filter(|path| !path.is_empty())) {
            (Some(fd), _) => descriptor(fd).map(Some),
            (None, Some(path)) => {
                let file = File::open(&path).map_err(|error| unreadable(&path.to_string_lossy(), &error))?;
                line(file, &path.to_string_lossy()).map(Some)
            }
            (None, None) => Ok(None),
        }
    }

    /// The passphrase, asked for where nothing else gives it.
    pub(super) fn current(&self, prompt: &str) -> Result<Secret, Fault> {
        self.given()?.map_or_else(|| ask(prompt), Ok)
    }

    /// A new passphrase: asked for twice where nothing else gives it.
    pub(super) fn chosen(&self, prompt: &str) -> Result<Secret, Fault> {
        self.given()?.map_or_else(|| Self::asked(prompt), Ok)
    }

    /// A new passphrase from a person, who types it twice.
    pub(super) fn asked(prompt: &str) -> Result<Secret, Fault> {
        let (first, second) = (ask(prompt)?, ask("The same again")?);
        if *first == *second { Ok(first) } else { Err(Fault::new(Refusal::Invalid, "the two passphrases differ")) }
    }
}

/// One line from a descriptor that this process was given.
pub(super) fn descriptor(fd: u32) -> Result<Secret, Fault> {
    let name = format!("descriptor {fd}");
    if fd == 0 {
        return line(std::io::stdin().lock(), &name);
    }
    let folder = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    let file = File::open(format!("{folder}/{fd}")).map_err(|error| unreadable(&name, &error))?;
    line(file, &name)
}

/// Asks a person.
pub(super) fn ask(prompt: &str) -> Result<Secret, Fault> {
    if !is_asked() {
        return Err(Fault::new(Refusal::Invalid, "a passphrase is needed, and nobody is there to be asked")
            .hint("use --passphrase-fd N, or name a file in KOS_PASSPHRASE_FILE"));
    }
    let text = rpassword::prompt_password(format!("{prompt}: ")).map(Zeroizing::new).map_err(Fault::internal)?;
    if text.is_empty() { Err(Fault::new(Refusal::Invalid, "the passphrase is empty")) } else { Ok(text) }
}

/// Whether a person can be asked.
pub(super) fn is_asked() -> bool {
    std::io::stdin().is_terminal()
}

/// One line, read byte by byte: what follows it belongs to somebody else.
fn line(mut from: impl Read, name: &str) -> Result<Secret, Fault> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST + 1));
    let mut byte = [0];
    while bytes.len() <= LONGEST
        && from.read(&mut byte).map_err(|error| unreadable(name, &error))? == 1
        && byte[0] != b'\n'
    {
        bytes.push(byte[0]);
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    let bad = |what: &str| Err(Fault::new(Refusal::Invalid, format!("the passphrase from {name} {what}")));
    match std::str::from_utf8(&bytes) {
        Ok("") => bad("is empty"),
        Ok(text) if text.len() > LONGEST => bad(&format!("has more than {LONGEST} bytes")),
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => bad("is not UTF-8"),
    }
}

fn unreadable(name: &str, error: &std::io::Error) -> Fault {
    Fault::new(Refusal::Invalid, format!("the passphrase cannot be read from {name}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_is_one_line_and_what_follows_is_left() {
        let mut from: &[u8] = b"first pass\r\nsecond\n";
        assert_eq!(line(&mut from, "a test").map(|text| text.to_string()), Ok("first pass".into()));
        assert_eq!(from, b"second\n");
        assert_eq!(line(&mut from, "a test").map(|text| text.to_string()), Ok("second".into()));
        for wrong in [&b""[..], b"\n", b"\xff\n", &[b'x'; LONGEST + 1]] {
            assert_eq!(line(wrong, "a test").map_err(|fault| fault.refusal).err(), Some(Refusal::Invalid));
        }
    }

    #[test]
    fn an_open_descriptor_gives_its_line() {
        use std::io::Write as _;
        use std::os::fd::AsRawFd as _;
        let (reader, mut writer) = std::io::pipe().expect("pipe");
        writer.write_all(b"geheim\nrest").expect("write");
        let fd = u32::try_from(reader.as_raw_fd()).expect("descriptor");
        assert_eq!(descriptor(fd).map(|text| text.to_string()), Ok("geheim".into()));
    }
}
