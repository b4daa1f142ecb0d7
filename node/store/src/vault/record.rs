//! Records of one open vault. Outside the vault's key a record shows neither its name nor its value.

use std::ops::Bound;

use klp::codec::{Bytes, CodecError, Fields, Map, Value};
use klp::{Cbor, Timestamp};
use zeroize::{Zeroize as _, Zeroizing};

use super::{NAME, RECORDS, VALUE, VaultError};
use crate::cipher::{Key, OVERHEAD, random};
use crate::error::StoreError;
use crate::home::wipe;
use crate::passphrase::Secret;
use crate::table::Table;
use crate::view::{Order, Tx, View, decode};

/// Bytes of a record before sealing.
const BODY: usize = VALUE + NAME + 64;

const BODY_AT: &[u8] = b"kos/vault/1 body";
const WRAP_AT: &[u8] = b"kos/vault/1 wrap";

/// What a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The user's.
    User,
    /// The owner key.
    Owner,
}

impl Kind {
    fn number(self) -> u64 {
        match self {
            Self::User => 0,
            Self::Owner => 1,
        }
    }

    fn from_number(number: u64) -> Option<Self> {
        [Self::User, Self::Owner].into_iter().find(|kind| kind.number() == number)
    }
}

/// A record, open.
pub(crate) struct Record {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) value: Secret,
    pub(crate) version: u64,
    pub(crate) updated: Timestamp,
}

/// A vault's key at work.
pub(crate) struct Room {
    pub(crate) vault: String,
    pub(crate) key: Key,
    pub(crate) epoch: u64,
}

/// A record as it lies on disk, under the store's own seal.
struct Stored {
    /// Stays when the vault's key changes.
    id: [u8; 16],
    version: u64,
    /// The salt of the wrapping key, and the wrapped data key.
    salt: [u8; 16],
    wrapped: Vec<u8>,
    body: Vec<u8>,
}

impl Room {
    pub(crate) fn set(
        &self,
        tx: &mut Tx,
        kind: Kind,
        name: &str,
        value: &Secret,
        now: Timestamp,
    ) -> Result<u64, VaultError> {
        if name.is_empty() || name.len() > NAME || name.contains(char::is_control) {
            return Err(VaultError::Name);
        }
        let size = value.expose().len();
        if size > VALUE {
            return Err(VaultError::TooMuch { what: "bytes in a record", size, limit: VALUE });
        }
        let key = self.row(tx, kind, name);
        let before: Option<Stored> = tx.load(Table::VaultRecords, &key)?;
        if before.is_none() {
            let count = self.rows(tx)?.len();
            if count >= RECORDS {
                return Err(VaultError::TooMuch { what: "records in a vault", size: count + 1, limit: RECORDS });
            }
        }
        let (id, version) = match before {
            Some(before) => (before.id, before.version + 1),
            None => (random().map_err(StoreError::from)?, 1),
        };
        // A data key seals once: every version has its own.
        let data = Key::random().map_err(StoreError::from)?;
        let plain = body(kind, name, value, now);
        let place: [&[u8]; 4] = [BODY_AT, self.vault.as_bytes(), &id, &version.to_be_bytes()];
        let sealed = data.cipher().seal(&place, &plain).map_err(StoreError::from)?;
        let stored = self.wrap(id, version, &data, sealed)?;
        tx.save(Table::VaultRecords, &key, &stored);
        Ok(version)
    }

    pub(crate) fn get(&self, view: &View, kind: Kind, name: &str) -> Result<Option<Record>, VaultError> {
        let key = self.row(view, kind, name);
        let Some(stored) = view.load(Table::VaultRecords, &key)? else { return Ok(None) };
        let record = self.open(&stored)?;
        // Whoever holds the database key could still swap two rows.
        if record.kind == kind && record.name == name { Ok(Some(record)) } else { Err(self.damaged()) }
    }

    pub(crate) fn all(&self, view: &View) -> Result<Vec<Record>, VaultError> {
        self.rows(view)?.iter().map(|(_, stored)| self.open(stored)).collect()
    }

    pub(crate) fn remove(&self, tx: &mut Tx, kind: Kind, name: &str) -> Result<bool, VaultError> {
        let key = self.row(tx, kind, name);
        let there = tx.get(Table::VaultRecords, &key)?.is_some();
        tx.remove(Table::VaultRecords, &key);
        Ok(there)
    }

    /// Wraps every data key anew and moves every row to its new name.
    pub(crate) fn rekey(&self, tx: &mut Tx, fresh: &Self) -> Result<(), VaultError> {
        for (key, stored) in self.rows(tx)? {
            let data = self.unwrap(&stored)?;
            let record = self.open(&stored)?;
            let moved = fresh.wrap(stored.id, stored.version, &data, stored.body)?;
            tx.remove(Table::VaultRecords, &key);
            let key = fresh.row(tx, record.kind, &record.name);
            tx.save(Table::VaultRecords, &key, &moved);
        }
        Ok(())
    }

    fn damaged(&self) -> VaultError {
        VaultError::Integrity { vault: self.vault.clone() }
    }

    fn prefix(&self, view: &View) -> [u8; 32] {
        view.hidden(Table::VaultRecords, &[self.vault.as_bytes()])
    }

    fn row(&self, view: &View, kind: Kind, name: &str) -> Vec<u8> {
        let naming = self.key.derive(&[], &[b"kos/vault/1 names"]).naming();
        let name = naming.of(&[&kind.number().to_be_bytes(), name.as_bytes()]);
        [self.prefix(view), name].concat()
    }

    fn rows(&self, view: &View) -> Result<Vec<(Vec<u8>, Stored)>, StoreError> {
        let prefix = self.prefix(view);
        let last = [&prefix[..], &[0xff; 32]].concat();
        let mut rows = Vec::new();
        let range = (Bound::Included(prefix.to_vec()), Bound::Included(last));
        view.scan(Table::VaultRecords, range, Order::Up, |key, bytes| {
            rows.push((key.to_vec(), decode(Table::VaultRecords, key, &bytes)?));
            Ok(rows.len() < RECORDS)
        })?;
        Ok(rows)
    }

    fn wrap(&self, id: [u8; 16], version: u64, data: &Key, body: Vec<u8>) -> Result<Stored, StoreError> {
        let salt = random()?;
        let (at, epoch) = (version.to_be_bytes(), self.epoch.to_be_bytes());
        let place: [&[u8]; 5] = [WRAP_AT, self.vault.as_bytes(), &id, &at, &epoch];
        let wrapped = self.wrapping(&salt).cipher().seal(&place, data.bytes())?;
        Ok(Stored { id, version, salt, wrapped, body })
    }

    fn unwrap(&self, stored: &Stored) -> Result<Key, VaultError> {
        let (at, epoch) = (stored.version.to_be_bytes(), self.epoch.to_be_bytes());
        let place: [&[u8]; 5] = [WRAP_AT, self.vault.as_bytes(), &stored.id, &at, &epoch];
        let data = self.wrapping(&stored.salt).cipher().open(&place, &stored.wrapped).map_err(|_| self.damaged())?;
        let data = Zeroizing::new(data);
        Ok(Key::from_bytes(data[..].try_into().map_err(|_| self.damaged())?))
    }

    /// A wrapping key for each wrap, so that no nonce can ever meet another under one key.
    fn wrapping(&self, salt: &[u8; 16]) -> Key {
        self.key.derive(salt, &[WRAP_AT])
    }

    fn open(&self, stored: &Stored) -> Result<Record, VaultError> {
        let data = self.unwrap(stored)?;
        let place: [&[u8]; 4] = [BODY_AT, self.vault.as_bytes(), &stored.id, &stored.version.to_be_bytes()];
        let plain = data.cipher().open(&place, &stored.body).map_err(|_| self.damaged())?;
        let plain = Zeroizing::new(plain);
        read(&plain, stored.version).map_err(|_| self.damaged())
    }
}

fn body(kind: Kind, name: &str, value: &Secret, now: Timestamp) -> Zeroizing<Vec<u8>> {
    let mut secret = Bytes(value.expose().to_vec());
    let mut map = Map::new().with(1, &kind.number()).with(2, &name.to_owned()).with(3, &secret).with(4, &now).build();
    let bytes = Zeroizing::new(klp::codec::encode(&map));
    secret.0.zeroize();
    wipe(&mut map);
    bytes
}

fn read(plain: &[u8], version: u64) -> Result<Record, CodecError> {
    let mut fields = Fields::of(klp::codec::decode(plain, BODY)?)?;
    let kind = Kind::from_number(fields.take(1)?).ok_or(CodecError::Field { field: 1, expected: "a kind" })?;
    let (name, value) = (fields.text(2, NAME)?, Secret::new(fields.bytes(3, VALUE)?));
    let record = Record { kind, name, value, version, updated: fields.take(4)? };
    fields.end()?;
    Ok(record)
}

impl Cbor for Stored {
    fn to_value(&self) -> Value {
        Map::new()
            .with(1, &self.id)
            .with(2, &self.version)
            .with(3, &self.salt)
            .with(4, &Bytes(self.wrapped.clone()))
            .with(5, &Bytes(self.body.clone()))
            .build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let stored = Self {
            id: fields.take(1)?,
            version: fields.take(2)?,
            salt: fields.take(3)?,
            wrapped: fields.bytes(4, 128)?,
            body: fields.bytes(5, BODY + OVERHEAD)?,
        };
        fields.end()?;
        Ok(stored)
    }
}
