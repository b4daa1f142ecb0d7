//! Finding the agent: who says that it has it, what they show, and what is shown of it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use klp::message::Query;
use klp::rule::record::{Put, Standing};
use klp::rule::search::{Finding, choose, fits};
use klp::statement::card::{Card, CardEntry, NodeRecord, did_key, node_key, tag_key};
use klp::{Cbor as _, NodeId, Signed, Verified, limits};

use super::node::{Call, Message, Purpose, Round, Search, Source};
use super::person::address_in;
use super::table::{Peer, place};
use super::world::{Happening, NAME, World};

/// Nodes that one search asks.
const ASKED: usize = 32;
/// Somebody who finds nothing tries again, so often in all.
const TRIES: u32 = 5;

impl World {
    /// Somebody looks for the given agent, by its name or by its DID.
    pub(super) fn search(&mut self, index: usize, round: Round) -> Result<(), String> {
        if !self.nodes[index].is_up {
            return Ok(());
        }
        let given = self.truth.given.filter(|_| self.dice.chance(500));
        let (key, text) = match given {
            Some(did) => (did_key(&did), None),
            None => (tag_key(NAME), Some(NAME.to_owned())),
        };
        let query = Query { text, capability: None, agent: given };
        let search = Search { round, query, open: 1, findings: Default::default() };
        let id = self.token();
        self.nodes[index].searches.insert(id, search);
        self.walk(index, Purpose::Providers(id), place(&key.0), Message::Providers(key))
    }

    /// The directory has named those who say that they have it.
    pub(super) fn provided(&mut self, index: usize, id: u64, named: BTreeSet<(usize, u64)>) -> Result<(), String> {
        let (salt, me) = (self.dice.between((0, u64::MAX - 1)), self.nodes[index].person.id);
        let mut nodes = BTreeMap::new();
        for (named, address) in named {
            if let Some(node) = self.nodes.get(named).map(|node| node.person.id).filter(|node| *node != me) {
                nodes.entry(node).or_insert_with(Vec::new).push(address);
            }
        }
        let candidates = nodes.keys().map(|node| (*node, Source::Dht)).collect();
        for (node, _) in choose(candidates, &salt.to_be_bytes(), ASKED) {
            let Some(search) = self.nodes[index].searches.get_mut(&id) else { return Ok(()) };
            search.open += 1;
            // Where servers disagree, one of the addresses is tried; some prefer to look for the node's own record at once.
            let addresses = nodes.remove(&node).unwrap_or_default();
            let any = self.dice.between((0, addresses.len().max(1) as u64 - 1)) as usize;
            match addresses.get(any) {
                Some(address) if !self.dice.chance(100) => self.question(index, id, node, *address, true),
                _ => self.locate(index, id, node)?,
            }
        }
        self.ended(index, id)
    }

    fn question(&mut self, index: usize, id: u64, node: NodeId, address: u64, again: bool) {
        let to = self.index.get(&node).copied().unwrap_or(usize::MAX);
        if let Some(search) = self.nodes[index].searches.get(&id) {
            let query = Message::Ask(search.query.clone());
            self.ask(index, to, Some(address), Call::Ask(id, node, again), query);
        }
    }

    fn locate(&mut self, index: usize, id: u64, node: NodeId) -> Result<(), String> {
        let key = node_key(&node);
        self.walk(index, Purpose::Record(id, node), place(&key.0), Message::Get(key))
    }

    /// A node did not answer where it was thought to be.
    pub(super) fn unanswered(&mut self, index: usize, id: u64, node: NodeId, again: bool) -> Result<(), String> {
        if again { self.locate(index, id, node) } else { self.ended(index, id) }
    }

    /// The directory has said where a node is.
    pub(super) fn located(
        &mut self,
        index: usize,
        id: u64,
        node: NodeId,
        record: Option<(Standing, Vec<u8>)>,
    ) -> Result<(), String> {
        let record = record.and_then(|(_, value)| Signed::<NodeRecord>::from_bytes(value).verify().ok());
        match record.as_ref().and_then(|record| address_in(record)) {
            Some(address) => {
                self.question(index, id, node, address, false);
                Ok(())
            }
            None => self.ended(index, id),
        }
    }

    /// Somebody asks what this node has.
    pub(super) fn show(&mut self, index: usize, from: Peer, token: u64, query: &Query) {
        let fitting = self.nodes[index].person.agent.as_ref().is_some_and(|agent| fits(&agent.words, query));
        let entry = if fitting { self.fresh_card(index) } else { None };
        let cards = entry.iter().map(|entry| Bytes::from(entry.to_bytes())).collect();
        self.answer(index, from, token, Message::Cards(cards));
    }

    /// A node shows its cards.
    pub(super) fn shown(&mut self, index: usize, id: u64, node: NodeId, cards: Vec<Bytes>) -> Result<(), String> {
        let (now, believes) = (self.clock(), self.rules.believes);
        for bytes in cards.iter().take(limits::LIST) {
            let entry = CardEntry::from_bytes(bytes, limits::STATEMENT).ok();
            let Some(card) = entry.and_then(|entry| believes(&entry, Some(node), now)) else { continue };
            self.remember(index, &card);
            if let Some(search) = self.nodes[index].searches.get_mut(&id)
                && fits(&card, &search.query)
            {
                search.findings.add(Finding { source: Source::Dht, healthy: true, card });
            }
        }
        self.ended(index, id)
    }

    fn remember(&mut self, index: usize, card: &Verified<Card>) {
        let (now, rules) = (self.clock(), self.rules);
        let standing = Standing::from(&**card);
        let memory = &mut self.nodes[index].memory;
        memory.retain(|_, (standing, _)| !(rules.has_expired)(standing, now));
        let known = memory.get(&card.agent.0).map(|(standing, _)| standing);
        if (rules.put)(known, &standing, now) == Put::Kept {
            memory.insert(card.agent.0, (standing, card.clone()));
            self.truth.remembers(index, card);
        }
    }

    /// A part of a search has ended; with the last one its answer is shown.
    fn ended(&mut self, index: usize, id: u64) -> Result<(), String> {
        let (now, has_expired) = (self.clock(), self.rules.has_expired);
        let node = &mut self.nodes[index];
        let Some(search) = node.searches.get_mut(&id) else { return Ok(()) };
        search.open -= 1;
        if search.open > 0 {
            return Ok(());
        }
        let Some(Search { round, query, mut findings, .. }) = node.searches.remove(&id) else { return Ok(()) };
        let remembered =
            node.memory.values().filter(|(standing, card)| !has_expired(standing, now) && fits(card, &query));
        for (_, card) in remembered {
            findings.add(Finding { source: Source::Cache, healthy: false, card: card.clone() });
        }
        if node.lies {
            return Ok(());
        }
        self.truth.shows(index, round, &findings.rows(), now)?;
        match round {
            Round::There(tries) if tries < TRIES && !self.truth.found.contains(&index) => {
                self.soon(Happening::Search(index, Round::There(tries + 1)), (10_000, 30_000));
            }
            _ => {}
        }
        Ok(())
    }

    /// Gossip has come: what is believed is remembered and passed on.
    pub(super) fn heard(&mut self, index: usize, body: Bytes) {
        if !self.nodes[index].heard.insert(klp::Digest::of(&[&body])) {
            return;
        }
        let entry = CardEntry::from_bytes(&body, limits::GOSSIP).ok();
        if let Some(card) = entry.and_then(|entry| (self.rules.believes)(&entry, None, self.clock())) {
            self.remember(index, &card);
            self.gossip(index, body);
        }
    }
}
