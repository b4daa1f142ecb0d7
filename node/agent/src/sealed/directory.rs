//! The folder of sealed files, as the search engine wants it.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    Directory, DirectoryLock, FileHandle, Lock, WatchCallback, WatchCallbackList, WatchHandle, WritePtr,
};

use super::IndexKey;
use super::cache::Cache;
use super::file::{Reading, Writing};
use super::page::disk_name;

/// The file whose change the engine watches for.
const META: &str = "meta.json";
/// The one file with a readable name: whether it opens says whether the key is the right one.
const HEADER: &str = "header";
/// Ending of a file that is not yet complete.
const PART: &str = "part";

/// Remembers the first file that did not verify, however the engine words the error that follows.
#[derive(Clone, Default)]
pub(super) struct Damage(Arc<Mutex<Option<String>>>);

impl Damage {
    pub(super) fn report(&self, path: &Path, page: u64) -> io::Error {
        let what = format!("page {page} of {} does not verify", path.display());
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| what.clone());
        io::Error::new(io::ErrorKind::InvalidData, what)
    }

    fn first(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A folder in which everything is sealed under one key. Clones share everything.
#[derive(Clone)]
pub struct SealedDirectory {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    key: IndexKey,
    cache: Arc<Cache>,
    opened: AtomicU64,
    damage: Damage,
    watchers: WatchCallbackList,
    locks: Mutex<HashSet<PathBuf>>,
}

impl SealedDirectory {
    /// Opens the folder, making it (0700) when it is not there.
    ///
    /// # Errors
    /// When it can be neither made nor read, or was sealed under another key; [`io::ErrorKind::InvalidData`] then.
    pub fn open(folder: &Path, key: IndexKey) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let inner = Inner {
            folder: folder.to_owned(),
            key,
            cache: Arc::default(),
            opened: AtomicU64::new(1),
            damage: Damage::default(),
            watchers: WatchCallbackList::default(),
            locks: Mutex::default(),
        };
        let directory = Self { inner: Arc::new(inner) };
        directory.sweep()?;
        directory.prove_key()?;
        Ok(directory)
    }

    /// Another key would find none of the files by their names, and take the folder for empty.
    fn prove_key(&self) -> io::Result<()> {
        let (path, inner) = (self.inner.folder.join(HEADER), &self.inner);
        if path.try_exists()? {
            let opened = Reading::open(path, &inner.key, HEADER, 0, Arc::clone(&inner.cache), inner.damage.clone());
            return opened.map(|_| ());
        }
        if fs::read_dir(&inner.folder)?.next().is_some() {
            return Err(inner.damage.report(&path, 0));
        }
        let part = path.with_extension(PART);
        Writing::begin(Self::create(&part)?, &inner.key, HEADER)?.finish()?;
        fs::rename(&part, &path)?;
        self.sync_directory()
    }

    /// The first stored file that did not verify.
    pub fn damaged(&self) -> Option<String> {
        self.inner.damage.first()
    }

    /// Removes what an interrupted replacement left behind.
    fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.inner.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == PART) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn name(path: &Path) -> io::Result<&str> {
        path.to_str().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a file name that is not text"))
    }

    fn on_disk(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(self.inner.folder.join(disk_name(&self.inner.key, Self::name(path)?)?))
    }

    fn create(path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
    }

    fn reading(&self, path: &Path) -> Result<Reading, OpenReadError> {
        let open = || {
            let number = self.inner.opened.fetch_add(1, Ordering::Relaxed);
            let (cache, damage) = (Arc::clone(&self.inner.cache), self.inner.damage.clone());
            Reading::open(self.on_disk(path)?, &self.inner.key, Self::name(path)?, number, cache, damage)
        };
        open().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => OpenReadError::FileDoesNotExist(path.to_owned()),
            _ => OpenReadError::wrap_io_error(error, path.to_owned()),
        })
    }
}

impl fmt::Debug for SealedDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SealedDirectory").field(&self.inner.folder).finish()
    }
}

/// A lock within this process, and a lock of the operating system that ends with the process.
struct Held {
    inner: Arc<Inner>,
    path: PathBuf,
    _file: File,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.inner.locks.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.path);
    }
}

impl Directory for SealedDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        Ok(Arc::new(self.reading(path)?))
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        self.on_disk(path).and_then(fs::remove_file).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => DeleteError::FileDoesNotExist(path.to_owned()),
            _ => DeleteError::IoError { io_error: Arc::new(error), filepath: path.to_owned() },
        })
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        self.on_disk(path)
            .and_then(|path| path.try_exists())
            .map_err(|error| OpenReadError::wrap_io_error(error, path.to_owned()))
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        let begin = || {
            let file = Self::create(&self.on_disk(path)?)?;
            Writing::begin(file, &self.inner.key, Self::name(path)?)
        };
        match begin() {
            Ok(writing) => Ok(BufWriter::new(Box::new(writing))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(OpenWriteError::FileAlreadyExists(path.to_owned()))
            }
            Err(error) => Err(OpenWriteError::wrap_io_error(error, path.to_owned())),
        }
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        self.reading(path)?.whole().map_err(|error| OpenReadError::wrap_io_error(error, path.to_owned()))
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        let target = self.on_disk(path)?;
        let part = target.with_extension(PART);
        match fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut writing = Writing::begin(Self::create(&part)?, &self.inner.key, Self::name(path)?)?;
        writing.write_all(data)?;
        writing.finish()?;
        fs::rename(&part, &target)?;
        self.sync_directory()?;
        if path == Path::new(META) {
            drop(self.inner.watchers.broadcast());
        }
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.inner.folder)?.sync_all()
    }

    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        let path = self.on_disk(&lock.filepath).map_err(LockError::wrap_io_error)?;
        if !self.inner.locks.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone()) {
            return Err(LockError::LockBusy);
        }
        let options = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let lock_file = options.map_err(TryLockError::Error).and_then(|file| file.try_lock().map(|()| file));
        match lock_file {
            Ok(file) => Ok(DirectoryLock::from(Box::new(Held { inner: Arc::clone(&self.inner), path, _file: file }))),
            Err(error) => {
                self.inner.locks.lock().unwrap_or_else(PoisonError::into_inner).remove(&path);
                match error {
                    TryLockError::WouldBlock => Err(LockError::LockBusy),
                    TryLockError::Error(error) => Err(LockError::wrap_io_error(error)),
                }
            }
        }
    }

    fn watch(&self, callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(self.inner.watchers.subscribe(callback))
    }
}

#[cfg(test)]
mod tests {
    use tantivy::HasLen;
    use tantivy::directory::TerminatingWrite;

    use super::super::page::{HEADER as FILE_HEADER, PAGE, TAG};
    use super::*;

    const SEALED_PAGE: usize = PAGE + TAG;

    fn directory(folder: &Path) -> SealedDirectory {
        SealedDirectory::open(folder, IndexKey::new([1; 32])).expect("opened")
    }

    fn content(length: usize) -> Vec<u8> {
        (0..length).map(|index| (index * 31 % 251) as u8).collect()
    }

    fn write(directory: &SealedDirectory, name: &str, content: &[u8]) -> PathBuf {
        let mut file = directory.open_write(Path::new(name)).expect("new");
        for part in content.chunks(1000) {
            file.write_all(part).expect("written");
        }
        file.terminate().expect("durable");
        directory.on_disk(Path::new(name)).expect("named")
    }

    #[test]
    fn s31_any_range_reads_as_it_was_written() {
        let folder = tempfile::tempdir().expect("folder");
        let directory = directory(folder.path());
        for length in [0, 1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, 40 * PAGE + 17] {
            let content = content(length);
            let name = format!("{length}.idx");
            write(&directory, &name, &content);
            let file = directory.open_read(Path::new(&name)).expect("opens");
            assert_eq!(file.len(), length);
            for (start, end) in
                [(0, length), (length / 3, length / 2), (PAGE - 1, PAGE + 1), (length.saturating_sub(1), length)]
            {
                let (start, end) = (start.min(length), end.min(length));
                let bytes = file.slice(start..end).read_bytes().expect("reads");
                assert_eq!(&bytes[..], &content[start..end], "{length}: {start}..{end}");
            }
        }
        assert!(matches!(directory.open_write(Path::new("1.idx")), Err(OpenWriteError::FileAlreadyExists(_))));
        directory.atomic_write(Path::new(META), b"one").expect("written");
        directory.atomic_write(Path::new(META), b"two").expect("replaced");
        assert_eq!(directory.atomic_read(Path::new(META)).expect("reads"), b"two");
        assert!(matches!(directory.atomic_read(Path::new("no")), Err(OpenReadError::FileDoesNotExist(_))));
    }

    #[test]
    fn s31_cut_swapped_repeated_and_exchanged_pages_are_noticed() {
        let folder = tempfile::tempdir().expect("folder");
        let setup = directory(folder.path());
        let good_path = write(&setup, "a.idx", &content(4 * PAGE));
        let other_path = write(&setup, "b.idx", &content(4 * PAGE));
        let (good, other) = (fs::read(&good_path).expect("bytes"), fs::read(&other_path).expect("bytes"));
        let page = |index: usize| FILE_HEADER + index * SEALED_PAGE..FILE_HEADER + (index + 1) * SEALED_PAGE;
        let mut swapped = good.clone();
        swapped[page(0)].copy_from_slice(&good[page(1)]);
        swapped[page(1)].copy_from_slice(&good[page(0)]);
        let mut exchanged = good.clone();
        exchanged[page(1)].copy_from_slice(&other[page(1)]);
        for (what, bad) in [
            ("cut at a page", good[..page(3).start].to_vec()),
            ("cut in a page", good[..page(3).start + 100].to_vec()),
            ("cut to its header", good[..FILE_HEADER].to_vec()),
            ("longer by a page", [&good[..], &good[page(3)]].concat()),
            ("swapped", swapped),
            ("exchanged", exchanged),
            ("another file", other.clone()),
            ("empty", Vec::new()),
        ] {
            fs::write(&good_path, &bad).expect("written");
            let fresh = directory(folder.path());
            let read = fresh.open_read(Path::new("a.idx")).map(|file| file.read_bytes());
            assert!(!matches!(read, Ok(Ok(_))), "{what}");
            assert!(fresh.damaged().is_some_and(|name| name.contains(&*good_path.to_string_lossy())), "{what}");
        }
    }

    #[test]
    fn an_interrupted_file_never_opens_and_is_swept() {
        let folder = tempfile::tempdir().expect("folder");
        let first = directory(folder.path());
        let mut file = first.open_write(Path::new("a.idx")).expect("new");
        file.write_all(&content(3 * PAGE)).expect("written");
        drop(file); // without its last page
        assert!(first.open_read(Path::new("a.idx")).is_err());
        fs::write(folder.path().join("x.part"), "half").expect("left behind");
        let second = directory(folder.path());
        assert!(!folder.path().join("x.part").exists());
        assert!(second.acquire_lock(&tantivy::directory::META_LOCK).is_ok());
    }
}
