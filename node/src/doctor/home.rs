//! What can be seen of a home without changing anything in it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use host::home::{Holder, LOCK, holder};
use klp::{Timestamp, limits};
use store::Unlock;

use super::{Key, failed, ok, skipped};
use crate::node::closed_home;
use crate::view::Check;

/// Files that only their owner may read, in the home of any of the three programs.
const PRIVATE: &[&str] = &["home-id", "machine.keys", "kos.redb", "recovery.kos", "api-token", "key"];
/// A node that is to work needs at least this much room.
const ROOM: usize = 256 * 1024;
/// What the doctor writes and takes away again.
const PROBE: &str = "doctor.probe";

/// The checks of a home, and the node's key when it opens by itself. `unlocked` says it of a node that runs.
pub(super) fn look(home: &Path, unlock: Option<PathBuf>, unlocked: Option<bool>, now: Timestamp) -> (Vec<Check>, Key) {
    if !home.is_dir() {
        let fresh = skipped("home", format!("{} is not there yet", home.display()), "the first `kos up` makes it");
        return (vec![fresh], None);
    }
    let unlock = Unlock { file: unlock, ..Unlock::default() };
    let mut checks = vec![lock(home, unlocked.is_some()), files(home, unlock.file_for(home)), disk(home)];
    let (vault, key) = match unlocked {
        Some(true) => (ok("vault", "it is unlocked"), None),
        Some(false) => (failed("vault", "the vault is locked: nothing can be signed", "run `kos vault unlock`"), None),
        None if checks.iter().any(|check| check.name == "files" && check.state == "failed") => {
            (skipped("vault", "its files are open to others, see above", ""), None)
        }
        None => vault(home, &unlock, now),
    };
    checks.push(vault);
    checks.extend(clock(home, now));
    (checks, key)
}

fn lock(home: &Path, answers: bool) -> Check {
    let told = fs::read_to_string(home.join(LOCK)).unwrap_or_default();
    match holder(home) {
        _ if answers => ok("lock", "its node has it"),
        Ok(Some(Holder { pid })) => {
            let pid = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
            let cause = format!("{pid} has {} and does not answer", home.display());
            failed("lock", cause, "wait if it is just starting; else end it (`kill`), and run `kos up`")
        }
        // Who stops in order leaves it empty.
        Ok(None) if !told.trim().is_empty() => {
            let cause = format!("a stale lock: process {} ended without stopping, by a crash or a kill", told.trim());
            failed("lock", cause, "run `kos up`: it takes the lock over, and nothing that was told is lost")
        }
        Ok(None) => ok("lock", "it is free"),
        Err(error) => {
            failed("lock", format!("{}: {error}", home.join(LOCK).display()), "let only its owner use the home")
        }
    }
}

/// Whether anybody else may read what is private.
fn files(home: &Path, unlock: Option<PathBuf>) -> Check {
    let names = PRIVATE.iter().map(|name| home.join(name)).chain(unlock);
    let open = names.filter_map(|path| Some((open_to_others(&path)?, path)));
    let mut open: Vec<_> =
        open.map(|(mode, path)| (format!("{} has mode {mode:03o}", path.display()), "600", path)).collect();
    if let Some(mode) = open_to_others(home) {
        open.push((format!("{} has mode {mode:03o}", home.display()), "700", home.to_owned()));
    }
    if open.is_empty() {
        return ok("files", "only their owner can read them");
    }
    let causes: Vec<&str> = open.iter().map(|(cause, ..)| cause.as_str()).collect();
    let fixes: Vec<String> = open.iter().map(|(_, mode, path)| format!("chmod {mode} {}", path.display())).collect();
    let cause = format!("other users of this machine can read private files: {}", causes.join(", "));
    failed("files", cause, format!("run `{}`; if somebody may have read them, take a new identity", fixes.join(" && ")))
}

#[cfg(unix)]
fn open_to_others(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

#[cfg(not(unix))]
fn open_to_others(_path: &Path) -> Option<u32> {
    None
}

/// Whether the disk takes what a node writes.
fn disk(home: &Path) -> Check {
    let probe = home.join(PROBE);
    let written = write(&probe);
    // It may not have been made.
    let _gone = fs::remove_file(&probe);
    match written {
        Ok(()) => ok("disk", format!("there is room at {}", home.display())),
        Err(error) if store::is_full(&error) => {
            let cause = format!("the disk (or quota) that holds {} is full", home.display());
            failed("disk", cause, "free some megabytes there: the node goes on by itself, and nothing told is lost")
        }
        Err(error) => {
            failed("disk", format!("{} cannot be written: {error}", home.display()), "mount it writable for this user")
        }
    }
}

fn write(probe: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(probe)?;
    // Not all zeros: some file systems store those without any room.
    file.write_all(&vec![0xa5; ROOM])?;
    file.sync_all()
}

/// Whether the home opens without anybody's help.
fn vault(home: &Path, unlock: &Unlock, now: Timestamp) -> (Check, Key) {
    if !home.join("machine.keys").exists() {
        return (skipped("vault", "there is none yet", "the first `kos up` makes it"), None);
    }
    match store::Home::open(home, unlock, now) {
        Ok(opened) => (ok("vault", "the home opens on this machine"), Some(opened.keys().node().clone())),
        Err(error) => {
            let fault = closed_home(error);
            (failed("vault", format!("it is {}: {}", fault.refusal.code(), fault.message), fault.hint), None)
        }
    }
}

/// A clock that was set back is behind the files that were written before; about one that is ahead they say nothing.
fn clock(home: &Path, now: Timestamp) -> Option<Check> {
    let written = |name: &&str| {
        let modified = fs::metadata(home.join(name)).ok()?.modified().ok()?;
        u64::try_from(modified.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
    };
    let newest = PRIVATE.iter().filter_map(written).max().unwrap_or_default();
    let ahead = Duration::from_millis(newest.saturating_sub(now.0));
    let cause =
        format!("the clock of this machine is behind: this home was written {} s in its future", ahead.as_secs());
    (ahead > limits::SKEW).then(|| failed("clock", cause, super::verdict::SET_CLOCK))
}
