//! Keys and the names made from them. Source: `specs/01-identity.md`.
//!
//! A DID is `did:key:z` and the base58btc form of `0xed 0x01` and the 32-byte Ed25519 key. Owner, node and agent ids are
//! different types, so that a wrong one does not compile.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::codec::{Cbor, CodecError, Value};

const MULTICODEC_ED25519: [u8; 2] = [0xed, 0x01];

/// Why something is no usable public key or DID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not the text form of a DID.
    #[error("not a did:key of an Ed25519 key")]
    Form,
    /// No point of the curve, or not in its one encoding.
    #[error("not a canonical Ed25519 public key")]
    Point,
    /// A point of small order, for which anybody can forge signatures.
    #[error("a public key of small order")]
    Weak,
}

/// An Ed25519 private key. It is wiped when dropped and prints as `SecretKey(***)`.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key with this seed: 32 bytes of good entropy, or the bytes of [`SecretKey::seed`].
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The seed, for sealing on disk and for the transport that needs the same key.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The DID of its public half.
    pub fn did(&self) -> Did {
        Did(self.0.verifying_key().to_bytes())
    }

    /// Signs. Only `signed.rs` calls this, so that everything signed carries a domain.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(***)")
    }
}

/// A `did:key` of an Ed25519 key that is canonical and not of small order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Did([u8; 32]);

impl Did {
    /// Admits a public key.
    ///
    /// # Errors
    /// [`KeyError`] when the bytes are not the one encoding of a point of large order.
    pub fn from_key(bytes: [u8; 32]) -> Result<Self, KeyError> {
        Key::admit(bytes).map(|key| key.did())
    }

    /// The 32-byte public key.
    pub fn key(&self) -> &[u8; 32] {
        &self.0
    }

    /// The last six characters, for people: `…k3Fz9Q`.
    pub fn short(&self) -> String {
        let text = self.to_string();
        format!("…{}", &text[text.len() - 6..])
    }

    /// Six numbers below 2048 that two people read to each other: 66 bits of SHA-256 over `kos/fingerprint/1` and the key.
    pub fn fingerprint(&self) -> [u16; 6] {
        let hash: [u8; 32] = Sha256::new().chain_update(b"kos/fingerprint/1").chain_update(self.0).finalize().into();
        let bits = hash[..16].iter().fold(0u128, |bits, byte| (bits << 8) | u128::from(*byte));
        std::array::from_fn(|index| {
            let shift = 128 - 11 * (u32::try_from(index).unwrap_or(0) + 1);
            u16::try_from((bits >> shift) & 0x7ff).unwrap_or(0)
        })
    }
}

/// The public key of a DID, as the point that signatures are checked with: finding it takes a tenth of a check.
pub(crate) struct Key(VerifyingKey);

impl Key {
    /// Admits a public key.
    pub(crate) fn admit(bytes: [u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::Point)?;
        if key.is_weak() {
            return Err(KeyError::Weak);
        }
        // dalek keeps the bytes it was given; a second encoding of the same point must not become a second name.
        if !is_canonical(&bytes) {
            return Err(KeyError::Point);
        }
        Ok(Self(key))
    }

    /// Its name.
    pub(crate) fn did(&self) -> Did {
        Did(self.0.to_bytes())
    }

    /// Strict verification. Only `signed.rs` calls this.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)).is_ok()
    }
}

/// Whether the y coordinate is below p = 2^255 - 19, and a zero x carries no sign.
fn is_canonical(bytes: &[u8; 32]) -> bool {
    let mut y = *bytes;
    y[31] &= 0x7f;
    let below_p = y[31] != 0x7f || y[1..31].iter().any(|byte| *byte != 0xff) || y[0] < 0xed;
    let one = y[0] == 1 && y[1..].iter().all(|byte| *byte == 0);
    below_p && !(one && bytes[31] & 0x80 != 0)
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "did:key:z{}", bs58::encode([&MULTICODEC_ED25519[..], &self.0].concat()).into_string())
    }
}

impl fmt::Debug for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Did({})", self.short())
    }
}

impl FromStr for Did {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let encoded = text.strip_prefix("did:key:z").filter(|encoded| encoded.len() <= 64).ok_or(KeyError::Form)?;
        let bytes = bs58::decode(encoded).into_vec().map_err(|_| KeyError::Form)?;
        let key = bytes.strip_prefix(&MULTICODEC_ED25519[..]).ok_or(KeyError::Form)?;
        Self::from_key(key.try_into().map_err(|_| KeyError::Form)?)
    }
}

impl Cbor for Did {
    fn to_value(&self) -> Value {
        self.0.to_value()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let bytes = <[u8; 32]>::from_value(value)?;
        Self::from_key(bytes).map_err(|_| CodecError::Field { field: -1, expected: "a canonical Ed25519 public key" })
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])+ $name:ident;)+) => {$(
        $(#[$doc])+
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Did);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0.short())
            }
        }

        impl FromStr for $name {
            type Err = KeyError;

            fn from_str(text: &str) -> Result<Self, KeyError> {
                text.parse().map(Self)
            }
        }

        impl Cbor for $name {
            fn to_value(&self) -> Value {
                self.0.to_value()
            }

            fn from_value(value: Value) -> Result<Self, CodecError> {
                Did::from_value(value).map(Self)
            }
        }
    )+};
}

ids! {
    /// A person: the first owner key.
    OwnerId;
    /// A device: its key is also its libp2p peer id.
    NodeId;
    /// An agent on a node.
    AgentId;
}

#[cfg(test)]
mod public_vectors;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l0_1_a_did_is_the_public_key_and_back() {
        let secret = SecretKey::from_seed(&[7; 32]);
        let did = secret.did();
        let text = did.to_string();
        assert!(text.starts_with("did:key:z6Mk"), "{text}");
        assert_eq!(text.parse::<Did>(), Ok(did));
        assert_eq!(Did::from_key(*did.key()), Ok(did));
    }

    #[test]
    fn small_order_and_non_canonical_keys_are_refused() {
        let identity = {
            let mut key = [0; 32];
            key[0] = 1;
            key
        };
        assert_eq!(Did::from_key(identity), Err(KeyError::Weak));
        // y = p + 3, a second encoding of a point with y = 3.
        let mut twice = [0xff; 32];
        twice[0] = 0xf0;
        twice[31] = 0x7f;
        assert!(Did::from_key(twice).is_err());
        assert!(!is_canonical(&twice));
    }

    #[test]
    fn secrets_do_not_print() {
        let secret = SecretKey::from_seed(&[7; 32]);
        assert_eq!(format!("{secret:?}"), "SecretKey(***)");
    }
}
