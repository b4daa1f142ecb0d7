//! What nodes and agents say about themselves. Source: `specs/04-records.md`.

use std::collections::BTreeSet;

use crate::codec::Digest;
use crate::identity::{AgentId, Did, NodeId, OwnerId};
use crate::refusal::Refusal;
use crate::sealed::ExchangeKey;
use crate::signed::{Signed, Verified};
use crate::statement::certificate::{Credential, Introduction};
use crate::time::Timestamp;
use crate::{cbor_struct, limits, statement};

statement! {
    "kos/node/1"
    /// Where a node is; signed by the node key and kept in the DHT under [`node_key`].
    pub struct NodeRecord {
        /// The node.
        1 node: NodeId;
        /// Multiaddrs, best first.
        2 addresses: Vec<String>, max limits::ADDRESSES;
        /// The key to seal to.
        3 exchange: ExchangeKey;
        /// Rises with every record.
        4 seq: u64;
        /// From when.
        5 issued: Timestamp;
        /// Until when.
        6 expires: Timestamp;
    }
}

statement! {
    "kos/relays/1"
    /// Relays behind which the contacts of a node's owner are welcome; signed by the node key and told to contacts only.
    pub struct RelayOffer {
        /// The node whose owner offers them.
        1 node: NodeId;
        /// Multiaddrs, each ending in `/p2p/PEERID`, best first. None takes back what was offered before.
        2 relays: Vec<String>, max limits::RELAYS_OFFERED;
        /// Rises with every offer.
        3 seq: u64;
        /// From when.
        4 issued: Timestamp;
        /// Until when.
        5 expires: Timestamp;
    }
}

cbor_struct! {
    /// One thing that an agent can do.
    pub struct Capability {
        /// Its name.
        1 name: String, max limits::NAME;
        /// The arguments that it takes.
        2 arguments: BTreeSet<String>, max limits::NAME;
    }
}

statement! {
    "kos/card/1"
    /// What an agent is; signed by the agent key. Its texts come from another person and are data, never orders.
    pub struct Card {
        /// The agent.
        1 agent: AgentId;
        /// Whose it is.
        2 owner: OwnerId;
        /// Where it lives.
        3 node: NodeId;
        /// What its owner calls it.
        4 name: String, max limits::NAME;
        /// One line.
        5 description: String, max limits::TEXT;
        /// The kind of agent.
        6 kind: String, max limits::NAME;
        /// What it can do.
        7 capabilities: Vec<Capability>, max limits::ARGUMENTS;
        /// Words it is found by.
        8 tags: BTreeSet<String>, max limits::NAME;
        /// Rises with every card.
        9 seq: u64;
        /// From when.
        10 issued: Timestamp;
        /// Until when.
        11 expires: Timestamp;
    }
}

cbor_struct! {
    /// A card and the certificate of the agent that signed it, as they travel.
    pub struct CardEntry {
        /// The card.
        1 card: Signed<Card>;
        /// The agent's certificate and acceptance.
        2 introduction: Introduction;
    }
}

impl CardEntry {
    /// Checks card, certificate, and that they speak of the same agent, owner and node.
    ///
    /// # Errors
    /// `signature`, `malformed`, `expired` or `too_large`.
    pub fn verify(&self, now: Timestamp) -> Result<(Verified<Card>, Credential), Refusal> {
        let card = self.card.verify().map_err(|error| Refusal::from(&error))?;
        let credential = self.introduction.verify(now)?;
        let together = card.signer() == card.agent.0
            && credential.subject() == card.agent.0
            && credential.owner() == card.owner
            && credential.is_agent_on(&card.node);
        if !together {
            return Err(Refusal::Signature);
        }
        if card.tags.len() > limits::TAGS {
            return Err(Refusal::TooLarge);
        }
        if now > card.expires { Err(Refusal::Expired) } else { Ok((card, credential)) }
    }
}

/// Key of a node's record in the DHT.
pub fn node_key(node: &NodeId) -> Digest {
    Digest::of(&[b"kos/dht/node/1", node.0.key()])
}

/// Key under which a node provides an owner or an agent.
pub fn did_key(did: &Did) -> Digest {
    Digest::of(&[b"kos/dht/did/1", did.key()])
}

/// Key under which a node provides a capability tag. Tags are short words: whoever guesses one sees who provides it.
pub fn tag_key(tag: &str) -> Digest {
    Digest::of(&[b"kos/dht/tag/1", tag.to_lowercase().as_bytes()])
}
