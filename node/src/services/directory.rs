//! Finding agents: here, at contacts, on the LAN, in the DHT, and among what was seen before.

mod announce;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent::{Registration, Visibility};
use bytes::Bytes;
use futures::StreamExt as _;
use klp::message::{Cards, Query, kind};
use klp::rule::search::{Finding, Findings, believes, choose, fits};
use klp::statement::card::{Card, CardEntry, did_key, tag_key};
use klp::statement::certificate::Credential;
use klp::{Cbor as _, Did, NodeId, OwnerId, Refusal, Timestamp, Verified, limits};
use store::Store;
use store::records::{self, Kind, Record};

pub(crate) use announce::Around;

use super::agents::Agents;
use super::grants::Grants;
use crate::clock::Clock;
use crate::entropy;
use crate::fault::Fault;
use crate::inbound::{Access, Caller, Inbound};
use crate::me::Me;
use crate::outbound::Outbound;
use crate::people::People;
use crate::view;

/// How long a whole search may take: nodes that have gone must not hold up those that answer.
const SEARCH: Duration = Duration::from_secs(5);
/// Nodes that are asked in one search.
const ASKED: usize = 32;
/// Nodes that are asked at once.
const AT_ONCE: usize = 8;
/// Words of a query that are looked up in the DHT.
const WORDS: usize = 4;

/// The directory.
#[derive(Clone)]
pub struct Directory {
    store: Store,
    clock: Clock,
    me: Me,
    people: People,
    outbound: Outbound,
    agents: Agents,
    grants: Grants,
}

/// Where a card came from; the first is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Here,
    Contact,
    Lan,
    Dht,
    Cache,
}

impl Source {
    fn as_str(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Contact => "contact",
            Self::Lan => "lan",
            Self::Dht => "dht",
            Self::Cache => "cache",
        }
    }
}

impl Directory {
    pub(crate) fn new(
        store: Store,
        clock: Clock,
        me: Me,
        people: People,
        outbound: Outbound,
        agents: Agents,
        grants: Grants,
    ) -> Self {
        Self { store, clock, me, people, outbound, agents, grants }
    }

    /// Answers `directory.query` from now on.
    pub(crate) fn open(&self, inbound: &Inbound) {
        let directory = self.clone();
        inbound.answer(kind::DIRECTORY, Access::Anybody, move |caller: Caller, query: Query| {
            let directory = directory.clone();
            async move { directory.visible(&caller, &query).await }
        });
    }

    /// Agents whose name, tags or description hold the words of `query`, healthy ones first.
    ///
    /// # Errors
    /// `invalid`
    pub async fn find(&self, query: &str, capability: Option<&str>) -> Result<Vec<view::Found>, Fault> {
        let query = query.trim();
        if query.len() > limits::TEXT || (query.is_empty() && capability.is_none()) {
            return Err(Fault::new(Refusal::Invalid, "say what to look for: a word, a DID, or a capability"));
        }
        let did = query.strip_prefix("kos:").unwrap_or(query).parse::<Did>().ok();
        let text = (did.is_none() && !query.is_empty()).then(|| query.to_owned());
        let asked = Query { text: text.clone(), capability: capability.map(str::to_owned), agent: None };
        let mut found = Findings::default();
        let mut add = |source, healthy, card| found.add(Finding { source, healthy, card });
        let wanted = |card: &Card| {
            let named = did.is_none_or(|did| card.agent.0 == did || card.owner.0 == did || card.node.0 == did);
            named && fits(card, &asked)
        };
        for entry in self.agents.all().iter().filter(|entry| entry.state.answers()) {
            let card = self.agents.card(entry)?.card.verify();
            card.into_iter().filter(|card| wanted(card)).for_each(|card| add(Source::Here, true, card));
        }
        for card in self.remembered().await?.into_iter().filter(|card| wanted(card)) {
            add(Source::Cache, false, card);
        }
        let nodes = self.candidates(text.as_deref(), capability, did).await;
        let answers = futures::stream::iter(nodes.into_iter().map(|(node, source)| {
            let query = &asked;
            async move { (source, self.cards_at(node, Some(query), None).await) }
        }));
        let collected = answers.buffer_unordered(AT_ONCE);
        let deadline = tokio::time::sleep(SEARCH);
        tokio::pin!(collected, deadline);
        loop {
            tokio::select! {
                next = collected.next() => match next {
                    Some((source, Ok(cards))) => {
                        cards.into_iter().filter(|card| wanted(card)).for_each(|card| add(source, true, card));
                    }
                    Some((_, Err(_))) => {}
                    None => break,
                },
                () = &mut deadline => break,
            }
        }
        Ok(found.rows().iter().map(|found| self.row(found, query)).collect())
    }

    fn row(&self, found: &Finding<Source>, query: &str) -> view::Found {
        let Finding { source, healthy, card } = found;
        let contact = self.people.owner(&card.owner).map(|contact| contact.name);
        let why = match (card.name == query, card.tags.contains(&query.to_lowercase())) {
            (true, _) => "its name".to_owned(),
            (_, true) => "one of its tags".to_owned(),
            _ => "its card".to_owned(),
        };
        view::Found {
            name: agent::plain::line(&card.name),
            did: card.agent.to_string(),
            owner: card.owner.to_string(),
            contact,
            node: card.node.to_string(),
            description: agent::plain::line(&card.description),
            capabilities: card.capabilities.iter().map(|one| agent::plain::line(&one.name)).collect(),
            health: if *healthy { "healthy" } else { "unknown" }.to_owned(),
            reputation: None,
            path: source.as_str().to_owned(),
            reason: format!("{why} fits; found by {}", source.as_str()),
        }
    }

    /// Which nodes to ask, each by the best way it was come by.
    async fn candidates(
        &self,
        text: Option<&str>,
        capability: Option<&str>,
        did: Option<Did>,
    ) -> Vec<(NodeId, Source)> {
        let mut nodes: BTreeMap<NodeId, Source> = BTreeMap::new();
        for contact in self.people.all().iter() {
            for device in &contact.nodes {
                nodes.insert(device.node, Source::Contact);
            }
        }
        for node in self.outbound.nearby() {
            nodes.entry(node).or_insert(Source::Lan);
        }
        let words: BTreeSet<String> =
            text.iter().flat_map(|text| text.split_whitespace()).chain(capability).map(str::to_lowercase).collect();
        let keys = words.iter().take(WORDS).map(|word| tag_key(word)).chain(did.iter().map(did_key));
        let found = futures::future::join_all(keys.map(|key| self.outbound.providers(key))).await;
        for node in found.into_iter().flatten() {
            nodes.entry(node).or_insert(Source::Dht);
        }
        nodes.remove(&self.me.node());
        // Without entropy the order is one that others can know, which is still an order.
        let salt = entropy::bytes::<16>().unwrap_or_default();
        choose(nodes, &salt, ASKED)
    }

    /// The cards that a node shows me, each verified and of that very node. They are remembered.
    ///
    /// # Errors
    /// `unreachable`, or what the node refuses.
    pub(crate) async fn cards_at(
        &self,
        node: NodeId,
        query: Option<&Query>,
        agent: Option<Did>,
    ) -> Result<Vec<Verified<Card>>, Fault> {
        // To a contact we say who we are, and see what we were granted; a stranger shows what is listed.
        if self.people.knows(&node) {
            self.outbound.introduce(node).await?;
        }
        let everything = Query { text: None, capability: None, agent };
        let cards: Cards = self.outbound.ask(node, kind::DIRECTORY, query.unwrap_or(&everything)).await?;
        let now = self.clock.now();
        let mut verified = Vec::new();
        for entry in cards.cards {
            match self.believed(&entry, node, now) {
                Ok(card) => {
                    self.remember(&entry, &card).await?;
                    verified.push(card);
                }
                Err(refusal) => self.outbound.figures().refused("card", refusal),
            }
        }
        Ok(verified)
    }

    /// Cards of an agent, an owner or a node that is known only by its DID.
    ///
    /// # Errors
    /// `internal`
    pub(crate) async fn cards_of(&self, did: Did) -> Result<Vec<Verified<Card>>, Fault> {
        let fits = |card: &Card| card.agent.0 == did || card.owner.0 == did || card.node.0 == did;
        let nodes = self.candidates(None, None, Some(did)).await;
        let answers = futures::future::join_all(nodes.into_iter().map(|(node, _)| self.cards_at(node, None, None)));
        let answers = tokio::time::timeout(SEARCH, answers).await.unwrap_or_default();
        let mut found: Vec<_> =
            answers.into_iter().filter_map(Result::ok).flatten().filter(|card| fits(card)).collect();
        if found.is_empty() {
            found = self.remembered().await?.into_iter().filter(|card| fits(card)).collect();
        }
        Ok(found)
    }

    /// Learns a card from gossip.
    ///
    /// # Errors
    /// `malformed`, `signature`, `expired`: nothing of it is kept.
    pub(crate) async fn learn(&self, body: &Bytes) -> Result<(), Refusal> {
        let entry = CardEntry::from_bytes(body, limits::GOSSIP).map_err(|_| Refusal::Malformed)?;
        let (card, agent) = believes(&entry, None, self.clock.now())?;
        if !self.stands(&agent) {
            return Err(Refusal::Revoked);
        }
        if card.node != self.me.node() {
            self.remember(&entry, &card).await.map_err(|fault| fault.refusal)?;
        }
        Ok(())
    }

    /// A card as this node shows it of itself: of no other node, and of no revoked agent.
    fn believed(&self, entry: &CardEntry, node: NodeId, now: Timestamp) -> Result<Verified<Card>, Refusal> {
        let (card, agent) = believes(entry, Some(node), now)?;
        if self.stands(&agent) { Ok(card) } else { Err(Refusal::Revoked) }
    }

    /// Whether an agent's certificate has not been revoked.
    fn stands(&self, agent: &Credential) -> bool {
        self.store.view().is_ok_and(|view| store::revocations::stands(&view, agent))
    }

    async fn remember(&self, entry: &CardEntry, card: &Verified<Card>) -> Result<(), Fault> {
        let (now, bytes) = (self.clock.now(), entry.to_bytes());
        let record = Record {
            kind: Kind::Card,
            about: card.agent.0,
            owner: card.owner.0,
            seq: card.seq,
            expires: card.expires,
            signed: bytes,
        };
        self.store.write(move |tx| records::put(tx, &record, now).map(drop)).await?;
        Ok(())
    }

    /// Cards that were seen and have not expired.
    pub(crate) async fn remembered(&self) -> Result<Vec<Verified<Card>>, Fault> {
        Ok(self.kept().await?.into_iter().filter_map(card_in).collect())
    }

    /// The same of one owner's agents.
    pub(crate) async fn remembered_of(&self, owner: OwnerId) -> Result<Vec<Verified<Card>>, Fault> {
        let of_owner = |record: &Record| record.owner == owner.0;
        Ok(self.kept().await?.into_iter().filter(of_owner).filter_map(card_in).collect())
    }

    async fn kept(&self) -> Result<Vec<Record>, Fault> {
        let now = self.clock.now();
        Ok(self.store.read(move |view| records::list(view, Kind::Card, now)).await?)
    }

    /// The cards that this caller may see.
    async fn visible(&self, caller: &Caller, query: &Query) -> Result<Cards, Refusal> {
        let granted: BTreeSet<_> = match &caller.principal {
            Some(principal) => self.granted(principal.owner).await?,
            None => BTreeSet::new(),
        };
        let seen = |entry: &&Registration| {
            let listed = entry.manifest.visibility != Visibility::Private;
            let own = caller.principal.as_ref().is_some_and(|principal| principal.owner == self.me.owner());
            entry.state.answers() && (listed || own || granted.contains(&entry.id.0))
        };
        let mut cards = Vec::new();
        for entry in self.agents.all().iter().filter(seen).take(limits::LIST) {
            let card = self.agents.card(entry).map_err(|fault| fault.refusal)?;
            let fitting = card.card.verify().is_ok_and(|card| fits(&card, query));
            if fitting {
                cards.push(card);
            }
        }
        Ok(Cards { cards })
    }

    async fn granted(&self, holder: klp::OwnerId) -> Result<BTreeSet<Did>, Refusal> {
        let granted = self.grants.agents_of(holder).await;
        granted.map_err(|fault| fault.refusal)
    }
}

fn card_in(record: Record) -> Option<Verified<Card>> {
    let entry = CardEntry::from_bytes(&record.signed, limits::STATEMENT).ok()?;
    entry.card.verify().ok()
}

/// The name in a remembered card.
pub(super) fn name_in(record: Record) -> Option<String> {
    card_in(record).map(|card| agent::plain::line(&card.name))
}
