//! The home folder: its id, its machine keys, and the unlock file that lies outside it.

mod keys;
pub mod recovery;
mod unlock;

use std::path::{Path, PathBuf};

use klp::sealed::ExchangeSecret;
use klp::{SecretKey, Timestamp};
use zeroize::Zeroizing;

use crate::cipher::{Key, random};
use crate::disk::{self, FileError};
use crate::seal::{FILE, MachineSecret, Opener, SealedFile, Sealing, UnsealError};
use crate::store::{self, Store};

pub(crate) use keys::wipe;
pub use keys::{Exchange, Keys, KeysError};
pub use unlock::{HomeId, Unlock};

const PURPOSE: &str = "kos/machine-keys/1";
const ID: &str = "home-id";
const KEYS: &str = "machine.keys";
const DATABASE: &str = "kos.redb";
const RECOVERY: &str = "recovery.kos";

/// Why a home could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The home is there, but the file that opens it is not. No new identity is made over it.
    #[error("the unlock file {} of this home is missing", path.display())]
    NoUnlockFile {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The unlock file belongs to another home, or is none.
    #[error("{} is not the unlock file of this home", path.display())]
    WrongUnlockFile {
        /// The file.
        path: PathBuf,
    },
    /// The unlock file would lie inside the home that it is to protect.
    #[error("the unlock file {} must lie outside the home", path.display())]
    UnlockFileInside {
        /// The file.
        path: PathBuf,
    },
    /// The home has data, but not the keys that belong to it.
    #[error("{} is missing, but the home has data that it opens", path.display())]
    NoKeys {
        /// The file.
        path: PathBuf,
    },
    /// The keys do not open: another passphrase, none given, another machine, damage, or a newer format.
    #[error("the machine keys do not open")]
    Sealed(#[from] UnsealError),
    /// A private file could not be used.
    #[error("a file of the home cannot be used")]
    File(#[from] FileError),
}

/// One person's folder, open.
pub struct Home {
    path: PathBuf,
    id: HomeId,
    fresh: bool,
    keys: Keys,
    file: SealedFile,
    key: Key,
    machine: Option<MachineSecret>,
    unlock_file: PathBuf,
}

impl Home {
    /// Opens a home, or makes one where there is none. An existing home is never given a new identity.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open(path: &Path, unlock: &Unlock, now: Timestamp) -> Result<Self, OpenError> {
        disk::make_private_folder(path)?;
        let known = unlock::read_id(&path.join(ID))?;
        let stored = disk::read_private(&path.join(KEYS), FILE)?;
        let has_data = [DATABASE, RECOVERY].iter().any(|name| path.join(name).exists());
        if stored.is_none() && has_data {
            return Err(OpenError::NoKeys { path: path.join(KEYS) });
        }
        match (known, stored) {
            (Some(id), Some(stored)) => Self::read(path, id, &stored, unlock),
            (None, Some(_)) => Err(OpenError::NoKeys { path: path.join(ID) }),
            (id, None) => Self::make(path, id, unlock, now),
        }
    }

    fn make(path: &Path, id: Option<HomeId>, unlock: &Unlock, now: Timestamp) -> Result<Self, OpenError> {
        let id = match id {
            // An attempt that broke off before there were any keys.
            Some(id) => id,
            None => unlock::write_id(&path.join(ID))?,
        };
        let unlock_file = unlock.place(&id).ok_or_else(unlock::nowhere)?;
        unlock::check_outside(path, &unlock_file)?;
        let machine = match unlock.seals_with_passphrase() {
            true => None,
            false => Some(match unlock::read(&unlock_file, &id)? {
                Some(machine) => machine,
                None => unlock::write(&unlock_file, &id)?,
            }),
        };
        let opener = unlock.opener(machine.as_ref())?;
        let failed = disk::failed(&path.join(KEYS));
        let keys = Keys::make(now).and_then(|keys| {
            let file = SealedFile::seal(PURPOSE, &opener, unlock.cost, &keys.encode())?;
            Ok((keys, file))
        });
        let (keys, file) = keys.map_err(failed)?;
        disk::write_private(&path.join(KEYS), &file.encode(PURPOSE))?;
        let (key, _) = file.open(PURPOSE, &opener)?;
        Ok(Self { path: path.to_owned(), id, fresh: true, keys, file, key, machine, unlock_file })
    }

    fn read(path: &Path, id: HomeId, stored: &[u8], unlock: &Unlock) -> Result<Self, OpenError> {
        let file = SealedFile::decode(PURPOSE, stored)?;
        let unlock_file = unlock.place(&id).ok_or_else(unlock::nowhere)?;
        unlock::check_outside(path, &unlock_file)?;
        let machine = unlock::read(&unlock_file, &id)?;
        let opener = match (file.head.sealing, &machine) {
            (Sealing::Machine, None) => return Err(OpenError::NoUnlockFile { path: unlock_file }),
            (Sealing::Machine, Some(machine)) => Opener::Machine(machine.clone()),
            (Sealing::Passphrase(_), _) => unlock.opener(None)?,
        };
        let (key, plain) = file.open(PURPOSE, &opener)?;
        let keys = Keys::decode(&plain).map_err(|_| UnsealError::Damaged)?;
        Ok(Self { path: path.to_owned(), id, fresh: false, keys, file, key, machine, unlock_file })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its id, by which the unlock file is found.
    pub fn id(&self) -> &HomeId {
        &self.id
    }

    /// Whether this call made it.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// The keys of the machine tier.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// How the machine keys are sealed.
    pub fn sealing(&self) -> Sealing {
        self.file.head.sealing
    }

    /// The unlock file's secret, when there is one: it also opens vaults that are sealed to this machine.
    pub fn machine_secret(&self) -> Option<&MachineSecret> {
        self.machine.as_ref()
    }

    /// Where the unlock file is, or would be.
    pub fn unlock_file(&self) -> &Path {
        &self.unlock_file
    }

    /// Where the anchor of the audit log is kept: beside the unlock file.
    pub fn anchor(&self) -> PathBuf {
        let mut name = self.unlock_file.file_name().unwrap_or_default().to_owned();
        name.push(".anchor");
        self.unlock_file.with_file_name(name)
    }

    /// Where the recovery file is first written.
    pub fn recovery_file(&self) -> PathBuf {
        self.path.join(RECOVERY)
    }

    /// Opens the store of this home. This blocks.
    ///
    /// # Errors
    /// [`store::OpenError`]
    pub fn open_store(&self, now: Timestamp) -> Result<Store, store::OpenError> {
        let path = self.path.join(DATABASE);
        Store::open(&path, &self.keys.database(), self.keys.audit(), Some(&self.anchor()), now)
    }

    /// Makes a key for an agent, or gives the one that it has.
    ///
    /// # Errors
    /// [`KeysError`]
    pub fn add_agent(&mut self, name: &str) -> Result<SecretKey, KeysError> {
        if let Some(key) = self.keys.agent(name) {
            return Ok(key.clone());
        }
        let key = SecretKey::from_seed(&Zeroizing::new(random().map_err(disk::failed(&self.path))?));
        let mut keys = self.keys.clone();
        keys.insert_agent(name, key.clone())?;
        self.keep(keys)?;
        Ok(key)
    }

    /// Forgets an agent's key; false when there was none.
    ///
    /// # Errors
    /// [`KeysError`]
    pub fn remove_agent(&mut self, name: &str) -> Result<bool, KeysError> {
        let mut keys = self.keys.clone();
        let there = keys.remove_agent(name);
        if there {
            self.keep(keys)?;
        }
        Ok(there)
    }

    /// Makes a new exchange key when the present one is 30 days old, and drops those replaced more than 10 days ago. True when
    /// anything changed; then a new record must be published.
    ///
    /// # Errors
    /// [`KeysError`]
    pub fn rotate_exchange(&mut self, now: Timestamp) -> Result<bool, KeysError> {
        let mut keys = self.keys.clone();
        let fresh = Zeroizing::new(random().map_err(disk::failed(&self.path))?);
        let changed = keys.rotate(ExchangeSecret::from_seed(*fresh), now);
        if changed {
            self.keep(keys)?;
        }
        Ok(changed)
    }

    /// Seals the machine keys in another way: with a passphrase, or with the unlock file. Copies of the home made before still
    /// open with what opened them.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn reseal(&mut self, unlock: &Unlock) -> Result<(), OpenError> {
        let machine = match (unlock.seals_with_passphrase(), &self.machine) {
            (true, _) => None,
            (false, Some(machine)) => Some(machine.clone()),
            (false, None) => Some(unlock::write(&self.unlock_file, &self.id)?),
        };
        let opener = unlock.opener(machine.as_ref())?;
        let failed = disk::failed(&self.path.join(KEYS));
        let file = SealedFile::seal(PURPOSE, &opener, unlock.cost, &self.keys.encode()).map_err(failed)?;
        let (key, _) = file.open(PURPOSE, &opener)?;
        disk::write_private(&self.path.join(KEYS), &file.encode(PURPOSE))?;
        (self.file, self.key) = (file, key);
        self.machine = self.machine.take().or(machine);
        Ok(())
    }

    /// Durable first, then in memory: what fails here changed nothing.
    fn keep(&mut self, keys: Keys) -> Result<(), FileError> {
        let path = self.path.join(KEYS);
        let file = self.file.reseal(PURPOSE, &self.key, &keys.encode()).map_err(disk::failed(&path))?;
        disk::write_private(&path, &file.encode(PURPOSE))?;
        (self.file, self.keys) = (file, keys);
        Ok(())
    }
}

impl std::fmt::Debug for Home {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Home").field("path", &self.path).field("id", &self.id).finish_non_exhaustive()
    }
}
