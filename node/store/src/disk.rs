//! Small private files: read with a bound, written whole or not at all, readable by their owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
#[cfg(unix)]
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Why a private file could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// Others may read or write it.
    #[error("{} has mode {mode:03o}, but must have 600", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is larger than any such file.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Bytes allowed.
        limit: usize,
    },
    /// The system failed.
    #[error("{}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl FileError {
    /// Whether the disk was full.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if crate::error::is_full(source))
    }
}

pub(crate) fn failed(path: &Path) -> impl FnOnce(io::Error) -> FileError + use<> {
    let path = path.to_owned();
    move |source| FileError::Io { path, source }
}

/// Makes a folder, and those above it, that only its owner can enter.
pub(crate) fn make_private_folder(path: &Path) -> Result<(), FileError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    builder.mode(0o700);
    let missing: Vec<&Path> = path.ancestors().take_while(|above| !above.exists()).collect();
    builder.create(path).map_err(failed(path))?;
    // A new folder's name is durable once the folder above it is.
    missing.into_iter().filter_map(Path::parent).try_for_each(sync_folder)?;
    #[cfg(unix)]
    {
        let mode = fs::metadata(path).map_err(failed(path))?.permissions().mode();
        if mode & 0o077 != 0 {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(failed(path))?;
        }
    }
    Ok(())
}

/// The bytes of a file, or `None` when there is none.
pub(crate) fn read_private(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, FileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(FileError::Io { path: path.to_owned(), source }),
    };
    check_mode(path, &file.metadata().map_err(failed(path))?)?;
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(failed(path))?;
    if bytes.len() > limit {
        return Err(FileError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(Some(bytes))
}

/// Refuses a file that others may read or write.
pub(crate) fn check_mode(path: &Path, metadata: &fs::Metadata) -> Result<(), FileError> {
    #[cfg(unix)]
    {
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o177 != 0 {
            return Err(FileError::Mode { path: path.to_owned(), mode });
        }
    }
    #[cfg(not(unix))]
    let _ = (path, metadata);
    Ok(())
}

/// Writes a file so that after a crash there is either all of the old or all of the new one.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let suffix: [u8; 8] = crate::cipher::random().map_err(failed(path))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{:016x}.new", u64::from_be_bytes(suffix)));
    let fresh = folder.join(name);
    let written = create_private(&fresh).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(source) = written.and_then(|()| fs::rename(&fresh, path)) {
        // The failure is what counts; a leftover is removed as far as possible.
        let _leftover = fs::remove_file(&fresh);
        return Err(FileError::Io { path: path.to_owned(), source });
    }
    sync_folder(folder)
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), FileError> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed(folder))
}

/// A new file, readable by its owner only.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    options.mode(0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s06_private_files_are_0600_and_replaced_whole() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("deep/file");
        make_private_folder(path.parent().expect("parent")).expect("folder");
        write_private(&path, b"one").expect("writes");
        write_private(&path, b"two").expect("writes");
        assert_eq!(read_private(&path, 3).expect("reads"), Some(b"two".to_vec()));
        assert!(matches!(read_private(&path, 2), Err(FileError::TooLarge { .. })));
        let names: Vec<_> = fs::read_dir(folder.path().join("deep")).expect("lists").collect();
        assert_eq!(names.len(), 1, "nothing is left over");
        #[cfg(unix)]
        {
            assert_eq!(fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("chmod");
            assert!(matches!(read_private(&path, 3), Err(FileError::Mode { mode: 0o640, .. })));
        }
    }
}
