//! An agent over a folder: indexes it, watches it, answers from it.
//!
//! One thread per folder reads and writes; it compares the folder with the ledger in the index, so that it goes on where it was however
//! it ended. Whatever is indexed so far answers meanwhile.

mod changes;
mod progress;
mod walk;
mod worker;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::watch;

use crate::extract::Extractor;
use crate::index::{Index, IndexError, Writer};
use crate::sealed::{IndexKey, SealedDirectory};

use changes::Changes;
pub use progress::{Left, Phase, Progress};
use worker::Worker;

/// What a librarian needs.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder to serve.
    pub root: PathBuf,
    /// Where the sealed index is kept; a folder of its own.
    pub index: PathBuf,
    /// The key of the index; another one for every agent.
    pub key: IndexKey,
    /// Folders that are never served, such as the node's home. The index is always among them.
    pub exclude: Vec<PathBuf>,
    /// How PDF files are read.
    pub extractor: Extractor,
}

/// Why a folder cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The folder is not there or cannot be read.
    #[error("{path} cannot be read as a folder", path = path.display())]
    Root {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The place for the index cannot be used.
    #[error("the index cannot be kept in {path}", path = path.display())]
    Place {
        /// The place.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The index cannot be opened. Damaged ones can be [`discard`]ed: the folder is then indexed again.
    #[error("the index cannot be opened")]
    Index(#[from] IndexError),
    /// No thread can be started.
    #[error("no thread can be started")]
    Thread(#[source] io::Error),
}

/// A served folder. Clones share everything; when the last is dropped, indexing stops.
#[derive(Clone)]
pub struct Librarian {
    index: Index,
    progress: watch::Receiver<Progress>,
    work: Arc<Work>,
}

/// The thread; it ends soon after this is dropped.
struct Work {
    changes: Arc<Changes>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.changes.stop();
    }
}

impl Librarian {
    /// Opens the index and starts indexing on a thread of its own. Blocking: run it off the async threads.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(config: Config) -> Result<Self, OpenError> {
        let unreadable = |source| OpenError::Root { path: config.root.clone(), source };
        let root = fs::canonicalize(&config.root).map_err(unreadable)?;
        fs::read_dir(&root).map_err(unreadable)?;

        let place = |source| OpenError::Place { path: config.index.clone(), source };
        let directory =
            SealedDirectory::open(&config.index, config.key.clone()).map_err(|error| match error.kind() {
                io::ErrorKind::InvalidData => OpenError::Index(IndexError::Integrity(error.to_string())),
                _ => place(error),
            })?;
        let mut exclude = vec![fs::canonicalize(&config.index).map_err(place)?];
        exclude.extend(config.exclude.iter().filter_map(|path| fs::canonicalize(path).ok()));

        let damaged = directory.clone();
        let index = Index::open(Box::new(directory), move || damaged.damaged())?;
        let writer = Writer::open(&index)?;
        let ledger = index.ledger()?;

        let changes = Arc::new(Changes::default());
        let (sender, progress) = watch::channel(Progress::default());
        let folder = walk::Folder::new(root, exclude);
        let worker = Worker::new(folder, index.clone(), writer, ledger, config.extractor, Arc::clone(&changes), sender);
        let thread = std::thread::Builder::new().name("librarian".to_owned()).spawn(move || worker.run());
        let thread = Mutex::new(Some(thread.map_err(OpenError::Thread)?));
        Ok(Self { index, progress, work: Arc::new(Work { changes, thread }) })
    }

    /// What answers.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// How far it is, now and with every change.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Stops indexing, keeping what was done, and waits for it. Blocking. What is indexed still answers.
    pub fn close(&self) {
        self.work.changes.stop();
        let thread = self.work.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic there has been reported by then, as a failure in the progress.
            let _ended = thread.join();
        }
    }
}

/// Removes an index from disk, when its agent is removed or when it is damaged. Blocking.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn discard(index: &Path) -> io::Result<()> {
    match fs::remove_dir_all(index) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
