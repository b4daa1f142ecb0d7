//! Co-signed proof of calls.

mod telling;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use klp::codec::Bytes;
use klp::message::{Acknowledge, Acknowledgements, Empty, Missing, kind};
use klp::statement::certificate::Introduction;
use klp::statement::receipt::{self, Acknowledgement, Order, Receipt, check_acknowledgement};
use klp::{Cbor, Digest, NodeId, OwnerId, Refusal, Signed, Verified, cbor_struct, limits};
use store::audit::Entry;
use store::receipts::{self, Role};
use store::{Store, StoreError};

use crate::bus::Bus;
use crate::clock::Clock;
use crate::fault::Fault;
use crate::inbound::{Access, Caller, Inbound};
use crate::outbound::Outbound;
use crate::{show, view};
use telling::Telling;

cbor_struct! {
    /// What opens an order's request digest; kept with a receipt.
    pub struct Asking {
        /// The salt.
        1 salt: [u8; 16];
        /// The arguments.
        2 arguments: BTreeMap<String, String>, max limits::ARGUMENTS;
    }
}

impl Asking {
    /// A receipt as it stands when the order is made.
    pub(super) fn receipt(
        &self,
        order: &Verified<Order>,
        caller: &Introduction,
        role: Role,
        other: OwnerId,
    ) -> receipts::Receipt {
        receipts::Receipt {
            id: order.id(),
            role,
            other: other.0,
            agent: order.agent.to_string(),
            at: order.issued,
            order: order.signed().as_bytes().to_vec(),
            outcome: None,
            acknowledgement: None,
            certificates: vec![caller.to_bytes()],
            request: self.to_bytes(),
            answer: Vec::new(),
        }
    }
}

/// Receipts.
#[derive(Clone)]
pub struct Receipts {
    store: Store,
    clock: Clock,
    bus: Bus,
    outbound: Outbound,
    telling: Telling,
    under_way: Arc<Mutex<BTreeSet<Call>>>,
}

/// A call of this node's, and whether it asked.
type Call = (Digest, bool);

/// While this lives, its call is under way: without an outcome it is `open`, and afterwards it has broken off.
pub(super) struct UnderWay {
    all: Arc<Mutex<BTreeSet<Call>>>,
    call: Call,
    /// Whether it began with this one: a copy of an order does not end the call that runs.
    first: bool,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.first {
            self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.call);
        }
    }
}

impl Receipts {
    pub(crate) fn new(store: Store, clock: Clock, bus: Bus, outbound: Outbound) -> Self {
        let telling = Telling::new(outbound.clone());
        Self { store, clock, bus, outbound, telling, under_way: Arc::default() }
    }

    /// A call begins.
    pub(super) fn begin(&self, order: Digest, role: Role) -> UnderWay {
        let call = (order, role == Role::Asked);
        let first = self.running().insert(call);
        UnderWay { all: self.under_way.clone(), call, first }
    }

    /// Answers questions about acknowledgements from now on.
    pub(crate) fn open(&self, inbound: &Inbound) {
        let receipts = self.clone();
        inbound.answer(kind::ACKNOWLEDGE, Access::Introduced, move |caller: Caller, told: Acknowledge| {
            let receipts = receipts.clone();
            async move { receipts.acknowledged(caller, told).await.map(|()| Empty) }
        });
        let receipts = self.clone();
        inbound.answer(kind::MISSING, Access::Introduced, move |caller: Caller, asked: Missing| {
            let receipts = receipts.clone();
            async move { receipts.missing(caller, asked).await }
        });
    }

    /// The newest ones first, at most `limit`.
    ///
    /// # Errors
    /// `internal`
    pub async fn list(&self, limit: usize) -> Result<Vec<view::Receipt>, Fault> {
        let before = self.running().clone();
        let rows = self.store.read(move |view| receipts::list(view, None, limit)).await?;
        rows.iter().map(|(_, row)| self.shown(row, &before)).collect()
    }

    /// One, by id or an unambiguous beginning of it.
    ///
    /// # Errors
    /// `not_found`
    pub async fn show(&self, id: &str) -> Result<view::Receipt, Fault> {
        let before = self.running().clone();
        self.shown(&self.find(id).await?, &before)
    }

    /// The bytes that a stranger can verify, with question and answer.
    ///
    /// # Errors
    /// `not_found`
    pub async fn export(&self, id: &str) -> Result<Vec<u8>, Fault> {
        Ok(file(&self.find(id).await?)?.to_bytes())
    }

    async fn find(&self, id: &str) -> Result<receipts::Receipt, Fault> {
        let wanted = id.to_lowercase();
        if let Ok(whole) = wanted.parse::<Digest>() {
            let found = self.store.read(move |view| receipts::get(view, &whole)).await?;
            return found.ok_or_else(|| Fault::not_found("receipt", id));
        }
        let rows = self.store.read(|view| receipts::list(view, None, 1000)).await?;
        let mut fitting = rows.into_iter().map(|(_, row)| row).filter(|row| row.id.to_string().starts_with(&wanted));
        match (fitting.next(), fitting.next()) {
            (Some(row), None) if wanted.len() >= 4 => Ok(row),
            (Some(_), Some(_)) => Err(Fault::new(Refusal::NotFound, format!("more than one receipt begins with {id}"))),
            _ => Err(Fault::not_found("receipt", id)),
        }
    }

    /// The calls that are under way.
    fn running(&self) -> MutexGuard<'_, BTreeSet<Call>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As people see it. `before` are the calls that were under way before the row was read.
    fn shown(&self, row: &receipts::Receipt, before: &BTreeSet<Call>) -> Result<view::Receipt, Fault> {
        let damaged =
            |_| Fault::new(Refusal::Integrity, format!("the stored receipt {} does not verify", row.id.short()));
        let order = Signed::<Order>::from_bytes(row.order.clone()).verify().map_err(damaged)?;
        let outcome = row.outcome.clone().map(|bytes| Signed::<receipt::Outcome>::from_bytes(bytes).verify());
        let outcome = outcome.transpose().map_err(damaged)?;
        let call = (row.id, row.role == Role::Asked);
        let without = match row.role {
            _ if before.contains(&call) || self.running().contains(&call) => "open",
            Role::Asked => "unanswered",
            Role::Answered => "interrupted",
        };
        let owner = if row.role == Role::Asked { row.other.to_string() } else { String::from("self") };
        Ok(view::Receipt {
            id: row.id.to_string(),
            state: match row.proof() {
                receipts::Proof::Ordered => "ordered",
                receipts::Proof::Answered => "answered",
                receipts::Proof::Acknowledged => "acknowledged",
            }
            .to_owned(),
            status: outcome.as_ref().map_or(without, |outcome| outcome.status.as_str()).to_owned(),
            caller: order.caller.to_string(),
            agent: order.agent.to_string(),
            owner,
            capability: order.capability.clone(),
            bytes: outcome.as_ref().map_or(0, |outcome| outcome.bytes),
            issued: show::time(order.issued),
            direction: if row.role == Role::Asked { "made" } else { "given" }.to_owned(),
        })
    }

    /// Tells the other side that its answer has arrived. In the background: the caller has its answer already, and what does not
    /// arrive now is asked for at the next Hello.
    pub(super) fn acknowledge(&self, node: NodeId, order: Digest, acknowledgement: &Verified<Acknowledgement>) {
        self.telling.tell(node, Acknowledge { order, acknowledgement: acknowledgement.signed().clone() });
    }

    /// Asks a node for acknowledgements that its owner still owes.
    pub(crate) async fn ask_missing(&self, node: NodeId, owner: OwnerId) -> Result<(), Fault> {
        let mut open = self.store.read(move |view| receipts::unacknowledged(view, &owner.0)).await?;
        // Who has cancelled never got the outcome, and what is a week old will not come any more.
        let now = self.clock.now();
        open.retain(|row| now.since(row.at) < limits::MAIL_LIFE && !was_cancelled(row));
        if open.is_empty() {
            return Ok(());
        }
        let orders = open.iter().map(|row| row.id).take(limits::LIST).collect();
        let answer: Acknowledgements = self.outbound.ask(node, kind::MISSING, &Missing { orders }).await?;
        for told in answer.found {
            // One that does not hold says nothing about the others.
            let _kept = self.keep(owner, told).await;
        }
        Ok(())
    }

    async fn acknowledged(&self, caller: Caller, told: Acknowledge) -> Result<(), Refusal> {
        let principal = caller.principal.ok_or(Refusal::Denied)?;
        self.keep(principal.owner, told).await
    }

    /// Keeps an acknowledgement if it is of a receipt with this owner, and holds.
    async fn keep(&self, owner: OwnerId, told: Acknowledge) -> Result<(), Refusal> {
        let order = told.order;
        let row = self.store.read(move |view| receipts::get(view, &order)).await.map_err(internal)?;
        // Whoever has no part in a receipt learns nothing about it.
        let mut row = row.filter(|row| row.role == Role::Answered && row.other == owner.0).ok_or(Refusal::Denied)?;
        if row.acknowledgement.is_some() {
            return Ok(());
        }
        let file = file(&row).map_err(|fault| fault.refusal)?;
        let outcome = file.outcome.ok_or(Refusal::Denied)?.verify().map_err(|error| Refusal::from(&error))?;
        let caller = file.caller.verify(row.at)?;
        check_acknowledgement(&told.acknowledgement, &outcome, &caller)?;
        row.acknowledgement = Some(told.acknowledgement.as_bytes().to_vec());
        let now = self.clock.now();
        let kept = self.store.write(move |tx| {
            receipts::put(tx, &row)?;
            tx.audit(Entry::new("receipt", "acknowledged", now).by(Some(owner.0)).on(order))?;
            Ok::<_, StoreError>(())
        });
        kept.await.map_err(internal)?;
        self.bus.say("receipt.acknowledged", serde_json::json!({ "id": order.to_string() }));
        Ok(())
    }

    async fn missing(&self, caller: Caller, asked: Missing) -> Result<Acknowledgements, Refusal> {
        let owner = caller.principal.ok_or(Refusal::Denied)?.owner;
        let found = self.store.read(move |view| {
            let mut found = Vec::new();
            for order in asked.orders {
                let row = receipts::get(view, &order)?;
                let mine = row.filter(|row| row.role == Role::Asked && row.other == owner.0);
                if let Some(bytes) = mine.and_then(|row| row.acknowledgement) {
                    found.push(Acknowledge { order, acknowledgement: Signed::from_bytes(bytes) });
                }
            }
            Ok::<_, StoreError>(Acknowledgements { found })
        });
        found.await.map_err(internal)
    }
}

fn was_cancelled(row: &receipts::Receipt) -> bool {
    let outcome = row.outcome.clone().map(|bytes| Signed::<receipt::Outcome>::from_bytes(bytes).verify());
    outcome.is_some_and(|outcome| outcome.is_ok_and(|outcome| outcome.status == receipt::Status::Cancelled))
}

fn internal(error: StoreError) -> Refusal {
    Fault::from(error).refusal
}

/// The receipt as a stranger may check it. An answer that was too long to keep whole stays out; its digest is signed all the same.
fn file(row: &receipts::Receipt) -> Result<Receipt, Fault> {
    let damaged = |_| Fault::new(Refusal::Integrity, "the stored receipt cannot be read");
    let introduction = |index: usize| {
        let bytes = row.certificates.get(index).map(Vec::as_slice);
        bytes.map(Introduction::from_slice).transpose().map_err(damaged)
    };
    let asking = Asking::from_bytes(&row.request, limits::MESSAGE).map_err(damaged)?;
    let outcome: Option<Signed<receipt::Outcome>> = row.outcome.clone().map(Signed::from_bytes);
    let bytes = outcome.as_ref().and_then(|signed| signed.verify().ok()).map(|outcome| outcome.bytes);
    let whole = bytes.is_some_and(|bytes| bytes == row.answer.len() as u64);
    Ok(Receipt {
        version: 1,
        order: Signed::from_bytes(row.order.clone()),
        caller: introduction(0)?.ok_or_else(|| Fault::new(Refusal::Integrity, "the stored receipt has no caller"))?,
        agent: if outcome.is_some() { introduction(1)? } else { None },
        outcome,
        acknowledgement: row.acknowledgement.clone().map(Signed::from_bytes),
        salt: asking.salt,
        arguments: asking.arguments,
        answer: whole.then(|| Bytes(row.answer.clone())),
    })
}

/// Checks a receipt's bytes. Needs no node and no home.
///
/// # Errors
/// `malformed` when this is no receipt, `signature` when something in it was changed; both exit 7 on the command line.
pub fn verify(bytes: &[u8]) -> Result<view::ReceiptCheck, Fault> {
    let receipt = Receipt::from_bytes(bytes, 2 * limits::MESSAGE)
        .map_err(|error| Fault::new(Refusal::Malformed, format!("this is no receipt: {error}")))?;
    let verified = receipt.verify().map_err(|refusal| {
        Fault::new(refusal, format!("the receipt does not verify: {}", refusal.message()))
            .hint("ask whoever gave it to you for an unchanged copy")
    })?;
    let signers = verified.signers.iter().map(|(role, did, owner)| view::Signer {
        role: (*role).to_owned(),
        did: did.to_string(),
        owner: owner.to_string(),
    });
    Ok(view::ReceiptCheck {
        valid: true,
        state: verified.state.as_str().to_owned(),
        signers: signers.collect(),
        revocation: "not checked".to_owned(),
        status: verified.outcome.as_ref().map_or("open", |outcome| outcome.status.as_str()).to_owned(),
        arguments: receipt.arguments,
        answer: receipt.answer.map(|Bytes(answer)| String::from_utf8_lossy(&answer).into_owned()),
        issued: show::time(verified.order.issued),
    })
}
