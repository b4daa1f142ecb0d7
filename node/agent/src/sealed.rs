//! A folder of sealed, write-once files for the search engine: nothing of a text, a word or a name is plain on disk.
//!
//! A file is a header (magic, version, salt) and pages of 16 KiB, each AES-256-GCM under the file's own key, which comes from the index
//! key, the file's name and the salt. The nonce is the page number; the associated data say page number and whether it is the last, so
//! that pages cannot be changed, swapped, cut off, added, or moved to another file or name. What is not noticed here is an older copy
//! of a whole folder.

mod cache;
mod directory;
mod file;
mod page;

use std::fmt;

use zeroize::Zeroizing;

pub use directory::SealedDirectory;

/// The key of one index: 32 random bytes that the caller keeps sealed. It prints as `IndexKey(***)`.
#[derive(Clone)]
pub struct IndexKey(Zeroizing<[u8; 32]>);

impl IndexKey {
    /// From 32 random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for IndexKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IndexKey(***)")
    }
}
