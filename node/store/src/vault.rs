//! Vaults: the owner tier (security rule 1). A vault is open or locked in memory only; locked, nothing in it can be read by anybody.
//!
//! The key comes out of a passphrase or the unlock file. Each version of a record has a data key of its own, wrapped with the
//! vault's key; changing the passphrase wraps the data keys anew. The owner key is a record that lists never show.

mod record;
#[cfg(test)]
mod tamper;
mod transfer;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use klp::codec::{CodecError, Fields, Map, Value};
use klp::{Cbor, Did, SecretKey, Timestamp, limits};

use crate::audit::Entry;
use crate::cipher::Key;
use crate::error::StoreError;
use crate::identity;
use crate::passphrase::{Cost, Secret};
use crate::seal::{Head, Opener, Sealing, UnsealError};
use crate::store::{Store, lock};
use crate::table::Table;
use crate::view::{Tx, View};

pub use transfer::{Export, Imported};

/// The vault that is there from the start; the owner key lies in it.
pub const MAIN: &str = "main";
/// Vaults of one home.
const VAULTS: usize = 100;
/// Records of one vault.
pub const RECORDS: usize = 10_000;
/// Bytes of one value.
pub const VALUE: usize = 64 * 1024;
/// Bytes of a record's name.
pub const NAME: usize = 128;

const PURPOSE: &[u8] = b"kos/vault/1";

/// Why a vault did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// It is locked.
    #[error("the vault {vault} is locked")]
    Locked {
        /// The vault.
        vault: String,
    },
    /// There is none of this name.
    #[error("there is no vault {vault}")]
    Unknown {
        /// The vault.
        vault: String,
    },
    /// There is one of this name.
    #[error("there is a vault {vault} already")]
    Exists {
        /// The vault.
        vault: String,
    },
    /// Not a name: a vault's has 1 to 64 letters, digits, dashes and underscores, a record's 1 to 128 bytes.
    #[error("not a name for a vault or a record")]
    Name,
    /// A value, or the number of records or vaults, is over its limit.
    #[error("{size}, but at most {limit} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How much it would be.
        size: usize,
        /// How much it may be.
        limit: usize,
    },
    /// A record was changed or moved outside kOS.
    #[error("a record of the vault {vault} was changed outside kos")]
    Integrity {
        /// The vault.
        vault: String,
    },
    /// It did not open.
    #[error("the vault does not open")]
    Sealed(#[from] UnsealError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a vault looks like from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Whether it is open in this process.
    pub open: bool,
    /// How it is sealed.
    pub sealing: Sealing,
    /// How often its key was changed, from 1.
    pub epoch: u64,
    /// When it was made.
    pub created: Timestamp,
}

/// A record as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// How often it was set.
    pub version: u64,
    /// When it was last set.
    pub updated: Timestamp,
}

/// Which vaults of this process are open. Clones share it.
#[derive(Clone)]
pub struct Vaults(Arc<Inner>);

struct Inner {
    idle: Option<Duration>,
    open: Mutex<BTreeMap<String, Open>>,
}

struct Open {
    key: Key,
    epoch: u64,
    used: Timestamp,
}

/// The row of a vault.
struct Row {
    name: String,
    head: Head,
    created: Timestamp,
}

impl Vaults {
    /// All locked. `idle` is how long after its last use an open vault locks by itself; `None` is never.
    pub fn new(idle: Option<Duration>) -> Self {
        Self(Arc::new(Inner { idle, open: Mutex::default() }))
    }

    /// Makes a vault, which is then open.
    ///
    /// # Errors
    /// [`VaultError`]
    pub async fn create(
        &self,
        store: &Store,
        vault: &str,
        opener: Opener,
        cost: Cost,
        now: Timestamp,
    ) -> Result<(), VaultError> {
        check_vault(vault)?;
        let name = vault.to_owned();
        let (head, key) = slow(move || Head::create(&[PURPOSE, name.as_bytes()], &opener, cost, 1)).await?;
        let row = Row { name: vault.to_owned(), head, created: now };
        store
            .write(move |tx| {
                if row_of(tx, &row.name)?.is_some() {
                    return Err(VaultError::Exists { vault: row.name });
                }
                let count = tx.all::<Row>(Table::Vaults, VAULTS)?.len();
                if count >= VAULTS {
                    return Err(VaultError::TooMuch { what: "vaults", size: count + 1, limit: VAULTS });
                }
                keep(tx, &row);
                tx.audit(Entry::new("vault", "created", now).by(owner_of(tx)?).on(&row.name))?;
                Ok(())
            })
            .await?;
        lock(&self.0.open).insert(vault.to_owned(), Open { key, epoch: 1, used: now });
        Ok(())
    }

    /// Opens a vault. Tries are entries of the audit log, wrong ones too.
    ///
    /// # Errors
    /// [`VaultError::Sealed`] with [`UnsealError::WrongPassphrase`] when the passphrase is another.
    pub async fn unlock(&self, store: &Store, vault: &str, opener: Opener, now: Timestamp) -> Result<(), VaultError> {
        let opened = self.try_open(store, vault, opener).await;
        if let Err(VaultError::Unknown { .. } | VaultError::Store(_)) = &opened {
            return opened.map(drop);
        }
        let (kind, name) = (if opened.is_ok() { "unlocked" } else { "refused" }, vault.to_owned());
        let told = store.write(move |tx| tx.audit(Entry::new("vault", kind, now).by(owner_of(tx)?).on(name)));
        let told = told.await.map(drop).map_err(VaultError::Store);
        let (key, epoch) = opened?;
        match told {
            // A full disk or a log that does not verify must not keep the owner out of what can still be read.
            Ok(()) | Err(VaultError::Store(StoreError::Full | StoreError::ReadOnly)) => {}
            Err(error) => return Err(error),
        }
        lock(&self.0.open).insert(vault.to_owned(), Open { key, epoch, used: now });
        Ok(())
    }

    /// Whether this opens the vault; it stays as it is. For asking again before something grave (security rule 29).
    ///
    /// # Errors
    /// [`VaultError`]
    pub async fn check(&self, store: &Store, vault: &str, opener: Opener) -> Result<(), VaultError> {
        self.try_open(store, vault, opener).await.map(drop)
    }

    async fn try_open(&self, store: &Store, vault: &str, opener: Opener) -> Result<(Key, u64), VaultError> {
        let row = row_of(&store.view()?, vault)?.ok_or_else(|| VaultError::Unknown { vault: vault.to_owned() })?;
        let opened =
            slow(move || Ok((row.head.open(&[PURPOSE, row.name.as_bytes()], &opener), row.head.epoch))).await?;
        Ok((opened.0?, opened.1))
    }

    /// Locks a vault and wipes its key; false when it was locked.
    pub fn lock(&self, vault: &str) -> bool {
        lock(&self.0.open).remove(vault).is_some()
    }

    /// Locks every vault.
    pub fn lock_all(&self) {
        lock(&self.0.open).clear();
    }

    /// Locks the vaults that were idle too long and returns their names.
    pub fn tick(&self, now: Timestamp) -> Vec<String> {
        let mut open = lock(&self.0.open);
        let idle: Vec<_> =
            open.iter().filter(|(_, open)| self.is_idle(open, now)).map(|(name, _)| name.clone()).collect();
        idle.iter().for_each(|name| drop(open.remove(name)));
        idle
    }

    fn is_idle(&self, open: &Open, now: Timestamp) -> bool {
        self.0.idle.is_some_and(|idle| now.since(open.used) >= idle)
    }

    /// Whether a vault is open. This does not count as using it.
    pub fn is_open(&self, vault: &str) -> bool {
        lock(&self.0.open).contains_key(vault)
    }

    /// All vaults, by name.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn list(&self, view: &View) -> Result<Vec<Status>, StoreError> {
        let mut rows: Vec<Row> = view.all(Table::Vaults, VAULTS)?;
        rows.sort_by(|one, other| one.name.cmp(&other.name));
        let status = |row: Row| Status {
            open: self.is_open(&row.name),
            name: row.name,
            sealing: row.head.sealing,
            epoch: row.head.epoch,
            created: row.created,
        };
        Ok(rows.into_iter().map(status).collect())
    }

    /// Sets a record and returns its version.
    ///
    /// # Errors
    /// [`VaultError`]
    pub fn set(&self, tx: &mut Tx, vault: &str, name: &str, value: &Secret, now: Timestamp) -> Result<u64, VaultError> {
        self.room(tx, vault, now)?.set(tx, record::Kind::User, name, value, now)
    }

    /// A record's value.
    ///
    /// # Errors
    /// [`VaultError`]
    pub fn get(&self, view: &View, vault: &str, name: &str, now: Timestamp) -> Result<Option<Secret>, VaultError> {
        let found = self.room(view, vault, now)?.get(view, record::Kind::User, name)?;
        Ok(found.map(|record| record.value))
    }

    /// The records, by name, without their values.
    ///
    /// # Errors
    /// [`VaultError`]
    pub fn records(&self, view: &View, vault: &str, now: Timestamp) -> Result<Vec<Listed>, VaultError> {
        let all = self.room(view, vault, now)?.all(view)?;
        let mut all: Vec<_> = all
            .into_iter()
            .filter(|record| record.kind == record::Kind::User)
            .map(|record| Listed { name: record.name, version: record.version, updated: record.updated })
            .collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// Removes a record; false when there was none.
    ///
    /// # Errors
    /// [`VaultError`]
    pub fn remove(&self, tx: &mut Tx, vault: &str, name: &str, now: Timestamp) -> Result<bool, VaultError> {
        self.room(tx, vault, now)?.remove(tx, record::Kind::User, name)
    }

    /// Keeps the owner key in the vault [`MAIN`].
    ///
    /// # Errors
    /// [`VaultError`]
    pub fn keep_owner(&self, tx: &mut Tx, owner: &SecretKey, now: Timestamp) -> Result<(), VaultError> {
        let seed = Secret::new(owner.seed().to_vec());
        self.room(tx, MAIN, now)?.set(tx, record::Kind::Owner, "owner", &seed, now)?;
        Ok(())
    }

    /// The owner key, while the vault [`MAIN`] is open; `None` on a device that is not the root.
    ///
    /// # Errors
    /// [`VaultError::Locked`] when it is not.
    pub fn owner(&self, view: &View, now: Timestamp) -> Result<Option<SecretKey>, VaultError> {
        let Some(record) = self.room(view, MAIN, now)?.get(view, record::Kind::Owner, "owner")? else {
            return Ok(None);
        };
        let damaged = || VaultError::Integrity { vault: MAIN.to_owned() };
        let seed = <&[u8; 32]>::try_from(record.value.expose()).map_err(|_| damaged())?;
        Ok(Some(SecretKey::from_seed(seed)))
    }

    /// Gives an open vault another key: a new passphrase, or none any more. Copies made before still open with the old one.
    ///
    /// # Errors
    /// [`VaultError`]
    pub async fn passwd(
        &self,
        store: &Store,
        vault: &str,
        opener: Opener,
        cost: Cost,
        by: Option<Did>,
        now: Timestamp,
    ) -> Result<(), VaultError> {
        let old = self.room(&store.view()?, vault, now)?;
        let (name, epoch) = (vault.to_owned(), old.epoch + 1);
        let (head, key) = slow(move || Head::create(&[PURPOSE, name.as_bytes()], &opener, cost, epoch)).await?;
        let fresh = record::Room { vault: vault.to_owned(), key: key.clone(), epoch };
        store
            .write(move |tx| {
                let row = row_of(tx, &old.vault)?.filter(|row| row.head.epoch == old.epoch);
                let row = row.ok_or_else(|| VaultError::Locked { vault: old.vault.clone() })?;
                old.rekey(tx, &fresh)?;
                keep(tx, &Row { head, ..row });
                tx.audit(Entry::new("vault", "rekeyed", now).by(by).on(&old.vault).with("epoch", epoch))?;
                Ok::<_, VaultError>(())
            })
            .await?;
        lock(&self.0.open).insert(vault.to_owned(), Open { key, epoch, used: now });
        Ok(())
    }

    /// The open vault, as one use of it.
    fn room(&self, view: &View, vault: &str, now: Timestamp) -> Result<record::Room, VaultError> {
        let locked = || VaultError::Locked { vault: vault.to_owned() };
        let row = row_of(view, vault)?.ok_or_else(|| VaultError::Unknown { vault: vault.to_owned() })?;
        let mut all = lock(&self.0.open);
        let open = all.get_mut(vault).ok_or_else(locked)?;
        if self.is_idle(open, now) || open.epoch != row.head.epoch {
            all.remove(vault);
            return Err(locked());
        }
        open.used = open.used.max(now);
        Ok(record::Room { vault: vault.to_owned(), key: open.key.clone(), epoch: open.epoch })
    }
}

impl std::fmt::Debug for Vaults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vaults(***)")
    }
}

/// Work that takes a fraction of a second, on a thread that may.
async fn slow<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> Result<T, VaultError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Broken)?;
    done.map_err(|error| VaultError::Sealed(error.into()))
}

fn check_vault(name: &str) -> Result<(), VaultError> {
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if name.is_empty() || name.len() > limits::NAME || !letters { Err(VaultError::Name) } else { Ok(()) }
}

/// Who uses the vaults of this home: nobody but its owner, once there is one.
fn owner_of(view: &View) -> Result<Option<Did>, StoreError> {
    Ok(identity::get(view)?.map(|known| known.owner.0))
}

fn row_of(view: &View, vault: &str) -> Result<Option<Row>, StoreError> {
    view.load(Table::Vaults, &view.hidden(Table::Vaults, &[vault.as_bytes()]))
}

fn keep(tx: &mut Tx, row: &Row) {
    let key = tx.hidden(Table::Vaults, &[row.name.as_bytes()]);
    tx.save(Table::Vaults, &key, row);
}

impl Cbor for Row {
    fn to_value(&self) -> Value {
        Map::new().with(1, &self.name).with(2, &self.head).with(3, &self.created).build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let row = Self { name: fields.text(1, limits::NAME)?, head: fields.take(2)?, created: fields.take(3)? };
        fields.end()?;
        Ok(row)
    }
}
