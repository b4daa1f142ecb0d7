//! What is revoked. A denial of this node's own counts at once; the signed revocation follows when the owner's vault is open.

use klp::codec::{Bytes, CodecError, Fields, Map, Value};
use klp::statement::certificate::Credential;
use klp::{Cbor, Did, Digest, OwnerId, Timestamp, limits};

use crate::error::StoreError;
use crate::table::{Table, part};
use crate::view::{Tx, View};

/// Revocations that one node keeps.
const REVOCATIONS: usize = 1_000_000;

/// What a revocation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A grant or another statement, by its id.
    Statement(Digest),
    /// A key: nothing of it is accepted any more but what was stored before (security rule 4).
    Key(Did),
}

/// One revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// What it is about.
    pub target: Target,
    /// Whose revocation it is.
    pub issuer: OwnerId,
    /// When this node learned of it.
    pub at: Timestamp,
    /// Its place in the issuer's list; `None` while it is a local denial.
    pub seq: Option<u64>,
    /// The signed bytes; `None` while it is a local denial.
    pub signed: Option<Vec<u8>>,
}

/// How far an owner's revocations are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Whose.
    pub owner: OwnerId,
    /// Revocations that the owner made.
    pub seq: u64,
    /// Root over them, as the owner signed it.
    pub root: Digest,
    /// The signed head.
    pub signed: Vec<u8>,
    /// When this node last made sure that it is the newest.
    pub fetched: Timestamp,
}

/// What storing a head did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadKept {
    /// It is newer than what was known.
    Newer,
    /// It is the one that was known; it counts as fetched now.
    Same,
    /// A newer one is known; nothing changed.
    Older,
    /// Another root for the number that was known: the owner's list was forked. Nothing changed.
    Forked,
}

/// Denies something at once, before anything is signed; false when it was revoked already.
///
/// # Errors
/// [`StoreError`]
pub fn deny(tx: &mut Tx, target: Target, issuer: OwnerId, now: Timestamp) -> Result<bool, StoreError> {
    learn(tx, &Revoked { target, issuer, at: now, seq: None, signed: None })
}

/// Stores a revocation, or attaches the signed one to a denial; false when nothing changed. A revocation is kept per issuer, so
/// that nobody else's revocation of the same target stands in for it, and is never taken back.
///
/// # Errors
/// [`StoreError`]
pub fn learn(tx: &mut Tx, revoked: &Revoked) -> Result<bool, StoreError> {
    let key = key(tx, &revoked.target, &revoked.issuer);
    let known: Option<Revoked> = tx.load(Table::Revocations, &key)?;
    let changes = known.as_ref().is_none_or(|known| known.signed.is_none() && revoked.signed.is_some());
    if changes {
        let at = known.map_or(revoked.at, |known| known.at);
        tx.save(Table::Revocations, &key, &Revoked { at, ..revoked.clone() });
    }
    Ok(changes)
}

/// What `issuer` revoked of this target.
///
/// # Errors
/// [`StoreError`]
pub fn get(view: &View, target: &Target, issuer: &OwnerId) -> Result<Option<Revoked>, StoreError> {
    view.load(Table::Revocations, &key(view, target, issuer))
}

/// Whether a certificate still stands: its owner has not revoked it, as far as this node knows. What cannot be read counts as revoked.
pub fn stands(view: &View, credential: &Credential) -> bool {
    let certificate = Target::Statement(credential.certificate().id());
    get(view, &certificate, &credential.owner()).is_ok_and(|revoked| revoked.is_none())
}

/// All that is known, or all of one issuer, by time.
///
/// # Errors
/// [`StoreError`]
pub fn list(view: &View, issuer: Option<&OwnerId>) -> Result<Vec<Revoked>, StoreError> {
    let mut all: Vec<Revoked> = view.all(Table::Revocations, REVOCATIONS)?;
    all.retain(|revoked| issuer.is_none_or(|issuer| revoked.issuer == *issuer));
    all.sort_by_key(|revoked| (revoked.at, revoked.target));
    Ok(all)
}

/// The denials that still wait for a signature, by time.
///
/// # Errors
/// [`StoreError`]
pub fn unsigned(view: &View, issuer: &OwnerId) -> Result<Vec<Revoked>, StoreError> {
    let mut all = list(view, Some(issuer))?;
    all.retain(|revoked| revoked.signed.is_none());
    Ok(all)
}

/// How far this owner's revocations are known.
///
/// # Errors
/// [`StoreError`]
pub fn head(view: &View, owner: &OwnerId) -> Result<Option<Known>, StoreError> {
    view.load(Table::Heads, &view.hidden(Table::Heads, &[owner.0.key()]))
}

/// Stores an owner's signed head; it never goes back.
///
/// # Errors
/// [`StoreError`]
pub fn set_head(tx: &mut Tx, head: &Known) -> Result<HeadKept, StoreError> {
    let key = tx.hidden(Table::Heads, &[head.owner.0.key()]);
    let known: Option<Known> = tx.load(Table::Heads, &key)?;
    let kept = match &known {
        None => HeadKept::Newer,
        Some(known) if head.seq > known.seq => HeadKept::Newer,
        Some(known) if head.seq < known.seq => HeadKept::Older,
        Some(known) if head.root == known.root => HeadKept::Same,
        Some(_) => HeadKept::Forked,
    };
    match (kept, known) {
        (HeadKept::Newer, _) => tx.save(Table::Heads, &key, head),
        (HeadKept::Same, Some(known)) => {
            let fetched = known.fetched.max(head.fetched);
            tx.save(Table::Heads, &key, &Known { fetched, ..known });
        }
        _ => {}
    }
    Ok(kept)
}

fn key(view: &View, target: &Target, issuer: &OwnerId) -> [u8; 32] {
    let (kind, bytes) = match target {
        Target::Statement(id) => (b"statement".as_slice(), part(id)),
        Target::Key(did) => (b"key".as_slice(), did.key().as_slice()),
    };
    view.hidden(Table::Revocations, &[kind, bytes, issuer.0.key()])
}

impl Cbor for Target {
    fn to_value(&self) -> Value {
        match self {
            Self::Statement(id) => Map::new().with(1, id).build(),
            Self::Key(did) => Map::new().with(2, did).build(),
        }
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let target = match fields.take_some(1)? {
            Some(id) => Self::Statement(id),
            None => Self::Key(fields.take(2)?),
        };
        fields.end()?;
        Ok(target)
    }
}

impl Cbor for Revoked {
    fn to_value(&self) -> Value {
        Map::new()
            .with(1, &self.target)
            .with(2, &self.issuer)
            .with(3, &self.at)
            .with_some(4, self.seq.as_ref())
            .with_some(5, self.signed.clone().map(Bytes).as_ref())
            .build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let revoked = Self {
            target: fields.take(1)?,
            issuer: fields.take(2)?,
            at: fields.take(3)?,
            seq: fields.take_some(4)?,
            signed: fields.take_some::<Bytes>(5)?.map(|bytes| bytes.0),
        };
        fields.end()?;
        Ok(revoked)
    }
}

impl Cbor for Known {
    fn to_value(&self) -> Value {
        Map::new()
            .with(1, &self.owner)
            .with(2, &self.seq)
            .with(3, &self.root)
            .with(4, &Bytes(self.signed.clone()))
            .with(5, &self.fetched)
            .build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let known = Self {
            owner: fields.take(1)?,
            seq: fields.take(2)?,
            root: fields.take(3)?,
            signed: fields.bytes(4, limits::STATEMENT)?,
            fetched: fields.take(5)?,
        };
        fields.end()?;
        Ok(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{self, did};

    #[test]
    fn s01_a_denial_counts_before_it_is_signed_and_is_never_taken_back() {
        bench::on_each(|tx| {
            let (me, other) = (OwnerId(did(1)), OwnerId(did(2)));
            let target = Target::Statement(Digest([7; 32]));
            assert!(deny(tx, target, me, Timestamp(5)).expect("denies"));
            assert!(!deny(tx, target, me, Timestamp(9)).expect("is denied"));
            assert_eq!(get(tx, &target, &other).expect("reads"), None, "another issuer's is another revocation");
            assert_eq!(unsigned(tx, &me).expect("reads").len(), 1);
            let signed = Revoked { target, issuer: me, at: Timestamp(9), seq: Some(1), signed: Some(vec![1]) };
            assert!(learn(tx, &signed).expect("signs"));
            assert!(!learn(tx, &Revoked { signed: Some(vec![2]), ..signed }).expect("is signed"));
            let kept = get(tx, &target, &me).expect("reads").expect("revoked");
            assert_eq!((kept.at, kept.signed), (Timestamp(5), Some(vec![1])));
            assert!(unsigned(tx, &me).expect("reads").is_empty());
        });
    }

    #[test]
    fn s21_a_head_never_goes_back_and_a_fork_is_named() {
        bench::on_each(|tx| {
            let known = |seq, root, fetched| Known {
                owner: OwnerId(did(1)),
                seq,
                root: Digest([root; 32]),
                signed: vec![root],
                fetched: Timestamp(fetched),
            };
            assert_eq!(set_head(tx, &known(2, 2, 10)).expect("keeps"), HeadKept::Newer);
            assert_eq!(set_head(tx, &known(1, 1, 20)).expect("keeps"), HeadKept::Older);
            assert_eq!(set_head(tx, &known(2, 3, 20)).expect("keeps"), HeadKept::Forked);
            assert_eq!(set_head(tx, &known(2, 2, 30)).expect("keeps"), HeadKept::Same);
            assert_eq!(head(tx, &OwnerId(did(1))).expect("reads"), Some(known(2, 2, 30)));
        });
    }
}
