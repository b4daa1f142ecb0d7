//! Proof of jobs, as both sides signed it, newest first.

use klp::codec::{Bytes, CodecError, Fields, Map, Value};
use klp::{Cbor, Did, Digest, Timestamp, limits};

use crate::error::StoreError;
use crate::table::{Table, number, part, sequence};
use crate::view::{Order, Tx, View, decode};

/// Bytes of an answer that are kept; the outcome signs the digest of all of it.
pub const ANSWER: usize = 256 * 1024;
/// Certificates kept with a receipt.
const CERTIFICATES: usize = 16;
/// Receipts in one page.
const PAGE: usize = 1000;

/// Which side of a job this node was on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It asked.
    Asked,
    /// It answered.
    Answered,
}

/// How far a job is proven (security rule 23).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The caller ordered.
    Ordered,
    /// The agent signed an outcome.
    Answered,
    /// The caller signed that it came.
    Acknowledged,
}

/// One receipt, as signed bytes and what is needed to find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The order's id.
    pub id: Digest,
    /// Which side this node was on.
    pub role: Role,
    /// The other owner.
    pub other: Did,
    /// The agent that was asked, as the user named it.
    pub agent: String,
    /// When the order was made.
    pub at: Timestamp,
    /// The signed order.
    pub order: Vec<u8>,
    /// The signed outcome.
    pub outcome: Option<Vec<u8>>,
    /// The signed acknowledgement.
    pub acknowledgement: Option<Vec<u8>>,
    /// Certificates that tie the signers to their owners.
    pub certificates: Vec<Vec<u8>>,
    /// What was asked: the decoded request and its salt, so that the order's digest can be checked.
    pub request: Vec<u8>,
    /// The first [`ANSWER`] bytes of what was answered.
    pub answer: Vec<u8>,
}

impl Receipt {
    /// How far it is proven.
    pub fn proof(&self) -> Proof {
        match (&self.outcome, &self.acknowledgement) {
            (None, _) => Proof::Ordered,
            (Some(_), None) => Proof::Answered,
            (Some(_), Some(_)) => Proof::Acknowledged,
        }
    }
}

/// Stores a receipt, or replaces the one of the same order. Answers are cut at [`ANSWER`].
///
/// # Errors
/// [`StoreError`]
pub fn put(tx: &mut Tx, receipt: &Receipt) -> Result<(), StoreError> {
    let row = tx.hidden(Table::ReceiptIds, &[part(&receipt.id)]);
    let seq = match tx.load(Table::ReceiptIds, &row)? {
        Some(seq) => seq,
        None => {
            let seq = next(tx)?;
            tx.save(Table::ReceiptIds, &row, &seq);
            seq
        }
    };
    let mut receipt = receipt.clone();
    receipt.answer.truncate(ANSWER);
    tx.save(Table::Receipts, &sequence(seq), &receipt);
    Ok(())
}

/// By the order's id.
///
/// # Errors
/// [`StoreError`]
pub fn get(view: &View, id: &Digest) -> Result<Option<Receipt>, StoreError> {
    let row = view.hidden(Table::ReceiptIds, &[part(id)]);
    match view.load(Table::ReceiptIds, &row)? {
        Some(seq) => view.load(Table::Receipts, &sequence(seq)),
        None => Ok(None),
    }
}

/// Receipts, newest first, before number `before`; at most `limit` and at most 1000, each with its number.
///
/// # Errors
/// [`StoreError`]
pub fn list(view: &View, before: Option<u64>, limit: usize) -> Result<Vec<(u64, Receipt)>, StoreError> {
    let mut found = Vec::new();
    let limit = limit.clamp(1, PAGE);
    view.scan(Table::Receipts, ..sequence(before.unwrap_or(u64::MAX)).to_vec(), Order::Down, |key, bytes| {
        found.push((number(Table::Receipts, key)?, decode(Table::Receipts, key, &bytes)?));
        Ok(found.len() < limit)
    })?;
    Ok(found)
}

/// What was answered to `other` and not acknowledged, newest first, among the last 1000 receipts.
///
/// # Errors
/// [`StoreError`]
pub fn unacknowledged(view: &View, other: &Did) -> Result<Vec<Receipt>, StoreError> {
    let recent = list(view, None, PAGE)?.into_iter().map(|(_, receipt)| receipt);
    Ok(recent
        .filter(|receipt| {
            receipt.role == Role::Answered && receipt.other == *other && receipt.proof() == Proof::Answered
        })
        .collect())
}

fn next(view: &View) -> Result<u64, StoreError> {
    let mut next = 0;
    view.keys(Table::Receipts, Order::Down, |key| {
        next = number(Table::Receipts, key)? + 1;
        Ok(false)
    })?;
    Ok(next)
}

impl Cbor for Receipt {
    fn to_value(&self) -> Value {
        let certificates: Vec<_> = self.certificates.iter().cloned().map(Bytes).collect();
        Map::new()
            .with(1, &self.id)
            .with(2, &(self.role == Role::Asked))
            .with(3, &self.other)
            .with(4, &self.agent)
            .with(5, &self.at)
            .with(6, &Bytes(self.order.clone()))
            .with_some(7, self.outcome.clone().map(Bytes).as_ref())
            .with_some(8, self.acknowledgement.clone().map(Bytes).as_ref())
            .with(9, &certificates)
            .with(10, &Bytes(self.request.clone()))
            .with(11, &Bytes(self.answer.clone()))
            .build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let receipt = Self {
            id: fields.take(1)?,
            role: if fields.take(2)? { Role::Asked } else { Role::Answered },
            other: fields.take(3)?,
            agent: fields.text(4, limits::TEXT)?,
            at: fields.take(5)?,
            order: fields.bytes(6, limits::STATEMENT)?,
            outcome: fields.take_some::<Bytes>(7)?.map(|bytes| bytes.0),
            acknowledgement: fields.take_some::<Bytes>(8)?.map(|bytes| bytes.0),
            certificates: fields.list::<Bytes>(9, CERTIFICATES)?.into_iter().map(|bytes| bytes.0).collect(),
            request: fields.bytes(10, limits::MESSAGE)?,
            answer: fields.bytes(11, ANSWER)?,
        };
        fields.end()?;
        Ok(receipt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{self, did};

    fn receipt(id: u8) -> Receipt {
        Receipt {
            id: Digest([id; 32]),
            role: Role::Answered,
            other: did(1),
            agent: "docs".into(),
            at: Timestamp(u64::from(id)),
            order: vec![id],
            outcome: None,
            acknowledgement: None,
            certificates: vec![vec![9]],
            request: vec![8],
            answer: vec![7; ANSWER + 1],
        }
    }

    #[test]
    fn n7_receipts_grow_from_ordered_to_acknowledged_and_list_newest_first() {
        bench::on_each(|tx| {
            (1..=3).for_each(|id| put(tx, &receipt(id)).expect("stores"));
            let mut second = receipt(2);
            assert_eq!(second.proof(), Proof::Ordered);
            second.outcome = Some(vec![1]);
            put(tx, &second).expect("stores");
            assert_eq!(unacknowledged(tx, &did(1)).expect("reads").len(), 1);
            second.acknowledgement = Some(vec![2]);
            put(tx, &second).expect("stores");
            assert!(unacknowledged(tx, &did(1)).expect("reads").is_empty());
            let kept = get(tx, &Digest([2; 32])).expect("reads").expect("there");
            assert_eq!((kept.proof(), kept.answer.len()), (Proof::Acknowledged, ANSWER));
            let page = list(tx, None, 2).expect("lists");
            let ids: Vec<_> = page.iter().map(|(_, receipt)| receipt.id.0[0]).collect();
            assert_eq!(ids, [3, 2]);
            let rest = list(tx, Some(page[1].0), 2).expect("lists");
            assert_eq!(rest.len(), 1);
        });
    }
}
