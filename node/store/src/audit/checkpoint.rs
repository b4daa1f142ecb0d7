//! The head of the log, its signed checkpoints, and the anchor outside the home.

use std::path::Path;
use std::time::Duration;

use klp::codec::{Bytes, CodecError, Fields, Map, Value};
use klp::{Cbor, Did, Digest, Signed, Statement, Timestamp, Verified};

use super::frontier::Frontier;
use crate::disk::{self, FileError};
use crate::error::StoreError;
use crate::table::{Table, damaged, sequence};
use crate::view::{Tx, View, decode};

/// Leaves between two checkpoints at most.
const LEAVES: usize = 64;
/// Age of the oldest leaf without a checkpoint at most.
const AGE: Duration = Duration::from_secs(60);
const HEAD: &[u8] = b"head";

/// The log at one size, signed by the audit key. Domain `kos/checkpoint/1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose log it is: the audit key's DID.
    pub origin: Did,
    /// Entries.
    pub size: u64,
    /// RFC 6962 root over them.
    pub root: Digest,
    /// Time of the last entry, or of the signing when later.
    pub at: Timestamp,
}

impl Cbor for Checkpoint {
    fn to_value(&self) -> Value {
        Map::new().with(1, &self.origin).with(2, &self.size).with(3, &self.root).with(4, &self.at).build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let checkpoint =
            Self { origin: fields.take(1)?, size: fields.take(2)?, root: fields.take(3)?, at: fields.take(4)? };
        fields.end()?;
        Ok(checkpoint)
    }
}

impl Statement for Checkpoint {
    const DOMAIN: &'static str = "kos/checkpoint/1";
}

/// Where the log ends.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Head {
    pub(crate) frontier: Frontier,
    /// The last checkpoint's frontier.
    pub(crate) covered: Frontier,
    /// Hashes of the leaves since then.
    pub(crate) fresh: Vec<Digest>,
    /// Time of the last entry or checkpoint.
    pub(crate) at: Timestamp,
    /// Time of the first leaf since the last checkpoint.
    since: Timestamp,
}

impl Head {
    pub(crate) fn append(&mut self, leaf: Digest, at: Timestamp) {
        if self.fresh.is_empty() {
            self.since = at;
        }
        self.frontier.push(leaf);
        self.fresh.push(leaf);
        self.at = at;
    }
}

impl Cbor for Head {
    fn to_value(&self) -> Value {
        Map::new()
            .with(1, &self.frontier)
            .with(2, &self.covered)
            .with(3, &self.fresh)
            .with(4, &self.at)
            .with(5, &self.since)
            .build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let head = Self {
            frontier: fields.take(1)?,
            covered: fields.take(2)?,
            fresh: fields.list(3, LEAVES)?,
            at: fields.take(4)?,
            since: fields.take(5)?,
        };
        fields.end()?;
        Ok(head)
    }
}

/// A checkpoint as it lies on disk. The hashes of its leaves let `verify` name the one that was changed, even by somebody who
/// holds the database key: the signature covers them.
pub(crate) struct Mark {
    pub(crate) signed: Signed<Checkpoint>,
    /// The frontier of the checkpoint before.
    pub(crate) before: Frontier,
    /// Hashes of the leaves in between.
    pub(crate) leaves: Vec<Digest>,
}

impl Cbor for Mark {
    fn to_value(&self) -> Value {
        let hashes = self.leaves.iter().flat_map(|leaf| leaf.0).collect();
        Map::new().with(1, &self.signed).with(2, &self.before).with(3, &Bytes(hashes)).build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let (signed, before) = (fields.take(1)?, fields.take(2)?);
        let hashes = fields.bytes(3, LEAVES * 32)?;
        fields.end()?;
        let (leaves, rest) = hashes.as_chunks::<32>();
        if rest.is_empty() {
            Ok(Self { signed, before, leaves: leaves.iter().map(|leaf| Digest(*leaf)).collect() })
        } else {
            Err(CodecError::Field { field: 3, expected: "whole digests" })
        }
    }
}

/// The head of the log; an empty log has none on disk.
/// Time of the last entry or checkpoint: wall time never runs below it (security rule 22).
///
/// # Errors
/// [`StoreError`]
pub fn last_seen(view: &View) -> Result<Timestamp, StoreError> {
    Ok(head(view)?.at)
}

pub(crate) fn head(view: &View) -> Result<Head, StoreError> {
    Ok(view.load(Table::AuditHead, HEAD)?.unwrap_or_default())
}

/// Stores the head after an append, with a checkpoint when the leaves are enough.
pub(crate) fn keep_head(tx: &mut Tx, head: Head) -> Result<(), StoreError> {
    if head.fresh.len() >= LEAVES {
        let at = head.at;
        return sign(tx, head, at);
    }
    tx.save(Table::AuditHead, HEAD, &head);
    Ok(())
}

/// A checkpoint now, unless nothing happened since the last one.
pub(crate) fn checkpoint(tx: &mut Tx, now: Timestamp) -> Result<(), StoreError> {
    let head = head(tx)?;
    if head.fresh.is_empty() { Ok(()) } else { sign(tx, head, now) }
}

/// A checkpoint when the oldest entry without one is a minute old.
pub(crate) fn checkpoint_if_due(tx: &mut Tx, now: Timestamp) -> Result<(), StoreError> {
    let head = head(tx)?;
    if !head.fresh.is_empty() && now.since(head.since) >= AGE { sign(tx, head, now) } else { Ok(()) }
}

fn sign(tx: &mut Tx, mut head: Head, now: Timestamp) -> Result<(), StoreError> {
    head.at = head.at.max(now);
    let audit = tx.shared.audit.clone();
    let size = head.frontier.size();
    let statement = Checkpoint { origin: audit.did(), size, root: head.frontier.root(), at: head.at };
    let signed = Verified::sign(statement, &audit).signed().clone();
    let before = std::mem::replace(&mut head.covered, head.frontier.clone());
    let leaves = std::mem::take(&mut head.fresh);
    tx.save(Table::AuditCheckpoints, &sequence(size), &Mark { signed, before, leaves });
    tx.save(Table::AuditHead, HEAD, &head);
    Ok(())
}

/// The latest {size, root}, kept beside the unlock file: what a restored backup cannot know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Entries that the log once had.
    pub size: u64,
    /// Its root at that size.
    pub root: Digest,
}

/// Bytes of an anchor file: three words, the longest of 64 digits.
const ANCHOR: usize = 128;

impl Anchor {
    /// Reads it; `None` when there is no such file.
    ///
    /// # Errors
    /// [`FileError`]; a file of another form is an I/O error naming it.
    pub fn load(path: &Path) -> Result<Option<Self>, FileError> {
        let Some(bytes) = disk::read_private(path, ANCHOR)? else { return Ok(None) };
        let parse = || {
            let mut words = std::str::from_utf8(&bytes).ok()?.split_ascii_whitespace();
            let anchor = match words.next()? {
                "kos-anchor-1" => Self { size: words.next()?.parse().ok()?, root: words.next()?.parse().ok()? },
                _ => return None,
            };
            words.next().is_none().then_some(anchor)
        };
        let wrong = || std::io::Error::new(std::io::ErrorKind::InvalidData, "not an anchor of an audit log");
        parse().ok_or_else(wrong).map(Some).map_err(disk::failed(path))
    }

    pub(crate) fn save(&self, path: &Path) -> Result<(), FileError> {
        if let Some(folder) = path.parent() {
            disk::make_private_folder(folder)?;
        }
        disk::write_private(path, format!("kos-anchor-1 {} {}\n", self.size, self.root).as_bytes())
    }
}

/// The newest checkpoint that a batch made, if it made one.
pub(crate) fn anchor_of(tx: &Tx) -> Result<Option<Anchor>, StoreError> {
    let table = Table::AuditCheckpoints;
    let newest = tx.batch().iter().rev().find(|((of, _), value)| *of == table && value.is_some());
    let Some(((_, key), Some(bytes))) = newest else { return Ok(None) };
    let mark: Mark = decode(table, key, bytes)?;
    let checkpoint = mark.signed.verify().map_err(|_| damaged(table, key))?;
    Ok(Some(Anchor { size: checkpoint.size, root: checkpoint.root }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s22_an_anchor_comes_back_and_damage_is_named() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("deep/home.anchor");
        assert_eq!(Anchor::load(&path).expect("loads"), None);
        let anchor = Anchor { size: 64, root: Digest([7; 32]) };
        anchor.save(&path).expect("saves");
        assert_eq!(Anchor::load(&path).expect("loads"), Some(anchor));
        disk::write_private(&path, b"kos-anchor-1 64 zz").expect("writes");
        assert!(Anchor::load(&path).expect_err("refused").to_string().contains("home.anchor"));
    }

    proptest::proptest! {
        #[test]
        fn decoding_never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _refused = (Head::from_bytes(&bytes, 4096).is_err(), Mark::from_bytes(&bytes, 4096).is_err());
        }
    }
}
