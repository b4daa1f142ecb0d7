//! Which requests were seen, and which deeds were permitted and have no outcome yet.

use std::time::Duration;

use klp::codec::{Bytes, CodecError, Fields, Map, Value};
use klp::{Cbor, Did, Digest, Timestamp, limits};

use crate::audit::Entry;
use crate::error::StoreError;
use crate::table::{Table, number, part, sequence};
use crate::view::{Order, Tx, View};

/// Live ids of one signer: fifty direct requests a second for as long as they live, ten minutes. Full means `busy`: live ids are never
/// evicted (security rule 20).
pub const LIVE_IDS: u64 = 32_768;
/// Expired ids that one [`forget_expired`] drops, so that it stays a short change.
const FORGOTTEN: usize = 2000;
/// How much longer a permit is kept whose deed still runs when it expires.
const STILL_RUNNING: Duration = Duration::from_secs(3600);

/// Why a request is not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeenError {
    /// This signer's id was seen before.
    #[error("this request was seen before")]
    Replay,
    /// Its time is over.
    #[error("this request has expired")]
    Expired,
    /// The signer has too many live requests.
    #[error("the signer has {LIVE_IDS} live requests already")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A deed that was permitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    /// Whose key signed or sent the request; with `id` it names the permit.
    pub signer: Did,
    /// On whose behalf it runs: the owner of the signer.
    pub principal: Did,
    /// The request.
    pub id: Digest,
    /// What was permitted, as people read it: `docs.ask`.
    pub what: String,
    /// The grants that it spends, outermost first.
    pub chain: Vec<Digest>,
    /// When.
    pub at: Timestamp,
    /// Until when its outcome is kept.
    pub expires: Timestamp,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a deed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It runs.
    Open,
    /// It ended; the answer is given again to whoever sends the request again.
    Done(Vec<u8>),
    /// The node stopped in the middle of it. What it cost is spent.
    Interrupted,
}

/// Remembers a request until it expires, in the transaction of its verdict.
///
/// # Errors
/// [`SeenError`]
pub fn remember(tx: &mut Tx, signer: &Did, id: &Digest, expires: Timestamp, now: Timestamp) -> Result<(), SeenError> {
    if expires <= now {
        return Err(SeenError::Expired);
    }
    let key = tx.hidden(Table::Seen, &[signer.key(), part(id)]);
    if tx.get(Table::Seen, &key)?.is_some() {
        return Err(SeenError::Replay);
    }
    let counter = tx.hidden(Table::SeenCount, &[signer.key()]);
    let live: u64 = tx.load(Table::SeenCount, &counter)?.unwrap_or_default();
    if live >= LIVE_IDS {
        return Err(SeenError::Busy);
    }
    tx.save(Table::SeenCount, &counter, &(live + 1));
    tx.save(Table::Seen, &key, &expires);
    tx.put(Table::SeenExpiry, &[&sequence(expires.0)[..], &key].concat(), counter.to_vec());
    Ok(())
}

/// Whether a request was seen and has not expired.
///
/// # Errors
/// [`StoreError`]
pub fn seen(view: &View, signer: &Did, id: &Digest) -> Result<bool, StoreError> {
    Ok(view.get(Table::Seen, &view.hidden(Table::Seen, &[signer.key(), part(id)]))?.is_some())
}

/// Forgets what has expired: ids, and permits with their outcomes.
pub(crate) fn forget_expired(tx: &mut Tx, now: Timestamp) -> Result<(), StoreError> {
    for (key, counter) in expired(tx, Table::SeenExpiry, now)? {
        tx.remove(Table::SeenExpiry, &key);
        tx.remove(Table::Seen, &key[8..]);
        match tx.load::<u64>(Table::SeenCount, &counter)? {
            Some(live) if live > 1 => tx.save(Table::SeenCount, &counter, &(live - 1)),
            _ => tx.remove(Table::SeenCount, &counter),
        }
    }
    for (key, _) in expired(tx, Table::PermitExpiry, now)? {
        tx.remove(Table::PermitExpiry, &key);
        if tx.get(Table::OpenPermits, &key[8..])?.is_some() {
            // It still runs: its outcome must find it.
            let later = [&sequence(now.after(STILL_RUNNING).0)[..], &key[8..]].concat();
            tx.put(Table::PermitExpiry, &later, Vec::new());
        } else {
            tx.remove(Table::Permits, &key[8..]);
        }
    }
    Ok(())
}

/// A key and a value.
type Row = (Vec<u8>, Vec<u8>);

/// Rows whose key begins with a time that is over.
fn expired(view: &View, table: Table, now: Timestamp) -> Result<Vec<Row>, StoreError> {
    let mut rows = Vec::new();
    view.scan(table, ..sequence(now.0.saturating_add(1)).to_vec(), Order::Up, |key, value| {
        number(table, key)?;
        rows.push((key.to_vec(), value));
        Ok(rows.len() < FORGOTTEN)
    })?;
    Ok(rows)
}

/// Opens a permit, durably before the deed. Reserve the budget in the same change.
///
/// # Errors
/// [`StoreError`]
pub fn open(tx: &mut Tx, permit: &Permit) -> Result<(), StoreError> {
    let key = key(tx, &permit.signer, &permit.id);
    tx.save(Table::Permits, &key, &Permit { outcome: Outcome::Open, ..permit.clone() });
    tx.put(Table::OpenPermits, &key, Vec::new());
    tx.put(Table::PermitExpiry, &[&sequence(permit.expires.0)[..], &key].concat(), Vec::new());
    Ok(())
}

/// Closes a permit with its outcome; false when it was not open. An outcome over 64 KiB is kept empty.
///
/// # Errors
/// [`StoreError`]
pub fn close(tx: &mut Tx, signer: &Did, id: &Digest, outcome: &[u8]) -> Result<bool, StoreError> {
    let key = key(tx, signer, id);
    let Some(permit) = tx.load::<Permit>(Table::Permits, &key)? else { return Ok(false) };
    if permit.outcome != Outcome::Open {
        return Ok(false);
    }
    let kept = if outcome.len() <= limits::STATEMENT { outcome.to_vec() } else { Vec::new() };
    tx.save(Table::Permits, &key, &Permit { outcome: Outcome::Done(kept), ..permit });
    tx.remove(Table::OpenPermits, &key);
    Ok(true)
}

/// What became of a request, while it is remembered.
///
/// # Errors
/// [`StoreError`]
pub fn get(view: &View, signer: &Did, id: &Digest) -> Result<Option<Permit>, StoreError> {
    view.load(Table::Permits, &key(view, signer, id))
}

/// Permits without an outcome at one moment, by name only.
#[derive(Clone, Debug, Default)]
pub struct LeftOpen(Vec<Vec<u8>>);

impl LeftOpen {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Those that have no outcome now.
///
/// # Errors
/// [`StoreError`]
pub fn left_open(view: &View) -> Result<LeftOpen, StoreError> {
    let mut open = Vec::new();
    view.keys(Table::OpenPermits, Order::Up, |key| {
        open.push(key.to_vec());
        Ok(true)
    })?;
    Ok(LeftOpen(open))
}

/// Closes these as interrupted, with an entry each, and returns them: at start those of the last run, or later, when a full disk did not let it.
/// Those that have an outcome by now keep it, and others that are open now are not touched.
///
/// # Errors
/// [`StoreError`]
pub fn interrupt(tx: &mut Tx, open: LeftOpen, now: Timestamp) -> Result<Vec<Permit>, StoreError> {
    let mut closed = Vec::new();
    for key in open.0 {
        if tx.get(Table::OpenPermits, &key)?.is_none() {
            continue;
        }
        tx.remove(Table::OpenPermits, &key);
        let Some(mut permit) = tx.load::<Permit>(Table::Permits, &key)? else { continue };
        permit.outcome = Outcome::Interrupted;
        tx.save(Table::Permits, &key, &permit);
        let entry = Entry::new("permit", "interrupted", now).by(Some(permit.principal)).on(&permit.what);
        tx.audit(entry.with("request", permit.id))?;
        closed.push(permit);
    }
    Ok(closed)
}

fn key(view: &View, signer: &Did, id: &Digest) -> [u8; 32] {
    view.hidden(Table::Permits, &[signer.key(), part(id)])
}

impl Cbor for Outcome {
    fn to_value(&self) -> Value {
        match self {
            Self::Open => Map::new().build(),
            Self::Done(outcome) => Map::new().with(1, &Bytes(outcome.clone())).build(),
            Self::Interrupted => Map::new().with(2, &true).build(),
        }
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let outcome = match (fields.take_some::<Bytes>(1)?, fields.take_some::<bool>(2)?) {
            (Some(outcome), None) => Self::Done(outcome.0),
            (None, Some(_)) => Self::Interrupted,
            (None, None) => Self::Open,
            _ => return Err(CodecError::Field { field: 2, expected: "one outcome" }),
        };
        fields.end()?;
        Ok(outcome)
    }
}

impl Cbor for Permit {
    fn to_value(&self) -> Value {
        Map::new()
            .with(1, &self.signer)
            .with(2, &self.principal)
            .with(3, &self.id)
            .with(4, &self.what)
            .with(5, &self.chain)
            .with(6, &self.at)
            .with(7, &self.expires)
            .with(8, &self.outcome)
            .build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let permit = Self {
            signer: fields.take(1)?,
            principal: fields.take(2)?,
            id: fields.take(3)?,
            what: fields.text(4, limits::TEXT)?,
            chain: fields.list(5, limits::GRANT_DEPTH)?,
            at: fields.take(6)?,
            expires: fields.take(7)?,
            outcome: fields.take(8)?,
        };
        fields.end()?;
        Ok(permit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{self, did};

    fn permit(id: u8, expires: u64) -> Permit {
        Permit {
            signer: did(1),
            principal: did(2),
            id: Digest([id; 32]),
            what: "docs.ask".into(),
            chain: vec![Digest([9; 32])],
            at: Timestamp(1),
            expires: Timestamp(expires),
            outcome: Outcome::Open,
        }
    }

    #[test]
    fn s20_an_id_is_seen_once_until_it_expires() {
        bench::on_each(|tx| {
            let (id, until) = (Digest([1; 32]), Timestamp(100));
            remember(tx, &did(1), &id, until, Timestamp(1)).expect("new");
            assert!(matches!(remember(tx, &did(1), &id, until, Timestamp(1)), Err(SeenError::Replay)));
            remember(tx, &did(2), &id, until, Timestamp(1)).expect("another signer's");
            forget_expired(tx, Timestamp(99)).expect("forgets");
            assert!(matches!(remember(tx, &did(1), &id, until, Timestamp(99)), Err(SeenError::Replay)));
            forget_expired(tx, Timestamp(100)).expect("forgets");
            assert!(matches!(remember(tx, &did(1), &id, until, Timestamp(100)), Err(SeenError::Expired)));
            assert_eq!(tx.all::<u64>(Table::SeenCount, 10).expect("reads"), Vec::<u64>::new());
        });
    }

    #[test]
    fn s20_a_full_signer_is_busy_and_its_live_ids_stay() {
        bench::on_each(|tx| {
            let id = |number: u64| Digest::of(&[&number.to_be_bytes()]);
            for number in 0..LIVE_IDS {
                remember(tx, &did(1), &id(number), Timestamp(100 + number), Timestamp(1)).expect("new");
            }
            let one_more = remember(tx, &did(1), &id(LIVE_IDS), Timestamp(100), Timestamp(1));
            assert!(matches!(one_more, Err(SeenError::Busy)));
            assert!(matches!(remember(tx, &did(1), &id(0), Timestamp(100), Timestamp(1)), Err(SeenError::Replay)));
            remember(tx, &did(2), &id(0), Timestamp(100), Timestamp(1)).expect("others are not concerned");
            forget_expired(tx, Timestamp(100)).expect("forgets");
            remember(tx, &did(1), &id(LIVE_IDS), Timestamp(200), Timestamp(101)).expect("there is room again");
        });
    }

    #[test]
    fn s18_a_permit_without_outcome_is_closed_interrupted() {
        bench::on_each(|tx| {
            open(tx, &permit(1, 100)).expect("opens");
            open(tx, &permit(2, 100)).expect("opens");
            assert!(close(tx, &did(1), &Digest([1; 32]), b"answer").expect("closes"));
            assert!(!close(tx, &did(1), &Digest([1; 32]), b"other").expect("is closed"));
            let left = left_open(tx).expect("reads");
            open(tx, &permit(3, 100)).expect("opens later");
            let closed = interrupt(tx, left.clone(), Timestamp(50)).expect("closes");
            assert_eq!(closed.iter().map(|permit| permit.id).collect::<Vec<_>>(), [Digest([2; 32])]);
            assert!(interrupt(tx, left, Timestamp(51)).expect("closes").is_empty());
            let kept = |id| get(tx, &did(1), &Digest([id; 32])).expect("reads").expect("there").outcome;
            assert_eq!((kept(1), kept(2)), (Outcome::Done(b"answer".to_vec()), Outcome::Interrupted));
            assert_eq!(kept(3), Outcome::Open, "it runs");
            let told = crate::audit::list(tx, &crate::audit::Filter::default(), None, 10).expect("lists");
            assert_eq!((told.entries.len(), told.entries[0].kind.as_str()), (1, "interrupted"));
        });
    }

    #[test]
    fn s10_an_outcome_is_kept_until_its_request_expires_and_a_running_one_longer() {
        bench::on_each(|tx| {
            open(tx, &permit(1, 100)).expect("opens");
            open(tx, &permit(2, 100)).expect("opens");
            close(tx, &did(1), &Digest([1; 32]), b"answer").expect("closes");
            forget_expired(tx, Timestamp(100)).expect("forgets");
            assert_eq!(get(tx, &did(1), &Digest([1; 32])).expect("reads"), None);
            assert!(close(tx, &did(1), &Digest([2; 32]), b"late").expect("closes"));
            forget_expired(tx, Timestamp(100).after(STILL_RUNNING)).expect("forgets");
            assert_eq!(get(tx, &did(1), &Digest([2; 32])).expect("reads"), None);
        });
    }
}
