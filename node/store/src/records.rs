//! What others published about themselves: node records and agent cards, verified by the caller, kept until they expire.

use klp::codec::{Bytes, CodecError, Fields, Map, Value};
pub use klp::rule::record::Put;
use klp::rule::record::{self as rule, Standing};
use klp::{Cbor, Did, Timestamp, limits};

use crate::error::StoreError;
use crate::table::{Table, sequence};
use crate::view::{Order, Tx, View};

/// Records kept. The one that expires first makes room.
pub const RECORDS: u64 = 4096;
/// Expired records that one [`drop_expired`] drops.
const DROPPED: usize = 2000;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A node: addresses and exchange key.
    Node,
    /// An agent's card.
    Card,
    /// The relays that a contact's node offers.
    Relays,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it is about.
    pub kind: Kind,
    /// Who it is about: the node's or the agent's key.
    pub about: Did,
    /// Whose it is, for finding what one owner publishes.
    pub owner: Did,
    /// The issuer's sequence number.
    pub seq: u64,
    /// When it ends.
    pub expires: Timestamp,
    /// The signed bytes.
    pub signed: Vec<u8>,
}

impl Record {
    fn standing(&self) -> Standing {
        Standing { seq: self.seq, expires: self.expires }
    }
}

/// Keeps a verified record when it is newer than the one that is known.
///
/// # Errors
/// [`StoreError`]
pub fn put(tx: &mut Tx, record: &Record, now: Timestamp) -> Result<Put, StoreError> {
    if record.signed.len() > limits::STATEMENT {
        return Err(StoreError::TooLarge { size: record.signed.len(), limit: limits::STATEMENT });
    }
    let key = key(tx, record.kind, &record.about);
    let known: Option<Record> = tx.load(Table::Records, &key)?;
    match rule::put(known.as_ref().map(Record::standing).as_ref(), &record.standing(), now) {
        Put::Kept => {}
        other => return Ok(other),
    }
    match &known {
        Some(known) => tx.remove(Table::RecordExpiry, &expiry(known.expires, &key)),
        None => make_room(tx)?,
    }
    tx.save(Table::Records, &key, record);
    tx.put(Table::RecordExpiry, &expiry(record.expires, &key), Vec::new());
    Ok(Put::Kept)
}

/// The newest record, unless it has expired.
///
/// # Errors
/// [`StoreError`]
pub fn get(view: &View, kind: Kind, about: &Did, now: Timestamp) -> Result<Option<Record>, StoreError> {
    let record: Option<Record> = view.load(Table::Records, &key(view, kind, about))?;
    Ok(record.filter(|record| !record.standing().has_expired(now)))
}

/// All of one kind that have not expired.
///
/// # Errors
/// [`StoreError`]
pub fn list(view: &View, kind: Kind, now: Timestamp) -> Result<Vec<Record>, StoreError> {
    let mut all: Vec<Record> = view.all(Table::Records, usize::MAX)?;
    all.retain(|record| record.kind == kind && !record.standing().has_expired(now));
    Ok(all)
}

/// Drops a record that proved to be wrong.
///
/// # Errors
/// [`StoreError`]
pub fn remove(tx: &mut Tx, kind: Kind, about: &Did) -> Result<(), StoreError> {
    let key = key(tx, kind, about);
    if let Some(known) = tx.load::<Record>(Table::Records, &key)? {
        tx.remove(Table::RecordExpiry, &expiry(known.expires, &key));
        tx.remove(Table::Records, &key);
    }
    Ok(())
}

pub(crate) fn drop_expired(tx: &mut Tx, now: Timestamp) -> Result<(), StoreError> {
    let mut expired = Vec::new();
    tx.scan(Table::RecordExpiry, ..sequence(now.0.saturating_add(1)).to_vec(), Order::Up, |key, _| {
        expired.push(key.to_vec());
        Ok(expired.len() < DROPPED)
    })?;
    expired.iter().for_each(|row| drop_row(tx, row));
    Ok(())
}

fn make_room(tx: &mut Tx) -> Result<(), StoreError> {
    let (mut first, mut count) = (None, 0);
    tx.keys(Table::RecordExpiry, Order::Up, |key| {
        first.get_or_insert_with(|| key.to_vec());
        count += 1;
        Ok(true)
    })?;
    if let Some(first) = first
        && count >= RECORDS
    {
        drop_row(tx, &first);
    }
    Ok(())
}

fn drop_row(tx: &mut Tx, row: &[u8]) {
    tx.remove(Table::RecordExpiry, row);
    if let Some(key) = row.get(8..) {
        tx.remove(Table::Records, key);
    }
}

fn key(view: &View, kind: Kind, about: &Did) -> [u8; 32] {
    let kind: &[u8] = match kind {
        Kind::Node => b"node",
        Kind::Card => b"card",
        Kind::Relays => b"relays",
    };
    view.hidden(Table::Records, &[kind, about.key()])
}

fn expiry(expires: Timestamp, key: &[u8; 32]) -> Vec<u8> {
    [&sequence(expires.0)[..], key].concat()
}

impl Cbor for Record {
    fn to_value(&self) -> Value {
        Map::new()
            .with(1, &(self.kind == Kind::Node))
            .with(2, &self.about)
            .with(3, &self.owner)
            .with(4, &self.seq)
            .with(5, &self.expires)
            .with(6, &Bytes(self.signed.clone()))
            .with_some(7, (self.kind == Kind::Relays).then_some(&true))
            .build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let is_node = fields.take(1)?;
        let mut record = Self {
            kind: if is_node { Kind::Node } else { Kind::Card },
            about: fields.take(2)?,
            owner: fields.take(3)?,
            seq: fields.take(4)?,
            expires: fields.take(5)?,
            signed: fields.bytes(6, limits::STATEMENT)?,
        };
        // Older versions of this program know two kinds.
        if fields.take_some(7)? == Some(true) {
            record.kind = Kind::Relays;
        }
        fields.end()?;
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{self, did};

    fn record(about: Did, seq: u64, expires: u64) -> Record {
        let kind = Kind::Card;
        Record { kind, about, owner: did(2), seq, expires: Timestamp(expires), signed: vec![1] }
    }

    #[test]
    fn d2_only_a_newer_record_replaces_one() {
        bench::on_each(|tx| {
            let now = Timestamp(10);
            assert_eq!(put(tx, &record(did(1), 5, 100), now).expect("puts"), Put::Kept);
            assert_eq!(put(tx, &record(did(1), 5, 200), now).expect("puts"), Put::Known);
            assert_eq!(put(tx, &record(did(1), 4, 200), now).expect("puts"), Put::Stale);
            assert_eq!(put(tx, &record(did(1), 6, 10), now).expect("puts"), Put::Expired);
            assert_eq!(put(tx, &record(did(1), 6, 150), now).expect("puts"), Put::Kept);
            drop_expired(tx, Timestamp(100)).expect("drops");
            assert_eq!(get(tx, Kind::Card, &did(1), Timestamp(100)).expect("reads").map(|record| record.seq), Some(6));
            assert_eq!(get(tx, Kind::Node, &did(1), now).expect("reads"), None);
            drop_expired(tx, Timestamp(150)).expect("drops");
            assert!(list(tx, Kind::Card, now).expect("lists").is_empty());
        });
    }

    #[test]
    fn the_cache_is_bounded_and_the_first_to_expire_makes_room() {
        bench::on_each(|tx| {
            let about = |number: u64| klp::SecretKey::from_seed(&klp::Digest::of(&[&number.to_be_bytes()]).0).did();
            for number in 0..=RECORDS {
                put(tx, &record(about(number), 1, 1000 + number), Timestamp(1)).expect("puts");
            }
            assert_eq!(list(tx, Kind::Card, Timestamp(1)).expect("lists").len() as u64, RECORDS);
            assert_eq!(get(tx, Kind::Card, &about(0), Timestamp(1)).expect("reads"), None);
        });
    }
}
