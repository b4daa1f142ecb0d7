//! The side that made the code: what joiners ask, and how their tries are counted.

use std::sync::{Arc, Mutex, PoisonError};

use klp::message::{FirstGrant, PairFinish, PairFinished, PairOpen, PairOpened, PairProve, PairProved, kind};
use klp::pairing::{End, Expecting, Issuer, Mailbox, Parties, Proven};
use klp::{NodeId, Refusal};
use mesh::Refused;
use serde_json::json;
use store::StoreError;
use store::audit::Entry;
use store::contacts::{AddError, Contact};
use store::pairings::{First, Pair, Pairing as Row};
use tokio::time::Instant;

use super::runs::Stage;
use super::{Pairing, choose_name, proof_digest};
use crate::entropy;
use crate::fault::Fault;
use crate::inbound::{Access, Caller, Inbound};
use crate::services::contacts::{self, not_added};

/// Why a change was not made: what the joiner is told, or what the store says.
enum Not {
    Refused(Refused),
    Added(AddError),
    Store(StoreError),
}

impl From<StoreError> for Not {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Refusal> for Not {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.into())
    }
}

impl From<Not> for Refused {
    fn from(not: Not) -> Self {
        match not {
            Not::Refused(refused) => refused,
            Not::Added(error) => not_added(error).refusal.into(),
            Not::Store(error) => Fault::from(error).refusal.into(),
        }
    }
}

/// What came of a try.
enum Tried {
    Right(Box<Proven>, Option<String>),
    Wrong(u64),
    Refused(Refusal),
}

impl Pairing {
    pub(super) fn answer(&self, inbound: &Inbound) {
        let pairing = self.clone();
        inbound.answer(kind::PAIR_OPEN, Access::Anybody, move |caller: Caller, open: PairOpen| {
            let pairing = pairing.clone();
            async move { pairing.begin(caller.node, &open).await }
        });
        let pairing = self.clone();
        inbound.answer(kind::PAIR_PROVE, Access::Anybody, move |caller: Caller, prove: PairProve| {
            let pairing = pairing.clone();
            async move { pairing.tried(caller.node, prove).await }
        });
        let pairing = self.clone();
        inbound.answer(kind::PAIR_FINISH, Access::Anybody, move |caller: Caller, finish: PairFinish| {
            let pairing = pairing.clone();
            async move { pairing.finished(caller.node, finish).await }
        });
    }

    /// Somebody was told a code of ours, or guesses.
    async fn begin(&self, joiner: NodeId, open: &PairOpen) -> Result<PairOpened, Refused> {
        let now = Instant::now();
        self.runs.admit(joiner, now)?;
        let mailbox = Mailbox::parse(&open.mailbox).map_err(|_| Refusal::NotFound)?;
        let wanted = mailbox.clone();
        let row = self.store.read(move |view| store::pairings::get(view, &wanted)).await;
        let row = row.map_err(|error: StoreError| Fault::from(error).refusal)?.ok_or_else(|| unknown(&mailbox))?;
        row.slot.admit(self.clock.now()).map_err(|refusal| ended(&row, refusal))?;
        let password = row.password.as_ref().ok_or_else(|| ended(&row, Refusal::Expired))?;
        let parties = Parties { mailbox, issuer: self.me.node(), joiner };
        let secret = zeroize::Zeroizing::new(entropy::bytes().map_err(|fault| fault.refusal)?);
        let (issuer, opened) = Issuer::answer(password, parties, open, &secret)?;
        self.runs.keep((joiner, open.run), Stage::Begun(Box::new(issuer)), now)?;
        Ok(opened)
    }

    /// The one try of a run. It is judged and counted in one change, which is durable before anybody hears of it: however many come at
    /// once, no more than three wrong ones are ever judged.
    async fn tried(&self, joiner: NodeId, prove: PairProve) -> Result<PairProved, Refused> {
        let key = (joiner, prove.run);
        let Some(Stage::Begun(issuer)) = self.runs.take(&key, Instant::now(), is_begun) else {
            return Err(Refused::new(Refusal::NotFound, "this run is not known: begin a new one"));
        };
        let mailbox = Mailbox::parse(&prove.mailbox).map_err(|_| Refusal::NotFound)?;
        let (now, place) = (self.clock.now(), mailbox.clone());
        let tried = self.store.write(move |tx| {
            let mut row = store::pairings::get(tx, &place)?.ok_or_else(|| Not::Refused(unknown(&place)))?;
            row.slot.admit(now).map_err(|refusal| Not::Refused(ended(&row, refusal)))?;
            let refusal = match issuer.check(&prove, now) {
                Ok(proven) => return Ok(Tried::Right(Box::new(proven), row.wish.me)),
                Err(refusal) => refusal,
            };
            if refusal != Refusal::WrongCode {
                return Ok(Tried::Refused(refusal));
            }
            let left = row.slot.wrong();
            store::pairings::save(tx, &row);
            tx.audit(Entry::new("pair", "wrong_try", now).on(&row.mailbox).with("left", left).with("node", joiner))?;
            Ok::<_, Not>(Tried::Wrong(left))
        });
        match tried.await? {
            Tried::Right(proven, me) => {
                self.contacts.admits(&proven.them().ticket, &proven.them().credential).map_err(plain)?;
                let identity = self.identity(me).map_err(|fault| fault.refusal)?;
                let (expecting, proved) = proven.answer(&identity)?;
                self.runs.keep(key, Stage::Proven(Box::new(expecting)), Instant::now())?;
                Ok(proved)
            }
            Tried::Wrong(left) => {
                self.bus.say("pair.tried", json!({ "mailbox": mailbox.as_str(), "tries_left": left }));
                if left == 0 {
                    self.closed(&mailbox, End::Burnt);
                }
                Err(Refused::new(Refusal::WrongCode, wrong(left)))
            }
            Tried::Refused(refusal) => Err(refusal.into()),
        }
    }

    /// The end: both hold the same transcript. The code is used, and the joiner is a contact, in one change.
    async fn finished(&self, joiner: NodeId, finish: PairFinish) -> Result<PairFinished, Refused> {
        let mailbox = Mailbox::parse(&finish.mailbox).map_err(|_| Refusal::NotFound)?;
        let stage = self.runs.take(&(joiner, finish.run), Instant::now(), |stage| !is_begun(stage));
        let (now, me) = (self.clock.now(), self.me.owner().0);
        let (place, kept): (Mailbox, Arc<Mutex<Option<Contact>>>) = (mailbox.clone(), Arc::default());
        let new = Arc::clone(&kept);
        let written = self.store.write(move |tx| {
            let mut row = store::pairings::get(tx, &place)?.ok_or_else(|| Not::Refused(unknown(&place)))?;
            let proof = proof_digest(&finish);
            // The answer was lost, or this node was restarted before it was sent.
            if row.pair.as_ref().is_some_and(|pair| (pair.node, pair.run, pair.proof) == (joiner, finish.run, proof)) {
                return Ok(row);
            }
            row.slot.admit(now).map_err(|refusal| Not::Refused(ended(&row, refusal)))?;
            let Some(Stage::Proven(expecting)) = stage else {
                return Err(Not::Refused(Refused::new(Refusal::NotFound, "this run is not known: begin a new one")));
            };
            let contact = paired(tx, &expecting, &finish, &row, now)?;
            contacts::keep(tx, &contact, me, now).map_err(Not::Added)?;
            let first = match &row.wish.grant {
                None => First::None,
                Some(wish) if wish.approved => First::Given,
                Some(_) => First::Waiting,
            };
            let Contact { name, owner, .. } = contact.clone();
            row.pair = Some(Pair { name, owner, node: joiner, run: finish.run, proof, first, grant: None });
            row.slot.end(End::Used);
            store::pairings::save(tx, &row);
            let entry = Entry::new("pair", "paired", now).by(Some(owner.0)).on(&row.mailbox);
            tx.audit(entry.with("contact", &contact.name).with("node", joiner))?;
            *new.lock().unwrap_or_else(PoisonError::into_inner) = Some(contact);
            Ok::<_, Not>(row)
        });
        let row = written.await?;
        let contact = kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(contact) = contact {
            self.contacts.added(&contact).await.map_err(|fault| fault.refusal)?;
            self.meeting.close(&mailbox);
            let data = json!({ "mailbox": mailbox.as_str(), "name": contact.name, "did": contact.owner.to_string() });
            self.bus.say("pair.done", data);
            if row.pair.as_ref().is_some_and(|pair| pair.first == First::Given) {
                let (pairing, row) = (self.clone(), row.clone());
                tokio::spawn(async move {
                    if let Err(fault) = pairing.give(row).await {
                        tracing::warn!(%fault, "the first grant waits for another yes");
                    }
                });
            }
        }
        let first = match row.pair.map(|pair| pair.first) {
            Some(First::Given) => FirstGrant::Coming,
            Some(First::Waiting) => FirstGrant::Asked,
            _ => FirstGrant::Nothing,
        };
        Ok(PairFinished { first })
    }
}

/// The contact that a finished run makes.
fn paired(
    tx: &store::Tx,
    expecting: &Expecting,
    finish: &PairFinish,
    row: &Row,
    now: klp::Timestamp,
) -> Result<Contact, Not> {
    let them = expecting.finish(finish)?;
    let (wished, proposed) = (row.wish.name.as_deref(), them.name.as_deref());
    let name = choose_name(tx, &them.ticket.owner, wished, proposed, &row.mailbox)?;
    Ok(contacts::of_ticket(name, &them.ticket, &them.credential, now))
}

fn is_begun(stage: &Stage) -> bool {
    matches!(stage, Stage::Begun(_))
}

fn plain(fault: Fault) -> Refused {
    fault.refusal.into()
}

fn unknown(mailbox: &Mailbox) -> Refused {
    Refused::new(Refusal::NotFound, format!("no code of {mailbox} is open here"))
}

fn ended(row: &Row, refusal: Refusal) -> Refused {
    match row.slot.end {
        Some(End::Used) => Refused::new(refusal, "this code was used already"),
        Some(End::Burnt) => Refused::new(refusal, "this code is burnt: three wrong tries were made"),
        Some(End::Cancelled) => Refused::new(refusal, "this code was taken back"),
        None => Refused::new(refusal, "this code has expired"),
    }
}

fn wrong(left: u64) -> String {
    match left {
        0 => "the code is wrong, and now burnt: that was the third wrong try".to_owned(),
        1 => "the code is wrong; 1 try is left".to_owned(),
        left => format!("the code is wrong; {left} tries are left"),
    }
}
