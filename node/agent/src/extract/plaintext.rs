//! Bytes to text, text to lines.

use crate::passage::{Document, Line};

/// A file of more than this is generated when its lines are long on average.
const GENERATED_MIN: usize = 64 * 1024;
/// Mean bytes of a line beyond which nobody has written it.
const GENERATED_LINE: usize = 2 * 1024;

/// Whether the first bytes of a file look like text: a byte order mark, or no control bytes that text never has.
pub(super) fn looks_like_text(head: &[u8]) -> bool {
    head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) || !head.iter().any(|byte| is_binary(*byte))
}

fn is_binary(byte: u8) -> bool {
    // Bell, backspace, tab, line feed, vertical tab, form feed, carriage return and escape do occur in text.
    byte < 0x07 || (0x0e..0x20).contains(&byte) && byte != 0x1b
}

/// The text in whatever encoding it is; `None` when it is none.
pub(super) fn decode(bytes: &[u8]) -> Option<String> {
    if let Some(rest) = bytes.strip_prefix(&[0xff, 0xfe]) {
        return Some(utf16(rest, u16::from_le_bytes));
    }
    if let Some(rest) = bytes.strip_prefix(&[0xfe, 0xff]) {
        return Some(utf16(rest, u16::from_be_bytes));
    }
    if bytes.iter().any(|byte| is_binary(*byte)) {
        return None;
    }
    let bytes = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text.to_owned()),
        // Latin-1: every byte is the character of the same number.
        Err(_) => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    char::decode_utf16(units).map(|decoded| decoded.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

pub(super) fn is_generated(text: &str) -> bool {
    text.len() > GENERATED_MIN && text.len() / (text.lines().count().max(1)) > GENERATED_LINE
}

pub(super) fn document(text: &str) -> Document {
    let mut document = Document::default();
    for (number, line) in (1..).zip(text.lines()) {
        document.push(Line { number, text: line.to_owned(), ..Line::default() });
    }
    document
}
