//! The database file: its format, its migrations, its commits, and coming back after the disk failed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use klp::Timestamp;
use redb::{Database, ReadableDatabase as _, TableDefinition};

use crate::disk::{self, FileError, failed};
use crate::error::StoreError;
use crate::store::OpenError;
use crate::table::{Table, TableKeys};
use crate::view::{Base, Overlay, Rows, Shared, View, definition};

/// The header lies in the clear, so that every version of kOS can read which version wrote the file.
const HEADER: TableDefinition<'static, &'static str, u64> = TableDefinition::new("header");
const FORMAT: &str = "format";
const CREATED: &str = "created";
const CHECK: &[u8] = b"kos";

/// Memory for pages, in bytes. The system keeps the file's pages as well, and a larger cache here made no ask faster.
const CACHE: usize = 1024 * 1024;

/// One step from a format to the next.
pub(crate) type Step = fn(&redb::WriteTransaction) -> Result<(), redb::Error>;

/// The formats that this version knows.
pub(crate) struct Format {
    /// The newest.
    pub(crate) known: u64,
    /// `steps[n]` leads from format `n + 1` to `n + 2`.
    pub(crate) steps: &'static [Step],
}

impl Format {
    /// Format 2 has the table of pairing codes, format 3 that of waiting questions; a migration makes every table that is missing.
    pub(crate) const CURRENT: Self = Self { known: 3, steps: &[|_| Ok(()), |_| Ok(())] };
}

/// What the rows are kept in.
pub(crate) enum Content {
    Disk(Disk),
    Memory(RwLock<Arc<Rows>>),
}

pub(crate) struct Disk {
    open: Box<dyn Fn() -> Result<Database, redb::Error> + Send + Sync>,
    /// `None` after a failure, until it could be opened again, and once it is closed.
    database: RwLock<Option<Database>>,
    closed: AtomicBool,
}

impl Content {
    pub(crate) fn memory() -> Self {
        Self::Memory(RwLock::default())
    }

    /// Opens or makes the file.
    pub(crate) fn open(path: &Path, format: &Format, now: Timestamp) -> Result<Self, OpenError> {
        match std::fs::metadata(path) {
            Ok(metadata) => disk::check_mode(path, &metadata)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => make(path, format, now)?,
            Err(error) => return Err(failed(path)(error).into()),
        }
        let owned = path.to_owned();
        let open = move || Ok(Database::builder().set_cache_size(CACHE).create(&owned)?);
        Self::prepare(path, Box::new(open), format, now)
    }

    pub(crate) fn prepare(
        path: &Path,
        open: Box<dyn Fn() -> Result<Database, redb::Error> + Send + Sync>,
        format: &Format,
        now: Timestamp,
    ) -> Result<Self, OpenError> {
        let unusable = |error| unusable(path, error);
        let mut database = open().map_err(unusable)?;
        match stored_format(&database).map_err(unusable)? {
            None => create(&database, format.known, now).map_err(unusable)?,
            Some(found) if found > format.known => return Err(OpenError::Newer { found, known: format.known }),
            Some(found) if found < format.known => {
                drop(database);
                copy(path, found)?;
                database = open().map_err(unusable)?;
                migrate(&database, found, format).map_err(unusable)?;
            }
            Some(_) => {}
        }
        Ok(Self::Disk(Disk { open, database: RwLock::new(Some(database)), closed: AtomicBool::new(false) }))
    }

    /// Closes the file for good, so that somebody else may open it, also while handles to this store are still about.
    pub(crate) fn close(&self) {
        if let Self::Disk(disk) = self {
            disk.closed.store(true, Ordering::Release);
            drop(disk.database.write().unwrap_or_else(PoisonError::into_inner).take());
        }
    }

    /// This moment of the rows.
    pub(crate) fn base(&self) -> Result<Base, StoreError> {
        match self {
            Self::Memory(rows) => Ok(Base::Memory(rows.read().unwrap_or_else(PoisonError::into_inner).clone())),
            Self::Disk(disk) => disk.with(|database| Ok(Base::disk(database.begin_read()?))),
        }
    }

    /// Writes all rows or none, durably.
    pub(crate) fn commit(&self, keys: &TableKeys, rows: &Overlay) -> Result<(), StoreError> {
        let sealed = |((table, key), value): (&(Table, Vec<u8>), &Option<Vec<u8>>)| -> Result<_, StoreError> {
            let value = value.as_ref().map(|plain| keys.seal(*table, key, plain)).transpose()?;
            Ok(((*table, key.clone()), value))
        };
        let rows: Vec<_> = rows.iter().map(sealed).collect::<Result<_, _>>()?;
        match self {
            Self::Memory(kept) => {
                let mut kept = kept.write().unwrap_or_else(PoisonError::into_inner);
                let kept = Arc::make_mut(&mut kept);
                for (place, value) in rows {
                    match value {
                        Some(value) => kept.insert(place, value),
                        None => kept.remove(&place),
                    };
                }
                Ok(())
            }
            Self::Disk(disk) => disk.with(|database| {
                let transaction = database.begin_write()?;
                for table in Table::ALL {
                    let mut changes = rows.iter().filter(|((of, _), _)| of == table).peekable();
                    if changes.peek().is_none() {
                        continue;
                    }
                    let mut open = transaction.open_table(definition(*table))?;
                    for ((_, key), value) in changes {
                        match value {
                            Some(value) => drop(open.insert(&key[..], &value[..])?),
                            None => drop(open.remove(&key[..])?),
                        }
                    }
                }
                Ok(transaction.commit()?)
            }),
        }
    }

    /// Refuses a file that another database key sealed; a new file is marked with this one.
    pub(crate) fn check_key(&self, shared: &Arc<Shared>) -> Result<(), StoreError> {
        let view = View::new(shared.clone(), self.base()?);
        match view.get(Table::Check, CHECK)? {
            Some(_) => Ok(()),
            None => {
                let mark = Overlay::from([((Table::Check, CHECK.to_vec()), Some(CHECK.to_vec()))]);
                self.commit(&shared.keys, &mark)
            }
        }
    }
}

impl Disk {
    /// Works with the open database. After a failed write redb wants to be opened again, which is done here, so that a disk
    /// that was full for a while does not end the store.
    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        self.reopen()?;
        let failure = match &*self.database.read().unwrap_or_else(PoisonError::into_inner) {
            Some(database) => match work(database) {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            },
            None => redb::Error::DatabaseClosed,
        };
        if matches!(failure, redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::Backend(_)) {
            tracing::warn!(error = %failure, "the database failed and is opened again");
            drop(self.database.write().unwrap_or_else(PoisonError::into_inner).take());
            // If it does not open now, the next use tries again and says why.
            let _later = self.reopen();
        }
        Err(failure.into())
    }

    fn reopen(&self) -> Result<(), StoreError> {
        if self.database.read().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(());
        }
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Stopped);
        }
        if database.is_none() {
            *database = Some((self.open)()?);
        }
        Ok(())
    }
}

fn stored_format(database: &Database) -> Result<Option<u64>, redb::Error> {
    match database.begin_read()?.open_table(HEADER) {
        Ok(header) => Ok(header.get(FORMAT)?.map(|format| format.value())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn create(database: &Database, format: u64, now: Timestamp) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    let mut header = transaction.open_table(HEADER)?;
    header.insert(FORMAT, format)?;
    header.insert(CREATED, now.0)?;
    drop(header);
    for table in Table::ALL {
        transaction.open_table(definition(*table))?;
    }
    Ok(transaction.commit()?)
}

/// A new file, which has its name only when it is whole: a start that breaks off leaves none rather than a part of one, which nothing
/// could tell from damage.
fn make(path: &Path, format: &Format, now: Timestamp) -> Result<(), OpenError> {
    let fresh = path.with_extension("redb.new");
    match std::fs::remove_file(&fresh) {
        // Left behind by a start that broke off.
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(&fresh)(error).into()),
    }
    let file = disk::create_private(&fresh).map_err(failed(&fresh))?;
    let made = Database::builder().create(&fresh).map_err(redb::Error::from);
    let made = made.and_then(|database| create(&database, format.known, now)).map_err(|error| unusable(path, error));
    let named = made.and_then(|()| {
        file.sync_all().and_then(|()| std::fs::rename(&fresh, path)).map_err(|error| failed(&fresh)(error).into())
    });
    if named.is_err() {
        // What it took of a full disk is given back; the failure is what counts.
        let _leftover = std::fs::remove_file(&fresh);
    }
    named?;
    Ok(disk::sync_folder(path.parent().unwrap_or(Path::new(".")))?)
}

/// All steps in one transaction: the file has either its old format or the newest.
fn migrate(database: &Database, found: u64, format: &Format) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    let done = usize::try_from(found.saturating_sub(1)).unwrap_or(usize::MAX);
    for step in format.steps.iter().skip(done) {
        step(&transaction)?;
    }
    for table in Table::ALL {
        transaction.open_table(definition(*table))?;
    }
    transaction.open_table(HEADER)?.insert(FORMAT, format.known)?;
    Ok(transaction.commit()?)
}

/// A copy beside the file, named after its format, before it is migrated.
fn copy(path: &Path, found: u64) -> Result<(), FileError> {
    let target = path.with_extension(format!("redb.format-{found}"));
    let mut from = std::fs::File::open(path).map_err(failed(path))?;
    // A copy from an attempt that broke off is replaced: the file itself is still whole.
    let _stale = std::fs::remove_file(&target);
    let mut to = disk::create_private(&target).map_err(failed(&target))?;
    std::io::copy(&mut from, &mut to).and_then(|_| to.sync_all()).map_err(failed(&target))?;
    disk::sync_folder(target.parent().unwrap_or(Path::new(".")))
}

fn unusable(path: &Path, error: redb::Error) -> OpenError {
    let path: PathBuf = path.to_owned();
    match error {
        redb::Error::DatabaseAlreadyOpen => OpenError::InUse { path },
        redb::Error::Io(source) if source.kind() != std::io::ErrorKind::InvalidData => {
            FileError::Io { path, source }.into()
        }
        source => OpenError::Damaged { path, source: Box::new(source) },
    }
}
