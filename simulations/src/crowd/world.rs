//! Time, messages, and who comes and goes.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use klp::{Cbor as _, Digest, NodeId, Timestamp, limits};

use super::node::{Call, Envelope, Message, Node, Purpose, Round};
use super::person::Person;
use super::rules::Rules;
use super::setting::Setting;
use super::table::Peer;
use super::truth::Truth;
use crate::dice::Dice;

const MINUTE: u64 = 60_000;
/// When the world begins.
const BEGIN: Timestamp = Timestamp(1_700_000_000_000);
/// How long a node waits for an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// The bootstrap peer, and the node with the given agent.
pub(super) const HUB: usize = 0;
pub(super) const GIVEN: usize = 1;
/// Nodes with listed agents, the given one among them.
const LISTED: usize = 3;
/// What the given agent is called, and what those call theirs who want to be taken for it.
pub(super) const NAME: &str = "bees";

// The day of this world, in minutes.
const JOINED: u64 = 10;
const RESTLESS: (u64, u64) = (15, 75);
const MOVED: u64 = 60;
const THERE: (u64, u64) = (90, 95);
const LEFT: u64 = 100;
const GONE: (u64, u64) = (101, 159);
const OVER: (u64, u64) = (162, 166);
/// Nodes look around, and liars act, this often.
const AROUND: u64 = 60;
const LIES: u64 = 25;

/// What became of a crowd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Messages sent, and how many of them never arrived.
    pub messages: u64,
    /// Messages that never arrived.
    pub lost: u64,
    /// Searches, each checked.
    pub searches: u64,
    /// Nodes that found the given agent while it was there.
    pub found: usize,
    /// Digest of everything that happened, in order: equal for equal seeds.
    pub trace: Digest,
}

/// What is to come. The number beside a node is its life: what was planned in an earlier one is passed over.
#[derive(Debug)]
pub(super) enum Happening {
    Arrives(Box<Envelope>),
    Silent(usize, u64),
    Join(usize),
    Leave(usize),
    LookAround(usize, u32),
    Announce(usize, u32),
    Move(usize),
    Search(usize, Round),
    Lie(usize),
    Split(bool),
}

/// The world.
pub(super) struct World {
    pub(super) setting: Setting,
    pub(super) rules: Rules,
    pub(super) dice: Dice,
    /// Milliseconds since the beginning.
    now: u64,
    turn: u64,
    to_come: BTreeMap<(u64, u64), Happening>,
    pub(super) nodes: Vec<Node>,
    pub(super) index: BTreeMap<NodeId, usize>,
    pub(super) truth: Truth,
    /// What liars have seen of others: cards, and records with their nodes.
    pub(super) cards: Vec<Bytes>,
    pub(super) records: Vec<(NodeId, Vec<u8>)>,
    tokens: u64,
    is_split: bool,
    messages: u64,
    lost: u64,
    trace: Vec<u8>,
}

/// Runs one crowd.
///
/// # Errors
/// What did not hold, as a sentence with the minute in which it was seen.
pub fn run(setting: Setting, seed: u64) -> Result<Outcome, String> {
    run_by(setting.rules(), setting, seed)
}

pub(super) fn run_by(rules: Rules, setting: Setting, seed: u64) -> Result<Outcome, String> {
    let mut world = World::new(rules, setting, seed);
    while let Some(((now, turn), happening)) = world.to_come.pop_first() {
        world.now = now;
        world.note(turn, &happening);
        world.happen(happening).map_err(|broken| format!("in minute {}: {broken}", now / MINUTE))?;
        if now > (OVER.1 + 4) * MINUTE {
            break;
        }
    }
    world.outcome()
}

impl World {
    fn new(rules: Rules, setting: Setting, seed: u64) -> Self {
        let nodes: Vec<_> = (0..=setting.nodes).map(|index| Node::new(Person::new(seed, index))).collect();
        let mut world = Self {
            setting,
            rules,
            dice: Dice::new(seed),
            now: 0,
            turn: 0,
            to_come: BTreeMap::new(),
            index: nodes.iter().map(|node| (node.person.id, node.person.peer.index)).collect(),
            nodes,
            truth: Truth::default(),
            cards: Vec::new(),
            records: Vec::new(),
            tokens: 0,
            is_split: false,
            messages: 0,
            lost: 0,
            trace: Vec::new(),
        };
        world.plan(seed);
        world
    }

    /// Who is what, and who comes and goes when.
    fn plan(&mut self, seed: u64) {
        let setting = self.setting;
        self.nodes[HUB].serves = true;
        self.soon(Happening::Join(HUB), (0, 0));
        for index in 1..=setting.nodes {
            let is_listed = index < GIVEN + LISTED;
            let [serves, lies, leaves, is_late, returns, half] =
                [setting.servers, setting.liars, setting.leave, setting.late, 500, 500]
                    .map(|share| self.dice.chance(share));
            let node = &mut self.nodes[index];
            (node.serves, node.lies, node.half) = (serves, lies && !is_listed, half);
            if is_listed || node.lies {
                let name = if index == GIVEN || node.lies { NAME.to_owned() } else { format!("agent {index}") };
                node.person.list(seed, &name, BEGIN);
            }
            let is_late = is_late && !is_listed;
            self.during(Happening::Join(index), if is_late { RESTLESS } else { (0, JOINED) });
            if leaves && !is_late && !is_listed {
                let left = self.during(Happening::Leave(index), (RESTLESS.0, RESTLESS.1 - 10));
                if returns {
                    self.at(left + MINUTE, Happening::Join(index), (0, 5 * MINUTE));
                }
            }
            if lies && !is_listed {
                self.during(Happening::Lie(index), (JOINED, JOINED + LIES));
            }
        }
        if let Some((from, to)) = setting.split {
            self.during(Happening::Split(true), (from, from));
            self.during(Happening::Split(false), (to, to));
        }
        self.during(Happening::Move(GIVEN), (MOVED, MOVED));
        self.during(Happening::Leave(GIVEN), (LEFT, LEFT));
        for index in (0..=setting.nodes).filter(|index| *index != GIVEN) {
            let rounds = [(Round::There(1), THERE), (Round::Over, OVER), (Round::Gone, GONE)];
            // In between it is enough that some look.
            for (round, minutes) in rounds.into_iter().take(if index % 3 == 0 { 3 } else { 2 }) {
                self.during(Happening::Search(index, round), minutes);
            }
        }
        self.truth.given = self.nodes[GIVEN].person.agent.as_ref().map(|agent| agent.id.0);
    }

    /// The wall clock of everybody.
    pub(super) fn clock(&self) -> Timestamp {
        BEGIN.after(Duration::from_millis(self.now))
    }

    fn at(&mut self, from: u64, happening: Happening, span: (u64, u64)) -> u64 {
        let at = from + self.dice.between(span);
        self.turn += 1;
        self.to_come.insert((at, self.turn), happening);
        at
    }

    pub(super) fn soon(&mut self, happening: Happening, span: (u64, u64)) {
        self.at(self.now, happening, span);
    }

    fn during(&mut self, happening: Happening, (from, to): (u64, u64)) -> u64 {
        self.at(0, happening, (from * MINUTE, to * MINUTE))
    }

    pub(super) fn token(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }

    /// Sends a message. It is lost by chance, between two halves that do not hear each other, and when there is nobody.
    pub(super) fn send(&mut self, envelope: Envelope) {
        self.messages += 1;
        let across = self.nodes.get(envelope.to).map(|to| to.half != self.nodes[envelope.from.index].half);
        let lost = self.dice.chance(self.setting.loss) || across.is_none_or(|across| across && self.is_split);
        if lost {
            self.lost += 1;
        } else {
            self.soon(Happening::Arrives(Box::new(envelope)), self.setting.latency);
        }
    }

    /// Sends a message that wants no answer.
    pub(super) fn tell(&mut self, from: usize, to: usize, message: Message) {
        let from = self.nodes[from].person.peer;
        self.send(Envelope { from, to, address: None, token: 0, message });
    }

    /// Sends a question, and notices when there is no answer.
    pub(super) fn ask(&mut self, from: usize, to: usize, address: Option<u64>, call: Call, message: Message) {
        let token = self.token();
        self.nodes[from].calls.insert(token, call);
        let patience = PATIENCE.as_millis() as u64;
        self.soon(Happening::Silent(from, token), (patience, patience));
        let from = self.nodes[from].person.peer;
        self.send(Envelope { from, to, address, token, message });
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Arrives(envelope) => self.arrives(*envelope)?,
            Happening::Silent(index, token) => match self.nodes[index].calls.remove(&token) {
                Some(Call::Walk(walk, peer)) => {
                    let node = &mut self.nodes[index];
                    node.table.failed(peer);
                    if let Some(walk) = node.walks.get_mut(&walk) {
                        walk.lookup.failed(peer);
                    }
                    self.walk_on(index, walk)?;
                }
                Some(Call::Ask(search, node, again)) => self.unanswered(index, search, node, again)?,
                None => {}
            },
            Happening::Join(index) if !self.nodes[index].is_up => {
                self.nodes[index].start();
                let life = self.nodes[index].life;
                self.look_around(index, life)?;
                if self.nodes[index].person.agent.is_some() && !self.nodes[index].lies {
                    self.soon(Happening::Announce(index, life), (MINUTE, 2 * MINUTE));
                }
            }
            Happening::Join(_) => {}
            Happening::Leave(index) => {
                self.nodes[index].stop();
                if index == GIVEN {
                    self.truth.left = Some(self.clock());
                }
            }
            Happening::LookAround(index, life) if self.nodes[index].life == life => self.look_around(index, life)?,
            Happening::LookAround(..) => {}
            Happening::Announce(index, life) if self.nodes[index].life == life => {
                self.announce(index)?;
                let again = limits::RECORD_LIFE.as_millis() as u64 / 2;
                self.soon(Happening::Announce(index, life), (again, again));
            }
            Happening::Announce(..) => {}
            Happening::Move(index) => {
                self.nodes[index].address += self.nodes.len() as u64;
                self.announce(index)?;
            }
            Happening::Search(index, round) => self.search(index, round)?,
            Happening::Lie(index) => {
                self.lie(index)?;
                self.soon(Happening::Lie(index), (LIES * MINUTE, LIES * MINUTE));
            }
            Happening::Split(is_split) => self.is_split = is_split,
        }
        Ok(())
    }

    /// A node looks for itself, so that it and its neighbours know each other, and for any other place.
    fn look_around(&mut self, index: usize, life: u32) -> Result<(), String> {
        if !self.nodes[index].is_up {
            return Ok(());
        }
        let me = self.nodes[index].person.peer.place;
        if self.nodes[index].table.is_empty() && index != HUB {
            let hub = self.nodes[HUB].person.peer;
            self.nodes[index].table.learn(hub);
        }
        let other = (0..2).fold(0, |place, _| place << 64 | u128::from(self.dice.between((0, u64::MAX - 1))));
        for place in [me, other] {
            self.walk(index, Purpose::Know, place, Message::Closest(place))?;
        }
        // Alone, it tries again soon.
        let is_alone = self.nodes[index].table.all().count() < 2;
        let span = if is_alone { (2_000, 10_000) } else { (AROUND * MINUTE / 2, AROUND * MINUTE) };
        self.soon(Happening::LookAround(index, life), span);
        Ok(())
    }

    /// A node with a listed agent says so: to the directory, and by gossip.
    fn announce(&mut self, index: usize) -> Result<(), String> {
        if !self.nodes[index].is_up {
            return Ok(());
        }
        let Some(entry) = self.fresh_card(index) else { return Ok(()) };
        let keys = self.keys_of(index);
        let (value, standing) = self.nodes[index].person.record(self.nodes[index].address, self.clock());
        self.truth.puts(&value, standing);
        self.records.push((self.nodes[index].person.id, value.clone()));
        self.put(index, self.nodes[index].person.id, value)?;
        for key in keys {
            self.provide(index, key)?;
        }
        self.gossip(index, Bytes::from(entry.to_bytes()));
        Ok(())
    }

    /// Tells some peers of something.
    pub(super) fn gossip(&mut self, index: usize, body: Bytes) {
        const MESH: u64 = 6;
        let peers: Vec<Peer> = self.nodes[index].table.all().filter(|peer| peer.index < self.nodes.len()).collect();
        if peers.is_empty() {
            return;
        }
        for _ in 0..MESH {
            let any = self.dice.between((0, peers.len() as u64 - 1)) as usize;
            self.tell(index, peers[any].index, Message::Gossip(body.clone()));
        }
    }

    /// Remembers what happens, of a message also what it carries.
    fn note(&mut self, turn: u64, happening: &Happening) {
        self.trace.extend(self.now.to_be_bytes());
        self.trace.extend(turn.to_be_bytes());
        match happening {
            Happening::Arrives(envelope) => {
                for number in [envelope.from.index, envelope.to, envelope.token as usize] {
                    self.trace.extend((number as u32).to_be_bytes());
                }
                match &envelope.message {
                    Message::Put { value, .. } => self.trace.extend_from_slice(value),
                    Message::Gossip(body) => self.trace.extend_from_slice(body),
                    Message::Cards(cards) => cards.iter().for_each(|card| self.trace.extend_from_slice(card)),
                    Message::Found { nearer, providers, record } => {
                        nearer.iter().for_each(|peer| self.trace.extend((peer.index as u32).to_be_bytes()));
                        providers.iter().for_each(|one| self.trace.extend(one.address.to_be_bytes()));
                        self.trace.extend(record.iter().flatten());
                    }
                    Message::Closest(place) => self.trace.extend(place.to_be_bytes()),
                    Message::Get(key) | Message::Providers(key) | Message::Provide { key, .. } => {
                        self.trace.extend(key.0);
                    }
                    Message::Ask(query) => self.trace.push(query.agent.is_some().into()),
                }
            }
            Happening::Silent(index, token) => self.trace.extend((*index as u64 ^ token << 24).to_be_bytes()),
            other => self.trace.extend_from_slice(format!("{other:?}").as_bytes()),
        }
        if self.trace.len() > 1 << 20 {
            self.trace = Digest::of(&[&self.trace]).0.to_vec();
        }
    }

    fn outcome(self) -> Result<Outcome, String> {
        let honest = self.nodes.iter().filter(|node| node.is_up && !node.lies).map(|node| node.person.peer.index);
        let missing: Vec<_> = honest.clone().filter(|index| !self.truth.found.contains(index)).collect();
        if !missing.is_empty() {
            return Err(format!("of {} nodes these never found the agent: {missing:?}", honest.count()));
        }
        if let Some(index) = honest.clone().find(|index| !self.truth.looked.contains(index)) {
            return Err(format!("node {index} did not look once more"));
        }
        Ok(Outcome {
            messages: self.messages,
            lost: self.lost,
            searches: self.truth.searches,
            found: self.truth.found.len(),
            trace: Digest::of(&[&self.trace]),
        })
    }
}
