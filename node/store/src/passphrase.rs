//! Passphrases, and what it costs to try one.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use klp::Cbor;
use klp::codec::{CodecError, Fields, Map, Value};
use zeroize::Zeroizing;

use crate::cipher::Key;

/// Something that only its owner may read. It is wiped when dropped and prints as `Secret(***)`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes. Do not copy them into anything that is printed, logged or kept.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// A passphrase as the person typed it. It is wiped when dropped and prints as `Passphrase(***)`.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes the text over; one line break at its end, as files have, does not count.
    pub fn new(text: String) -> Self {
        let text = Zeroizing::new(text);
        let kept = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).unwrap_or(&text);
        Self(Zeroizing::new(kept.to_owned()))
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Argon2id, then HKDF by the caller.
    pub(crate) fn stretch(&self, salt: &[u8; 16], cost: &Cost) -> std::io::Result<Key> {
        let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32))
            .map_err(|error| std::io::Error::other(format!("argon2: {error}")))?;
        let mut out = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(self.0.as_bytes(), salt, &mut out[..])
            .map_err(|error| std::io::Error::other(format!("argon2: {error}")))?;
        Ok(Key::from_bytes(*out))
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(***)")
    }
}

/// What one try of a passphrase costs (Argon2id, RFC 9106). It stands in the header of what was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB: 19 MiB to 1 GiB.
    pub memory_kib: u32,
    /// Passes over it: 1 to 10; 2 at least below 46 MiB.
    pub passes: u32,
    /// Lanes: 1 to 16. They are computed one after the other.
    pub lanes: u32,
}

impl Cost {
    /// The least that is accepted (OWASP's minimum): about 40 ms.
    pub const MINIMUM: Self = Self { memory_kib: 19 * 1024, passes: 2, lanes: 1 };

    /// Whether a header may ask for this: less would be cheap to guess, more would stop the machine.
    pub fn is_acceptable(&self) -> bool {
        (Self::MINIMUM.memory_kib..=1024 * 1024).contains(&self.memory_kib)
            && (1..=10).contains(&self.passes)
            && (self.passes >= 2 || self.memory_kib >= 46 * 1024)
            && (1..=16).contains(&self.lanes)
    }
}

impl Default for Cost {
    /// 64 MiB, three passes: about 200 ms.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, lanes: 1 }
    }
}

impl Cbor for Cost {
    fn to_value(&self) -> Value {
        Map::new()
            .with(1, &u64::from(self.memory_kib))
            .with(2, &u64::from(self.passes))
            .with(3, &u64::from(self.lanes))
            .build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let mut take = |key| {
            u32::try_from(fields.take::<u64>(key)?).or(Err(CodecError::Field { field: key, expected: "32 bits" }))
        };
        let cost = Self { memory_kib: take(1)?, passes: take(2)?, lanes: take(3)? };
        fields.end()?;
        if cost.is_acceptable() {
            Ok(cost)
        } else {
            Err(CodecError::Field { field: -1, expected: "an acceptable cost" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_out_of_bounds_is_refused_before_any_work() {
        let good = Cost::default();
        assert_eq!(Cost::from_bytes(&good.to_bytes(), 64), Ok(good));
        for bad in [
            Cost { memory_kib: 2 * 1024 * 1024, ..good },
            Cost { memory_kib: 1024, ..good },
            Cost { passes: 11, ..good },
            Cost { passes: 0, ..good },
            Cost { lanes: 0, ..good },
            Cost { passes: 1, ..Cost::MINIMUM },
        ] {
            assert!(Cost::from_bytes(&bad.to_bytes(), 64).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn secrets_do_not_print() {
        let text = format!("{:?} {:?}", Passphrase::new("swordfish".into()), Secret::new(b"swordfish".to_vec()));
        assert_eq!(text, "Passphrase(***) Secret(***)");
    }

    #[test]
    fn the_line_break_of_a_file_does_not_count() {
        assert_eq!(Passphrase::new("a b\r\n".into()), Passphrase::new("a b".into()));
        assert_ne!(Passphrase::new("a b ".into()), Passphrase::new("a b".into()));
    }
}
