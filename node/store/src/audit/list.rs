//! Reading the log, newest first, in pages.

use std::collections::BTreeMap;

use klp::{Cbor as _, Did, Digest, Timestamp};

use super::entry::{Body, Kept, Leaf};
use super::frontier::leaf_hash;
use crate::error::StoreError;
use crate::table::{ROW, Table, damaged, sequence};
use crate::view::{Order, View, decode};

/// Entries of one page at most.
const PAGE: usize = 1000;
/// Entries that one page looks at, so that a filter which nothing passes does not read the whole log at once.
const LOOKED_AT: usize = 20_000;

/// Which entries are wanted; an empty filter wants all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only entries of this component.
    pub component: Option<String>,
    /// Only entries of this kind.
    pub kind: Option<String>,
    /// Only entries that this key caused.
    pub actor: Option<Did>,
}

impl Filter {
    pub(crate) fn admits(&self, entry: &Listed) -> bool {
        self.component.as_ref().is_none_or(|component| *component == entry.component)
            && self.kind.as_ref().is_none_or(|kind| *kind == entry.kind)
            && self.actor.is_none_or(|actor| Some(actor) == entry.actor)
    }
}

/// An entry as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its number, from 0.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Which room acted.
    pub component: String,
    /// What it did.
    pub kind: String,
    /// Who caused it.
    pub actor: Option<Did>,
    /// What it was done to. Empty when erased.
    pub subject: String,
    /// More. Empty when erased.
    pub detail: BTreeMap<String, String>,
    /// Whether subject and detail were erased.
    pub erased: bool,
    /// The leaf's hash in the tree.
    pub leaf: Digest,
}

/// Entries, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Listed>,
    /// Give this as `before` to read on; `None` at the end of the log.
    pub next: Option<u64>,
}

/// Entries that the filter admits, newest first, before number `before`; at most `limit` and at most 1000. A page may be short and
/// still have a next one.
///
/// # Errors
/// [`StoreError`]
pub fn list(view: &View, filter: &Filter, before: Option<u64>, limit: usize) -> Result<Page, StoreError> {
    let limit = limit.clamp(1, PAGE);
    let mut page = Page::default();
    let mut looked_at = 0;
    view.scan(Table::AuditLeaves, ..sequence(before.unwrap_or(u64::MAX)).to_vec(), Order::Down, |key, bytes| {
        let entry = read(view, key, &bytes)?;
        looked_at += 1;
        page.next = (entry.seq > 0).then_some(entry.seq);
        if filter.admits(&entry) {
            page.entries.push(entry);
        }
        Ok(page.entries.len() < limit && looked_at < LOOKED_AT)
    })?;
    Ok(page)
}

/// A leaf and its body.
pub(crate) fn read(view: &View, key: &[u8], bytes: &[u8]) -> Result<Listed, StoreError> {
    let leaf: Leaf = decode(Table::AuditLeaves, key, bytes)?;
    let kept: Option<Kept> = view.load(Table::AuditBodies, key)?;
    let (body, erased) = match kept {
        Some(Kept::Body { body, .. }) => {
            (Body::from_bytes(&body, ROW).map_err(|_| damaged(Table::AuditBodies, key))?, false)
        }
        Some(Kept::Erased) => (Body { subject: String::new(), detail: BTreeMap::new() }, true),
        None => return Err(damaged(Table::AuditBodies, key)),
    };
    let (component, kind) = leaf.kind.split_once('.').unwrap_or((&leaf.kind, ""));
    Ok(Listed {
        seq: leaf.seq,
        at: leaf.at,
        component: component.to_owned(),
        kind: kind.to_owned(),
        actor: leaf.actor,
        subject: body.subject,
        detail: body.detail,
        erased,
        leaf: leaf_hash(bytes),
    })
}
