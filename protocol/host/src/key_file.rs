//! The one key of a relay or bootstrap peer: `HOME/key`, 64 hexadecimal digits, mode 0600. Source: `specs/01-identity.md`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::home::{Home, HomeError};

const NAME: &str = "key";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// Others can read it.
    #[error("{} can be read by other users (mode {mode:o}): run chmod 600, and take a new home if somebody may have read it", .path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not 64 hexadecimal digits.
    #[error("{} is not a key file: put back the copy that you saved", .path.display())]
    Form {
        /// The file.
        path: PathBuf,
    },
    /// The home was used, and its key is not there. A new key would be another peer under the old addresses.
    #[error("{} is gone: put back the copy that you saved, or start with an empty home", .path.display())]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// The home refused.
    #[error("cannot write the key")]
    Home(#[from] HomeError),
    /// The system refused.
    #[error("cannot read {}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The system has no entropy.
    #[error("the system gives no entropy for a new key")]
    Entropy(#[source] getrandom::Error),
}

/// The key of this home, made on the first start.
///
/// # Errors
/// [`KeyFileError`]; an existing file is never overwritten.
pub fn open(home: &Home) -> Result<klp::SecretKey, KeyFileError> {
    let path = home.join(NAME);
    match fs::symlink_metadata(&path) {
        Ok(metadata) => {
            check_mode(&path, &metadata)?;
            read(&path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && home.is_used() => Err(KeyFileError::Gone { path }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(home),
        Err(source) => Err(KeyFileError::Io { path, source }),
    }
}

fn read(path: &Path) -> Result<klp::SecretKey, KeyFileError> {
    let text = fs::read(path).map_err(|source| KeyFileError::Io { path: path.to_owned(), source })?;
    let text = Zeroizing::new(text);
    let seed = parse(text.trim_ascii_end()).ok_or_else(|| KeyFileError::Form { path: path.to_owned() })?;
    Ok(klp::SecretKey::from_seed(&seed))
}

fn make(home: &Home) -> Result<klp::SecretKey, KeyFileError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut seed[..]).map_err(KeyFileError::Entropy)?;
    let mut text = Zeroizing::new(Vec::with_capacity(65));
    for byte in seed.iter() {
        text.extend([byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
    }
    text.push(b'\n');
    home.write(NAME, &text)?;
    Ok(klp::SecretKey::from_seed(&seed))
}

fn parse(text: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    let mut seed = Zeroizing::new([0; 32]);
    if pairs.len() != seed.len() {
        return None;
    }
    for (byte, [high, low]) in seed.iter_mut().zip(pairs) {
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(seed)
}

#[cfg(unix)]
fn check_mode(path: &Path, metadata: &fs::Metadata) -> Result<(), KeyFileError> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = metadata.permissions().mode() & 0o7777;
    if !metadata.is_file() {
        Err(KeyFileError::Form { path: path.to_owned() })
    } else if mode & 0o077 != 0 {
        Err(KeyFileError::Mode { path: path.to_owned(), mode })
    } else {
        Ok(())
    }
}

#[cfg(not(unix))]
fn check_mode(_path: &Path, _metadata: &fs::Metadata) -> Result<(), KeyFileError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn s01_the_key_is_made_once_with_mode_0600_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        let first = open(&home).unwrap();
        assert_eq!(fs::metadata(home.join(NAME)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(open(&home).unwrap().did(), first.did());

        let other = tempfile::tempdir().unwrap();
        let other = open(&Home::open(other.path()).unwrap()).unwrap();
        assert_ne!(other.did(), first.did());
    }

    #[test]
    fn s01_a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        open(&home).unwrap();
        for mode in [0o640, 0o604, 0o660] {
            set_mode(&home.join(NAME), mode);
            assert!(matches!(open(&home), Err(KeyFileError::Mode { mode: found, .. }) if found == mode));
        }
    }

    #[test]
    fn s06_a_spoilt_or_lost_key_never_becomes_a_new_identity() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        let path = home.join(NAME);
        for text in ["", "00", &"0".repeat(62), &"0".repeat(66), &"g".repeat(64), &"é".repeat(32)] {
            home.write(NAME, text.as_bytes()).unwrap();
            assert!(matches!(open(&home), Err(KeyFileError::Form { .. })), "{text}");
            assert_eq!(fs::read(&path).unwrap(), text.as_bytes());
        }
        fs::remove_file(&path).unwrap();
        home.write_addresses(&[]).unwrap();
        assert!(matches!(open(&home), Err(KeyFileError::Gone { .. })));
        assert!(!path.exists());
    }
}
