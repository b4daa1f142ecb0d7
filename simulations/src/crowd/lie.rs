//! Peers that lie: to those who walk past them, to those who ask them, and to everybody by gossip.

use bytes::Bytes;
use klp::statement::card::{CardEntry, did_key, tag_key};
use klp::{Cbor as _, limits};

use super::node::Message;
use super::shelf::Provider;
use super::table::{Peer, Place};
use super::world::{GIVEN, NAME, World};

impl World {
    /// Answers with a lie. Says whether that was all; what it does not lie about it treats like anybody.
    pub(super) fn lies_to(&mut self, me: usize, from: Peer, token: u64, message: &Message) -> bool {
        match message {
            Message::Closest(target) => {
                let nearer = self.strangers(*target);
                self.answer(me, from, token, Message::Found { nearer, record: None, providers: Vec::new() });
            }
            Message::Get(key) => {
                let (nearer, record) = (self.strangers(super::table::place(&key.0)), self.lying_record(me));
                self.answer(me, from, token, Message::Found { nearer, record, providers: Vec::new() });
            }
            Message::Providers(key) => {
                let nearer = self.strangers(super::table::place(&key.0));
                let mut providers = vec![Provider { peer: self.peer(me), address: self.nodes[me].address }];
                // Somebody who has nothing, and the one who has it at a place where it is not.
                let any = self.any();
                providers.push(Provider { peer: self.peer(any), address: self.nodes[any].address });
                providers.push(Provider { peer: self.peer(GIVEN), address: any as u64 });
                self.answer(me, from, token, Message::Found { nearer, record: None, providers });
            }
            Message::Ask(_) => {
                let cards = self.lying_card(me).into_iter().collect();
                self.answer(me, from, token, Message::Cards(cards));
            }
            // What it is told to keep or to pass on it forgets.
            Message::Put { .. } | Message::Provide { .. } | Message::Gossip(_) => {}
            Message::Found { .. } | Message::Cards(_) => return false,
        }
        true
    }

    fn any(&mut self) -> usize {
        self.dice.between((0, self.nodes.len() as u64 - 1)) as usize
    }

    fn peer(&self, index: usize) -> Peer {
        self.nodes[index].person.peer
    }

    /// Peers that are nobody, as near to the target as can be, and anybody.
    fn strangers(&mut self, target: Place) -> Vec<Peer> {
        let mut peers = Vec::new();
        for _ in 0..6 {
            let any = self.any();
            peers.push(self.peer(any));
        }
        for _ in 0..2 {
            let near = Place::from(self.dice.between((1, u64::MAX - 1)));
            peers.push(Peer { place: target ^ (near << 48), index: usize::MAX });
        }
        peers
    }

    /// Something from what was seen, more often of late.
    fn seen<T: Clone>(&mut self, pick: impl Fn(&Self) -> &[T]) -> Option<T> {
        let count = pick(self).len() as u64;
        let at = self.dice.between((count.saturating_sub(40), count.max(1) - 1));
        pick(self).get(at as usize).cloned()
    }

    /// A record of the given node: an old one, one of somebody else, or a forged one.
    fn lying_record(&mut self, me: usize) -> Option<Vec<u8>> {
        let victim = self.nodes[GIVEN].person.id;
        if self.dice.chance(300) {
            return Some(self.nodes[me].person.record_of(victim, self.nodes[me].address, self.clock()).0);
        }
        let own = self.dice.chance(700);
        let first = self.records.iter().find(|(node, _)| !own || *node == victim).map(|(_, value)| value.clone());
        if self.dice.chance(500) { first } else { self.seen(|world| &world.records).map(|(_, value)| value) }
    }

    /// A card entry: forged in one of several ways, spoilt, somebody else's, an old one, or its own under the same name.
    fn lying_card(&mut self, me: usize) -> Option<Bytes> {
        let now = self.clock();
        let seen = self.seen(|world| &world.cards);
        let way = self.dice.between((0, 5));
        let person = &self.nodes[me].person;
        match way {
            0 | 1 => {
                let victim = self.nodes[GIVEN].person.agent.as_ref()?;
                person.forged_card(victim, way == 0, now).map(|entry| entry.to_bytes().into())
            }
            2 => {
                let mut bytes = seen?.to_vec();
                let at = self.dice.between((0, bytes.len() as u64 - 1)) as usize;
                bytes[at] ^= 1;
                Some(bytes.into())
            }
            3 => {
                // A true card under somebody else's introduction.
                let card = CardEntry::from_bytes(&seen?, limits::STATEMENT).ok()?.card;
                let introduction = person.card(now)?.introduction;
                Some(CardEntry { card, introduction }.to_bytes().into())
            }
            4 => seen,
            _ => self.fresh_card(me).map(|entry| entry.to_bytes().into()),
        }
    }

    /// A liar acts: it says that it has the given agent, puts old and forged records, and gossips.
    pub(super) fn lie(&mut self, me: usize) -> Result<(), String> {
        if !self.nodes[me].is_up {
            return Ok(());
        }
        let given = self.truth.given.iter().map(did_key).chain([tag_key(NAME)]).collect::<Vec<_>>();
        for key in given {
            self.provide(me, key)?;
        }
        if let Some(value) = self.lying_record(me) {
            self.put(me, self.nodes[GIVEN].person.id, value)?;
        }
        if let Some(body) = self.lying_card(me) {
            self.gossip(me, body);
        }
        Ok(())
    }
}
