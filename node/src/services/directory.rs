//! Finding agents: here, at contacts, on the LAN, in the DHT, and among what was seen before.

mod announce;
mod hearing;
mod pulse;
mod rank;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent::{Registration, Visibility};
use bytes::Bytes;
use futures::StreamExt as _;
use klp::message::{Cards, Query, kind};
use klp::rule::search::{Finding, Findings, believes, choose, fits, outlives};
use klp::statement::card::{Card, CardEntry, did_key, tag_key};
use klp::statement::certificate::Credential;
use klp::{Cbor as _, Did, NodeId, OwnerId, Refusal, Timestamp, Verified, limits};
use store::Store;
use store::records::{self, Kind, Record};
use tokio::time::Instant;

pub(crate) use announce::Around;

use super::agents::Agents;
use super::grants::Grants;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::entropy;
use crate::fault::Fault;
use crate::inbound::{Access, Caller, Inbound};
use crate::me::Me;
use crate::outbound::Outbound;
use crate::people::People;
use crate::view;
use hearing::Unheard;
use pulse::Pulse;

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
    bus: Bus,
    pulse: Arc<Mutex<Pulse>>,
}

/// What is looked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Words of the name, tags or description, or a DID; may be empty.
    pub text: String,
    /// Only agents with this capability.
    pub capability: Option<String>,
    /// Only agents of this kind, such as `librarian`.
    pub kind: Option<String>,
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
    #[expect(clippy::too_many_arguments, reason = "each is another part that a search needs")]
    pub(crate) fn new(
        store: Store,
        clock: Clock,
        me: Me,
        people: People,
        outbound: Outbound,
        agents: Agents,
        grants: Grants,
        bus: Bus,
    ) -> Self {
        Self { store, clock, me, people, outbound, agents, grants, bus, pulse: Arc::default() }
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
        let capability = capability.map(str::to_owned);
        self.search(&Wanted { text: query.to_owned(), capability, kind: None }).await
    }

    /// The same, also by kind. Every node that may have such an agent is asked now, unless it was silent just before; what does not
    /// answer is shown for a moment and then no more.
    ///
    /// # Errors
    /// `invalid`
    pub async fn search(&self, wanted: &Wanted) -> Result<Vec<view::Found>, Fault> {
        let Wanted { text: query, capability, kind } = wanted;
        let (query, capability) = (query.trim(), capability.as_deref());
        if query.len() > limits::TEXT || (query.is_empty() && capability.is_none() && kind.is_none()) {
            return Err(Fault::new(Refusal::Invalid, "say what to look for: a word, a DID, a capability, or a kind"));
        }
        let did = query.strip_prefix("kos:").unwrap_or(query).parse::<Did>().ok();
        let text = (did.is_none() && !query.is_empty()).then(|| query.to_owned());
        let asked = Query { text: text.clone(), capability: capability.map(str::to_owned), agent: None };
        let mut found = Findings::default();
        let mut add = |source, healthy, card| found.add(Finding { source, healthy, card });
        let wanted = |card: &Card| {
            let named = did.is_none_or(|did| card.agent.0 == did || card.owner.0 == did || card.node.0 == did);
            named && kind.as_ref().is_none_or(|kind| card.kind == *kind) && fits(card, &asked)
        };
        for entry in self.agents.all().iter().filter(|entry| entry.state.answers()) {
            let card = self.agents.card(entry)?.card.verify();
            card.into_iter().filter(|card| wanted(card)).for_each(|card| add(Source::Here, true, card));
        }
        let remembered = self.remembered().await?;
        self.outbound.figures().knows(remembered.len());
        let mut providers = BTreeSet::new();
        for card in remembered.into_iter().filter(|card| wanted(card)) {
            providers.insert(card.node);
            add(Source::Cache, false, card);
        }
        let named = [capability, kind.as_deref()];
        let nodes = self.candidates(text.as_deref(), named, did, providers).await;
        let answers = futures::stream::iter(nodes.into_iter().map(|(node, source)| {
            let query = &asked;
            async move { (node, source, self.searched(node, Some(query)).await) }
        }));
        let mut answered = BTreeSet::new();
        let deadline = tokio::time::sleep(SEARCH);
        let collected = answers.buffer_unordered(AT_ONCE);
        tokio::pin!(collected, deadline);
        loop {
            tokio::select! {
                next = collected.next() => match next {
                    Some((node, source, Ok(cards))) => {
                        answered.insert(node);
                        cards.into_iter().filter(|card| wanted(card)).for_each(|card| add(source, true, card));
                    }
                    Some((_, _, Err(_))) => {}
                    None => break,
                },
                () = &mut deadline => break,
            }
        }
        let rows = found.rows();
        let now = Instant::now();
        let shown = rows.iter().filter(|found| {
            let silence = || self.pulse().silence(&found.card.node, now);
            found.healthy || outlives(answered.contains(&found.card.node), silence())
        });
        let mut shown: Vec<_> = shown.map(|found| self.row(found, query)).collect();
        shown.sort_by(rank::order);
        Ok(shown)
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
            kind: agent::plain::line(&card.kind),
            capabilities: card.capabilities.iter().map(|one| agent::plain::line(&one.name)).collect(),
            health: if *healthy { "healthy" } else { "unknown" }.to_owned(),
            reputation: None,
            path: source.as_str().to_owned(),
            via: match source {
                Source::Here => Some("local".to_owned()),
                _ => self.outbound.path_now(card.node),
            },
            reason: format!("{why} fits; found by {}", source.as_str()),
        }
    }

    /// Which nodes to ask, each by the best way it was come by; not those that were silent just before.
    async fn candidates(
        &self,
        text: Option<&str>,
        named: [Option<&str>; 2],
        did: Option<Did>,
        remembered: BTreeSet<NodeId>,
    ) -> Vec<(NodeId, Source)> {
        let mut nodes: BTreeMap<NodeId, Source> = remembered.into_iter().map(|node| (node, Source::Cache)).collect();
        for contact in self.people.all().iter() {
            for device in &contact.nodes {
                nodes.insert(device.node, Source::Contact);
            }
        }
        for node in self.outbound.nearby() {
            nodes.entry(node).and_modify(|source| *source = Source::Lan.min(*source)).or_insert(Source::Lan);
        }
        let words: BTreeSet<String> = text
            .iter()
            .flat_map(|text| text.split_whitespace())
            .chain(named.into_iter().flatten())
            .map(str::to_lowercase)
            .collect();
        let keys = words.iter().take(WORDS).map(|word| tag_key(word)).chain(did.iter().map(did_key));
        let found = futures::future::join_all(keys.map(|key| self.outbound.providers(key))).await;
        for node in found.into_iter().flatten() {
            nodes.entry(node).and_modify(|source| *source = Source::Dht.min(*source)).or_insert(Source::Dht);
        }
        nodes.remove(&self.me.node());
        let now = Instant::now();
        nodes.retain(|node, _| self.pulse().is_due(node, now));
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
        self.cards_by(node, query, agent, false).await
    }

    /// The same in a search, which nobody is asked to carry: most of those whom it asks may be away.
    async fn searched(&self, node: NodeId, query: Option<&Query>) -> Result<Vec<Verified<Card>>, Fault> {
        self.cards_by(node, query, None, true).await
    }

    async fn cards_by(
        &self,
        node: NodeId,
        query: Option<&Query>,
        agent: Option<Did>,
        directly: bool,
    ) -> Result<Vec<Verified<Card>>, Fault> {
        // To a contact we say who we are, and see what we were granted; a stranger shows what is listed.
        let everything = Query { text: None, capability: None, agent };
        let asked = async {
            if directly {
                self.outbound.reach(node).await?;
            }
            if self.people.knows(&node) {
                self.outbound.introduce(node).await?;
            }
            self.outbound.ask::<Cards>(node, kind::DIRECTORY, query.unwrap_or(&everything)).await
        };
        let waiting = Unheard::new(self, node);
        let cards = asked.await;
        waiting.came(&cards);
        let cards = cards?;
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
        let nodes = self.candidates(None, [None; 2], Some(did), BTreeSet::new()).await;
        let answers = futures::future::join_all(nodes.into_iter().map(|(node, _)| self.searched(node, None)));
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
    pub(crate) async fn learn(&self, body: &Bytes) -> Result<NodeId, Refusal> {
        let entry = CardEntry::from_bytes(body, limits::GOSSIP).map_err(|_| Refusal::Malformed)?;
        let (card, agent) = believes(&entry, None, self.clock.now())?;
        if !self.stands(&agent) {
            return Err(Refusal::Revoked);
        }
        if card.node != self.me.node() {
            self.pulse().stirred(card.node, Instant::now());
            self.remember(&entry, &card).await.map_err(|fault| fault.refusal)?;
        }
        Ok(card.node)
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
