//! The unlock file: 32 random bytes outside the home, so that a copied home alone opens nothing. It does not protect against the
//! same user of the same machine.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::OpenError;
use crate::cipher::{Key, random};
use crate::disk::{self, FileError};
use crate::passphrase::{Cost, Passphrase};
use crate::seal::{MachineSecret, Opener, UnsealError};

/// Bytes of an unlock file: three words, the longest of 64 digits.
const FILE: usize = 128;
const MAGIC: &str = "kos-unlock-1";

/// Names a home, so that its unlock file is found.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HomeId([u8; 16]);

impl fmt::Display for HomeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for HomeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HomeId({self})")
    }
}

/// What opens a home, and how a new one is sealed.
#[derive(Clone, Debug, Default)]
pub struct Unlock {
    /// The unlock file, or a folder in which it is named after the home id (`--unlock-file`, `KOS_UNLOCK_FILE`). `None`: the
    /// platform's state folder.
    pub file: Option<PathBuf>,
    /// The passphrase, when one was given.
    pub passphrase: Option<Passphrase>,
    /// Seal a new home with the passphrase instead of the unlock file (`--seal passphrase`).
    pub seal_with_passphrase: bool,
    /// What one try of the passphrase costs, for what is sealed from now on.
    pub cost: Cost,
}

impl Unlock {
    /// With this unlock file, or a file in this folder.
    pub fn with_file(file: impl Into<PathBuf>) -> Self {
        Self { file: Some(file.into()), ..Self::default() }
    }

    /// Where the unlock file of the home in this folder is, when the folder is one.
    pub fn file_for(&self, home: &Path) -> Option<PathBuf> {
        read_id(&home.join(super::ID)).ok().flatten().and_then(|id| self.place(&id))
    }

    /// Where the unlock file of this home is.
    pub(super) fn place(&self, id: &HomeId) -> Option<PathBuf> {
        place(self.file.as_deref(), id, |name| std::env::var_os(name))
    }

    pub(super) fn seals_with_passphrase(&self) -> bool {
        self.seal_with_passphrase
    }

    /// The machine's secret when there is one, else the passphrase.
    pub(super) fn opener(&self, machine: Option<&MachineSecret>) -> Result<Opener, UnsealError> {
        match (machine, &self.passphrase) {
            (Some(machine), _) => Ok(Opener::Machine(machine.clone())),
            (None, Some(passphrase)) if !passphrase.is_empty() => Ok(Opener::Passphrase(passphrase.clone())),
            (None, _) => Err(UnsealError::NeedsPassphrase),
        }
    }
}

/// The path rules, over any environment.
fn place(given: Option<&Path>, id: &HomeId, env: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(given) = given.map(Path::to_owned).or_else(|| set("KOS_UNLOCK_FILE")) {
        return Some(if given.is_dir() { given.join(id.to_string()) } else { given });
    }
    let home = || set("HOME");
    let state = if cfg!(target_os = "macos") {
        home().map(|home| home.join("Library/Application Support"))
    } else if cfg!(windows) {
        set("LOCALAPPDATA")
    } else {
        set("XDG_STATE_HOME").filter(|path| path.is_absolute()).or_else(|| home().map(|home| home.join(".local/state")))
    };
    state.map(|state| state.join("kos").join("unlock").join(id.to_string()))
}

pub(super) fn nowhere() -> FileError {
    let source = std::io::Error::new(std::io::ErrorKind::NotFound, "neither XDG_STATE_HOME nor HOME is set");
    disk::failed(Path::new("the unlock file"))(source)
}

/// Refuses an unlock file inside the home: whoever copies the home would have it too.
pub(super) fn check_outside(home: &Path, file: &Path) -> Result<(), OpenError> {
    let real = |path: &Path| {
        path.ancestors().find_map(|above| {
            let rest = path.strip_prefix(above).ok()?;
            above.canonicalize().ok().map(|real| real.join(rest))
        })
    };
    match (real(home), real(file)) {
        (Some(home), Some(real)) if real.starts_with(&home) => {
            Err(OpenError::UnlockFileInside { path: file.to_owned() })
        }
        _ => Ok(()),
    }
}

pub(super) fn read_id(path: &Path) -> Result<Option<HomeId>, FileError> {
    let Some(bytes) = disk::read_private(path, FILE)? else { return Ok(None) };
    let id = std::str::from_utf8(&bytes).ok().and_then(|text| bytes_of(text.trim_end())).map(HomeId);
    id.ok_or_else(|| damaged("not a home id")).map(Some).map_err(disk::failed(path))
}

pub(super) fn write_id(path: &Path) -> Result<HomeId, FileError> {
    let id = HomeId(random().map_err(disk::failed(path))?);
    disk::write_private(path, format!("{id}\n").as_bytes())?;
    Ok(id)
}

/// The secret, when the file is there and belongs to this home.
pub(super) fn read(path: &Path, id: &HomeId) -> Result<Option<MachineSecret>, OpenError> {
    let Some(bytes) = disk::read_private(path, FILE)?.map(Zeroizing::new) else { return Ok(None) };
    let parse = || {
        let mut words = std::str::from_utf8(&bytes).ok()?.split_ascii_whitespace();
        let belongs = words.next()? == MAGIC && words.next()? == id.to_string();
        let secret = bytes_of::<32>(words.next()?)?;
        (belongs && words.next().is_none()).then(|| MachineSecret(Key::from_bytes(secret)))
    };
    parse().map(Some).ok_or_else(|| OpenError::WrongUnlockFile { path: path.to_owned() })
}

pub(super) fn write(path: &Path, id: &HomeId) -> Result<MachineSecret, FileError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        disk::make_private_folder(folder)?;
    }
    let secret = Key::random().map_err(disk::failed(path))?;
    let digits: Zeroizing<String> = Zeroizing::new(secret.bytes().iter().map(|byte| format!("{byte:02x}")).collect());
    disk::write_private(path, Zeroizing::new(format!("{MAGIC} {id} {}\n", *digits)).as_bytes())?;
    Ok(MachineSecret(secret))
}

fn damaged(what: &'static str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, what)
}

fn bytes_of<const N: usize>(hex: &str) -> Option<[u8; N]> {
    if hex.len() != 2 * N || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: HomeId = HomeId([0xab; 16]);

    fn with(vars: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<OsString> {
        move |name| vars.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
    }

    #[test]
    #[cfg(all(unix, not(target_os = "macos")))]
    fn s06_the_flag_comes_before_the_variable_before_the_state_folder() {
        let all = || with(&[("KOS_UNLOCK_FILE", "/env/file"), ("XDG_STATE_HOME", "/state"), ("HOME", "/home/a")]);
        let id = ID.to_string();
        assert_eq!(place(Some(Path::new("/flag/file")), &ID, all()), Some("/flag/file".into()));
        assert_eq!(place(None, &ID, all()), Some("/env/file".into()));
        let state = with(&[("XDG_STATE_HOME", "/state"), ("HOME", "/home/a")]);
        assert_eq!(place(None, &ID, state), Some(Path::new("/state/kos/unlock").join(&id)));
        let home = with(&[("XDG_STATE_HOME", ""), ("HOME", "/home/a")]);
        assert_eq!(place(None, &ID, home), Some(Path::new("/home/a/.local/state/kos/unlock").join(&id)));
        assert_eq!(place(None, &ID, with(&[])), None);
        let folder = tempfile::tempdir().expect("folder");
        assert_eq!(
            place(Some(folder.path()), &ID, with(&[])),
            Some(folder.path().join(&id)),
            "a folder serves many homes"
        );
    }

    #[test]
    fn an_unlock_file_inside_the_home_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let home = folder.path().join("home");
        std::fs::create_dir(&home).expect("home");
        assert!(check_outside(&home, &home.join("not/yet/there")).is_err());
        assert!(check_outside(&home, &folder.path().join("home/../home/x")).is_err());
        assert!(check_outside(&home, &folder.path().join("homely")).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn an_unlock_file_of_any_content_never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..128)) {
            let folder = tempfile::tempdir().expect("folder");
            let path = folder.path().join("file");
            disk::write_private(&path, &bytes).expect("writes");
            let _refused = (read(&path, &ID).is_err(), read_id(&path).is_err());
        }
    }
}
