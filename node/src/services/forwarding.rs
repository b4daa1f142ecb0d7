//! Carrying what others ask of a third, by grant, and taking what others have carried. See `specs/11-forwarding.md`.

mod carrying;
mod passage;
mod places;

use bytes::Bytes;
use klp::forward::{Exchange, Forward, Forwarded, Step, Writer};
use klp::message::kind;
use klp::sealed::SealError;
use klp::{Cbor as _, NodeId, Refusal, limits};
use serde_json::json;
use store::Store;

use super::revocations::Revocations;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::entropy;
use crate::inbound::{Access, Asked, Inbound};
use crate::keys::Keys;
use crate::me::Me;
use crate::outbound::Outbound;
use crate::people::People;
use crate::principal::{Principal, Principals};
use crate::reply::Reply;
use places::Places;

/// Carrying for others.
#[derive(Clone)]
pub(crate) struct Forwarding {
    store: Store,
    clock: Clock,
    bus: Bus,
    me: Me,
    keys: Keys,
    people: People,
    outbound: Outbound,
    revocations: Revocations,
    principals: Principals,
    places: Places,
}

/// What it is made of.
pub(crate) struct Needs {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) bus: Bus,
    pub(crate) me: Me,
    pub(crate) keys: Keys,
    pub(crate) people: People,
    pub(crate) outbound: Outbound,
    pub(crate) revocations: Revocations,
    pub(crate) principals: Principals,
}

impl Forwarding {
    pub(crate) fn new(needs: Needs) -> Self {
        let Needs { store, clock, bus, me, keys, people, outbound, revocations, principals } = needs;
        let places = Places::default();
        Self { store, clock, bus, me, keys, people, outbound, revocations, principals, places }
    }

    /// Answers `forward` from now on.
    pub(crate) fn open(&self, inbound: &Inbound) {
        let forwarding = self.clone();
        inbound.register(kind::FORWARD, Access::Introduced, move |asked| {
            let forwarding = forwarding.clone();
            async move { forwarding.answer(asked).await }
        });
    }

    async fn answer(&self, asked: Asked) {
        let Asked { inbound, node: from, principal, body, reply, .. } = asked;
        let (Some(principal), true) = (principal, reply.is_direct()) else {
            return reply.refuse(Refusal::Denied, Refusal::Denied.message());
        };
        let decoded = Forward::from_value(body).map_err(|_| Refusal::Malformed);
        match decoded.and_then(|forward| Ok((forward.step(&self.me.node(), &from)?, forward))) {
            Ok((Step::Here, forward)) => self.take(&inbound, from, &principal, forward, reply).await,
            Ok((Step::Onward, forward)) => self.carry(from, &principal, forward, reply).await,
            Err(refusal) => {
                self.outbound.figures().forwarded(Some(refusal));
                self.refuse(&principal, refusal, reply).await;
            }
        }
    }

    /// Says no to somebody who may know why, and writes it down.
    async fn refuse(&self, principal: &Principal, refusal: Refusal, reply: Reply) {
        self.principals.refused(Some(principal), kind::FORWARD, refusal).await;
        reply.refuse(refusal, refusal.message());
    }

    /// Says no to whoever carries what cannot be taken, and may not know why.
    async fn refuse_carried(&self, carrier: &Principal, refusal: Refusal, reply: Reply) {
        self.principals.refused(Some(carrier), kind::FORWARD, refusal).await;
        reply.refuse_carried(refusal);
    }

    /// Something for this node has been carried here.
    async fn take(&self, inbound: &Inbound, from: NodeId, carrier: &Principal, forward: Forward, reply: Reply) {
        // Only those whom the owner knows bring anything: whoever is behind it is found out only by opening it.
        if !carrier.contact && carrier.owner != self.me.owner() {
            return self.refuse(carrier, Refusal::Denied, reply).await;
        }
        let path = forward.path;
        let opening = match forward.question {
            None => Err(SealError::Key),
            Some(question) => match self.keys.exchange_of(&question.recipient) {
                None => Err(SealError::Key),
                Some(secret) => question.open(&secret),
            },
        };
        let (question, export) = match opening {
            Ok(opened) => opened,
            Err(SealError::Key) => return self.say_key(reply),
            Err(_) => return self.refuse(carrier, Refusal::Tampered, reply).await,
        };
        let checked = question.verify(&self.me.node(), self.clock.now());
        let vouched = checked.and_then(|(errand, _)| {
            let node = NodeId(errand.signer());
            Ok((node, errand.answer, self.principals.vouched(&node, &question.caller)?))
        });
        let (node, answer, caller) = match vouched {
            Ok(vouched) => vouched,
            Err(refusal) => return self.refuse_carried(carrier, refusal, reply).await,
        };
        let Ok(entropy) = entropy::bytes() else {
            return reply.refuse(Refusal::Internal, Refusal::Internal.message());
        };
        let Ok(writer) = Writer::new(&export, &answer, entropy) else {
            return self.refuse_carried(carrier, Refusal::Malformed, reply).await;
        };
        let hops = path.len();
        self.bus.say("forward.taken", json!({ "from": from.to_string(), "caller": node.to_string(), "hops": hops }));
        inbound.carried(node, caller, &question.request.0, reply.sealed(writer, path)).await;
    }

    /// Says which key to seal to.
    fn say_key(&self, reply: Reply) {
        let Some(exchange) = self.keys.exchange() else {
            return reply.refuse(Refusal::Internal, Refusal::Internal.message());
        };
        let (node, now) = (self.me.node(), self.clock.now());
        let said = self.me.sign(Exchange { node, exchange, issued: now, expires: now.after(limits::ORDER_LIFE) });
        let forwarded = Forwarded { end: None, key: Some(said.signed().clone()) };
        reply.finish(Bytes::from(forwarded.to_bytes()));
    }
}
