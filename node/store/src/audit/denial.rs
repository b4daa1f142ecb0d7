//! Denials without a flood: the first ones of a minute are entries, the rest is one counted entry.

use klp::codec::{CodecError, Fields, Map, Value};
use klp::{Cbor, Did, Timestamp};

use super::entry::Entry;
use crate::error::StoreError;
use crate::table::{Table, number, sequence};
use crate::view::{Order, Tx, decode};

/// Denials of one peer and minute that are entries of their own (security rule 19).
pub const DENIALS_A_MINUTE: u64 = 20;
/// Denials of all strangers together, and of all at the local API, that become entries on one day: at 300 bytes each, half a megabyte.
pub const STRANGER_DENIALS_A_DAY: u64 = 2000;

/// Buckets that one call of [`flush`] writes out, so that it stays a short change.
const FLUSHED: usize = 1000;

/// Whose denial it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Somebody known, by owner or node.
    Known(Did),
    /// Anybody else among the peers: all of them share one bucket.
    Stranger,
    /// Whoever knocks at the local API and is not let in. Its bucket is its own, so that a page in a browser cannot crowd out what peers
    /// are refused, nor the other way round.
    Local,
}

impl Who {
    fn did(self) -> Option<Did> {
        if let Self::Known(did) = self { Some(did) } else { None }
    }

    /// What tells the buckets apart: a key, or what is none.
    fn name(&self) -> &[u8] {
        match self {
            Self::Known(did) => did.key(),
            Self::Stranger => &[0; 32],
            Self::Local => b"local",
        }
    }
}

struct Count {
    who: Who,
    count: u64,
}

impl Cbor for Count {
    fn to_value(&self) -> Value {
        let local = (self.who == Who::Local).then_some(true);
        Map::new().with_some(1, self.who.did().as_ref()).with(2, &self.count).with_some(3, local.as_ref()).build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let (did, count, local) = (fields.take_some(1)?, fields.take(2)?, fields.take_some::<bool>(3)?);
        fields.end()?;
        let who = match (did, local) {
            (Some(did), _) => Who::Known(did),
            (None, Some(true)) => Who::Local,
            (None, _) => Who::Stranger,
        };
        Ok(Self { who, count })
    }
}

fn minute(at: Timestamp) -> u64 {
    at.0 / 60_000
}

impl Tx {
    /// Appends a denial, or counts it when its bucket is full. Returns its number when it became an entry.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn audit_denial(&mut self, who: Who, entry: Entry) -> Result<Option<u64>, StoreError> {
        let bucket = self.hidden(Table::Denials, &[who.name()]);
        let key = [&sequence(minute(entry.at))[..], &bucket].concat();
        let mut row = self.load(Table::Denials, &key)?.unwrap_or(Count { who, count: 0 });
        row.count += 1;
        self.save(Table::Denials, &key, &row);
        if row.count > DENIALS_A_MINUTE || !self.admits_today(who, entry.at)? {
            return Ok(None);
        }
        self.audit(entry).map(Some)
    }

    fn admits_today(&mut self, who: Who, at: Timestamp) -> Result<bool, StoreError> {
        let day = sequence(at.day());
        let day = match who {
            Who::Known(_) => return Ok(true),
            Who::Stranger => day.to_vec(),
            Who::Local => [&day[..], &[1]].concat(),
        };
        let admitted: u64 = self.load(Table::DenialDays, &day)?.unwrap_or_default();
        if admitted >= STRANGER_DENIALS_A_DAY {
            return Ok(false);
        }
        self.save(Table::DenialDays, &day, &(admitted + 1));
        Ok(true)
    }
}

/// Writes the counts of past minutes into the log.
pub(crate) fn flush(tx: &mut Tx, now: Timestamp) -> Result<(), StoreError> {
    let mut past = Vec::new();
    tx.scan(Table::Denials, ..sequence(minute(now)).to_vec(), Order::Up, |key, bytes| {
        past.push((key.to_vec(), decode::<Count>(Table::Denials, key, &bytes)?));
        Ok(past.len() < FLUSHED)
    })?;
    for (key, row) in past {
        tx.remove(Table::Denials, &key);
        if row.count > DENIALS_A_MINUTE {
            let (component, who) = match row.who {
                Who::Known(did) => ("permit", did.to_string()),
                Who::Stranger => ("permit", "strangers".to_owned()),
                Who::Local => ("api", "strangers".to_owned()),
            };
            let at = Timestamp(number(Table::Denials, &key)?.saturating_mul(60_000));
            let more = row.count - DENIALS_A_MINUTE;
            tx.audit(Entry::new(component, "denied_more", at).by(row.who.did()).on(who).with("count", more))?;
        }
    }
    let mut days = Vec::new();
    tx.scan(Table::DenialDays, ..sequence(now.day()).to_vec(), Order::Up, |key, _| {
        days.push(key.to_vec());
        Ok(days.len() < FLUSHED)
    })?;
    days.iter().for_each(|day| tx.remove(Table::DenialDays, day));
    Ok(())
}
