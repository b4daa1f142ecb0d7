//! The home folder: where a program keeps what must survive it, and the lock that makes it the only one there.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Name of the file in a home that its program holds; it tells that program's number, and nothing after a stop in order.
pub const LOCK: &str = "lock";
/// Name of the file in a home that says where its program listens.
pub const ADDRESSES: &str = "addresses";
/// How long a new process waits for one that is just going away, or for a look by [`holder`] to end.
const PATIENCE: Duration = Duration::from_millis(300);

/// Why a home folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// Neither a flag nor the environment says where it is.
    #[error("no home folder: set --home or KOS_HOME")]
    Nowhere,
    /// Another process works in it.
    #[error("{} is in use by process {}: stop that one first, or choose another --home", .home.display(), pid_text(*.pid))]
    Held {
        /// The folder.
        home: PathBuf,
        /// The process, where it could be read.
        pid: Option<u32>,
    },
    /// It is full of somebody's files and open to others.
    #[error("{} exists, is no home of kOS and is open to other users: choose an empty folder or run chmod 700", .home.display())]
    Foreign {
        /// The folder.
        home: PathBuf,
    },
    /// The system refused.
    #[error("cannot use {} as home", .path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map_or_else(|| "(unknown)".into(), |pid| pid.to_string())
}

/// A home folder that this process holds until it is dropped.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    lock: File,
}

impl Home {
    /// Takes the folder, making it with mode 0700 when it is not there. A lock that a dead process left is taken over: the
    /// system frees it with the process.
    ///
    /// # Errors
    /// [`HomeError::Held`] names the living process that has it; [`HomeError::Foreign`] protects a folder like `/tmp` from being
    /// closed to everyone else.
    pub fn open(path: &Path) -> Result<Self, HomeError> {
        let io = |source| HomeError::Io { path: path.to_owned(), source };
        make_folder(path).map_err(io)?;
        if !is_private(path).map_err(io)? {
            let used = path.join(LOCK).exists() || fs::read_dir(path).map_err(io)?.next().is_none();
            if !used {
                return Err(HomeError::Foreign { home: path.to_owned() });
            }
            set_mode(path, 0o700).map_err(io)?;
        }
        let name = path.join(LOCK);
        let mut lock = open_lock(&name).map_err(|source| HomeError::Io { path: name.clone(), source })?;
        let patience = Instant::now() + PATIENCE;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => return Err(HomeError::Io { path: name, source }),
                Err(TryLockError::WouldBlock) if Instant::now() < patience => thread::sleep(PATIENCE / 15),
                Err(TryLockError::WouldBlock) => {
                    return Err(HomeError::Held { home: path.to_owned(), pid: read_pid(&mut lock) });
                }
            }
        }
        match write_pid(&mut lock) {
            // The lock holds without a number in it, and a full disk must not keep a program from starting.
            Err(source) if !is_full(&source) => Err(HomeError::Io { path: name, source }),
            _ => Ok(Self { path: path.to_owned(), lock }),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Replaces a file in it, readable for its owner only; see [`write_private`].
    ///
    /// # Errors
    /// [`HomeError::Io`] when the disk refuses; the old content is then still there.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), HomeError> {
        let path = self.join(name);
        write_private(&path, bytes).map_err(|source| HomeError::Io { path, source })
    }

    /// Replaces `HOME/addresses`: one multiaddr a line, each of which can be pasted into another's `--bootstrap`.
    ///
    /// # Errors
    /// As [`Home::write`].
    pub fn write_addresses(&self, addresses: &[String]) -> Result<(), HomeError> {
        let text: String = addresses.iter().flat_map(|address| [address, "\n"]).collect();
        self.write(ADDRESSES, text.as_bytes())
    }

    /// Whether a program has run here before: its addresses are written at each start.
    pub fn is_used(&self) -> bool {
        self.join(ADDRESSES).exists()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Best effort: the lock goes with the file handle, whatever is written in it.
        let _ = self.lock.set_len(0);
    }
}

/// The process that has a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number, where it could be read.
    pub pid: Option<u32>,
}

/// Who has this home at the moment, without taking it.
///
/// # Errors
/// When the lock file is there and cannot be opened.
pub fn holder(path: &Path) -> io::Result<Option<Holder>> {
    let mut lock = match OpenOptions::new().read(true).open(path.join(LOCK)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(Holder { pid: read_pid(&mut lock) })),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The platform's data folder for a program of this name, from `env` (as [`std::env::var_os`]).
///
/// # Errors
/// [`HomeError::Nowhere`] when the environment names no home directory.
pub fn default_folder(program: &str, env: impl Fn(&str) -> Option<std::ffi::OsString>) -> Result<PathBuf, HomeError> {
    let folder = |name| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = if cfg!(windows) {
        folder("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        folder("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        folder("XDG_DATA_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/share")))
    };
    Ok(base.ok_or(HomeError::Nowhere)?.join(program))
}

/// Replaces a file so that after a crash either the old or the new content is there, whole, with mode 0600 from its first byte.
///
/// # Errors
/// When the disk refuses; what was written beside it is removed again.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (folder, name) = (path.parent(), path.file_name());
    let (Some(folder), Some(name)) = (folder, name) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file"));
    };
    let mut tag = [0; 8];
    getrandom::fill(&mut tag).map_err(io::Error::other)?;
    let mut beside = name.to_owned();
    beside.push(format!(".{:016x}.new", u64::from_le_bytes(tag)));
    let beside = folder.join(beside);
    let written = write_new(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // The error that matters is the first one.
        let _ = fs::remove_file(&beside);
    }
    written?;
    sync_folder(folder)
}

/// Whether the system had no room.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn read_pid(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_pid(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.seek(SeekFrom::Start(0))?;
    writeln!(lock, "{}", std::process::id())
}

fn make_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let missing: Vec<&Path> = path.ancestors().take_while(|above| !above.exists()).collect();
    builder.create(path)?;
    // A new folder's name is durable once the folder above it is.
    missing.into_iter().filter_map(Path::parent).try_for_each(sync_folder)
}

/// Whether only its owner can look into the folder. A folder of another user counts as open.
#[cfg(unix)]
fn is_private(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs::metadata(path)?.permissions().mode() & 0o077 == 0)
}

#[cfg(not(unix))]
fn is_private(_path: &Path) -> io::Result<bool> {
    Ok(true)
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn set_mode(_path: &Path, _mode: u32) -> io::Result<()> {
    Ok(())
}

/// Makes a rename durable.
fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::os::unix::fs::PermissionsExt as _;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn l1_8_a_second_holder_is_refused_by_pid_until_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("home");
        assert_eq!(holder(&path).unwrap(), None);
        let first = Home::open(&path).unwrap();
        assert_eq!(holder(&path).unwrap(), Some(Holder { pid: Some(std::process::id()) }));
        let refused = Home::open(&path).unwrap_err();
        assert!(matches!(refused, HomeError::Held { pid: Some(pid), .. } if pid == std::process::id()), "{refused:?}");
        assert!(refused.to_string().contains(&format!("in use by process {}", std::process::id())), "{refused}");
        drop(first);
        assert_eq!(holder(&path).unwrap(), None);
        Home::open(&path).unwrap();
    }

    #[test]
    fn the_lock_of_a_dead_process_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(LOCK), "4294967294\n").unwrap();
        let home = Home::open(folder.path()).unwrap();
        let text = fs::read_to_string(home.join(LOCK)).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
    }

    #[test]
    fn s28_home_and_files_are_private_and_foreign_folders_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let home = Home::open(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        home.write_addresses(&["/memory/1".into(), "/memory/2".into()]).unwrap();
        assert_eq!(mode(&home.join(ADDRESSES)), 0o600);
        assert_eq!(fs::read_to_string(home.join(ADDRESSES)).unwrap(), "/memory/1\n/memory/2\n");
        drop(home);

        set_mode(&path, 0o755).unwrap();
        Home::open(&path).unwrap();
        assert_eq!(mode(&path), 0o700, "a home of ours is closed again");

        let foreign = folder.path().join("music");
        fs::create_dir(&foreign).unwrap();
        set_mode(&foreign, 0o755).unwrap();
        fs::write(foreign.join("song"), "la").unwrap();
        assert!(matches!(Home::open(&foreign), Err(HomeError::Foreign { .. })));
        assert_eq!(mode(&foreign), 0o755);
    }

    #[test]
    fn a_write_replaces_whole_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "open to all").unwrap();
        set_mode(&path, 0o644).unwrap();
        write_private(&path, b"new").unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"new".to_vec(), 0o600));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

        fs::create_dir(folder.path().join("taken")).unwrap();
        assert!(write_private(&folder.path().join("taken"), b"x").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        assert!(write_private(Path::new("/"), b"x").is_err());
    }

    #[test]
    fn the_default_folder_follows_the_platform() {
        let env = |pairs: &'static [(&str, &str)]| {
            move |name: &str| pairs.iter().find(|pair| pair.0 == name).map(|pair| OsString::from(pair.1))
        };
        if cfg!(target_os = "linux") {
            let folder = |pairs| default_folder("kos", env(pairs)).ok();
            assert_eq!(folder(&[("HOME", "/home/ada")]), Some("/home/ada/.local/share/kos".into()));
            assert_eq!(folder(&[("HOME", "/home/ada"), ("XDG_DATA_HOME", "/data")]), Some("/data/kos".into()));
            assert_eq!(
                folder(&[("HOME", "/home/ada"), ("XDG_DATA_HOME", "not/absolute")]),
                folder(&[("HOME", "/home/ada")])
            );
            assert_eq!(folder(&[]), None);
        }
    }
}
