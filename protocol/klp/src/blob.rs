//! Blobs: the messages of a stream that carries bulk bytes, and the running digest of the bytes that have come.
//!
//! A message is a header of 4 bytes and a body: `u8` version, `u8` kind, `u16` body length, all big-endian. There is no CBOR in it: the
//! reader knows from 4 bytes what to expect, and reads not one byte of the raw ones that follow. Source: `specs/08-blobs.md`, section
//! "Messages".

use std::fmt;

use bytes::{BufMut as _, Bytes};
use sha2::{Digest as _, Sha256};

use crate::codec::Digest;
use crate::frame::{Frame, Kind};
use crate::limits;
use crate::refusal::Refusal;

/// Bytes of a header.
pub const HEADER: usize = 4;
/// Bytes of the longest message: a refusal with a full line of text.
pub const LONGEST: usize = HEADER + 2 + limits::TEXT;
const VERSION: u8 = 1;
const ASK: u8 = 1;
const TOTAL: u8 = 2;
const REFUSED: u8 = 3;

/// What is said on a stream before the raw bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The asker wants a blob, from an offset on.
    Ask {
        /// SHA-256 of the whole blob.
        digest: Digest,
        /// Bytes that the asker has already.
        offset: u64,
        /// At most so many bytes are wanted now.
        most: u64,
    },
    /// The bytes follow; so long is the whole blob.
    Total(u64),
    /// Nothing follows; a line of text says more.
    Refused(Refusal, String),
}

impl Message {
    /// Bytes of the body that follows a header.
    ///
    /// # Errors
    /// [`Refusal::Version`] for another version, whatever else it says; [`Refusal::TooLarge`] for a body that is longer than its kind
    /// allows; [`Refusal::Malformed`] for a shorter one and for an unknown kind.
    pub fn body(header: [u8; HEADER]) -> Result<usize, Refusal> {
        let [version, kind, high, low] = header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let allowed = match (version, kind) {
            (VERSION, ASK) => 48..=48,
            (VERSION, TOTAL) => 8..=8,
            (VERSION, REFUSED) => 2..=2 + limits::TEXT,
            (VERSION, _) => return Err(Refusal::Malformed),
            _ => return Err(Refusal::Version),
        };
        match length {
            _ if length > *allowed.end() => Err(Refusal::TooLarge),
            _ if length < *allowed.start() => Err(Refusal::Malformed),
            _ => Ok(length),
        }
    }

    /// Reads a whole message.
    ///
    /// # Errors
    /// As [`Message::body`]; [`Refusal::Malformed`] also for another number of bytes than the header says, a text that is no UTF-8, and a
    /// refusal without a number.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        let (header, body) = bytes.split_first_chunk::<HEADER>().ok_or(Refusal::Malformed)?;
        if Self::body(*header)? != body.len() {
            return Err(Refusal::Malformed);
        }
        if header[1] == REFUSED {
            let (refusal, text) = Frame::new(Kind::Error, 0, Bytes::copy_from_slice(body)).reason()?;
            return Ok(Self::Refused(refusal.ok_or(Refusal::Malformed)?, text));
        }
        let number = |at: usize| body[at..].first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        let message = match body.first_chunk() {
            Some(digest) => Self::Ask {
                digest: Digest(*digest),
                offset: number(32).ok_or(Refusal::Malformed)?,
                most: number(40).ok_or(Refusal::Malformed)?,
            },
            None => Self::Total(number(0).ok_or(Refusal::Malformed)?),
        };
        Ok(message)
    }

    /// The bytes; a text is cut after [`limits::TEXT`] bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, body) = match self {
            Self::Ask { digest, offset, most } => {
                (ASK, [&digest.0[..], &offset.to_be_bytes(), &most.to_be_bytes()].concat())
            }
            Self::Total(total) => (TOTAL, total.to_be_bytes().to_vec()),
            Self::Refused(refusal, text) => {
                (REFUSED, Frame::refusal(Kind::Error, 0, Some(*refusal), text).body.to_vec())
            }
        };
        let mut bytes = Vec::with_capacity(HEADER + body.len());
        bytes.put_slice(&[VERSION, kind]);
        // At most 514 bytes, as in `body`.
        bytes.put_u16(u16::try_from(body.len()).unwrap_or(u16::MAX));
        bytes.put_slice(&body);
        bytes
    }
}

/// The part of a blob that is there, from its first byte on, as a running SHA-256. Nothing of it is proven before it is the whole.
#[derive(Clone, Default)]
pub struct Held {
    hash: Sha256,
    length: u64,
}

impl Held {
    /// More bytes, in order.
    pub fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// Bytes so far: where a fetch goes on.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The digest of the bytes so far.
    pub fn digest(&self) -> Digest {
        Digest(self.hash.clone().finalize().into())
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held({} bytes)", self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_be_wrong_has_its_refusal() {
        for (what, header, refusal) in [
            ("an old version", [0, ASK, 0, 48], Refusal::Version),
            ("a later version that is longer", [2, 9, 255, 255], Refusal::Version),
            ("an unknown kind", [1, 4, 0, 0], Refusal::Malformed),
            ("an ask that is too long", [1, ASK, 0, 49], Refusal::TooLarge),
            ("an ask that is too short", [1, ASK, 0, 47], Refusal::Malformed),
            ("a total of nine bytes", [1, TOTAL, 0, 9], Refusal::TooLarge),
            ("a refusal without number", [1, REFUSED, 0, 1], Refusal::Malformed),
            ("a refusal of 515 bytes", [1, REFUSED, 2, 3], Refusal::TooLarge),
        ] {
            assert_eq!(Message::body(header), Err(refusal), "{what}");
        }
        assert_eq!(Message::body([1, REFUSED, 2, 2]), Ok(LONGEST - HEADER));
    }

    #[test]
    fn what_is_held_is_hashed_in_any_pieces() {
        let bytes: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
        let mut held = Held::default();
        assert_eq!(held.digest(), Digest::of(&[]));
        bytes.chunks(777).for_each(|piece| held.add(piece));
        assert_eq!((held.length(), held.digest()), (100_000, Digest::of(&[&bytes])));
    }
}
