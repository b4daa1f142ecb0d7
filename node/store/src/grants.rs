//! Grants issued here and received from others, as signed bytes and what is needed to find them.

use klp::codec::{Bytes, CodecError, Fields, Map, Value};
use klp::{Cbor, Did, Digest, Timestamp, limits};

use crate::error::StoreError;
use crate::table::{Table, part};
use crate::view::{Tx, View};

/// Grants that one node keeps, expired ones included.
const GRANTS: usize = 100_000;

/// Which side of a grant this node is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Issued here, or by a key of this owner.
    Issued,
    /// Received from somebody else.
    Received,
}

/// One grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The statement's id.
    pub id: Digest,
    /// Which side this node is on.
    pub side: Side,
    /// The other one: the holder when issued, the issuer when received.
    pub other: Did,
    /// The grant that this one delegates.
    pub parent: Option<Digest>,
    /// When it ends.
    pub expires: Timestamp,
    /// The signed bytes.
    pub signed: Vec<u8>,
    /// When it was stored.
    pub added: Timestamp,
}

/// Stores a grant; false when it was there already. Statements are idempotent by id.
///
/// # Errors
/// [`StoreError`]
pub fn add(tx: &mut Tx, grant: &Held) -> Result<bool, StoreError> {
    let key = tx.hidden(Table::Grants, &[part(&grant.id)]);
    if tx.get(Table::Grants, &key)?.is_some() {
        return Ok(false);
    }
    if grant.signed.len() > limits::STATEMENT {
        return Err(StoreError::TooLarge { size: grant.signed.len(), limit: limits::STATEMENT });
    }
    tx.save(Table::Grants, &key, grant);
    Ok(true)
}

/// By id.
///
/// # Errors
/// [`StoreError`]
pub fn get(view: &View, id: &Digest) -> Result<Option<Held>, StoreError> {
    view.load(Table::Grants, &view.hidden(Table::Grants, &[part(id)]))
}

/// The grant and the grants that it delegates, first the outermost; short when a link is missing. At most
/// [`klp::limits::GRANT_DEPTH`].
///
/// # Errors
/// [`StoreError`]
pub fn chain(view: &View, id: &Digest) -> Result<Vec<Held>, StoreError> {
    let mut links = Vec::new();
    let mut next = Some(*id);
    while let Some(id) = next
        && links.len() < limits::GRANT_DEPTH
        && let Some(link) = get(view, &id)?
    {
        next = link.parent;
        links.push(link);
    }
    links.reverse();
    Ok(links)
}

/// All grants, oldest first.
///
/// # Errors
/// [`StoreError`]
pub fn list(view: &View) -> Result<Vec<Held>, StoreError> {
    let mut all: Vec<Held> = view.all(Table::Grants, GRANTS)?;
    all.sort_by_key(|grant| (grant.added, grant.id));
    Ok(all)
}

/// Those that `other` holds from here, or issued to here, and that have not ended; oldest first.
///
/// # Errors
/// [`StoreError`]
pub fn with(view: &View, side: Side, other: &Did, now: Timestamp) -> Result<Vec<Held>, StoreError> {
    let mut all = list(view)?;
    all.retain(|grant| grant.side == side && grant.other == *other && grant.expires > now);
    Ok(all)
}

/// Removes a grant; false when there was none.
///
/// # Errors
/// [`StoreError`]
pub fn remove(tx: &mut Tx, id: &Digest) -> Result<bool, StoreError> {
    let found = get(tx, id)?.is_some();
    let key = tx.hidden(Table::Grants, &[part(id)]);
    tx.remove(Table::Grants, &key);
    Ok(found)
}

impl Cbor for Held {
    fn to_value(&self) -> Value {
        Map::new()
            .with(1, &self.id)
            .with(2, &(self.side == Side::Issued))
            .with(3, &self.other)
            .with_some(4, self.parent.as_ref())
            .with(5, &self.expires)
            .with(6, &Bytes(self.signed.clone()))
            .with(7, &self.added)
            .build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let grant = Self {
            id: fields.take(1)?,
            side: if fields.take(2)? { Side::Issued } else { Side::Received },
            other: fields.take(3)?,
            parent: fields.take_some(4)?,
            expires: fields.take(5)?,
            signed: fields.bytes(6, limits::STATEMENT)?,
            added: fields.take(7)?,
        };
        fields.end()?;
        Ok(grant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{self, did};

    fn grant(id: u8, side: Side, parent: Option<u8>) -> Held {
        Held {
            id: Digest([id; 32]),
            side,
            other: did(1),
            parent: parent.map(|parent| Digest([parent; 32])),
            expires: Timestamp(100),
            signed: vec![id],
            added: Timestamp(u64::from(id)),
        }
    }

    #[test]
    fn s20_a_grant_is_stored_once_by_its_id() {
        bench::on_each(|tx| {
            assert!(add(tx, &grant(1, Side::Issued, None)).expect("adds"));
            assert!(!add(tx, &grant(1, Side::Received, None)).expect("is there"));
            assert_eq!(get(tx, &Digest([1; 32])).expect("reads"), Some(grant(1, Side::Issued, None)));
            assert!(remove(tx, &Digest([1; 32])).expect("removes"));
            assert!(!remove(tx, &Digest([1; 32])).expect("is gone"));
        });
    }

    #[test]
    fn a_chain_is_read_from_its_root() {
        bench::on_each(|tx| {
            for link in
                [grant(1, Side::Issued, None), grant(2, Side::Received, Some(1)), grant(3, Side::Received, Some(2))]
            {
                add(tx, &link).expect("adds");
            }
            let ids: Vec<_> = chain(tx, &Digest([3; 32])).expect("reads").iter().map(|link| link.id.0[0]).collect();
            assert_eq!(ids, [1, 2, 3]);
            let current = with(tx, Side::Received, &did(1), Timestamp(99)).expect("reads");
            assert_eq!(current.len(), 2);
            assert!(with(tx, Side::Received, &did(1), Timestamp(100)).expect("reads").is_empty(), "ended");
            assert!(with(tx, Side::Issued, &did(2), Timestamp(0)).expect("reads").is_empty(), "somebody else's");
        });
    }

    #[test]
    fn a_chain_that_bites_its_tail_ends() {
        bench::on_each(|tx| {
            add(tx, &grant(1, Side::Issued, Some(1))).expect("adds");
            assert_eq!(chain(tx, &Digest([1; 32])).expect("reads").len(), limits::GRANT_DEPTH);
        });
    }
}
