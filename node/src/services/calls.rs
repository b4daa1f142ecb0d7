//! Calls: asking agents, here or elsewhere, and answering those who ask ours.

mod any;
mod ask;
mod coming;
mod later;
mod perform;
mod permit;
mod whom;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use klp::message::{Call, kind};
use klp::statement::receipt::Order;
use klp::{Cbor as _, Refusal, Verified};
use serde_json::json;
use store::Store;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::agents::Agents;
use super::directory::Directory;
use super::grants::Grants;
use super::receipts::Receipts;
use super::revocations::Revocations;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::fault::Fault;
use crate::inbound::{Access, Asked, Inbound};
use crate::me::Me;
use crate::outbound::Outbound;
use crate::people::People;
use crate::principal::Principals;
use crate::view;

pub(in crate::services) use permit::{Known, budget, stored};
pub(in crate::services) use whom::Place;

/// Chunks between the work and the wire: the session has its own bound behind this.
const CHUNKS: usize = 4;

/// What `ask` asks for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// `PETNAME/AGENT`, `DID/AGENT`, `self/AGENT`, `any`, `any/AGENT` or `kos:DID/AGENT`.
    pub who: String,
    /// The capability; `ask` by default.
    pub capability: String,
    /// Arguments; the question is `text`.
    pub arguments: BTreeMap<String, String>,
    /// How long to wait for the whole answer.
    pub timeout: Duration,
}

/// What comes back, in order.
#[derive(Clone, Debug)]
pub enum Part {
    /// A piece of the answer.
    Chunk(String),
    /// The end.
    Done(Box<view::Asked>),
    /// It waits until the other node is there.
    Queued(Box<view::Queued>),
    /// It did not work.
    Failed(Fault),
}

/// Calls.
#[derive(Clone)]
pub struct Calls {
    store: Store,
    clock: Clock,
    bus: Bus,
    me: Me,
    people: People,
    outbound: Outbound,
    agents: Agents,
    directory: Directory,
    grants: Grants,
    receipts: Receipts,
    revocations: Revocations,
    principals: Principals,
    number: Arc<AtomicU64>,
    balance: any::Balance,
}

/// What calls are made of.
pub(crate) struct Needs {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) bus: Bus,
    pub(crate) me: Me,
    pub(crate) people: People,
    pub(crate) outbound: Outbound,
    pub(crate) agents: Agents,
    pub(crate) directory: Directory,
    pub(crate) grants: Grants,
    pub(crate) receipts: Receipts,
    pub(crate) revocations: Revocations,
    pub(crate) principals: Principals,
}

impl Calls {
    pub(crate) fn new(needs: Needs) -> Self {
        let Needs {
            store,
            clock,
            bus,
            me,
            people,
            outbound,
            agents,
            directory,
            grants,
            receipts,
            revocations,
            principals,
        } = needs;
        Self {
            store,
            clock,
            bus,
            me,
            people,
            outbound,
            agents,
            directory,
            grants,
            receipts,
            revocations,
            principals,
            number: Arc::default(),
            balance: any::Balance::default(),
        }
    }

    /// Answers `agent.call` from now on.
    pub(crate) fn open(&self, inbound: &Inbound) {
        let calls = self.clone();
        inbound.register(kind::CALL, Access::Introduced, move |asked| {
            let calls = calls.clone();
            async move { calls.answer(asked).await }
        });
    }

    /// One call of a peer, from its first byte to the signed outcome.
    async fn answer(&self, asked: Asked) {
        let Asked { node, principal, body, mut reply, .. } = asked;
        let Some(principal) = principal else {
            return reply.refuse(Refusal::Denied, Refusal::Denied.message());
        };
        let Ok(call) = Call::from_value(body) else {
            return reply.refuse(Refusal::Malformed, Refusal::Malformed.message());
        };
        let job = match self.admit(&principal, node.0, call).await {
            Ok(job) => job,
            Err(refusal) => {
                self.principals.refused(Some(&principal), kind::CALL, refusal).await;
                return reply.refuse(refusal, refusal.message());
            }
        };
        let cancel = CancellationToken::new();
        let (sender, mut chunks) = mpsc::channel::<Bytes>(CHUNKS);
        let work = self.perform(job, sender, cancel.clone());
        tokio::pin!(work);
        let gone = reply.cancelled();
        tokio::pin!(gone);
        // The work goes on to its signed outcome when the caller has gone; only what it does then is stop. A revocation stops the work too, but what it
        // has said by then goes out: its outcome says how much that is.
        let mut listens = true;
        let outcome = loop {
            tokio::select! {
                biased;
                () = &mut gone, if listens => listens = false,
                Some(chunk) = chunks.recv() => listens = listens && reply.chunk(chunk).await.is_ok(),
                outcome = &mut work => break outcome,
            }
            if !listens {
                cancel.cancel();
            }
        };
        while let Ok(chunk) = chunks.try_recv() {
            if reply.chunk(chunk).await.is_err() {
                break;
            }
        }
        match outcome {
            Ok(answered) => reply.finish(Bytes::from(answered.to_bytes())),
            Err(fault) => reply.refuse(fault.refusal, fault.refusal.message()),
        }
    }
}

/// What the bus hears of a call: ids, never the question.
fn told(order: &Verified<Order>, state: &str) -> serde_json::Value {
    json!({
        "order": order.id().to_string(),
        "caller": order.caller.to_string(),
        "agent": order.agent.to_string(),
        "capability": order.capability,
        "state": state,
    })
}
