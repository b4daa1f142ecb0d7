//! The bearer token of the TCP port: 32 random bytes, made at the first start, kept in a file that only its owner can read.

use std::path::Path;

use klp::Refusal;
use zeroize::Zeroizing;

use crate::fault::Fault;

/// Name of the file in the home folder.
pub(super) const FILE: &str = "api-token";

const BYTES: usize = 32;

/// The token, in hex. Wiped when dropped, and not printable.
#[derive(Clone)]
pub(super) struct Token(Zeroizing<String>);

impl Token {
    /// The home's token; a new one when there is none yet.
    ///
    /// # Errors
    /// `invalid` when the file is damaged or open to other users; `internal` when the disk refuses.
    pub(super) fn of_home(home: &Path) -> Result<Self, Fault> {
        let path = home.join(FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let text = Zeroizing::new(text);
                let bad = |what: &str| {
                    Fault::new(Refusal::Invalid, format!("{} {what}", path.display()))
                        .hint("delete the file; the next `kos up` makes a new token")
                };
                if !is_private(&path).map_err(Fault::internal)? {
                    return Err(bad("is readable for other users"));
                }
                Self::parse(text.trim()).ok_or_else(|| bad("holds no token"))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let token = Self::new()?;
                host::home::write_private(&path, token.as_bytes()).map_err(|error| Fault::of_file(&path, &error))?;
                Ok(token)
            }
            Err(error) => Err(Fault::internal(format_args!("cannot read {}: {error}", path.display()))),
        }
    }

    /// A token from its text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let fits = text.len() == 2 * BYTES && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        fits.then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// Its text.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn new() -> Result<Self, Fault> {
        let mut bytes = Zeroizing::new([0; BYTES]);
        getrandom::fill(&mut *bytes).map_err(Fault::internal)?;
        let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
        Ok(Self(Zeroizing::new(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect())))
    }
}

#[cfg(unix)]
fn is_private(path: &Path) -> std::io::Result<bool> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o077 == 0)
}

#[cfg(not(unix))]
fn is_private(_path: &Path) -> std::io::Result<bool> {
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn s28_the_token_is_made_once_private_and_random() {
        let home = tempfile::tempdir().expect("folder");
        let first = Token::of_home(home.path()).expect("token");
        let path = home.path().join(FILE);
        assert_eq!(std::fs::metadata(&path).expect("file").permissions().mode() & 0o777, 0o600);
        assert_eq!(first.as_bytes().len(), 64);
        assert_eq!(Token::of_home(home.path()).expect("token").as_bytes(), first.as_bytes());
        let other = tempfile::tempdir().expect("folder");
        assert_ne!(Token::of_home(other.path()).expect("token").as_bytes(), first.as_bytes());
    }

    #[test]
    fn s28_a_damaged_or_readable_token_file_is_refused() {
        let home = tempfile::tempdir().expect("folder");
        let path = home.path().join(FILE);
        host::home::write_private(&path, b"short").expect("write");
        assert_eq!(Token::of_home(home.path()).err().map(|fault| fault.refusal), Some(Refusal::Invalid));
        std::fs::remove_file(&path).expect("remove");
        Token::of_home(home.path()).expect("token");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("mode");
        assert_eq!(Token::of_home(home.path()).err().map(|fault| fault.refusal), Some(Refusal::Invalid));
    }
}
