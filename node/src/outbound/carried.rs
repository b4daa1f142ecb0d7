//! Requests to nodes that are not to be reached: contacts carry them, sealed from here to there. See `specs/11-forwarding.md`.

use std::time::Duration;

use bytes::Bytes;
use klp::codec;
use klp::forward::{CAPABILITY, Errand, Exchange, Forward, Question, Reader, SealedQuestion};
use klp::message::{Request, kind};
use klp::sealed::{ExchangeKey, ExchangeSecret};
use klp::statement::grant::Grant;
use klp::statement::ticket::Ticket;
use klp::{AgentId, Cbor as _, Digest, NodeId, Refusal, Signed, Timestamp, Verified, limits};
use store::View;
use store::grants::Side;
use store::revocations::{self, Target};
use tokio::time::Instant;

use super::{Outbound, fault};
use crate::answer::{Answer, Begun};
use crate::entropy;
use crate::fault::Fault;
use crate::leg::Leg;

/// How long the direct ways are tried when there are others.
const DIRECT: Duration = Duration::from_secs(5);

/// How a node is asked.
pub(super) enum Way {
    /// Over a session.
    Session,
    /// Through others.
    Carried,
}

/// A node that carries for us, and the grants that say so.
#[derive(Clone, Debug)]
pub(crate) struct Carrier {
    /// The node.
    pub(crate) node: NodeId,
    /// From its owner down to us.
    pub(crate) chain: Vec<Signed<Grant>>,
}

impl Outbound {
    /// How to ask this node now. A node that is not reached and that nobody can carry to is an error.
    pub(super) async fn way(&self, node: NodeId, kind: &str) -> Result<Way, Fault> {
        if self.path_now(node).is_some() {
            return Ok(Way::Session);
        }
        let may = klp::forward::KINDS.contains(&kind);
        if may && self.ways.has(&node) {
            return Ok(Way::Carried);
        }
        let carriers = if may { self.carriers(|other| *other == node).await? } else { Vec::new() };
        if carriers.is_empty() {
            return self.reach(node).await.map(|_| Way::Session);
        }
        let tried = tokio::time::timeout(DIRECT, self.reach(node)).await;
        let failed = match tried {
            Ok(Ok(_)) => return Ok(Way::Session),
            Ok(Err(fault)) => fault.message,
            Err(_) => format!("the node {} does not answer", node.0.short()),
        };
        self.ways.begin(node, failed);
        Ok(Way::Carried)
    }

    /// Whether others may carry to a node to which nothing else led; then they are asked from now on.
    ///
    /// # Errors
    /// What the store refuses.
    pub(crate) async fn may_be_carried(&self, node: NodeId, unreached: &Fault) -> Result<bool, Fault> {
        let may = !self.carriers(|other| *other == node).await?.is_empty();
        if may {
            self.ways.begin(node, unreached.message.clone());
        }
        Ok(may)
    }

    /// The nodes that may carry for us, those with a session first; without those that `except` names, and none if the owner wants none.
    ///
    /// # Errors
    /// What the store refuses.
    pub(crate) async fn carriers(&self, except: impl Fn(&NodeId) -> bool) -> Result<Vec<Carrier>, Fault> {
        if !self.forwards {
            return Ok(Vec::new());
        }
        let (me, now) = (self.me.owner(), self.clock.now());
        let mut found = self
            .store
            .read(move |view| {
                let mut found = Vec::new();
                for held in store::grants::list(view)?.into_iter().filter(|held| held.side == Side::Received) {
                    let Ok(last) = Signed::<Grant>::from_bytes(held.signed).verify() else { continue };
                    let carries = last.capability == CAPABILITY && last.agent == AgentId(last.node.0);
                    if !carries || last.holder != Some(me) || is_over(view, &last, now) {
                        continue;
                    }
                    let links = store::grants::chain(view, &held.id)?;
                    let chain = links.into_iter().map(|link| Signed::from_bytes(link.signed)).collect();
                    found.push((std::cmp::Reverse(last.seq), Carrier { node: last.node, chain }));
                }
                Ok::<_, store::StoreError>(found)
            })
            .await?;
        found.retain(|(_, carrier)| carrier.node != self.me.node() && !except(&carrier.node));
        found.sort_by_key(|(newest, carrier)| (self.path_now(carrier.node).is_none(), *newest, carrier.node));
        let mut carriers: Vec<Carrier> = Vec::new();
        for (_, carrier) in found {
            // The newest grant of a node says what is left there.
            if carriers.iter().all(|other| other.node != carrier.node) {
                carriers.push(carrier);
            }
        }
        carriers.truncate(limits::FORWARD_TRIES);
        Ok(carriers)
    }

    /// Asks through others, one after the other, until one has an answer.
    ///
    /// # Errors
    /// `unreachable`, naming what each of them said; `tampered`, and what the asked node refuses.
    pub(super) async fn carry(&self, node: NodeId, request: Bytes, timeout: Duration) -> Result<Answer, Fault> {
        if request.len() > limits::ERRAND {
            return Err(Fault::new(Refusal::TooLarge, "this is too large to be carried by others"));
        }
        let deadline = Instant::now() + timeout;
        let mut said = Vec::new();
        for carrier in self.carriers(|other| *other == node).await? {
            let name = self.named(&carrier.node);
            match self.ask_through(node, &carrier, &name, &request, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(fault) if is_final(fault.refusal) => return Err(fault),
                Err(fault) => said.push(format!("{name} does not forward to it ({}: {fault})", fault.refusal)),
            }
        }
        let tried = self.ways.forget(&node).unwrap_or_else(|| format!("the node {} cannot be reached", node.0.short()));
        let said = if said.is_empty() { "nobody forwards to it".to_owned() } else { said.join("; ") };
        Err(Fault::new(Refusal::Unreachable, format!("{tried}; {said}"))
            .hint("ask a contact of both for a grant: `kos grant add YOU node.forward` on their side"))
    }

    async fn ask_through(
        &self,
        node: NodeId,
        carrier: &Carrier,
        name: &str,
        request: &Bytes,
        deadline: Instant,
    ) -> Result<Answer, Fault> {
        self.introduce_directly(carrier.node).await?;
        // The second time with the key that the node itself has said.
        for _ in 0..2 {
            let sealed = match self.key_of(&node) {
                Some(key) => Some(self.seal(node, &key, request)?),
                None => None,
            };
            let (question, reader) = sealed.unzip();
            let chain = carrier.chain.clone();
            let path = vec![self.me.node()];
            let forward = Forward { to: node, ttl: limits::HOPS, path, chain, issuers: Vec::new(), question };
            let left = deadline.saturating_duration_since(Instant::now());
            let body = Bytes::from(Request::new(kind::FORWARD, &forward).to_bytes());
            let answer = self.mesh.request(carrier.node, body, left).await;
            let answer = Leg::new(&self.mesh, carrier.node, name.to_owned(), answer);
            match Answer::begin(answer, reader, self.ways.through(node, name.to_owned())).await {
                Begun::Answer(answer) => return Ok(answer),
                Begun::Refused(refused) => return Err(fault(refused)),
                Begun::Key(said) => match Exchange::check(&said, &node, self.clock.now()) {
                    Ok(key) => self.ways.learn(node, key),
                    Err(refusal) => {
                        self.figures.refused("answer", refusal);
                        return Err(Fault::new(Refusal::Tampered, "what came back is not the word of that node"));
                    }
                },
            }
        }
        Err(Fault::new(Refusal::Failed, "that node does not open what is sealed to its key"))
    }

    fn seal(&self, node: NodeId, key: &ExchangeKey, request: &Bytes) -> Result<(SealedQuestion, Reader), Fault> {
        let (answer, now) = (ExchangeSecret::from_seed(entropy::bytes()?), self.clock.now());
        let errand = self.me.sign(Errand {
            caller: self.me.owner(),
            node,
            request: Digest::of(&[request]),
            answer: answer.public(),
            issued: now,
            expires: now.after(limits::ORDER_LIFE),
            nonce: entropy::bytes()?,
        });
        let question = Question {
            errand: errand.signed().clone(),
            caller: self.me.introduction(),
            request: codec::Bytes(request.to_vec()),
        };
        question.seal(key, answer, entropy::bytes()?).map_err(Fault::internal)
    }

    /// The key to seal to: what the node has said last, or what its ticket says.
    fn key_of(&self, node: &NodeId) -> Option<ExchangeKey> {
        let of_ticket = || {
            let ticket = Signed::<Ticket>::from_bytes(self.people.node(node)?.ticket).verify().ok()?;
            (ticket.node == *node && ticket.signer() == node.0).then_some(ticket.exchange)
        };
        self.ways.key(node).or_else(of_ticket)
    }

    fn named(&self, node: &NodeId) -> String {
        self.people.node(node).map_or_else(|| node.0.short(), |contact| contact.name)
    }

    /// Through whom a node is reached at the moment when no session leads there, and in how many hops.
    pub(crate) fn carried_by(&self, node: NodeId) -> Option<(String, usize)> {
        self.ways.by(&node)
    }

    /// The same, for people.
    pub(crate) fn carried_path(&self, node: NodeId) -> Option<String> {
        self.carried_by(node).map(|(via, hops)| format!("forwarded, {hops} hops via {via}"))
    }

    /// Whether a node is reached now, by a session or through others.
    pub(crate) fn is_reached(&self, node: NodeId) -> bool {
        self.path_now(node).is_some() || self.ways.has(&node)
    }
}

/// Whether another carrier would fare no better, or must not be tried.
fn is_final(refusal: Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Tampered
            | Refusal::Timeout
            | Refusal::Cancelled
            | Refusal::TooLarge
            | Refusal::Malformed
            | Refusal::UnknownOutcome
            | Refusal::Interrupted
            | Refusal::Stalled
            | Refusal::Failed
            | Refusal::Internal
    )
}

fn is_over(view: &View, grant: &Verified<Grant>, now: Timestamp) -> bool {
    let revoked = revocations::get(view, &Target::Statement(grant.id()), &grant.issuer);
    now > grant.expires || revoked.map_or(true, |found| found.is_some())
}
