//! AES-256-GCM with fresh nonces, and keys derived from keys. Everything sealed on disk goes through this file.

use std::fmt;

use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Bytes that sealing adds: a 96-bit nonce in front and a 128-bit tag behind.
pub(crate) const OVERHEAD: usize = NONCE + 16;
const NONCE: usize = 12;

/// The bytes were not sealed under this key for this place, or were changed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unsealable;

/// A 256-bit secret. It is wiped when dropped and prints as `Key(***)`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key(Zeroizing<[u8; 32]>);

impl Key {
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(crate) fn random() -> std::io::Result<Self> {
        random().map(Self::from_bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// HKDF-SHA256 over this key. Two labels or two salts never give the same key.
    pub(crate) fn derive(&self, salt: &[u8], label: &[&[u8]]) -> Self {
        let mut out = Zeroizing::new([0; 32]);
        let info = framed(label);
        // 32 bytes are within the 8160 that HKDF-SHA256 can give, so this cannot fail.
        let _within = Hkdf::<Sha256>::new(Some(salt), &self.0[..]).expand(&info, &mut out[..]);
        Self(out)
    }

    pub(crate) fn cipher(&self) -> Cipher {
        Cipher(Box::new(Aes256Gcm::new(&(*self.0).into())))
    }

    pub(crate) fn naming(&self) -> Naming {
        let mut block = [0; 64];
        block[..32].copy_from_slice(&self.0[..]);
        Naming(<Hmac<Sha256> as hmac::KeyInit>::new(&block.into()))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

/// A key ready for sealing.
pub(crate) struct Cipher(Box<Aes256Gcm>);

impl Cipher {
    /// Seals under a fresh random nonce, which stands in front. A key seals fewer than 2^32 times: a table would have to take
    /// a hundred changes a second for more than a year.
    pub(crate) fn seal(&self, place: &[&[u8]], plain: &[u8]) -> std::io::Result<Vec<u8>> {
        let nonce: [u8; NONCE] = random()?;
        let sealed = self
            .0
            .encrypt(&Nonce::from(nonce), Payload { msg: plain, aad: &framed(place) })
            .map_err(|_| std::io::Error::other("too long to be sealed"))?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Opens what was sealed for this place.
    pub(crate) fn open(&self, place: &[&[u8]], sealed: &[u8]) -> Result<Vec<u8>, Unsealable> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>().ok_or(Unsealable)?;
        self.0.decrypt(&Nonce::from(*nonce), Payload { msg: sealed, aad: &framed(place) }).map_err(|_| Unsealable)
    }
}

/// Turns names into row keys that say nothing to a reader of the disk.
pub(crate) struct Naming(Hmac<Sha256>);

impl Naming {
    /// HMAC-SHA256 over parts whose borders count.
    pub(crate) fn of(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(&framed(parts));
        mac.finalize().into_bytes().into()
    }
}

/// The parts with their lengths, so that no two lists of parts give the same bytes.
fn framed(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// Bytes from the operating system's generator.
///
/// # Errors
/// An I/O error when the system gives none.
pub(crate) fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(format!("no randomness: {error}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod public_vectors;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_at_its_place() {
        let cipher = Key::from_bytes([1; 32]).cipher();
        let sealed = cipher.seal(&[b"a", b"b"], b"plain").expect("seals");
        assert_eq!(cipher.open(&[b"a", b"b"], &sealed), Ok(b"plain".to_vec()));
        assert_eq!(cipher.open(&[b"ab", b""], &sealed), Err(Unsealable));
        assert_eq!(Key::from_bytes([2; 32]).cipher().open(&[b"a", b"b"], &sealed), Err(Unsealable));
        assert_eq!(sealed.len(), 5 + OVERHEAD);
    }

    #[test]
    fn no_flipped_bit_opens() {
        let cipher = Key::from_bytes([1; 32]).cipher();
        let sealed = cipher.seal(&[b"a"], b"plain").expect("seals");
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(cipher.open(&[b"a"], &changed), Err(Unsealable), "bit {bit}");
        }
    }

    #[test]
    fn labels_and_salts_separate_keys() {
        let key = Key::from_bytes([1; 32]);
        let keys = [
            key.derive(b"", &[b"a"]),
            key.derive(b"", &[b"b"]),
            key.derive(b"s", &[b"a"]),
            key.derive(b"", &[b"a", b""]),
        ];
        for (index, one) in keys.iter().enumerate() {
            assert!(keys[index + 1..].iter().all(|other| other != one));
        }
        assert_eq!(format!("{key:?}"), "Key(***)");
    }
}
