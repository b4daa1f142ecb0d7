//! The strict CBOR profile, and digests.
//!
//! One value has one encoding: definite lengths, shortest integers, map keys unique and sorted by their bytes (RFC 8949,
//! section 4.2.1), no floats, no tags, no bytes after the item. Decoding refuses everything else, so that the bytes which were
//! signed are the only bytes that say this. Source: `specs/02-envelope.md`, section 2.

mod map;
mod primitive;

use std::fmt;

pub use ciborium::Value;
use sha2::{Digest as _, Sha256};

use crate::limits;

pub use map::{Entry, Fields, Map, Measure};
pub use primitive::Bytes;

/// Why bytes are not a value of the strict profile, or not the one expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// More bytes than the limit allows.
    #[error("{size} bytes, but at most {limit} are allowed")]
    TooLarge {
        /// Bytes seen.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Not CBOR, nested too deep, cut short, or with bytes after the item.
    #[error("not one CBOR item: {0}")]
    Malformed(String),
    /// CBOR, but not in the one form that the profile allows.
    #[error("not in the deterministic profile: {0}")]
    NotCanonical(&'static str),
    /// A field that must be there is not.
    #[error("field {0} is missing")]
    Missing(i64),
    /// A field that this version does not know.
    #[error("field {0} is not known here")]
    Unknown(i64),
    /// A field of another type than expected, or outside its bounds.
    #[error("field {field} is not {expected}")]
    Field {
        /// Key of the field, or -1 for the item itself.
        field: i64,
        /// What was expected.
        expected: &'static str,
    },
}

/// SHA-256 of something: 32 bytes that name it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// SHA-256 of the parts, one after the other.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// The first eight hex digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

impl std::str::FromStr for Digest {
    type Err = CodecError;

    fn from_str(text: &str) -> Result<Self, CodecError> {
        let wrong = CodecError::Field { field: -1, expected: "64 hex digits" };
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong);
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| wrong.clone())?;
        }
        Ok(Self(bytes))
    }
}

/// Something with exactly one CBOR form.
pub trait Cbor: Sized {
    /// This as a value; maps come out of [`Map`], so that their keys are sorted.
    fn to_value(&self) -> Value;
    /// The other way, refusing unknown fields and values out of bounds.
    ///
    /// # Errors
    /// [`CodecError`] naming the field.
    fn from_value(value: Value) -> Result<Self, CodecError>;

    /// The one encoding.
    fn to_bytes(&self) -> Vec<u8> {
        encode(&self.to_value())
    }

    /// Decodes strictly; `limit` is in bytes.
    ///
    /// # Errors
    /// [`CodecError`] when too large, not canonical, or not this type.
    fn from_bytes(bytes: &[u8], limit: usize) -> Result<Self, CodecError> {
        Self::from_value(decode(bytes, limit)?)
    }
}

/// Encodes a value that was built in canonical form.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing into a vector cannot fail, and every `Value` has an encoding.
    let _written = ciborium::into_writer(value, &mut bytes);
    bytes
}

/// Decodes one item of the strict profile.
///
/// # Errors
/// [`CodecError`] when the bytes are anything but the one canonical encoding of one item.
pub fn decode(bytes: &[u8], limit: usize) -> Result<Value, CodecError> {
    if bytes.len() > limit {
        return Err(CodecError::TooLarge { size: bytes.len(), limit });
    }
    let mut rest = bytes;
    let value: Value = ciborium::de::from_reader_with_recursion_limit(&mut rest, limits::DEPTH)
        .map_err(|error| CodecError::Malformed(error.to_string()))?;
    if !rest.is_empty() {
        return Err(CodecError::Malformed(format!("{} bytes follow the item", rest.len())));
    }
    check(&value)?;
    if encode(&value) != bytes {
        return Err(CodecError::NotCanonical("a length or an integer is not in its shortest definite form"));
    }
    Ok(value)
}

/// Refuses what the profile does not know, and maps whose keys repeat or are out of order.
fn check(value: &Value) -> Result<(), CodecError> {
    match value {
        Value::Integer(_) | Value::Bytes(_) | Value::Text(_) | Value::Bool(_) | Value::Null => Ok(()),
        Value::Array(items) => items.iter().try_for_each(check),
        Value::Map(entries) => {
            let mut last: Option<Vec<u8>> = None;
            for (key, item) in entries {
                if !matches!(key, Value::Integer(_) | Value::Text(_)) {
                    return Err(CodecError::NotCanonical("a map key is neither integer nor text"));
                }
                let key = encode(key);
                if last.is_some_and(|last| last >= key) {
                    return Err(CodecError::NotCanonical("map keys repeat or are not sorted"));
                }
                last = Some(key);
                check(item)?;
            }
            Ok(())
        }
        Value::Float(_) => Err(CodecError::NotCanonical("a float")),
        Value::Tag(..) => Err(CodecError::NotCanonical("a tag")),
        _ => Err(CodecError::NotCanonical("a simple value")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lax_forms_are_refused() {
        for (hex, why) in [
            ("9f01ff", "indefinite array"),
            ("1801", "long integer"),
            ("a201000100", "duplicate key"),
            ("a202000100", "unsorted keys"),
            ("f97e00", "float"),
            ("c100", "tag"),
            ("0000", "trailing bytes"),
            ("5f4100ff", "indefinite bytes"),
            ("f7", "undefined"),
            ("", "nothing"),
        ] {
            let bytes: Vec<u8> =
                (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex")).collect();
            assert!(decode(&bytes, 100).is_err(), "{why} was accepted");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = [vec![0x81; 40], vec![0x00]].concat();
        assert!(matches!(decode(&deep, 100), Err(CodecError::Malformed(_))));
    }

    proptest::proptest! {
        #[test]
        fn decoding_never_panics_and_accepts_one_form(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            if let Ok(value) = decode(&bytes, 200) {
                proptest::prop_assert_eq!(encode(&value), bytes);
            }
        }
    }
}
