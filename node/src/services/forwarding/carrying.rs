//! Handing on: one verdict, one way after the other, and the pieces of the answer as they come.

use std::time::Duration;

use bytes::Bytes;
use klp::forward::Forward;
use klp::message::{Request, kind};
use klp::{Cbor as _, NodeId, Refusal, Signed, Verified, limits};
use mesh::Refused;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Forwarding;
use super::passage::{Decision, Done, Passage, id_of};
use crate::leg::Leg;
use crate::outbound::Carrier;
use crate::principal::Principal;
use crate::reply::Reply;

/// How long it may take to reach the next node: whoever asks waits meanwhile.
const REACHING: Duration = Duration::from_secs(5);

/// What came of one way.
enum Tried {
    /// An answer begins with this piece.
    Begins(Leg, Bytes),
    /// The answer is this end and no more.
    Ends(Bytes),
    /// It said no.
    Refused(Refused),
    /// Nobody waits any more, or the grant was revoked.
    Stopped,
}

impl Forwarding {
    /// Decides whether this may pass, hands it on, and writes down how that ended.
    pub(super) async fn carry(&self, from: NodeId, principal: &Principal, forward: Forward, reply: Reply) {
        let Some(_place) = self.places.take(from) else {
            self.outbound.figures().forwarded(Some(Refusal::Busy));
            return self.refuse(principal, Refusal::Busy, reply).await;
        };
        let passage = match self.passage(from, principal, &forward).await {
            Ok(passage) => passage,
            Err(refusal) => {
                self.outbound.figures().forwarded(Some(refusal));
                return self.refuse(principal, refusal, reply).await;
            }
        };
        let (wanted, now) = (passage.clone(), self.clock.now());
        let ticked = match self.store.write(move |tx| wanted.settle(tx, now)).await {
            Ok(Decision::Go(ticked)) => ticked,
            Ok(Decision::No(refusal)) => {
                self.outbound.figures().forwarded(Some(refusal));
                return reply.refuse(refusal, refusal.message());
            }
            Err(error) => {
                let refusal = crate::fault::of_store(error).refusal;
                return reply.refuse(refusal, refusal.message());
            }
        };
        // A revocation of any grant of the chain stops it.
        let stop = CancellationToken::new();
        let _running = self.revocations.watch(passage.chain.iter().map(Verified::id), &stop);
        let done = self.hand_on(&forward, reply, passage.bytes, ticked.bytes, &stop).await;
        let ended = done.refusal.map_or("forwarded", Refusal::code);
        self.outbound.figures().forwarded(done.refusal);
        let data =
            json!({ "from": from.to_string(), "to": forward.to.to_string(), "bytes": done.bytes, "outcome": ended });
        let now = self.clock.now();
        if let Err(error) = self.store.write(move |tx| passage.close(tx, &ticked, &done, now)).await {
            tracing::warn!(%error, "the end of a forwarded request was not written down");
        }
        self.bus.say("forward.finished", data);
    }

    async fn passage(&self, from: NodeId, principal: &Principal, forward: &Forward) -> Result<Passage, Refusal> {
        if !matches!(self.store.condition(), store::audit::Condition::Sound) {
            return Err(Refusal::RolledBack);
        }
        let verified: Result<Vec<_>, _> = forward.chain.iter().map(Signed::verify).collect();
        let chain = verified.map_err(|error| Refusal::from(&error))?;
        for grant in &chain {
            self.revocations.catch_up(&grant.issuer).await?;
        }
        let now = self.clock.now();
        Ok(Passage {
            node: self.me.node(),
            owner: self.me.owner(),
            from,
            principal: principal.owner,
            known: principal.contact,
            to: forward.to,
            id: id_of(forward),
            bytes: forward.question.as_ref().map_or(0, |question| question.ciphertext.0.len() as u64),
            issuers: forward.issuers.iter().filter_map(|issuer| issuer.verify(now).ok()).collect(),
            chain,
        })
    }

    /// Tries the ways until one has an answer, and hands its pieces back. `used` bytes are spent of `most`.
    async fn hand_on(&self, forward: &Forward, reply: Reply, used: u64, most: u64, stop: &CancellationToken) -> Done {
        let until = Instant::now() + limits::ORDER_LIFE;
        let to = forward.to;
        let mut last = Refused { refusal: Refusal::Unreachable, message: "no way to that node from here".to_owned() };
        for way in self.ways(forward).await {
            let Some(way) = way else {
                last = Refused { refusal: Refusal::Hops, message: String::new() };
                break;
            };
            let node = way.node;
            match self.attempt(forward, way, &reply, until, stop).await {
                Tried::Begins(answer, piece) => return relay(answer, piece, reply, used, most, stop).await,
                Tried::Ends(end) => return finish(end, reply, used, most),
                Tried::Stopped => {
                    let refusal = if stop.is_cancelled() { Refusal::Revoked } else { Refusal::Cancelled };
                    last = Refused { refusal, message: String::new() };
                    break;
                }
                // Whoever took it and is gone may have done it, and by another way it would only be told that it was.
                Tried::Refused(refused) if refused.refusal == Refusal::UnknownOutcome => {
                    last = refused;
                    break;
                }
                // What the node itself says counts, unless its session has just ended.
                Tried::Refused(refused) if node == to && refused.refusal != Refusal::Unreachable => {
                    last = refused;
                    break;
                }
                Tried::Refused(refused) => tracing::debug!(%node, %refused, "a way on was refused"),
            }
        }
        let Refused { refusal, message } = last;
        reply.refuse(refusal, if message.is_empty() { refusal.message() } else { &message });
        Done { bytes: used, refusal: Some(refusal) }
    }

    /// The ways on, the best first; `None` stands for those that are too far.
    async fn ways(&self, forward: &Forward) -> Vec<Option<Carrier>> {
        let to = forward.to;
        let mut ways = Vec::new();
        // Nobody is dialled for others but a contact: this is no way to look into other people's networks.
        if self.people.knows(&to) || self.outbound.path_now(to).is_some() {
            ways.push(Some(Carrier { node: to, chain: Vec::new() }));
        }
        let others = self.outbound.carriers(|node| forward.knows(node)).await.unwrap_or_default();
        if forward.ttl > 1 {
            ways.extend(others.into_iter().map(Some));
        } else if !others.is_empty() {
            ways.push(None);
        }
        ways
    }

    async fn attempt(
        &self,
        forward: &Forward,
        way: Carrier,
        reply: &Reply,
        until: Instant,
        stop: &CancellationToken,
    ) -> Tried {
        let next = Bytes::from(Request::new(kind::FORWARD, &forward.onward(self.me.node(), way.chain)).to_bytes());
        let begins = async {
            let unreachable = || Refused { refusal: Refusal::Unreachable, message: String::new() };
            let reached = tokio::time::timeout(REACHING, self.outbound.introduce_directly(way.node)).await;
            if !matches!(reached, Ok(Ok(()))) {
                return Tried::Refused(unreachable());
            }
            let left = until.saturating_duration_since(Instant::now());
            let answer = self.outbound.mesh().request(way.node, next, left).await;
            let mut answer = Leg::new(self.outbound.mesh(), way.node, way.node.0.short(), answer);
            match answer.chunk().await {
                Some(piece) => Tried::Begins(answer, piece),
                None => answer.finish().await.map_or_else(Tried::Refused, Tried::Ends),
            }
        };
        let tried = tokio::select! {
            biased;
            () = reply.cancelled() => Tried::Stopped,
            () = stop.cancelled() => Tried::Stopped,
            tried = begins => tried,
        };
        tried
    }
}

/// Hands back the pieces of an answer, each when the asker has taken the one before.
async fn relay(
    mut answer: Leg,
    first: Bytes,
    mut reply: Reply,
    mut used: u64,
    most: u64,
    stop: &CancellationToken,
) -> Done {
    let gone = reply.cancelled();
    tokio::pin!(gone);
    let mut piece = Some(first);
    while let Some(bytes) = piece {
        used += bytes.len() as u64;
        if used > most {
            return refuse(over(most), reply, most);
        }
        let sent = tokio::select! {
            biased;
            () = stop.cancelled() => Err(Refusal::Revoked),
            sent = reply.chunk(bytes) => sent.map_err(|_| Refusal::Cancelled),
        };
        if let Err(refusal) = sent {
            return refuse(refusal, reply, used);
        }
        piece = tokio::select! {
            biased;
            () = stop.cancelled() => return refuse(Refusal::Revoked, reply, used),
            () = &mut gone => return refuse(Refusal::Cancelled, reply, used),
            piece = answer.chunk() => piece,
        };
    }
    match answer.finish().await {
        Ok(end) => finish(end, reply, used, most),
        Err(Refused { refusal, message }) => {
            reply.refuse(refusal, &message);
            Done { bytes: used, refusal: Some(refusal) }
        }
    }
}

fn finish(end: Bytes, reply: Reply, used: u64, most: u64) -> Done {
    let bytes = used.saturating_add(end.len() as u64);
    if bytes > most {
        return refuse(over(most), reply, most);
    }
    reply.finish(end);
    Done { bytes, refusal: None }
}

fn refuse(refusal: Refusal, reply: Reply, bytes: u64) -> Done {
    reply.refuse(refusal, refusal.message());
    Done { bytes, refusal: Some(refusal) }
}

/// Why no more than this is carried: nothing is without a bound, and a budget may be smaller.
fn over(most: u64) -> Refusal {
    if most >= limits::FORWARDED { Refusal::TooLarge } else { Refusal::Budget }
}
