//! An answer on its way: its digest, what is kept of it, and its letters whole.

use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use store::receipts;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Part;

/// An answer as far as it has come.
pub(super) struct Coming {
    pub(super) hash: Sha256,
    pub(super) kept: Vec<u8>,
    pub(super) bytes: u64,
    pub(super) first: Option<Duration>,
    text: Utf8,
}

impl Coming {
    pub(super) fn new() -> Self {
        Self { hash: Sha256::new(), kept: Vec::new(), bytes: 0, first: None, text: Utf8::default() }
    }

    pub(super) async fn take(&mut self, chunk: Bytes, sent: Instant, parts: &mpsc::Sender<Part>) {
        self.first.get_or_insert_with(|| sent.elapsed());
        self.hash.update(&chunk);
        self.bytes += chunk.len() as u64;
        let room = receipts::ANSWER.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
        let text = self.text.next(&chunk);
        if !text.is_empty() {
            // A listener that has gone is noticed by whoever waits for the whole call.
            let _gone = parts.send(Part::Chunk(text)).await;
        }
    }
}

/// Text out of chunks that may end in the middle of a letter. It is as the agent sent it: a face makes it safe for its screen.
#[derive(Default)]
struct Utf8(Vec<u8>);

impl Utf8 {
    fn next(&mut self, chunk: &[u8]) -> String {
        self.0.extend_from_slice(chunk);
        let whole = match std::str::from_utf8(&self.0) {
            Ok(text) => text.len(),
            // A letter that is cut off waits for its rest; anything else is replaced.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => self.0.len(),
        };
        let rest = self.0.split_off(whole);
        String::from_utf8_lossy(&std::mem::replace(&mut self.0, rest)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_that_is_cut_in_two_arrives_whole() {
        let mut text = Utf8::default();
        let bytes = "süß".as_bytes();
        let parts: Vec<String> = bytes.iter().map(|byte| text.next(&[*byte])).collect();
        assert_eq!(parts.concat(), "süß");
        assert_eq!(Utf8::default().next(&[0xff, b'a']), "\u{fffd}a");
    }
}
