//! Questions that wait until a contact's node is there: kept with this node's data, sent by themselves, each at most once.
//!
//! # Layout
//! - `outbox`: which is next, and what there is room for; pure.
//! - `delivery`: sending, and what becomes of it.

mod delivery;
mod outbox;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use klp::{Digest, NodeId, OwnerId, Refusal};
use serde_json::json;
use store::audit::Entry;
use store::contacts::Contact;
pub use store::outbox::Priority;
use store::outbox::{Question, State};
use store::{Store, StoreError, receipts};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::calls::{Ask, Calls, Part, Place};
use crate::address::{Address, Who};
use crate::bus::Bus;
use crate::clock::Clock;
use crate::fault::Fault;
use crate::figures::Figures;
use crate::outbound::{Outbound, PATIENCE};
use crate::people::People;
use crate::{entropy, show, view};
use outbox::{LONGEST, NoRoom, Now, Outbox};

/// Parts of an answer between its call and whoever asked.
const PARTS: usize = 4;

/// How a question may wait.
#[derive(Clone, Copy, Debug)]
pub struct Later {
    /// What it overtakes.
    pub priority: Priority,
    /// How long it may wait; a week, which is the most, when absent.
    pub deadline: Option<Duration>,
}

/// The queue.
#[derive(Clone)]
pub struct Queue {
    store: Store,
    clock: Clock,
    bus: Bus,
    people: People,
    outbound: Outbound,
    calls: Calls,
    figures: Figures,
    plan: Arc<Mutex<Outbox>>,
    /// What is being sent, and how to stop it.
    sending: Arc<Mutex<BTreeMap<Digest, CancellationToken>>>,
    wake: Arc<Notify>,
}

impl From<NoRoom> for Fault {
    fn from(error: NoRoom) -> Self {
        let refusal = if error == NoRoom::Deadline { Refusal::Invalid } else { Refusal::Busy };
        let hint = "see `kos queue list`; `kos queue drop ID` makes room";
        let fault = Self::new(refusal, error.to_string());
        if error == NoRoom::Deadline { fault } else { fault.hint(hint) }
    }
}

impl Queue {
    pub(crate) fn new(store: Store, clock: Clock, bus: Bus, people: People, outbound: Outbound, calls: Calls) -> Self {
        let figures = outbound.figures().clone();
        let (plan, sending, wake) = (Arc::default(), Arc::default(), Arc::default());
        Self { store, clock, bus, people, outbound, calls, figures, plan, sending, wake }
    }

    /// Takes up what waited when the node stopped.
    pub(crate) async fn open(&self) -> Result<(), Fault> {
        let kept = self.store.read(store::outbox::list).await?;
        let mut plan = self.plan();
        kept.iter().filter(|question| question.state.is_open()).for_each(|question| plan.restore(question));
        self.figures.waits(plan.len());
        Ok(())
    }

    /// Asks at once where that is possible, and else keeps the question until it is.
    ///
    /// # Errors
    /// As [`Calls::ask`], but for `unreachable`; `busy` and `invalid` when it cannot be kept.
    pub async fn ask(&self, ask: Ask, later: Later) -> Result<mpsc::Receiver<Part>, Fault> {
        let address = Address::parse(&ask.who)?;
        Calls::check(&ask)?;
        let contact = match self.calls.place(&address).await? {
            Place::Here => return self.calls.ask(ask).await,
            Place::Contact(contact) => contact,
        };
        let (sender, receiver) = mpsc::channel(PARTS);
        if !self.is_there(&contact, ask.timeout).await {
            let kept = self.keep(&contact, &address, &ask, later).await?;
            // There is room for one.
            let _sent = sender.send(Part::Queued(Box::new(kept))).await;
            return Ok(receiver);
        }
        let queue = self.clone();
        tokio::spawn(async move {
            let asked = tokio::select! {
                asked = queue.hand_on(&ask, &sender) => asked,
                // Dropping the call cancels it.
                () = sender.closed() => return,
            };
            let last = match asked {
                // Nothing has left this node.
                Err(fault) if fault.refusal == Refusal::Unreachable => {
                    queue.keep(&contact, &address, &ask, later).await.map(|kept| Part::Queued(Box::new(kept)))
                }
                ended => ended,
            };
            // A listener that has gone needs no last word.
            let _gone = sender.send(last.unwrap_or_else(Part::Failed)).await;
        });
        Ok(receiver)
    }

    /// Hands on the pieces of an answer. Its last part, or why there is none.
    async fn hand_on(&self, ask: &Ask, sender: &mpsc::Sender<Part>) -> Result<Part, Fault> {
        let mut parts = self.calls.ask(ask.clone()).await?;
        while let Some(part) = parts.recv().await {
            match part {
                Part::Failed(fault) => return Err(fault),
                Part::Chunk(_) => {
                    let _gone = sender.send(part).await;
                }
                last => return Ok(last),
            }
        }
        Err(Refusal::Interrupted.into())
    }

    /// Whether a contact's node is there, or can be reached within a few seconds.
    async fn is_there(&self, contact: &Contact, patience: Duration) -> bool {
        if contact.nodes.iter().any(|device| self.outbound.is_reached(device.node)) {
            return true;
        }
        // Who has not come while others wait is looked for already.
        if self.plan().has(&contact.owner) {
            return false;
        }
        let reaching = async {
            for device in &contact.nodes {
                match self.outbound.reach(device.node).await {
                    Ok(_) => return true,
                    Err(fault) => {
                        if self.outbound.may_be_carried(device.node, &fault).await.unwrap_or(false) {
                            return true;
                        }
                    }
                }
            }
            false
        };
        tokio::time::timeout(patience.min(PATIENCE), reaching).await.unwrap_or(false)
    }

    /// Keeps a question. It survives whatever ends the node from here on.
    async fn keep(&self, contact: &Contact, address: &Address, ask: &Ask, later: Later) -> Result<view::Queued, Fault> {
        let now = self.clock.now();
        let question = Question {
            id: Digest(entropy::bytes()?),
            who: ask.who.clone(),
            owner: contact.owner,
            to: match &address.who {
                Who::Did(did) => *did,
                // A name may come to mean somebody else.
                _ => contact.owner.0,
            },
            agent: address.agent.clone(),
            capability: ask.capability.clone(),
            arguments: ask.arguments.clone(),
            patience: u64::try_from(ask.timeout.as_millis()).unwrap_or(u64::MAX),
            priority: later.priority,
            queued: now,
            expires: now.after(later.deadline.unwrap_or(LONGEST)),
            state: State::Queued,
            order: None,
            changed: now,
            refusal: None,
            message: None,
        };
        self.plan().enqueue(&question, self.now())?;
        let entry = Entry::new("queue", "queued", now).on(question.id).with("for", contact.owner.0);
        let (row, entry) = (question.clone(), entry.with("priority", question.priority.as_str()));
        let kept = self.store.write(move |tx| {
            store::outbox::put(tx, &row);
            tx.audit(entry)?;
            Ok::<_, StoreError>(())
        });
        if let Err(error) = kept.await {
            self.plan().over(&question.id);
            return Err(error.into());
        }
        self.plan().ready(&question.id);
        self.tell("queue.queued", &question);
        self.wake.notify_one();
        Ok(shown(&question, None))
    }

    /// Questions that wait and those that have ended, the oldest first.
    ///
    /// # Errors
    /// `internal`
    pub async fn list(&self) -> Result<Vec<view::Queued>, Fault> {
        let rows = self.store.read(store::outbox::list).await?;
        Ok(rows.iter().map(|question| shown(question, None)).collect())
    }

    /// One, by id or an unambiguous beginning of it, with its answer.
    ///
    /// # Errors
    /// `not_found`
    pub async fn show(&self, id: &str) -> Result<view::Queued, Fault> {
        let question = self.find(id).await?;
        let order = question.order.filter(|_| !question.state.is_open());
        let receipt = match order {
            Some(order) => self.store.read(move |view| receipts::get(view, &order)).await?,
            None => None,
        };
        let answer = receipt.filter(|receipt| receipt.outcome.is_some());
        Ok(shown(&question, answer.map(|receipt| String::from_utf8_lossy(&receipt.answer).into_owned())))
    }

    /// One that is open is not sent any more; one that has ended is shown no longer.
    ///
    /// # Errors
    /// `not_found`
    pub async fn drop(&self, id: &str) -> Result<view::Queued, Fault> {
        let (found, now) = (self.find(id).await?, self.clock.now());
        let id = found.id;
        let dropped = self.store.write(move |tx| {
            let ended = store::outbox::end(tx, &id, State::Dropped, None, now)?;
            if ended.is_none() {
                store::outbox::forget(tx, &id);
            }
            tx.audit(Entry::new("queue", if ended.is_some() { "dropped" } else { "forgotten" }, now).on(id))?;
            Ok::<_, StoreError>(ended)
        });
        let dropped = dropped.await?;
        self.plan().over(&id);
        if let Some(sending) = self.sending().remove(&id) {
            sending.cancel();
        }
        if let Some(dropped) = &dropped {
            self.tell("queue.dropped", dropped);
            self.figures.left_queue(dropped.state);
        }
        Ok(shown(dropped.as_ref().unwrap_or(&found), None))
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.plan().len()
    }

    /// A node is there, or may be: what waits for its owner is tried at once.
    pub(crate) fn met(&self, node: &NodeId) {
        let Some(contact) = self.people.node(node) else { return };
        let mut plan = self.plan();
        if plan.has(&contact.owner) {
            plan.met(&contact.owner);
            self.wake.notify_one();
        }
    }

    async fn find(&self, id: &str) -> Result<Question, Fault> {
        let wanted = id.to_lowercase();
        let rows = self.store.read(store::outbox::list).await?;
        let mut fitting = rows.into_iter().filter(|question| question.id.to_string().starts_with(&wanted));
        match (fitting.next(), fitting.next()) {
            (Some(question), None) if wanted.len() >= 4 => Ok(question),
            (Some(_), Some(_)) => {
                Err(Fault::new(Refusal::NotFound, format!("more than one question begins with {id}")))
            }
            _ => Err(Fault::not_found("question", id).hint("see `kos queue list`")),
        }
    }

    fn is_reached(&self, owner: &OwnerId) -> bool {
        let contact = self.people.owner(owner);
        contact.is_some_and(|contact| contact.nodes.iter().any(|device| self.outbound.is_reached(device.node)))
    }

    fn plan(&self) -> MutexGuard<'_, Outbox> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sending(&self) -> MutexGuard<'_, BTreeMap<Digest, CancellationToken>> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Now {
        Now { wall: self.clock.now(), tick: Instant::now() }
    }

    /// What the bus hears: ids, never the question.
    fn tell(&self, name: &'static str, question: &Question) {
        self.figures.waits(self.plan().len());
        let (id, owner, state) = (question.id.to_string(), question.owner.0.to_string(), question.state.as_str());
        self.bus.say(name, json!({ "id": id, "owner": owner, "state": state }));
    }
}

/// A question as people see it.
fn shown(question: &Question, answer: Option<String>) -> view::Queued {
    let refusal = question.refusal.and_then(|number| u16::try_from(number).ok()).map(Refusal::from_number);
    let why = |refusal: Refusal| view::Why {
        code: refusal.code().to_owned(),
        message: question.message.clone().unwrap_or_else(|| refusal.message().to_owned()),
        hint: refusal.hint().to_owned(),
    };
    view::Queued {
        id: question.id.to_string(),
        state: question.state.as_str().to_owned(),
        who: question.who.clone(),
        owner: question.owner.0.to_string(),
        capability: question.capability.clone(),
        text: question.arguments.get("text").cloned().unwrap_or_default(),
        priority: question.priority.as_str().to_owned(),
        queued: show::time(question.queued),
        expires: show::time(question.expires),
        changed: show::time(question.changed),
        receipt: question.order.map(|order| order.to_string()),
        answer,
        error: refusal.map(why),
    }
}
