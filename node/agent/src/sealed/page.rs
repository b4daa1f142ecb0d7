//! Keys and pages: the cryptography of a sealed file, without any file.

use std::io;

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::IndexKey;

/// Plain bytes of a page. A search touches some hundreds of bytes at a time; four disk blocks keep the tags below 0.1 %.
pub(super) const PAGE: usize = 16 * 1024;
/// Bytes that a page has on disk beyond its content.
pub(super) const TAG: usize = 16;
/// Bytes of a file's salt.
pub(super) const SALT: usize = 32;
const MAGIC: &[u8; 8] = b"kosseal1";
/// Bytes before the first page.
pub(super) const HEADER: usize = MAGIC.len() + SALT;

fn derive(key: &IndexKey, salt: &[u8], info: &[&[u8]], out: &mut [u8]) -> io::Result<()> {
    let hkdf = Hkdf::<Sha256>::new(Some(salt), &key.0[..]);
    hkdf.expand_multi_info(info, out).map_err(|_| io::Error::other("the key derivation refused its own lengths"))
}

/// The name on disk of the file that the engine calls `name`: 32 hex digits that say nothing.
pub(super) fn disk_name(key: &IndexKey, name: &str) -> io::Result<String> {
    let mut bytes = [0; 16];
    derive(key, b"", &[b"kos/index/name/1", name.as_bytes()], &mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The cipher of one file.
pub(super) struct Pages {
    cipher: Aes256Gcm,
}

impl Pages {
    /// For the file of this name and salt.
    pub(super) fn new(key: &IndexKey, name: &str, salt: &[u8; SALT]) -> io::Result<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        derive(key, salt, &[b"kos/index/file/1", name.as_bytes()], &mut bytes[..])?;
        let cipher =
            Aes256Gcm::new_from_slice(&bytes[..]).map_err(|_| io::Error::other("a key of the wrong length"))?;
        Ok(Self { cipher })
    }

    /// Seals one page in place and appends its tag. Every page of a file is sealed once, so that no nonce comes twice.
    pub(super) fn seal(&self, page: u64, last: bool, bytes: &mut Vec<u8>) -> io::Result<()> {
        let (nonce, data) = place(page, last);
        let tag = self
            .cipher
            .encrypt_inout_detached(&nonce, &data, bytes.as_mut_slice().into())
            .map_err(|_| io::Error::other("a page could not be sealed"))?;
        bytes.extend_from_slice(&tag);
        Ok(())
    }

    /// Opens one page with its tag; `None` when it does not verify.
    pub(super) fn open(&self, page: u64, last: bool, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
        let content = bytes.len().checked_sub(TAG)?;
        let tag = Tag::try_from(&bytes[content..]).ok()?;
        bytes.truncate(content);
        let (nonce, data) = place(page, last);
        self.cipher.decrypt_inout_detached(&nonce, &data, bytes.as_mut_slice().into(), &tag).ok()?;
        Some(bytes)
    }
}

fn place(page: u64, last: bool) -> (Nonce<aes_gcm::aead::consts::U12>, [u8; 9]) {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&page.to_be_bytes());
    let mut data = [u8::from(last); 9];
    data[..8].copy_from_slice(&page.to_be_bytes());
    (nonce.into(), data)
}

/// A file's first bytes.
pub(super) fn header(salt: &[u8; SALT]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..MAGIC.len()].copy_from_slice(MAGIC);
    header[MAGIC.len()..].copy_from_slice(salt);
    header
}

/// The salt in a file's first bytes; `None` when this is no sealed file.
pub(super) fn salt_of(header: &[u8]) -> Option<[u8; SALT]> {
    header.strip_prefix(MAGIC)?.try_into().ok()
}

/// Pages and plain bytes of a file that has `size` bytes on disk; `None` when no sealed file has this size.
pub(super) fn measure(size: u64) -> Option<(u64, u64)> {
    let sealed = size.checked_sub(HEADER as u64)?;
    let pages = sealed.div_ceil((PAGE + TAG) as u64);
    let plain = sealed.checked_sub(pages * TAG as u64)?;
    // Every file has a last page, and only an empty file has an empty one.
    let empty_last = pages > 1 && plain <= (pages - 1) * PAGE as u64;
    (pages > 0 && !empty_last).then_some((pages, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_opens_only_in_its_own_place() {
        let key = IndexKey::new([7; 32]);
        let pages = Pages::new(&key, "a.store", &[1; SALT]).expect("pages");
        let mut sealed = b"secret".to_vec();
        pages.seal(3, false, &mut sealed).expect("sealed");
        assert_eq!(sealed.len(), 6 + TAG);
        assert_eq!(pages.open(3, false, sealed.clone()).as_deref(), Some(&b"secret"[..]));
        assert_eq!(pages.open(2, false, sealed.clone()), None);
        assert_eq!(pages.open(3, true, sealed.clone()), None);
        for other in [
            Pages::new(&key, "b.store", &[1; SALT]),
            Pages::new(&key, "a.store", &[2; SALT]),
            Pages::new(&IndexKey::new([8; 32]), "a.store", &[1; SALT]),
        ] {
            assert_eq!(other.expect("pages").open(3, false, sealed.clone()), None);
        }
        for index in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[index] ^= 1;
            assert_eq!(pages.open(3, false, flipped), None);
        }
        assert_eq!(pages.open(3, false, sealed[..10].to_vec()), None);
    }

    #[test]
    fn sizes_are_exact() {
        let on_disk = |plain: u64, pages: u64| HEADER as u64 + plain + pages * TAG as u64;
        let page = PAGE as u64;
        for (plain, pages) in [(0, 1), (1, 1), (page, 1), (page + 1, 2), (2 * page, 2), (5 * page - 1, 5)] {
            assert_eq!(measure(on_disk(plain, pages)), Some((pages, plain)));
        }
        assert_eq!(measure(HEADER as u64), None, "no last page");
        assert_eq!(measure(10), None);
        assert_eq!(measure(on_disk(page, 2)), None, "an empty last page behind a full one");
    }
}
