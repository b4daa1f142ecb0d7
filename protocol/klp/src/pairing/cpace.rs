//! CPace: a key from a password that two people share, such that a peer can try one password a run, and a listener none.
//!
//! The suite CPACE-RISTR255-SHA512 of draft-irtf-cfrg-cpace, initiator and responder. The group and the hash come from libraries; what is here
//! is how the draft puts them together, held to its own vectors. Source: `specs/09-pairing.md`, section 3.

use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity as _;
use sha2::{Digest as _, Sha512};
use zeroize::{Zeroize as _, Zeroizing};

/// Names the group.
const DSI: &[u8] = b"CPaceRistretto255";
/// Names the hash that makes the key.
const DSI_ISK: &[u8] = b"CPaceRistretto255_ISK";
/// Bytes that SHA-512 takes at once.
const BLOCK: usize = 128;

/// A message of the exchange: an element of the group.
pub(super) type Share = [u8; 32];

/// What both sides have in the end, and nobody else.
pub(super) type Key = Zeroizing<[u8; 64]>;

/// One side of one run, between its own message and the other's.
pub(super) struct Half {
    secret: Scalar,
    /// Our message.
    pub(super) share: Share,
}

/// Parts, each behind its length.
pub(super) fn joined(parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len() + 3).sum()));
    for part in parts {
        let mut length = part.len();
        while length >= 0x80 {
            bytes.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend_from_slice(part);
    }
    bytes
}

/// The point that a password stands for, in this channel and this run.
fn generator(password: &[u8], channel: &[u8], run: &[u8]) -> RistrettoPoint {
    let taken = joined(&[password]).len() + joined(&[DSI]).len() + 1;
    let padding = [0; BLOCK];
    let text = joined(&[DSI, password, &padding[..BLOCK.saturating_sub(taken)], channel, run]);
    let mut hash: [u8; 64] = Sha512::digest(&text[..]).into();
    let point = RistrettoPoint::from_uniform_bytes(&hash);
    hash.zeroize();
    point
}

impl Half {
    /// Our half of a run.
    pub(super) fn new(password: &[u8], channel: &[u8], run: &[u8], entropy: &[u8; 64]) -> Self {
        Self::with(Scalar::from_bytes_mod_order_wide(entropy), password, channel, run)
    }

    fn with(secret: Scalar, password: &[u8], channel: &[u8], run: &[u8]) -> Self {
        let mut point = generator(password, channel, run);
        let share = (point * secret).compress().to_bytes();
        point.zeroize();
        Self { secret, share }
    }

    /// The point that both sides can compute; none for what is no point, or the one that gives everybody the same.
    fn agreed(&self, theirs: &Share) -> Option<Zeroizing<[u8; 32]>> {
        let theirs = CompressedRistretto(*theirs).decompress()?;
        let mut point = theirs * self.secret;
        let bytes = Zeroizing::new(point.compress().to_bytes());
        let usable = !point.is_identity();
        point.zeroize();
        usable.then_some(bytes)
    }

    /// The key, for whoever has sent the first message.
    pub(super) fn first(&self, theirs: &Share, run: &[u8], said: [&[u8]; 2]) -> Option<Key> {
        Some(key(run, &*self.agreed(theirs)?, [&self.share, theirs], said))
    }

    /// The key, for whoever has sent the second message.
    pub(super) fn second(&self, theirs: &Share, run: &[u8], said: [&[u8]; 2]) -> Option<Key> {
        Some(key(run, &*self.agreed(theirs)?, [theirs, &self.share], said))
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

fn key(run: &[u8], agreed: &[u8; 32], shares: [&Share; 2], said: [&[u8]; 2]) -> Key {
    let text = joined(&[DSI_ISK, run, agreed, shares[0], said[0], shares[1], said[1]]);
    Zeroizing::new(Sha512::digest(&text[..]).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex")).collect()
    }

    fn array<const N: usize>(text: &str) -> [u8; N] {
        unhex(text).try_into().expect("so many bytes")
    }

    /// The draft's own vectors, appendix "Test vector for CPace using group ristretto255 and hash SHA-512".
    #[test]
    fn s27_the_exchange_is_that_of_the_draft() {
        let (password, run) = (b"Password", unhex("7e4b4791d6a8ef019b936c79fb7f2c57"));
        let channel = joined(&[b"A_initiator", b"B_responder"]);
        let made = generator(password, &channel, &run).compress().to_bytes();
        assert_eq!(made, array("222b6b195fe84b1652badb6f6a3ae3d24341e7306967f0b8115b40d5698c7e56"));
        let half = |secret: &str| {
            let secret = Scalar::from_canonical_bytes(array(secret)).expect("below the order");
            Half::with(secret, password, &channel, &run)
        };
        let a = half("da3d23700a9e5699258aef94dc060dfda5ebb61f02a5ea77fad53f4ff0976d08");
        let b = half("d2316b454718c35362d83d69df6320f38578ed5984651435e2949762d900b80d");
        assert_eq!(a.share, array("d6bac480f2c386c394efc7c47adb9925dcd2630b64f240c50f8d0eec482b9157"));
        assert_eq!(b.share, array("3ea7e0b19560d7c0b0f5734f63b955286dfa8232b5ebe63324e2d9e7433f7258"));
        let agreed = array("80b69a8a76457ab6a4d7f887a4bf6b55a2f80ac19c333f917a05fc9887c8b40f");
        assert_eq!(a.agreed(&b.share).as_deref(), Some(&agreed));
        assert_eq!(b.agreed(&a.share).as_deref(), Some(&agreed));
        let key = array(concat!(
            "b69effbf61b51d56401c0f65601abe428de8206feaaf0e32198896dcae7b35cd",
            "2b38950a39dfd5d4a79164614c2984f7daa460b588c1e80c3fa2068af7900447"
        ));
        assert_eq!(a.first(&b.share, &run, [b"ADa", b"ADb"]).as_deref(), Some(&key));
        assert_eq!(b.second(&a.share, &run, [b"ADa", b"ADb"]).as_deref(), Some(&key));
    }

    #[test]
    fn s27_a_message_that_is_no_point_or_the_neutral_one_ends_the_run() {
        let half = Half::new(b"river-stone-lamp", b"channel", b"run", &[7; 64]);
        for theirs in [[0; 32], [0xff; 32], array("2b3c6b195fe84b1652badb6f6a3ae3d24341e7306967f0b8115b40d5698c7ed6")] {
            assert!(half.agreed(&theirs).is_none());
        }
        assert!(half.agreed(&half.share).is_some());
    }
}
