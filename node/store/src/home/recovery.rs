//! The recovery file: the owner key and the *next* owner key, which exists nowhere else (security rules 2 and 3).

use std::path::Path;

use klp::codec::{CodecError, Fields, Map, Value};
use klp::{Cbor, Digest, SecretKey};
use zeroize::Zeroizing;

use super::keys::wipe;
use crate::cipher::random;
use crate::disk::{self, FileError};
use crate::passphrase::Cost;
use crate::seal::{Opener, SealedFile, UnsealError};

const PURPOSE: &str = "kos/recovery/1";
/// Bytes of a recovery file: two seeds and a head.
const FILE: usize = 4096;

/// What is in a recovery file. It prints nothing of it.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// The owner key.
    pub owner: SecretKey,
    /// The key that a rotation reveals.
    pub next: SecretKey,
}

impl Recovery {
    /// SHA-256 of the next owner key, as tickets and pairing carry it.
    pub fn next_key_hash(&self) -> Digest {
        Digest::of(&[self.next.did().key()])
    }
}

/// Why a recovery file could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// There is one already; it is never overwritten, because the next key in it exists nowhere else.
    #[error("{} exists already", path.display())]
    Exists {
        /// The file.
        path: std::path::PathBuf,
    },
    /// There is none.
    #[error("there is no {}", path.display())]
    Missing {
        /// The file.
        path: std::path::PathBuf,
    },
    /// It does not open.
    #[error("the recovery file does not open")]
    Sealed(#[from] UnsealError),
    /// It could not be read or written.
    #[error("the recovery file cannot be used")]
    File(#[from] FileError),
}

/// Makes an owner key and its successor and writes both, sealed; the file is durable before this returns.
///
/// # Errors
/// [`RecoveryError`]
pub fn create(path: &Path, opener: &Opener, cost: Cost) -> Result<Recovery, RecoveryError> {
    let key = || random().map(|seed| SecretKey::from_seed(&Zeroizing::new(seed))).map_err(disk::failed(path));
    let recovery = Recovery { owner: key()?, next: key()? };
    write(path, &recovery, opener, cost)?;
    Ok(recovery)
}

/// Writes a recovery file, to a new path: a copy with another passphrase, or one with a new next key after a rotation.
///
/// # Errors
/// [`RecoveryError`]
pub fn write(path: &Path, recovery: &Recovery, opener: &Opener, cost: Cost) -> Result<(), RecoveryError> {
    if path.exists() {
        return Err(RecoveryError::Exists { path: path.to_owned() });
    }
    let mut value = recovery.to_value();
    let plain = Zeroizing::new(klp::codec::encode(&value));
    wipe(&mut value);
    let file = SealedFile::seal(PURPOSE, opener, cost, &plain).map_err(disk::failed(path))?;
    Ok(disk::write_private(path, &file.encode(PURPOSE))?)
}

/// Opens a recovery file.
///
/// # Errors
/// [`RecoveryError`]
pub fn open(path: &Path, opener: &Opener) -> Result<Recovery, RecoveryError> {
    let bytes = disk::read_private(path, FILE)?.ok_or_else(|| RecoveryError::Missing { path: path.to_owned() })?;
    let (_, plain) = SealedFile::decode(PURPOSE, &bytes)?.open(PURPOSE, opener)?;
    Ok(Recovery::from_bytes(&plain, FILE).map_err(|_| UnsealError::Damaged)?)
}

impl Cbor for Recovery {
    fn to_value(&self) -> Value {
        Map::new().with(1, &*self.owner.seed()).with(2, &*self.next.seed()).build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let mut key = |key| fields.take::<[u8; 32]>(key).map(|seed| SecretKey::from_seed(&Zeroizing::new(seed)));
        let recovery = Self { owner: key(1)?, next: key(2)? };
        fields.end()?;
        Ok(recovery)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passphrase::Passphrase;

    #[test]
    fn s03_the_next_key_exists_only_in_the_recovery_file_and_is_never_overwritten() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("recovery.kos");
        let opener = Opener::Passphrase(Passphrase::new("right".into()));
        let made = create(&path, &opener, Cost::MINIMUM).expect("creates");
        assert!(matches!(create(&path, &opener, Cost::MINIMUM), Err(RecoveryError::Exists { .. })));
        let read = open(&path, &opener).expect("opens");
        assert_eq!((read.owner.did(), read.next.did()), (made.owner.did(), made.next.did()));
        assert_eq!(read.next_key_hash(), Digest::of(&[made.next.did().key()]));
        let wrong = Opener::Passphrase(Passphrase::new("wrong".into()));
        assert!(matches!(open(&path, &wrong), Err(RecoveryError::Sealed(UnsealError::WrongPassphrase))));
        let bytes = std::fs::read(&path).expect("reads");
        for key in [&made.owner, &made.next] {
            assert!(!bytes.windows(32).any(|window| window == &key.seed()[..]));
        }
    }
}
