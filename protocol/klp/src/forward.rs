//! Forwarding: a request that other nodes carry, sealed from its asker to whoever answers. Source: `specs/11-forwarding.md`.
//!
//! What no channel makes authentic is signed: an [`Errand`] stands for the Hello that the two ends never exchange. Those in between see
//! whom to take it to, how often it may still be handed on, and by whom it came.

mod seal;

use crate::codec::{Bytes, Digest};
use crate::identity::{NodeId, OwnerId};
use crate::message::kind;
use crate::refusal::Refusal;
use crate::sealed::ExchangeKey;
use crate::signed::{Signed, Verified};
use crate::statement::certificate::{Credential, Introduction, Right};
use crate::statement::grant::Grant;
use crate::time::Timestamp;
use crate::{cbor_struct, limits, statement};

pub use seal::{Export, Reader, SealedQuestion, Writer};

/// The capability of a grant that lets its holder's requests pass. The agent of such a grant is the node itself.
pub const CAPABILITY: &str = "forward";

/// The name of the argument that a grant may bind: the node that is to be reached, as a DID.
pub const TO: &str = "to";

/// The kinds of request that may be carried. All others belong to a session.
pub const KINDS: [&str; 6] =
    [kind::PING, kind::DIRECTORY, kind::CAPABILITIES, kind::CALL, kind::GRANTS, kind::ACKNOWLEDGE];

statement! {
    "kos/errand/1"
    /// Takes the place of the session between two nodes that have none: who asks, whom, and what; signed by the asking node.
    pub struct Errand {
        /// Whose wish it is.
        1 caller: OwnerId;
        /// The node that is asked, and no other.
        2 node: NodeId;
        /// SHA-256 of the request's bytes.
        3 request: Digest;
        /// The key that the answer is sealed to, made for this one errand.
        4 answer: ExchangeKey;
        /// From when.
        5 issued: Timestamp;
        /// Until when it may begin; at most 10 minutes later.
        6 expires: Timestamp;
        /// Keeps two equal errands apart.
        7 nonce: [u8; 16];
    }
}

statement! {
    "kos/exchange/1"
    /// The key to seal to, said by the node itself.
    pub struct Exchange {
        /// The node.
        1 node: NodeId;
        /// Its present key.
        2 exchange: ExchangeKey;
        /// From when.
        3 issued: Timestamp;
        /// Until when this may be told.
        4 expires: Timestamp;
    }
}

cbor_struct! {
    /// What lies inside a sealed question.
    pub struct Question {
        /// Who asks, and whom.
        1 errand: Signed<Errand>;
        /// The certificate of the asking node.
        2 caller: Introduction;
        /// The request, byte for byte as a session would carry it.
        3 request: Bytes, max limits::ERRAND;
    }
}

cbor_struct! {
    /// A request on its way.
    pub struct Forward {
        /// The node that it is for.
        1 to: NodeId;
        /// How many more nodes may hand it on.
        2 ttl: u64;
        /// The nodes that have had it, the asker first, the sender of this message last.
        3 path: Vec<NodeId>, max limits::HOPS_MAX;
        /// The grants that let it pass here, from this node's owner down to the sender's; together at most 4 KiB.
        4 chain: Vec<Signed<Grant>>, max limits::GRANT_DEPTH;
        /// Introductions of nodes that signed a grant of the chain in their owner's name.
        5 issuers: Vec<Introduction>, max limits::GRANT_DEPTH;
        /// What is asked; absent to ask for the key to seal to.
        6 question: Option<SealedQuestion>;
    }
}

cbor_struct! {
    /// The end of what comes back: exactly one of the two.
    pub struct Forwarded {
        /// The sealed [`End`].
        1 end: Option<Bytes>, max limits::ERRAND + 8 * 1024;
        /// The key to seal to: the question had none, or was sealed to one that is no more.
        2 key: Option<Signed<Exchange>>;
    }
}

cbor_struct! {
    /// The last piece of a sealed answer. Without it an answer is not whole.
    pub struct End {
        /// The final answer, byte for byte as a session would carry it.
        1 answer: Option<Bytes>, max limits::ERRAND;
        /// Or the number of a refusal.
        2 refusal: Option<u64>;
        /// More about a refusal; empty with an answer.
        3 message: String, max limits::TEXT;
        /// The nodes that have carried the question, as whoever answers was told.
        4 path: Vec<NodeId>, max limits::HOPS_MAX;
    }
}

/// What a node does with a request that reached it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is for this node.
    Here,
    /// It is for another.
    Onward,
}

impl Forward {
    /// What `me` does with it when the channel shows that `from` has sent it. Whether it may is the permit rule's to say.
    ///
    /// # Errors
    /// `malformed` when the path does not end with the sender or more is allowed than ever is, `loop` when a node is met twice, `hops`
    /// when nobody may hand it on any more.
    pub fn step(&self, me: &NodeId, from: &NodeId) -> Result<Step, Refusal> {
        if self.path.last() != Some(from) || self.ttl > limits::HOPS_MAX as u64 {
            return Err(Refusal::Malformed);
        }
        let twice = |(at, node): (usize, &NodeId)| self.path[..at].contains(node);
        if self.path.contains(me) || self.path.contains(&self.to) || self.path.iter().enumerate().any(twice) {
            return Err(Refusal::Loop);
        }
        if self.to == *me {
            return Ok(Step::Here);
        }
        if self.ttl == 0 || self.path.len() >= limits::HOPS_MAX { Err(Refusal::Hops) } else { Ok(Step::Onward) }
    }

    /// The same, as `me` hands it on under the grants that `me` holds.
    #[must_use]
    pub fn onward(&self, me: NodeId, chain: Vec<Signed<Grant>>) -> Self {
        let path = self.path.iter().copied().chain([me]).collect();
        Self { ttl: self.ttl.saturating_sub(1), path, chain, issuers: Vec::new(), ..self.clone() }
    }

    /// Whether the node was met already, or is where it goes.
    pub fn knows(&self, node: &NodeId) -> bool {
        self.to == *node || self.path.contains(node)
    }
}

impl Question {
    /// Checks that the errand is meant for `me`, in its time, of this very request, and by a node that may call in its owner's name.
    /// Revocation and replay are for whoever keeps these.
    ///
    /// # Errors
    /// `signature`, `malformed`, `not_for_me`, `expired` or `clock`.
    pub fn verify(&self, me: &NodeId, now: Timestamp) -> Result<(Verified<Errand>, Credential), Refusal> {
        let errand = self.errand.verify().map_err(|error| Refusal::from(&error))?;
        if errand.node != *me {
            return Err(Refusal::NotForMe);
        }
        if now > errand.expires {
            return Err(Refusal::Expired);
        }
        if errand.issued > now.after(limits::SKEW) {
            return Err(Refusal::Clock);
        }
        let life = errand.expires.since(errand.issued);
        if life > limits::ORDER_LIFE || errand.request != Digest::of(&[&self.request.0]) {
            return Err(Refusal::Malformed);
        }
        let caller = self.caller.verify(now)?;
        let theirs = caller.is_node(&NodeId(errand.signer())) && caller.owner() == errand.caller;
        if theirs && caller.may(Right::Call) { Ok((errand, caller)) } else { Err(Refusal::Signature) }
    }
}

impl Exchange {
    /// Checks that this is what `node` says of itself now.
    ///
    /// # Errors
    /// `signature`, `malformed`, `not_for_me` when another node says it, `expired` or `clock`.
    pub fn check(signed: &Signed<Self>, node: &NodeId, now: Timestamp) -> Result<ExchangeKey, Refusal> {
        let said = signed.verify().map_err(|error| Refusal::from(&error))?;
        if said.node != *node || said.signer() != node.0 {
            return Err(Refusal::NotForMe);
        }
        if now > said.expires.after(limits::SKEW) || said.expires.since(said.issued) > limits::ORDER_LIFE {
            return Err(Refusal::Expired);
        }
        if said.issued > now.after(limits::SKEW) { Err(Refusal::Clock) } else { Ok(said.exchange) }
    }
}
