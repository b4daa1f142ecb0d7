//! Questions that wait until somebody's node is there again, and for a while what became of them.
//!
//! A question is sent by an order. Before that order leaves it stands here, in the change that keeps it as a receipt, so that no crash makes
//! this node order the same thing twice.

use std::collections::BTreeMap;
use std::time::Duration;

use klp::{Did, Digest, OwnerId, Timestamp, cbor_enum, cbor_struct, limits};

use crate::error::StoreError;
use crate::table::{Table, part};
use crate::view::{Tx, View};

/// Questions that have ended and are still shown.
pub const ENDED: usize = 256;
/// How long they are.
const SHOWN: Duration = limits::MAIL_LIFE;
/// Bytes of each argument that are kept of a question that has ended: enough to know it again.
const REMEMBERED: usize = 1024;
/// Rows that are read at most: more than are ever kept.
const ROWS: usize = 4096;

cbor_enum! {
    /// What overtakes what.
    pub enum Priority {
        /// After everything else.
        1 Low "low";
        /// As it comes.
        2 Normal "normal";
        /// Before everything else.
        3 Urgent "urgent";
    }
}

cbor_enum! {
    /// How far a question has come.
    pub enum State {
        /// It waits.
        1 Queued "queued";
        /// Its order has left, and what came of it is not known yet.
        2 Dispatched "dispatched";
        /// It was answered; the receipt of its order holds the answer.
        3 Answered "answered";
        /// It will not be answered.
        4 Failed "failed";
        /// Its time was over before it was sent.
        5 Expired "expired";
        /// Its owner did not want it any more.
        6 Dropped "dropped";
    }
}

cbor_struct! {
    /// One question.
    pub struct Question {
        /// Chosen when it was queued.
        1 id: Digest;
        /// Whom it is for, as its owner typed it.
        2 who: String, max limits::TEXT;
        /// The contact whom that meant.
        3 owner: OwnerId;
        /// The owner, node or agent that is asked.
        4 to: Did;
        /// The agent's name, unless `to` is the agent.
        5 agent: Option<String>, max limits::TEXT;
        /// The capability.
        6 capability: String, max limits::NAME;
        /// The arguments.
        7 arguments: BTreeMap<String, String>, max limits::ARGUMENTS;
        /// Milliseconds that its answer may take.
        8 patience: u64;
        /// What it overtakes.
        9 priority: Priority;
        /// When it was queued.
        10 queued: Timestamp;
        /// Until when it may be sent.
        11 expires: Timestamp;
        /// How far it has come.
        12 state: State;
        /// The order that has left and may have been done.
        13 order: Option<Digest>;
        /// When its state last changed.
        14 changed: Timestamp;
        /// The number of the refusal that ended it.
        15 refusal: Option<u64>;
        /// That refusal, for people.
        16 message: Option<String>, max limits::ARGUMENT;
    }
}

impl State {
    /// Whether something may still come of it.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Dispatched)
    }
}

impl Question {
    /// Bytes of what is asked.
    pub fn bytes(&self) -> usize {
        self.arguments.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// Keeps a question as it now is.
pub fn put(tx: &mut Tx, question: &Question) {
    let key = key(tx, &question.id);
    tx.save(Table::Outbox, &key, question);
}

/// One question.
///
/// # Errors
/// [`StoreError`]
pub fn get(view: &View, id: &Digest) -> Result<Option<Question>, StoreError> {
    view.load(Table::Outbox, &key(view, id))
}

/// All that are kept, the oldest first.
///
/// # Errors
/// [`StoreError`]
pub fn list(view: &View) -> Result<Vec<Question>, StoreError> {
    let mut all: Vec<Question> = view.all(Table::Outbox, ROWS)?;
    all.sort_by_key(|question| (question.queued, question.id));
    Ok(all)
}

/// Its order is about to leave; false when nothing is to be sent any more.
///
/// # Errors
/// [`StoreError`]
pub fn dispatch(tx: &mut Tx, id: &Digest, order: Digest, now: Timestamp) -> Result<bool, StoreError> {
    let Some(question) = get(tx, id)?.filter(|question| question.state.is_open()) else { return Ok(false) };
    put(tx, &Question { state: State::Dispatched, order: Some(order), changed: now, ..question });
    Ok(true)
}

/// Its order was certainly not carried out: another may leave.
///
/// # Errors
/// [`StoreError`]
pub fn undone(tx: &mut Tx, id: &Digest, now: Timestamp) -> Result<(), StoreError> {
    if let Some(question) = get(tx, id)?.filter(|question| question.state == State::Dispatched) {
        put(tx, &Question { state: State::Queued, order: None, changed: now, ..question });
    }
    Ok(())
}

/// Nothing more comes of it. Gives it as it now is, or `None` when it had ended before.
///
/// # Errors
/// [`StoreError`]
pub fn end(
    tx: &mut Tx,
    id: &Digest,
    state: State,
    why: Option<(u64, String)>,
    now: Timestamp,
) -> Result<Option<Question>, StoreError> {
    let Some(mut question) = get(tx, id)?.filter(|question| question.state.is_open()) else { return Ok(None) };
    for value in question.arguments.values_mut() {
        value.truncate(value.floor_char_boundary(REMEMBERED));
    }
    let (refusal, message) = why.unzip();
    let ended = Question { state, changed: now, refusal, message, ..question };
    put(tx, &ended);
    Ok(Some(ended))
}

/// Shows it no longer.
pub fn forget(tx: &mut Tx, id: &Digest) {
    let key = key(tx, id);
    tx.remove(Table::Outbox, &key);
}

/// Forgets what ended long ago, and the oldest of too many that have.
///
/// # Errors
/// [`StoreError`]
pub fn forget_ended(tx: &mut Tx, now: Timestamp) -> Result<(), StoreError> {
    let mut ended: Vec<_> = list(tx)?.into_iter().filter(|question| !question.state.is_open()).collect();
    ended.sort_by_key(|question| std::cmp::Reverse(question.changed));
    for (place, question) in ended.iter().enumerate() {
        if place >= ENDED || now > question.changed.after(SHOWN) {
            forget(tx, &question.id);
        }
    }
    Ok(())
}

fn key(view: &View, id: &Digest) -> [u8; 32] {
    view.hidden(Table::Outbox, &[part(id)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{self, did};

    fn question(number: u64) -> Question {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        Question {
            id: Digest(id),
            who: "bob/docs".into(),
            owner: OwnerId(did(1)),
            to: did(1),
            agent: Some("docs".into()),
            capability: "ask".into(),
            arguments: [("text".to_owned(), "why?".to_owned())].into(),
            patience: 1000,
            priority: Priority::Urgent,
            queued: Timestamp(number),
            expires: Timestamp(1000),
            state: State::Queued,
            order: None,
            changed: Timestamp(number),
            refusal: None,
            message: None,
        }
    }

    #[test]
    fn c9_a_question_goes_from_queued_to_its_end_and_no_further() {
        bench::on_each(|tx| {
            let long = "\u{e4}".repeat(REMEMBERED);
            let one = Question { arguments: [("text".to_owned(), long)].into(), ..question(1) };
            put(tx, &one);
            assert_eq!(get(tx, &one.id).expect("reads"), Some(one.clone()));
            let order = Digest([7; 32]);
            assert!(dispatch(tx, &one.id, order, Timestamp(2)).expect("leaves"));
            let left = get(tx, &one.id).expect("reads").expect("there");
            assert_eq!((left.state, left.order, left.changed), (State::Dispatched, Some(order), Timestamp(2)));
            undone(tx, &one.id, Timestamp(3)).expect("comes back");
            let back = get(tx, &one.id).expect("reads").expect("there");
            assert_eq!((back.state, back.order), (State::Queued, None));
            let why = Some((8, "revoked".to_owned()));
            let ended = end(tx, &one.id, State::Failed, why, Timestamp(4)).expect("ends").expect("it was open");
            assert_eq!(
                (ended.state, ended.refusal, ended.message.as_deref()),
                (State::Failed, Some(8), Some("revoked"))
            );
            assert_eq!(ended.bytes(), "text".len() + REMEMBERED, "enough to know it again");
            assert!(!dispatch(tx, &one.id, order, Timestamp(5)).expect("reads"), "it has ended");
            assert_eq!(end(tx, &one.id, State::Answered, None, Timestamp(5)).expect("reads"), None);
            assert!(!dispatch(tx, &Digest([9; 32]), order, Timestamp(5)).expect("reads"), "there is none");
            undone(tx, &one.id, Timestamp(6)).expect("reads");
            assert_eq!(get(tx, &one.id).expect("reads"), Some(ended));
        });
    }

    #[test]
    fn c9_what_ended_is_shown_for_a_week_and_in_bounded_number_and_what_waits_is_never_forgotten() {
        bench::on_each(|tx| {
            (1..=3).for_each(|number| put(tx, &question(number)));
            end(tx, &question(1).id, State::Expired, None, Timestamp(10)).expect("ends");
            forget_ended(tx, Timestamp(10).after(SHOWN)).expect("forgets");
            assert_eq!(list(tx).expect("lists").len(), 3);
            forget_ended(tx, Timestamp(11).after(SHOWN)).expect("forgets");
            let left: Vec<_> = list(tx).expect("lists").into_iter().map(|question| question.id).collect();
            assert_eq!(left, [question(2).id, question(3).id]);
            for number in 10..10 + ENDED as u64 + 5 {
                put(tx, &Question { state: State::Answered, ..question(number) });
            }
            forget_ended(tx, Timestamp(20)).expect("forgets");
            let kept = list(tx).expect("lists");
            assert_eq!(kept.iter().filter(|question| !question.state.is_open()).count(), ENDED);
            assert!(get(tx, &question(10).id).expect("reads").is_none(), "the oldest goes first");
            assert!(get(tx, &question(2).id).expect("reads").is_some());
        });
    }
}
