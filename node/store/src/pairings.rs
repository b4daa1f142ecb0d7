//! Pairing codes of this node: open ones with their secret, and for a while what became of those that ended.
//!
//! A try, right or wrong, changes a row here before it is answered, so a restart forgets none (security rule 27).

use std::time::Duration;

use klp::codec::{CodecError, Fields, Map, Value};
use klp::pairing::{Mailbox, Password, Slot};
use klp::{Cbor, Digest, NodeId, OwnerId, Timestamp, cbor_enum, cbor_struct, limits};

use crate::error::StoreError;
use crate::table::Table;
use crate::view::{Tx, View};

/// Codes that are kept, ended ones included.
const KEPT: usize = 64;
/// How long it is told what became of a code, after its time.
const TOLD: Duration = Duration::from_secs(3600);

/// One code.
#[derive(Clone, Debug, PartialEq)]
pub struct Pairing {
    /// Where.
    pub mailbox: Mailbox,
    /// The secret; it goes when the code ends.
    pub password: Option<Password>,
    /// What it still takes.
    pub slot: Slot,
    /// When it was made.
    pub made: Timestamp,
    /// What its owner wants to come of it.
    pub wish: Wish,
    /// Who has paired with it.
    pub pair: Option<Pair>,
}

cbor_struct! {
    /// What the owner of a code wants to come of it.
    pub struct Wish {
        /// The petname for whoever comes.
        1 name: Option<String>, max limits::NAME;
        /// What the owner would like to be called by them.
        2 me: Option<String>, max limits::NAME;
        /// The first grant.
        3 grant: Option<WishedGrant>;
    }
}

cbor_struct! {
    /// A first grant that is still to be made.
    pub struct WishedGrant {
        /// What, as `AGENT.CAPABILITY`.
        1 what: String, max 2 * limits::NAME + 1;
        /// Calls.
        2 calls: Option<u64>;
        /// Days.
        3 days: Option<u64>;
        /// Whether the owner has said yes before anybody came.
        4 approved: bool;
    }
}

cbor_enum! {
    /// Where the first grant stands.
    pub enum First {
        /// None was wished for.
        1 None "none";
        /// The owner has not said yes.
        2 Waiting "waiting";
        /// It is made.
        3 Given "given";
        /// The owner has said no.
        4 Declined "declined";
    }
}

cbor_struct! {
    /// Who has paired.
    pub struct Pair {
        /// Their petname at that moment.
        1 name: String, max limits::NAME;
        /// Their owner.
        2 owner: OwnerId;
        /// Their node.
        3 node: NodeId;
        /// The run in which it happened, and its last proof: the same may be said again, for its answer may have been lost.
        4 run: [u8; 16];
        /// SHA-256 of the last proof.
        5 proof: Digest;
        /// Where the first grant stands.
        6 first: First;
        /// Its id, once it is made.
        7 grant: Option<Digest>;
    }
}

/// The code of a mailbox.
///
/// # Errors
/// [`StoreError`]
pub fn get(view: &View, mailbox: &Mailbox) -> Result<Option<Pairing>, StoreError> {
    view.load(Table::Pairings, &key(view, mailbox))
}

/// All that are kept, the newest first.
///
/// # Errors
/// [`StoreError`]
pub fn list(view: &View) -> Result<Vec<Pairing>, StoreError> {
    let mut all: Vec<Pairing> = view.all(Table::Pairings, 2 * KEPT)?;
    all.sort_by_key(|pairing| std::cmp::Reverse(pairing.made));
    Ok(all)
}

/// Keeps a code as it now is. Of one that has ended the secret goes.
pub fn save(tx: &mut Tx, pairing: &Pairing) {
    let key = key(tx, &pairing.mailbox);
    let mut row = pairing.clone();
    if row.slot.end.is_some() {
        row.password = None;
    }
    tx.save(Table::Pairings, &key, &row);
}

/// Forgets what nobody asks about any more, and the secrets of codes whose time is over.
///
/// # Errors
/// [`StoreError`]
pub fn forget_expired(tx: &mut Tx, now: Timestamp) -> Result<(), StoreError> {
    for (place, mut pairing) in list(tx)?.into_iter().enumerate() {
        if place >= KEPT || now > pairing.slot.expires.after(TOLD) {
            let key = key(tx, &pairing.mailbox);
            tx.remove(Table::Pairings, &key);
        } else if now >= pairing.slot.expires && pairing.password.take().is_some() {
            save(tx, &pairing);
        }
    }
    Ok(())
}

fn key(view: &View, mailbox: &Mailbox) -> [u8; 32] {
    view.hidden(Table::Pairings, &[mailbox.as_str().as_bytes()])
}

impl Cbor for Pairing {
    fn to_value(&self) -> Value {
        let password = self.password.as_ref().map(|password| password.expose().to_owned());
        Map::new()
            .with(1, &self.mailbox.as_str().to_owned())
            .with_some(2, password.as_ref())
            .with(3, &self.slot)
            .with(4, &self.made)
            .with(5, &self.wish)
            .with_some(6, self.pair.as_ref())
            .build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let wrong = |field, expected| move |_| CodecError::Field { field, expected };
        let mut fields = Fields::of(value)?;
        let mailbox = Mailbox::parse(&fields.text(1, limits::NAME)?).map_err(wrong(1, "a mailbox"))?;
        let password = fields.take_some::<String>(2)?.map(zeroize::Zeroizing::new);
        let password = password.map(|text| Password::parse(&text)).transpose().map_err(wrong(2, "three words"))?;
        let pairing = Self {
            mailbox,
            password,
            slot: fields.take(3)?,
            made: fields.take(4)?,
            wish: fields.take(5)?,
            pair: fields.take_some(6)?,
        };
        fields.end()?;
        Ok(pairing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{self, did};
    use klp::pairing::{Code, End};

    fn pairing(text: &str, expires: u64) -> Pairing {
        let code = Code::parse(text).expect("a code");
        let grant = WishedGrant { what: "guide.ask".into(), calls: Some(20), days: Some(7), approved: false };
        Pairing {
            mailbox: code.mailbox,
            password: Some(code.password),
            slot: Slot::new(Timestamp(expires)),
            made: Timestamp(1),
            wish: Wish { name: Some("bob".into()), me: None, grant: Some(grant) },
            pair: None,
        }
    }

    #[test]
    fn s27_a_code_is_kept_whole_and_its_secret_goes_when_it_ends() {
        bench::on_each(|tx| {
            let mut one = pairing("ocean-4821-river-stone-lamp", 100);
            save(tx, &one);
            assert_eq!(get(tx, &one.mailbox).expect("reads"), Some(one.clone()));
            one.slot.end(End::Used);
            one.pair = Some(Pair {
                name: "bob".into(),
                owner: OwnerId(did(1)),
                node: NodeId(did(2)),
                run: [3; 16],
                proof: Digest([4; 32]),
                first: First::Waiting,
                grant: None,
            });
            save(tx, &one);
            let kept = get(tx, &one.mailbox).expect("reads").expect("kept");
            assert_eq!((kept.password, kept.pair), (None, one.pair));
        });
    }

    #[test]
    fn s27_what_became_of_a_code_is_told_for_an_hour_and_its_secret_never_outlives_its_time() {
        bench::on_each(|tx| {
            let one = pairing("ocean-4821-river-stone-lamp", 100);
            save(tx, &one);
            forget_expired(tx, Timestamp(99)).expect("forgets");
            assert_eq!(get(tx, &one.mailbox).expect("reads"), Some(one.clone()));
            forget_expired(tx, Timestamp(100)).expect("forgets");
            assert_eq!(get(tx, &one.mailbox).expect("reads").expect("kept").password, None);
            forget_expired(tx, Timestamp(101).after(TOLD)).expect("forgets");
            assert_eq!(get(tx, &one.mailbox).expect("reads"), None);
            for number in 1..=KEPT + 3 {
                save(tx, &pairing(&format!("ocean-{number}-river-stone-lamp"), 100));
            }
            forget_expired(tx, Timestamp(99)).expect("forgets");
            assert_eq!(list(tx).expect("lists").len(), KEPT);
        });
    }
}
