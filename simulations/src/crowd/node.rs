//! One node of the crowd: what it knows, what it keeps, and what it waits for.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use klp::message::Query;
use klp::rule::record::Standing;
use klp::rule::search::Findings;
use klp::statement::card::Card;
use klp::{Did, Digest, NodeId, Verified};

use super::lookup::Lookup;
use super::person::Person;
use super::shelf::{Provider, Shelf};
use super::table::{Peer, Place, Table};

/// What nodes say to each other.
#[derive(Clone, Debug)]
pub(super) enum Message {
    Closest(Place),
    Get(Digest),
    Providers(Digest),
    Put {
        key: Digest,
        value: Vec<u8>,
        publisher: Option<NodeId>,
    },
    Provide {
        key: Digest,
        address: u64,
    },
    Ask(Query),
    Gossip(Bytes),
    /// Answers the first three.
    Found {
        nearer: Vec<Peer>,
        record: Option<Vec<u8>>,
        providers: Vec<Provider>,
    },
    /// Answers a question; each is a card entry.
    Cards(Vec<Bytes>),
}

/// A message on its way.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    pub(super) from: Peer,
    pub(super) to: usize,
    /// Where the sender takes the other node to be; without it, where it is.
    pub(super) address: Option<u64>,
    /// Joins an answer to its question.
    pub(super) token: u64,
    pub(super) message: Message,
}

/// Why a walk is made.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// To know more peers.
    Know,
    /// To tell the nearest ones where this node is.
    Put,
    /// To tell them that it has something.
    Provide(Digest),
    /// To learn who has what a search is for.
    Providers(u64),
    /// To learn where somebody is whom a search wants to ask.
    Record(u64, NodeId),
}

/// A walk and what it has met.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) purpose: Purpose,
    pub(super) lookup: Lookup,
    /// What every peer on the way is asked.
    pub(super) question: Message,
    /// What the nearest ones are told at its end.
    pub(super) put: Option<Message>,
    pub(super) asked: usize,
    pub(super) record: Option<(Standing, Vec<u8>)>,
    pub(super) providers: BTreeSet<(usize, u64)>,
}

/// Who has to answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    Walk(u64, Peer),
    /// A search asks a node; the last one says whether its record may be looked for when there is no answer.
    Ask(u64, NodeId, bool),
}

/// Where a card came from; the first is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Dht,
    Cache,
}

/// Which searches there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// The agent's node is there: everybody finds it, at the latest at the last try.
    There(u32),
    /// It has gone, and its card may still live.
    Gone,
    /// Everything that it announced is over.
    Over,
}

/// A search under way.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) round: Round,
    pub(super) query: Query,
    /// Walks and questions that have not ended.
    pub(super) open: usize,
    pub(super) findings: Findings<Source>,
}

/// One node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) person: Person,
    pub(super) is_up: bool,
    pub(super) serves: bool,
    pub(super) lies: bool,
    /// Which half it is in while they do not hear each other.
    pub(super) half: bool,
    /// Rises when it comes up, so that what was planned before is passed over.
    pub(super) life: u32,
    pub(super) address: u64,
    pub(super) table: Table,
    pub(super) shelf: Shelf,
    /// Cards that it has seen, by agent. They lie on its disk and outlive a restart.
    pub(super) memory: BTreeMap<Did, (Standing, Verified<Card>)>,
    /// Gossip that it has heard already.
    pub(super) heard: BTreeSet<Digest>,
    pub(super) calls: BTreeMap<u64, Call>,
    pub(super) walks: BTreeMap<u64, Walk>,
    pub(super) searches: BTreeMap<u64, Search>,
}

impl Node {
    pub(super) fn new(person: Person) -> Self {
        Self {
            is_up: false,
            serves: false,
            lies: false,
            half: false,
            life: 0,
            address: person.peer.index as u64,
            table: Table::new(person.peer.place),
            shelf: Shelf::default(),
            memory: BTreeMap::new(),
            heard: BTreeSet::new(),
            calls: BTreeMap::new(),
            walks: BTreeMap::new(),
            searches: BTreeMap::new(),
            person,
        }
    }

    /// It starts, and knows nobody.
    pub(super) fn start(&mut self) {
        self.is_up = true;
        self.life += 1;
        self.table = Table::new(self.person.peer.place);
        self.shelf = Shelf::default();
    }

    /// It is gone, without a word.
    pub(super) fn stop(&mut self) {
        self.is_up = false;
        self.calls.clear();
        self.walks.clear();
        self.searches.clear();
    }
}
