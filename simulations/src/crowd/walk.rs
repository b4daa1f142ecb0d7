//! The directory: walking through it, telling it something, and answering for it.

use klp::rule::record::Put;
use klp::statement::card::{CardEntry, did_key, node_key, tag_key};
use klp::{Digest, NodeId};

use super::lookup::Lookup;
use super::node::{Call, Envelope, Message, Purpose, Walk};
use super::shelf::Provider;
use super::table::{Peer, Place, place};
use super::world::World;

/// Peers that one walk may ask: in the product it is a time that bounds it.
const ASKED: usize = 120;

impl World {
    /// A fresh card of the agent of a node, which the world takes down.
    pub(super) fn fresh_card(&mut self, index: usize) -> Option<CardEntry> {
        let now = self.clock();
        let entry = self.nodes[index].person.card(now)?;
        self.truth.signs(&entry, now.after(klp::limits::RECORD_LIFE));
        self.cards.push(klp::Cbor::to_bytes(&entry).into());
        Some(entry)
    }

    /// What a node with a listed agent provides.
    pub(super) fn keys_of(&self, index: usize) -> Vec<Digest> {
        let person = &self.nodes[index].person;
        let agent = person.agent.iter();
        agent
            .flat_map(|agent| [did_key(&agent.id.0), did_key(&agent.owner.0), tag_key(&agent.words.name)])
            .chain([did_key(&person.id.0)])
            .collect()
    }

    pub(super) fn provide(&mut self, index: usize, key: Digest) -> Result<(), String> {
        let target = place(&key.0);
        self.walk(index, Purpose::Provide(key), target, Message::Closest(target))
    }

    /// Puts a record under the key of a node, from the nearest peers on.
    pub(super) fn put(&mut self, index: usize, about: NodeId, value: Vec<u8>) -> Result<(), String> {
        let key = node_key(&about);
        let target = place(&key.0);
        let put = Message::Put { key, value, publisher: Some(about) };
        let walk = self.token();
        self.walk_as(index, walk, Purpose::Put, target, Message::Closest(target), Some(put))
    }

    /// Begins a walk.
    pub(super) fn walk(
        &mut self,
        index: usize,
        purpose: Purpose,
        target: Place,
        question: Message,
    ) -> Result<(), String> {
        let walk = self.token();
        self.walk_as(index, walk, purpose, target, question, None)
    }

    fn walk_as(
        &mut self,
        index: usize,
        id: u64,
        purpose: Purpose,
        target: Place,
        question: Message,
        put: Option<Message>,
    ) -> Result<(), String> {
        let node = &mut self.nodes[index];
        let lookup = Lookup::new(target, node.table.closest(target));
        let (record, providers) = (None, std::collections::BTreeSet::new());
        node.walks.insert(id, Walk { purpose, lookup, question, put, asked: 0, record, providers });
        self.walk_on(index, id)
    }

    /// The next steps of a walk, or its end.
    pub(super) fn walk_on(&mut self, index: usize, id: u64) -> Result<(), String> {
        loop {
            let Some(walk) = self.nodes[index].walks.get_mut(&id) else { return Ok(()) };
            if walk.lookup.is_done() || walk.asked >= ASKED {
                break;
            }
            let Some(peer) = walk.lookup.next() else { return Ok(()) };
            walk.asked += 1;
            let question = walk.question.clone();
            self.ask(index, peer.index, None, Call::Walk(id, peer), question);
        }
        match self.nodes[index].walks.remove(&id) {
            Some(walk) => self.arrived(index, walk),
            None => Ok(()),
        }
    }

    fn arrived(&mut self, index: usize, walk: Walk) -> Result<(), String> {
        let closest = walk.lookup.closest();
        match walk.purpose {
            Purpose::Know => {}
            Purpose::Put => {
                for (peer, put) in closest.into_iter().zip(walk.put.iter().cycle()) {
                    self.tell(index, peer.index, put.clone());
                }
            }
            Purpose::Provide(key) => {
                let address = self.nodes[index].address;
                for peer in closest {
                    self.tell(index, peer.index, Message::Provide { key, address });
                }
            }
            Purpose::Providers(search) => self.provided(index, search, walk.providers)?,
            Purpose::Record(search, node) => self.located(index, search, node, walk.record)?,
        }
        Ok(())
    }

    /// A message has come.
    pub(super) fn arrives(&mut self, envelope: Envelope) -> Result<(), String> {
        let Envelope { from, to, address, token, message } = envelope;
        let now = self.clock();
        let serves = self.nodes[from.index].serves;
        let node = &mut self.nodes[to];
        if !node.is_up || address.is_some_and(|address| address != node.address) {
            return Ok(());
        }
        if serves {
            node.table.learn(from);
        }
        if node.lies && self.lies_to(to, from, token, &message) {
            return Ok(());
        }
        let node = &mut self.nodes[to];
        let nearer = |target: Place| node.table.closest(target);
        match message {
            Message::Closest(target) => {
                let answer = Message::Found { nearer: nearer(target), record: None, providers: Vec::new() };
                self.answer(to, from, token, answer);
            }
            Message::Get(key) => {
                let (nearer, record) = (nearer(place(&key.0)), node.shelf.get(&key));
                self.answer(to, from, token, Message::Found { nearer, record, providers: Vec::new() });
            }
            Message::Providers(key) => {
                let (nearer, providers) = (nearer(place(&key.0)), node.shelf.providers(&key, now));
                self.answer(to, from, token, Message::Found { nearer, record: None, providers });
            }
            Message::Put { key, value, publisher } => {
                if let Some(known) = node.shelf.put(&self.rules, (key, value.clone(), publisher), now) {
                    self.truth.keeps(&value, known, now)?;
                }
            }
            Message::Provide { key, address } => node.shelf.provide(key, Provider { peer: from, address }, now),
            Message::Ask(query) => self.show(to, from, token, &query),
            Message::Gossip(body) => self.heard(to, body),
            Message::Found { nearer, record, providers } => match node.calls.remove(&token) {
                Some(Call::Walk(id, peer)) => {
                    self.on_the_way(to, id, peer, nearer, record, providers)?;
                    self.walk_on(to, id)?;
                }
                Some(other) => drop(node.calls.insert(token, other)),
                None => {}
            },
            Message::Cards(cards) => match node.calls.remove(&token) {
                Some(Call::Ask(search, asked, _)) => self.shown(to, search, asked, cards)?,
                Some(other) => drop(node.calls.insert(token, other)),
                None => {}
            },
        }
        Ok(())
    }

    pub(super) fn answer(&mut self, from: usize, to: Peer, token: u64, message: Message) {
        let from = self.nodes[from].person.peer;
        self.send(Envelope { from, to: to.index, address: None, token, message });
    }

    /// A peer on the way has answered.
    fn on_the_way(
        &mut self,
        index: usize,
        id: u64,
        peer: Peer,
        nearer: Vec<Peer>,
        record: Option<Vec<u8>>,
        providers: Vec<Provider>,
    ) -> Result<(), String> {
        let (now, rules) = (self.clock(), self.rules);
        let Some(walk) = self.nodes[index].walks.get_mut(&id) else { return Ok(()) };
        walk.lookup.answered(peer, nearer);
        walk.providers.extend(providers.iter().map(|one| (one.peer.index, one.address)));
        if let (Some(value), Message::Get(key)) = (record, &walk.question) {
            let known = walk.record.as_ref().map(|(standing, _)| standing);
            if let Some(standing) = (rules.standing)(&key.0, &value, None, now)
                && (rules.put)(known, &standing, now) == Put::Kept
            {
                self.truth.believes(&value, now)?;
                walk.record = Some((standing, value));
            }
        }
        Ok(())
    }
}
