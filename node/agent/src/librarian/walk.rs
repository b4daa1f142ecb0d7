//! The folder: which files are in it, and which paths are none of ours.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

use klp::Digest;
use walkdir::{DirEntry, WalkDir};

use crate::extract::{Skip, Skipped};
use crate::index::Stamp;

/// How deep folders are followed.
const DEPTH: usize = 64;

/// A file below the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// The path below the folder, as text.
    pub(super) name: String,
    pub(super) stamp: Stamp,
}

/// Something below the folder that cannot be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) name: String,
    pub(super) skipped: Skipped,
}

/// What a single path is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Not there, or not ours.
    Nothing,
    /// A folder.
    Folder,
    /// A file.
    File(Found),
    /// Something else, or unreadable.
    Closed(Closed),
}

/// The folder that is served.
pub(super) struct Folder {
    root: PathBuf,
    exclude: Vec<PathBuf>,
}

fn is_hidden(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

fn stamp(metadata: &fs::Metadata) -> Stamp {
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let modified = modified.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0);
    Stamp { size: metadata.len(), modified }
}

impl Folder {
    /// Both canonical.
    pub(super) fn new(root: PathBuf, exclude: Vec<PathBuf>) -> Self {
        Self { root, exclude }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The path below the folder as text. Names that are no text get a digest, so that two of them stay two.
    pub(super) fn name(&self, path: &Path) -> Option<String> {
        let below = path.strip_prefix(&self.root).ok()?;
        Some(match below.to_str() {
            Some(name) => name.to_owned(),
            None => {
                let digest = Digest::of(&[below.as_os_str().as_encoded_bytes()]);
                format!("{} ({})", below.to_string_lossy(), digest.short())
            }
        })
    }

    fn ours(&self, entry: &DirEntry) -> bool {
        (entry.depth() == 0 || !is_hidden(entry.file_name())) && !self.exclude.iter().any(|path| path == entry.path())
    }

    /// Files at and below `from`, without those that are hidden or excluded; links are not followed and count as nothing.
    pub(super) fn files(&self, from: &Path) -> impl Iterator<Item = Result<Found, Closed>> {
        self.entries(from).filter_map(|entry| match entry {
            Ok(entry) if entry.file_type().is_dir() || entry.file_type().is_symlink() => None,
            Ok(entry) => match self.look(entry.path()) {
                Place::File(found) => Some(Ok(found)),
                Place::Closed(closed) => Some(Err(closed)),
                Place::Nothing | Place::Folder => None,
            },
            Err(error) => self.closed(error).map(Err),
        })
    }

    /// How many files there are.
    pub(super) fn count(&self, stop: &dyn Fn() -> bool) -> u64 {
        let entries = self.entries(&self.root).take_while(|_| !stop());
        entries.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_type().is_file())).count() as u64
    }

    fn entries(&self, from: &Path) -> impl Iterator<Item = walkdir::Result<DirEntry>> {
        WalkDir::new(from).follow_links(false).max_depth(DEPTH).into_iter().filter_entry(|entry| self.ours(entry))
    }

    fn closed(&self, error: walkdir::Error) -> Option<Closed> {
        let name = error.path().and_then(|path| self.name(path)).unwrap_or_default();
        let error = error.into_io_error()?;
        // What vanishes while we look is gone, not closed.
        if error.kind() == io::ErrorKind::NotFound && !name.is_empty() {
            return None;
        }
        Some(Closed { name, skipped: Skipped::unreadable(&error) })
    }

    /// What this path is, when somebody else names it: every part of it must be ours.
    pub(super) fn visit(&self, path: &Path) -> Place {
        let Ok(below) = path.strip_prefix(&self.root) else { return Place::Nothing };
        let mut at = self.root.clone();
        for component in below.components() {
            let Component::Normal(name) = component else { return Place::Nothing };
            if fs::symlink_metadata(&at).is_ok_and(|metadata| metadata.is_symlink()) {
                return Place::Nothing;
            }
            at.push(name);
            if is_hidden(name) || self.exclude.contains(&at) {
                return Place::Nothing;
            }
        }
        self.look(path)
    }

    fn look(&self, path: &Path) -> Place {
        let Some(name) = self.name(path) else { return Place::Nothing };
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => Place::Folder,
            Ok(metadata) if metadata.is_symlink() => Place::Nothing,
            Ok(metadata) if metadata.is_file() => {
                Place::File(Found { path: path.to_owned(), name, stamp: stamp(&metadata) })
            }
            Ok(_) => {
                let skipped = Skipped::new(Skip::Special, "it is neither file nor folder");
                Place::Closed(Closed { name, skipped })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Place::Nothing,
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Place::Nothing,
            Err(error) => Place::Closed(Closed { name, skipped: Skipped::unreadable(&error) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(folder: &Folder) -> Vec<String> {
        let mut names: Vec<String> =
            folder.files(folder.root()).filter_map(|found| found.ok().map(|found| found.name)).collect();
        names.sort();
        names
    }

    #[test]
    fn links_hidden_and_excluded_files_are_not_served() {
        let temp = tempfile::tempdir().expect("folder");
        let base = fs::canonicalize(temp.path()).expect("canonical");
        let root = base.join("root");
        for folder in ["root/a/b", "root/.git", "root/index", "outside"] {
            fs::create_dir_all(base.join(folder)).expect("folder");
        }
        for file in
            ["root/top.md", "root/a/b/deep.md", "root/.git/config", "root/a/.hidden", "root/index/x", "outside/secret"]
        {
            fs::write(base.join(file), "x").expect("file");
        }
        symlink(base.join("outside"), root.join("folder")).expect("link");
        symlink(base.join("outside/secret"), root.join("file")).expect("link");
        symlink("nowhere", root.join("dangling")).expect("link");
        symlink("..", root.join("a/loop")).expect("link");

        let folder = Folder::new(root.clone(), vec![root.join("index")]);
        assert_eq!(names(&folder), ["a/b/deep.md", "top.md"]);
        assert_eq!(folder.count(&|| false), 2);
        for path in [
            "folder/secret",
            "file",
            "dangling",
            ".git/config",
            "a/.hidden",
            "index/x",
            "gone",
            "top.md/x",
            "a/../../outside/secret",
        ] {
            assert_eq!(folder.visit(&root.join(path)), Place::Nothing, "{path}");
        }
        assert_eq!(folder.visit(&base.join("outside/secret")), Place::Nothing);
        assert_eq!(folder.visit(&root.join("a")), Place::Folder);
        assert!(matches!(folder.visit(&root.join("top.md")), Place::File(found) if found.stamp.size == 1));
    }

    #[test]
    fn a_root_that_is_gone_is_closed_and_not_empty() {
        let folder = Folder::new(PathBuf::from("/nowhere/at/all"), Vec::new());
        let found: Vec<_> = folder.files(folder.root()).collect();
        assert!(matches!(&found[..], [Err(closed)] if closed.name.is_empty()), "{found:?}");
    }
}
