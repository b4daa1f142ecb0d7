//! One entry: what callers say, what the leaf keeps, what the body keeps.

use std::collections::BTreeMap;

use klp::codec::{CodecError, Fields, Map, Value};
use klp::{Cbor, Did, Digest, Timestamp};

use super::checkpoint;
use super::frontier::leaf_hash;
use crate::cipher::random;
use crate::error::StoreError;
use crate::table::{Table, sequence};
use crate::view::Tx;

/// Bytes of a component or a kind.
const NAME: usize = 64;
/// Bytes of a body: details are for reading, not for storing.
const BODY: usize = 16 * 1024;
/// Bytes of one subject or detail; longer ones are cut, so that no name is too long to be audited.
const DETAIL: usize = 512;
/// Details of one entry.
const DETAILS: usize = 24;

/// Something that happened and that must be told later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    component: &'static str,
    kind: &'static str,
    pub(super) at: Timestamp,
    actor: Option<Did>,
    subject: String,
    detail: BTreeMap<String, String>,
}

impl Entry {
    /// `component` is the room that acted (`contact`, `grant`, `vault`, …), `kind` what it did (`added`, `revoked`, …).
    pub fn new(component: &'static str, kind: &'static str, at: Timestamp) -> Self {
        Self { component, kind, at, actor: None, subject: String::new(), detail: BTreeMap::new() }
    }

    /// Who caused it, when somebody did.
    #[must_use]
    pub fn by(mut self, actor: Option<Did>) -> Self {
        self.actor = actor;
        self
    }

    /// What it was done to, as people read it. Cut at 512 bytes.
    #[must_use]
    pub fn on(mut self, subject: impl ToString) -> Self {
        self.subject = cut(&subject.to_string());
        self
    }

    /// One more detail. At most 24 are kept; each is cut at 512 bytes. Never a secret: the log outlives it.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        if self.detail.len() < DETAILS {
            self.detail.insert(name.to_owned(), cut(&value.to_string()));
        }
        self
    }
}

fn cut(text: &str) -> String {
    let end = (0..=DETAIL.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].to_owned()
}

/// What the tree commits to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) seq: u64,
    pub(crate) at: Timestamp,
    /// Component and kind, as `component.kind`.
    pub(crate) kind: String,
    pub(crate) actor: Option<Did>,
    pub(crate) body: Digest,
}

impl Cbor for Leaf {
    fn to_value(&self) -> Value {
        Map::new()
            .with(1, &self.seq)
            .with(2, &self.at)
            .with(3, &self.kind)
            .with_some(4, self.actor.as_ref())
            .with(5, &self.body)
            .build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let leaf = Self {
            seq: fields.take(1)?,
            at: fields.take(2)?,
            kind: fields.text(3, 2 * NAME + 1)?,
            actor: fields.take_some(4)?,
            body: fields.take(5)?,
        };
        fields.end()?;
        Ok(leaf)
    }
}

/// What the leaf's hash is over, besides the salt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) subject: String,
    pub(crate) detail: BTreeMap<String, String>,
}

impl Cbor for Body {
    fn to_value(&self) -> Value {
        Map::new().with(1, &self.subject).with(2, &self.detail).build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let body = Self { subject: fields.text(1, DETAIL)?, detail: fields.take(2)? };
        fields.end()?;
        Ok(body)
    }
}

/// How a body lies on disk: with its salt, or erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Body { salt: [u8; 16], body: Vec<u8> },
    Erased,
}

impl Kept {
    /// The hash that the leaf holds.
    pub(crate) fn digest(salt: &[u8; 16], body: &[u8]) -> Digest {
        Digest::of(&[salt, body])
    }
}

impl Cbor for Kept {
    fn to_value(&self) -> Value {
        match self {
            Self::Body { salt, body } => Map::new().with(1, salt).with(2, &klp::codec::Bytes(body.clone())).build(),
            Self::Erased => Map::new().build(),
        }
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let kept = match fields.take_some(1)? {
            Some(salt) => Self::Body { salt, body: fields.bytes(2, BODY)? },
            None => Self::Erased,
        };
        fields.end()?;
        Ok(kept)
    }
}

/// The kind of entry that tells of an erased body.
pub(crate) const ERASED: &str = "audit.erased";

impl Tx {
    /// Appends an entry in the transaction of the change that it tells of, and returns its number. Its time is never before that
    /// of the entry before it.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn audit(&mut self, entry: Entry) -> Result<u64, StoreError> {
        let mut head = checkpoint::head(self)?;
        let salt = random()?;
        let body = Body { subject: entry.subject, detail: entry.detail }.to_bytes();
        let leaf = Leaf {
            seq: head.frontier.size(),
            at: entry.at.max(head.at),
            kind: format!("{}.{}", entry.component, entry.kind),
            actor: entry.actor,
            body: Kept::digest(&salt, &body),
        };
        let key = sequence(leaf.seq);
        let bytes = leaf.to_bytes();
        head.append(leaf_hash(&bytes), leaf.at);
        self.put(Table::AuditLeaves, &key, bytes);
        self.save(Table::AuditBodies, &key, &Kept::Body { salt, body });
        checkpoint::keep_head(self, head)?;
        Ok(leaf.seq)
    }
}

/// Erases salt and body of an entry for good: nobody can say any more what it was about, and the log still verifies. That it was
/// erased is itself an entry. False when there is no such entry, when it is erased already, or when it tells of an erasure.
///
/// # Errors
/// [`StoreError`]
pub fn erase(tx: &mut Tx, seq: u64, by: Option<Did>, now: Timestamp) -> Result<bool, StoreError> {
    let key = sequence(seq);
    let Some(leaf) = tx.load::<Leaf>(Table::AuditLeaves, &key)? else { return Ok(false) };
    if leaf.kind == ERASED || tx.load(Table::AuditBodies, &key)? == Some(Kept::Erased) {
        return Ok(false);
    }
    tx.save(Table::AuditBodies, &key, &Kept::Erased);
    tx.audit(Entry::new("audit", "erased", now).by(by).on(seq))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_details_are_cut_at_a_letter() {
        let entry = Entry::new("a", "b", Timestamp(1)).on("é".repeat(400)).with("c", "d");
        assert_eq!(entry.subject.len(), 512);
        assert_eq!(entry.detail["c"], "d");
    }
}
