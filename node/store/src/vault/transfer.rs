//! Taking a vault's secrets along: an encrypted file under a passphrase of its own. The owner key does not travel this way.

use klp::codec::{Bytes, CodecError, Fields, Map, Value};
use klp::{Cbor, Did, Timestamp};
use zeroize::Zeroizing;

use super::{NAME, RECORDS, VALUE, VaultError, Vaults, record::Kind, slow};
use crate::audit::Entry;
use crate::home::wipe;
use crate::passphrase::{Cost, Secret};
use crate::seal::{FILE, Opener, SealedFile, UnsealError};
use crate::store::Store;

/// Bytes of all records of one export: what a sealed file holds, less its head.
const EXPORT: usize = FILE - 4096;
const PURPOSE: &str = "kos/vault-export/1";

/// An encrypted file and what opens it.
#[derive(Clone, Debug)]
pub struct Export {
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// The passphrase that it was made with.
    pub opener: Opener,
}

/// What an import did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Imported {
    /// Records that were not there.
    pub added: usize,
    /// Records that were there and have the file's value now.
    pub replaced: usize,
    /// Records that were there and stay.
    pub kept: usize,
}

/// One record in a file.
struct Carried {
    name: String,
    value: Secret,
}

impl Vaults {
    /// The bytes of an encrypted file with all the user's records of an open vault.
    ///
    /// # Errors
    /// [`VaultError`]
    pub async fn export(
        &self,
        store: &Store,
        vault: &str,
        opener: Opener,
        cost: Cost,
        by: Option<Did>,
        now: Timestamp,
    ) -> Result<Vec<u8>, VaultError> {
        let view = store.view()?;
        let records = self.room(&view, vault, now)?.all(&view)?;
        let users = records.into_iter().filter(|record| record.kind == Kind::User);
        let carried: Vec<_> = users.map(|record| Carried { name: record.name, value: record.value }).collect();
        drop(view);
        let count = carried.len();
        let size = carried.iter().map(|carried| carried.value.expose().len() + NAME + 16).sum();
        if size > EXPORT {
            return Err(VaultError::TooMuch { what: "bytes in an export", size, limit: EXPORT });
        }
        let bytes = slow(move || {
            let mut value = carried.to_value();
            let plain = Zeroizing::new(klp::codec::encode(&value));
            wipe(&mut value);
            Ok(SealedFile::seal(PURPOSE, &opener, cost, &plain)?.encode(PURPOSE))
        })
        .await?;
        let entry = Entry::new("vault", "exported", now).by(by).on(vault).with("records", count);
        store.write(move |tx| tx.audit(entry)).await?;
        Ok(bytes)
    }

    /// Brings the records of such a file into an open vault: all of them, or none.
    ///
    /// # Errors
    /// [`VaultError`]
    pub async fn import(
        &self,
        store: &Store,
        vault: &str,
        file: Export,
        replace: bool,
        by: Option<Did>,
        now: Timestamp,
    ) -> Result<Imported, VaultError> {
        let opened = slow(move || Ok(open(&file.bytes, &file.opener))).await??;
        let (vaults, vault) = (self.clone(), vault.to_owned());
        store
            .write(move |tx| {
                let room = vaults.room(tx, &vault, now)?;
                let mut done = Imported::default();
                for carried in &opened {
                    let there = room.get(tx, Kind::User, &carried.name)?.is_some();
                    match (there, replace) {
                        (true, false) => done.kept += 1,
                        (true, true) => done.replaced += 1,
                        (false, _) => done.added += 1,
                    }
                    if !there || replace {
                        room.set(tx, Kind::User, &carried.name, &carried.value, now)?;
                    }
                }
                let entry = Entry::new("vault", "imported", now).by(by).on(&vault);
                tx.audit(entry.with("added", done.added).with("replaced", done.replaced).with("kept", done.kept))?;
                Ok(done)
            })
            .await
    }
}

fn open(file: &[u8], opener: &Opener) -> Result<Vec<Carried>, UnsealError> {
    let (_, plain) = SealedFile::decode(PURPOSE, file)?.open(PURPOSE, opener)?;
    let records = Vec::<Carried>::from_bytes(&plain, FILE).map_err(|_| UnsealError::Damaged)?;
    if records.len() > RECORDS { Err(UnsealError::Damaged) } else { Ok(records) }
}

impl Cbor for Carried {
    fn to_value(&self) -> Value {
        Map::new().with(1, &self.name).with(2, &Bytes(self.value.expose().to_vec())).build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let carried = Self { name: fields.text(1, NAME)?, value: Secret::new(fields.bytes(2, VALUE)?) };
        fields.end()?;
        Ok(carried)
    }
}
