//! Who is behind a node: keys, and what is signed with them.

use klp::rule::record::Standing;
use klp::sealed::{ExchangeKey, ExchangeSecret};
use klp::statement::card::{Card, CardEntry, NodeRecord};
use klp::statement::certificate::{Certificate, Introduction, Kind, Right};
use klp::{AgentId, Digest, NodeId, OwnerId, SecretKey, Timestamp, Verified, limits};

use super::table::{Peer, place};

/// An agent that everybody may find.
#[derive(Debug)]
pub(super) struct Agent {
    key: SecretKey,
    pub(super) id: AgentId,
    pub(super) owner: OwnerId,
    introduction: Introduction,
    /// What its cards say, but for their number and time.
    pub(super) words: Card,
}

/// Somebody with a node.
#[derive(Debug)]
pub(super) struct Person {
    key: SecretKey,
    exchange: ExchangeKey,
    pub(super) id: NodeId,
    pub(super) peer: Peer,
    pub(super) agent: Option<Agent>,
}

fn seed(world: u64, what: &str, index: usize) -> [u8; 32] {
    Digest::of(&[&world.to_be_bytes(), what.as_bytes(), &index.to_be_bytes()]).0
}

impl Person {
    pub(super) fn new(world: u64, index: usize) -> Self {
        let key = SecretKey::from_seed(&seed(world, "node", index));
        let exchange = ExchangeSecret::from_seed(seed(world, "exchange", index)).public();
        let id = NodeId(key.did());
        Self { exchange, id, peer: Peer { place: place(id.0.key()), index }, key, agent: None }
    }

    /// Lists an agent.
    pub(super) fn list(&mut self, world: u64, name: &str, now: Timestamp) {
        let owner = SecretKey::from_seed(&seed(world, "owner", self.peer.index));
        let key = SecretKey::from_seed(&seed(world, "agent", self.peer.index));
        let introduction = self.introduction(&owner, &key, now);
        let (id, owner) = (AgentId(key.did()), OwnerId(owner.did()));
        let words = Card {
            agent: id,
            owner,
            node: self.id,
            name: name.to_owned(),
            description: format!("what {name} knows"),
            kind: "librarian".to_owned(),
            capabilities: Vec::new(),
            tags: [name.to_owned()].into(),
            seq: 0,
            issued: now,
            expires: now,
        };
        self.agent = Some(Agent { key, id, owner, introduction, words });
    }

    fn introduction(&self, owner: &SecretKey, agent: &SecretKey, now: Timestamp) -> Introduction {
        let certificate = Certificate {
            subject: agent.did(),
            kind: Kind::Agent,
            owner: OwnerId(owner.did()),
            node: Some(self.id),
            rights: vec![Right::Serve],
            issued: now,
            expires: now.after(limits::CERTIFICATE_LIFE),
            seq: now.0,
            next_key: Digest([0; 32]),
        };
        Introduction::make(certificate, owner, agent, now)
    }

    /// A fresh card of the agent here.
    pub(super) fn card(&self, now: Timestamp) -> Option<CardEntry> {
        let agent = self.agent.as_ref()?;
        let card = Verified::sign(self.words(agent, now), &agent.key).signed().clone();
        Some(CardEntry { card, introduction: agent.introduction.clone() })
    }

    fn words(&self, agent: &Agent, now: Timestamp) -> Card {
        let expires = now.after(limits::RECORD_LIFE);
        Card { node: self.id, seq: now.0, issued: now, expires, ..agent.words.clone() }
    }

    /// A card in the name of somebody else's agent that says it lives here, signed with the keys that are at hand.
    pub(super) fn forged_card(&self, victim: &Agent, theirs: bool, now: Timestamp) -> Option<CardEntry> {
        let mine = self.agent.as_ref()?;
        let mut words = self.words(victim, now);
        words.expires = now.after(limits::RECORD_LIFE * 100);
        let card = Verified::sign(words, &mine.key).signed().clone();
        // The victim's introduction speaks of another node, and ours of another agent.
        let introduction = if theirs { victim.introduction.clone() } else { mine.introduction.clone() };
        Some(CardEntry { card, introduction })
    }

    /// Where this node is.
    pub(super) fn record(&self, address: u64, now: Timestamp) -> (Vec<u8>, Standing) {
        self.record_of(self.id, address, now)
    }

    /// Where another node is, as this one would have it.
    pub(super) fn record_of(&self, node: NodeId, address: u64, now: Timestamp) -> (Vec<u8>, Standing) {
        let standing = Standing { seq: now.0, expires: now.after(limits::RECORD_LIFE) };
        let record = NodeRecord {
            node,
            addresses: vec![format!("/memory/{address}")],
            exchange: self.exchange,
            seq: standing.seq,
            issued: now,
            expires: standing.expires,
        };
        (Verified::sign(record, &self.key).signed().as_bytes().to_vec(), standing)
    }
}

/// The address in a believed record.
pub(super) fn address_in(record: &NodeRecord) -> Option<u64> {
    record.addresses.first()?.strip_prefix("/memory/")?.parse().ok()
}
