//! The store: one sealed file, one writer, any number of readers.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use klp::{Did, SecretKey, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};

use crate::audit::{self, Anchor, Condition};
use crate::cipher::Key;
use crate::disk::FileError;
use crate::error::StoreError;
use crate::file::{Content, Format};
use crate::table::{Table, TableKeys};
use crate::view::{Shared, Tx, View};
use crate::writer::{Job, Trouble, Writer};

/// Changes that wait for the writer. A full queue makes callers wait; four batches are enough to keep the disk busy.
const WAITING: usize = 256;
/// What takes up room for a moment, to see whether there is some. A crash may leave it there: the next try takes its place.
const ROOM: &[u8] = b"room";

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Written by a newer version of kOS.
    #[error("the data has format {found}, and this version knows {known}")]
    Newer {
        /// Format found.
        found: u64,
        /// Newest format known here.
        known: u64,
    },
    /// Another process has the file open.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file belongs to another home, or its keys were replaced.
    #[error("{} was sealed with another database key", path.display())]
    WrongKey {
        /// The file.
        path: PathBuf,
    },
    /// It is no database, or one that was cut.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the database said.
        #[source]
        source: Box<redb::Error>,
    },
    /// A private file could not be used.
    #[error("a file of the store cannot be used")]
    File(#[from] FileError),
    /// Reading failed.
    #[error("the store cannot be read")]
    Store(#[from] StoreError),
}

/// The key that seals the database. It prints as `DatabaseKey(***)`.
#[derive(Clone)]
pub struct DatabaseKey(pub(crate) Key);

impl DatabaseKey {
    /// From 32 bytes of entropy.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Key::from_bytes(bytes))
    }
}

impl fmt::Debug for DatabaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseKey(***)")
    }
}

/// A handle to the store. Clones share it; when the last is gone, what was accepted is written and the file is closed.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    content: Arc<Content>,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
    condition: Arc<Mutex<Condition>>,
    anchor: Option<PathBuf>,
    trouble: Arc<watch::Sender<Option<Trouble>>>,
}

impl Store {
    /// Opens the file, or makes it; older formats are migrated after a copy. The log is checked: see [`Store::condition`].
    /// `anchor` is where the last checkpoint is kept outside the home. This blocks: seconds for a log of a million entries.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open(
        path: &Path,
        database: &DatabaseKey,
        audit: &SecretKey,
        anchor: Option<&Path>,
        now: Timestamp,
    ) -> Result<Self, OpenError> {
        let content = Content::open(path, &Format::CURRENT, now)?;
        Self::over(content, path, database, audit, anchor)
    }

    /// A store that lives in memory: the same code over another base, for tests and for nodes that keep nothing.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn in_memory(database: &DatabaseKey, audit: &SecretKey) -> Result<Self, OpenError> {
        Self::over(Content::memory(), Path::new("memory"), database, audit, None)
    }

    pub(crate) fn over(
        content: Content,
        path: &Path,
        database: &DatabaseKey,
        audit: &SecretKey,
        anchor: Option<&Path>,
    ) -> Result<Self, OpenError> {
        let shared = Arc::new(Shared { keys: TableKeys::derive(&database.0), audit: audit.clone() });
        content.check_key(&shared).map_err(|error| match error {
            StoreError::Integrity { .. } => OpenError::WrongKey { path: path.to_owned() },
            other => other.into(),
        })?;
        let kept = anchor.map(Anchor::load).transpose()?.flatten();
        let view = View::new(shared.clone(), content.base()?);
        let condition = audit::condition(&view, kept.as_ref())?;
        drop(view);
        let content = Arc::new(content);
        let condition = Arc::new(Mutex::new(condition));
        let (jobs, waiting) = mpsc::channel(WAITING);
        let trouble = Arc::new(watch::Sender::new(None));
        let writer = Writer {
            shared: shared.clone(),
            content: content.clone(),
            condition: condition.clone(),
            anchor: anchor.map(Path::to_owned),
            trouble: trouble.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("kos-store".into())
            .spawn(move || writer.run(waiting))
            .map_err(StoreError::from)?;
        Ok(Self(Arc::new(Inner {
            shared,
            content,
            jobs: Mutex::new(Some(jobs)),
            writer: Mutex::new(Some(thread)),
            condition,
            anchor: anchor.map(Path::to_owned),
            trouble,
        })))
    }

    /// Runs a change on the writer's thread and returns once it is on disk. When `change` refuses, nothing of it happens. Changes
    /// run one after the other, each seeing those before it; they must not block. If the caller goes away, the change still
    /// happens.
    ///
    /// # Errors
    /// What `change` says, or a [`StoreError`]; then nothing of it happened.
    pub async fn write<R, E, F>(&self, change: F) -> Result<R, E>
    where
        F: FnOnce(&mut Tx) -> Result<R, E> + Send + 'static,
        R: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let jobs = lock(&self.0.jobs).clone().ok_or(StoreError::Stopped)?;
        jobs.send(Job::new(change, answer)).await.map_err(|_| StoreError::Stopped)?;
        drop(jobs);
        answered.await.map_err(|_| StoreError::Broken)?
    }

    /// Runs `look` over one moment of the store on a thread that may block.
    ///
    /// # Errors
    /// What `look` says, or a [`StoreError`].
    pub async fn read<R, E, F>(&self, look: F) -> Result<R, E>
    where
        F: FnOnce(&View) -> Result<R, E> + Send + 'static,
        R: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let store = self.clone();
        let looked = tokio::task::spawn_blocking(move || look(&store.view()?));
        looked.await.map_err(|_| StoreError::Broken)?
    }

    /// This moment of the store, for a look at a row or two where a hop to another thread would cost more than the look.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn view(&self) -> Result<View, StoreError> {
        Ok(View::new(self.0.shared.clone(), self.0.content.base()?))
    }

    /// What the log looked like at the start, and since.
    pub fn condition(&self) -> Condition {
        lock(&self.0.condition).clone()
    }

    /// Why changes cannot be written, until one as large can: a full disk, mostly. What needs no writing goes on meanwhile.
    pub fn trouble(&self) -> watch::Receiver<Option<Trouble>> {
        self.0.trouble.subscribe()
    }

    /// Whether what could not be written could be now, after [`Store::trouble`]: tries it with as many bytes, and takes them away again
    /// with an entry that says so.
    ///
    /// # Errors
    /// [`StoreError`]; then not yet.
    pub async fn try_again(&self, now: Timestamp) -> Result<(), StoreError> {
        let size = self.0.trouble.borrow().as_ref().map_or(0, |trouble| trouble.size);
        let room = move |tx: &mut Tx| {
            tx.put(Table::Check, ROOM, vec![0; size.saturating_sub(ROOM.len())]);
            Ok::<_, StoreError>(())
        };
        self.write(room).await?;
        let said = move |tx: &mut Tx| {
            tx.remove(Table::Check, ROOM);
            tx.audit(audit::Entry::new("store", "writes_again", now)).map(drop)
        };
        self.write(said).await
    }

    /// The key that signs the log's checkpoints.
    pub fn auditor(&self) -> Did {
        self.0.shared.audit.did()
    }

    /// What has to be done from time to time, at least once a minute: a checkpoint when one is due, counted denials written
    /// out, expired ids and records dropped.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn tick(&self, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |tx| {
            audit::flush_denials(tx, now)?;
            crate::requests::forget_expired(tx, now)?;
            crate::records::drop_expired(tx, now)?;
            crate::pairings::forget_expired(tx, now)?;
            crate::outbox::forget_ended(tx, now)?;
            audit::checkpoint_if_due(tx, now)
        })
        .await
    }

    /// Recomputes the whole log and says whether it holds, against the anchor too. It reads every entry: about a second for
    /// 200,000.
    ///
    /// # Errors
    /// [`StoreError`] when reading fails for another reason than damage.
    pub async fn verify_log(&self) -> Result<audit::Report, StoreError> {
        let anchor = self.0.anchor.clone();
        self.read(move |view| {
            let kept = anchor.as_deref().map(Anchor::load).transpose().map_err(std::io::Error::other)?.flatten();
            audit::verify(view, kept.as_ref())
        })
        .await
    }

    /// The owner says that a smaller log is a restored backup: the anchor follows it from here. This is itself an entry.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn confirm_rollback(&self, actor: Option<Did>, now: Timestamp) -> Result<(), StoreError> {
        let Condition::RolledBack { found, anchored } = self.condition() else { return Ok(()) };
        let confirmed = self.write(move |tx| {
            let entry = audit::Entry::new("audit", "rollback_confirmed", now).by(actor);
            tx.audit(entry.with("found", found).with("anchored", anchored.size))?;
            audit::checkpoint(tx, now)
        });
        confirmed.await?;
        *lock(&self.0.condition) = Condition::Sound;
        // The anchor follows with the next checkpoint, which this entry makes sure of.
        self.write(move |tx| {
            tx.audit(audit::Entry::new("audit", "anchored", now))?;
            audit::checkpoint(tx, now)
        })
        .await
    }

    /// Takes the last checkpoint, ends the writer, waits until all that was accepted is on disk, and closes the file. Handles that are
    /// still about say `stopped`.
    ///
    /// # Errors
    /// [`StoreError`] when the last checkpoint could not be written.
    pub async fn stop(&self, now: Timestamp) -> Result<(), StoreError> {
        let last: Result<(), StoreError> = match self.condition() {
            Condition::Broken { .. } => Ok(()),
            _ => self.write(move |tx| audit::checkpoint(tx, now)).await,
        };
        drop(lock(&self.0.jobs).take());
        let writer = lock(&self.0.writer).take();
        if let Some(thread) = writer {
            // A panic of the writer has been answered to whoever caused it.
            let _joined = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        self.0.content.close();
        match last {
            Err(StoreError::Stopped) => Ok(()),
            other => other,
        }
    }
}

impl Drop for Inner {
    /// Waits for the writer, so that the file is free once this returns: at most one batch.
    fn drop(&mut self) {
        drop(lock(&self.jobs).take());
        let writer = lock(&self.writer).take();
        // The last handle may have been in a change, on the writer's own thread.
        if let Some(thread) = writer.filter(|thread| thread.thread().id() != std::thread::current().id()) {
            let _ended = thread.join();
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("condition", &self.condition()).finish_non_exhaustive()
    }
}

/// What a lock guards is a plain value that is never left half changed, so a poisoned lock is still good.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
