//! What may go wrong between a change and the disk.

use std::io;
use std::sync::Arc;

/// Why the store could not read or write. Nothing that was acknowledged is lost by any of them.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A stored value was changed, moved or cut outside kOS.
    #[error("table {table}, key {key}: the stored value was changed outside kos")]
    Integrity {
        /// Name of the table.
        table: &'static str,
        /// The row key, in hex.
        key: String,
    },
    /// The disk or the quota is full. The change did not happen; later ones may.
    #[error("the disk is full")]
    Full,
    /// The system failed. The change did not happen; later ones may.
    #[error("the storage failed")]
    Io(#[source] Arc<io::Error>),
    /// The audit log does not verify, so nothing is changed any more.
    #[error("the store is read-only because its audit log does not verify")]
    ReadOnly,
    /// The store was stopped.
    #[error("the store is stopped")]
    Stopped,
    /// The change panicked. It did not happen; the store lives on.
    #[error("the change broke off")]
    Broken,
    /// A value is larger than a row may be.
    #[error("{size} bytes, but at most {limit} are stored in one place")]
    TooLarge {
        /// Bytes given.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        if is_full(&error) { Self::Full } else { Self::Io(Arc::new(error)) }
    }
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(error) => error.into(),
            redb::Error::Corrupted(what) => Self::Integrity { table: "file", key: what },
            other => io::Error::other(other).into(),
        }
    }
}

/// Whether the system had no room.
pub fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
