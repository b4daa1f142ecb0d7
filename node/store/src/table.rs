//! Every table of the file, in one place, and how its rows are sealed and named.

use klp::codec::Digest;

use crate::cipher::{Cipher, Key, Naming};
use crate::error::StoreError;

/// Bytes of one value before sealing. The largest is a receipt with its answer.
pub(crate) const ROW: usize = 2 * 1024 * 1024;

/// Version of the row format, part of what the seal binds.
const VERSION: u8 = 1;

macro_rules! tables {
    ($($(#[$doc:meta])+ $name:ident $text:literal;)+) => {
        /// One table of the file.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum Table { $($(#[$doc])+ $name,)+ }

        impl Table {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)+];

            pub(crate) fn name(self) -> &'static str { match self { $(Self::$name => $text,)+ } }
        }
    };
}

tables! {
    /// One row: proves that the database key is the right one.
    Check "check";
    /// HMAC(petname) to a contact.
    Contacts "contacts";
    /// HMAC(owner or node key) to a petname.
    ContactKeys "contact_keys";
    /// HMAC(grant id) to a grant, issued or received.
    Grants "grants";
    /// HMAC(grant, holder, day) to what was used.
    Counters "counters";
    /// HMAC(target) to a denial or revocation.
    Revocations "revocations";
    /// HMAC(owner) to the head of that owner's revocations.
    Heads "heads";
    /// Sequence to a receipt.
    Receipts "receipts";
    /// HMAC(order id) to the sequence of its receipt.
    ReceiptIds "receipt_ids";
    /// HMAC(signer, id) to when the id may be forgotten.
    Seen "seen";
    /// Expiry and HMAC(signer, id): the order in which ids are forgotten.
    SeenExpiry "seen_expiry";
    /// HMAC(signer) to how many of its ids are remembered.
    SeenCount "seen_count";
    /// HMAC(signer, id) to a permit.
    Permits "permits";
    /// HMAC(signer, id) of each permit without an outcome.
    OpenPermits "open_permits";
    /// Expiry and HMAC(signer, id): the order in which permits are dropped.
    PermitExpiry "permit_expiry";
    /// HMAC(kind, key) to a record of somebody else.
    Records "records";
    /// Expiry and HMAC(kind, key): the order in which records are dropped.
    RecordExpiry "record_expiry";
    /// HMAC(name) to an agent of this node.
    Agents "agents";
    /// HMAC(key) to a setting.
    Settings "settings";
    /// HMAC(node) to the addresses that once worked.
    Addresses "addresses";
    /// One row: who this node belongs to.
    Identity "identity";
    /// HMAC(vault) to its head.
    Vaults "vaults";
    /// HMAC(vault) and HMAC(record) to a record that only the vault's key opens.
    VaultRecords "vault_records";
    /// One row: size, frontier and time of the log.
    AuditHead "audit_head";
    /// Sequence to a leaf.
    AuditLeaves "audit_leaves";
    /// Sequence to salt and body of a leaf, or to a mark that they were erased.
    AuditBodies "audit_bodies";
    /// Size to a signed checkpoint.
    AuditCheckpoints "audit_checkpoints";
    /// Minute and HMAC(peer) to a count of denials.
    Denials "denials";
    /// Day to the denials of strangers that became entries.
    DenialDays "denial_days";
    /// HMAC(mailbox) to a pairing code.
    Pairings "pairings";
    /// HMAC(id) to a question that waits for somebody to return.
    Outbox "outbox";
}

/// The keys of all tables, derived once.
pub(crate) struct TableKeys(Vec<(Cipher, Naming)>);

impl TableKeys {
    pub(crate) fn derive(database: &Key) -> Self {
        let pair = |table: &Table| {
            let key = |purpose: &[u8]| database.derive(b"kos/store/1", &[purpose, table.name().as_bytes()]);
            (key(b"seal").cipher(), key(b"name").naming())
        };
        Self(Table::ALL.iter().map(pair).collect())
    }

    fn of(&self, table: Table) -> &(Cipher, Naming) {
        &self.0[table as usize]
    }

    /// The row key of something that must not be read off the disk.
    pub(crate) fn hidden(&self, table: Table, parts: &[&[u8]]) -> [u8; 32] {
        self.of(table).1.of(parts)
    }

    pub(crate) fn seal(&self, table: Table, key: &[u8], plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        if plain.len() > ROW {
            return Err(StoreError::TooLarge { size: plain.len(), limit: ROW });
        }
        let sealed = self.of(table).0.seal(&[table.name().as_bytes(), key, &[VERSION]], plain)?;
        Ok([&[VERSION], &sealed[..]].concat())
    }

    pub(crate) fn open(&self, table: Table, key: &[u8], sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let (version, sealed) = sealed.split_first().ok_or_else(|| damaged(table, key))?;
        self.of(table).0.open(&[table.name().as_bytes(), key, &[*version]], sealed).map_err(|_| damaged(table, key))
    }
}

/// The error that names a damaged row.
pub(crate) fn damaged(table: Table, key: &[u8]) -> StoreError {
    let key = match <[u8; 8]>::try_from(key) {
        Ok(sequence) => u64::from_be_bytes(sequence).to_string(),
        Err(_) => key.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    StoreError::Integrity { table: table.name(), key }
}

/// The row key of a sequence number.
pub(crate) fn sequence(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// The sequence number of a row key.
pub(crate) fn number(table: Table, key: &[u8]) -> Result<u64, StoreError> {
    key.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes)).ok_or_else(|| damaged(table, key))
}

/// A digest as part of a row key.
pub(crate) fn part(digest: &Digest) -> &[u8] {
    &digest.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s31_a_row_opens_only_in_its_table_under_its_key() {
        let keys = TableKeys::derive(&Key::from_bytes([3; 32]));
        let sealed = keys.seal(Table::Settings, b"key", b"value").expect("seals");
        assert_eq!(keys.open(Table::Settings, b"key", &sealed).expect("opens"), b"value");
        for (table, key) in [(Table::Settings, &b"other"[..]), (Table::Agents, b"key")] {
            let error = keys.open(table, key, &sealed).expect_err("refused");
            assert!(matches!(error, StoreError::Integrity { table: name, .. } if name == table.name()));
        }
        assert_ne!(keys.hidden(Table::Settings, &[b"a"]), keys.hidden(Table::Agents, &[b"a"]));
    }

    #[test]
    fn tables_have_names_of_their_own() {
        let names: std::collections::BTreeSet<_> = Table::ALL.iter().map(|table| table.name()).collect();
        assert_eq!(names.len(), Table::ALL.len());
    }
}
