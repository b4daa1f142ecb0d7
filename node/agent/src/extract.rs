//! From a file to a [`Document`]: text, Markdown, HTML and source code here, PDF in a child process.

mod child;
mod html;
mod markdown;
mod pdf;
mod plaintext;

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::passage::Document;

pub use child::Extractor;
pub use pdf::{child_main, confine};

/// Bytes of a text file. A larger one is data: a whole Rust source tree has none.
pub const TEXT_MAX: u64 = 16 * 1024 * 1024;
/// Bytes of a PDF file; most of one are pictures.
pub const PDF_MAX: u64 = 64 * 1024 * 1024;
/// Bytes that decide whether a file is text.
const HEAD: usize = 8 * 1024;

/// Why a file is left out of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Skip {
    /// It is no text.
    Binary,
    /// It is larger than [`TEXT_MAX`] or [`PDF_MAX`].
    TooLarge,
    /// It is text written by a machine for a machine: endless lines.
    Generated,
    /// It, or a folder, cannot be read.
    Unreadable,
    /// Its format is broken, or it needs a password.
    Damaged,
    /// The child that read it crashed or ran out of memory.
    Crashed,
    /// The child that read it did not finish in time.
    Timeout,
    /// It is neither file nor folder.
    Special,
}

impl Skip {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Binary,
        Self::TooLarge,
        Self::Generated,
        Self::Unreadable,
        Self::Damaged,
        Self::Crashed,
        Self::Timeout,
        Self::Special,
    ];

    /// Its number in the ledger, never 0.
    pub fn number(self) -> u64 {
        self as u64 + 1
    }

    /// The reason with this number.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|skip| skip.number() == number)
    }

    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::TooLarge => "too_large",
            Self::Generated => "generated",
            Self::Unreadable => "unreadable",
            Self::Damaged => "damaged",
            Self::Crashed => "crashed",
            Self::Timeout => "timeout",
            Self::Special => "special",
        }
    }
}

/// A file that is left out, and the cause in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct Skipped {
    /// Which kind of reason.
    pub skip: Skip,
    /// The cause.
    pub cause: String,
}

impl Skipped {
    pub(crate) fn new(skip: Skip, cause: impl Into<String>) -> Self {
        Self { skip, cause: cause.into() }
    }

    pub(crate) fn unreadable(error: &io::Error) -> Self {
        Self::new(Skip::Unreadable, error.to_string())
    }
}

enum Format {
    Text,
    Markdown,
    Html,
    Pdf,
}

fn format(name: &str) -> Format {
    let ending = Path::new(name).extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    match ending.to_ascii_lowercase().as_str() {
        "md" | "markdown" | "mdown" | "mkd" => Format::Markdown,
        "html" | "htm" | "xhtml" | "svg" => Format::Html,
        "pdf" => Format::Pdf,
        _ => Format::Text,
    }
}

/// The text of a document that is at hand as text, by the ending of its name.
pub fn text(name: &str, text: &str) -> Document {
    match format(name) {
        Format::Markdown => markdown::document(text),
        Format::Html => html::document(text),
        Format::Text | Format::Pdf => plaintext::document(text),
    }
}

impl Extractor {
    /// Reads a file. `name` decides the format; `stop` is asked now and then while a child works.
    ///
    /// # Errors
    /// [`Skipped`] with the reason why it is left out.
    pub fn read(&self, path: &Path, name: &str, stop: &dyn Fn() -> bool) -> Result<Document, Skipped> {
        let pdf = matches!(format(name), Format::Pdf);
        let limit = if pdf { PDF_MAX } else { TEXT_MAX };
        let bytes = read(path, limit, pdf)?;
        if pdf {
            return self.pages(&bytes, stop);
        }
        let decoded = plaintext::decode(&bytes).ok_or_else(|| Skipped::new(Skip::Binary, "it is no text"))?;
        if plaintext::is_generated(&decoded) {
            return Err(Skipped::new(Skip::Generated, "its lines are endless"));
        }
        // These parsers are ours or memory-safe; should one panic, it costs this file only.
        std::panic::catch_unwind(|| text(name, &decoded))
            .map_err(|_| Skipped::new(Skip::Crashed, "reading it panicked"))
    }
}

/// Reads at most `limit` bytes, and no more than the head of a file that is no text.
fn read(path: &Path, limit: u64, binary: bool) -> Result<Vec<u8>, Skipped> {
    let unreadable = |error: io::Error| Skipped::unreadable(&error);
    let too_large = || Skipped::new(Skip::TooLarge, format!("it has more than {limit} bytes"));
    let seen = fs::symlink_metadata(path).map_err(unreadable)?;
    // Opening a pipe would wait for its other end.
    if !seen.is_file() {
        return Err(Skipped::new(Skip::Special, "it is no regular file"));
    }
    if seen.len() > limit {
        return Err(too_large());
    }
    let file = File::open(path).map_err(unreadable)?;
    if !same(&seen, &file.metadata().map_err(unreadable)?) {
        return Err(Skipped::new(Skip::Special, "it was replaced while it was opened"));
    }
    let mut bytes = Vec::new();
    let mut rest = file.take(limit + 1);
    rest.by_ref().take(HEAD as u64).read_to_end(&mut bytes).map_err(unreadable)?;
    if !binary && !plaintext::looks_like_text(&bytes) {
        return Err(Skipped::new(Skip::Binary, "it is no text"));
    }
    rest.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(bytes) }
}

/// Whether what was opened is what was looked at, and no link put there meanwhile.
fn same(before: &fs::Metadata, after: &fs::Metadata) -> bool {
    (before.dev(), before.ino()) == (after.dev(), after.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn try_read(name: &str, content: &[u8]) -> Result<Document, Skip> {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join(name);
        fs::write(&path, content).expect("written");
        Extractor::default().read(&path, name, &|| false).map_err(|skipped| skipped.skip)
    }

    #[test]
    fn what_is_no_text_is_named_with_its_reason() {
        assert_eq!(try_read("a.txt", b"PK\x03\x04\0\0\0binary"), Err(Skip::Binary));
        assert_eq!(try_read("a.js", "x=1;".repeat(100_000).as_bytes()), Err(Skip::Generated));
        assert!(try_read("a.txt", b"").expect("an empty file is text").lines.is_empty());
        assert_eq!(try_read("a.txt", b"th\xe9 au lait").expect("latin-1").lines[0].text, "thé au lait");
        let utf16: Vec<u8> = "\u{feff}grün".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(try_read("a.txt", &utf16).expect("utf-16").lines[0].text, "grün");
    }

    #[test]
    fn a_two_gibibyte_file_is_left_out_by_size_without_being_read() {
        let folder = tempfile::tempdir().expect("folder");
        for name in ["huge.txt", "huge.pdf"] {
            let path = folder.path().join(name);
            File::create(&path).expect("made").set_len(2 << 30).expect("sparse");
            let skipped = Extractor::default().read(&path, name, &|| false).expect_err("too large");
            assert_eq!(skipped.skip, Skip::TooLarge);
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_cause() {
        let folder = tempfile::tempdir().expect("folder");
        let read = |path: &Path| Extractor::default().read(path, "a.txt", &|| false).expect_err("unreadable");
        let missing = read(&folder.path().join("missing.txt"));
        assert_eq!((missing.skip, missing.cause.contains("No such file")), (Skip::Unreadable, true));
        let dangling = folder.path().join("dangling");
        std::os::unix::fs::symlink("nowhere", &dangling).expect("link");
        assert_eq!(read(&dangling).skip, Skip::Special);
        assert_eq!(read(folder.path()).skip, Skip::Special);
        assert_eq!(read(Path::new("/dev/zero")).skip, Skip::Special);
        // Also the superuser gets an error from the kernel here.
        assert_eq!(read(Path::new("/proc/self/mem")).skip, Skip::Unreadable);
    }

    #[test]
    fn reasons_keep_their_numbers() {
        for skip in Skip::ALL {
            assert_eq!(Skip::from_number(skip.number()), Some(skip));
        }
        assert_eq!((Skip::from_number(0), Skip::Binary.number(), Skip::Special.number()), (None, 1, 8));
    }
}
