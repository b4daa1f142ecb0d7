//! Whom a node knows: buckets by distance, as in Kademlia.

use std::collections::BTreeMap;

use klp::Digest;

/// Peers of one bucket, peers that keep one thing, and peers that one lookup ends with.
pub(super) const K: usize = 20;
/// A peer that gave no answer so often in a row is forgotten.
const FAILURES: u8 = 2;

/// Where something lies. Two thousand places never share their first 16 bytes.
pub(super) type Place = u128;

/// The place of a key or of a node.
pub(super) fn place(bytes: &[u8]) -> Place {
    Digest::of(&[bytes]).0.iter().take(16).fold(0, |place, byte| place << 8 | u128::from(*byte))
}

/// Somebody, as nodes speak of each other. Where somebody lies, it need not be anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Peer {
    pub(super) place: Place,
    /// Which node of the world it is; `usize::MAX` is nobody.
    pub(super) index: usize,
}

#[derive(Debug)]
struct Entry {
    peer: Peer,
    failures: u8,
}

/// The buckets of one node.
#[derive(Debug)]
pub(super) struct Table {
    me: Place,
    buckets: BTreeMap<u32, Vec<Entry>>,
}

impl Table {
    pub(super) fn new(me: Place) -> Self {
        Self { me, buckets: BTreeMap::new() }
    }

    /// A peer has spoken. It is not taken in while its bucket is full of peers that answer.
    pub(super) fn learn(&mut self, peer: Peer) {
        if peer.place == self.me {
            return;
        }
        let bucket = self.buckets.entry((self.me ^ peer.place).leading_zeros()).or_default();
        let entry = Entry { peer, failures: 0 };
        if let Some(known) = bucket.iter_mut().find(|known| known.peer == peer) {
            known.failures = 0;
        } else if bucket.len() < K {
            bucket.push(entry);
        } else if let Some(silent) = bucket.iter_mut().find(|known| known.failures > 0) {
            *silent = entry;
        }
    }

    /// A peer gave no answer.
    pub(super) fn failed(&mut self, peer: Peer) {
        let Some(bucket) = self.buckets.get_mut(&(self.me ^ peer.place).leading_zeros()) else { return };
        for known in bucket.iter_mut().filter(|known| known.peer == peer) {
            known.failures += 1;
        }
        bucket.retain(|known| known.failures < FAILURES);
    }

    /// The nearest peers to a place.
    pub(super) fn closest(&self, target: Place) -> Vec<Peer> {
        let mut peers: Vec<Peer> = self.all().collect();
        if peers.len() > K {
            peers.select_nth_unstable_by_key(K, |peer| peer.place ^ target);
            peers.truncate(K);
        }
        peers.sort_unstable_by_key(|peer| peer.place ^ target);
        peers
    }

    /// Everybody in it.
    pub(super) fn all(&self) -> impl Iterator<Item = Peer> {
        self.buckets.values().flatten().map(|entry| entry.peer)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buckets.values().all(Vec::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_bounded_and_make_room_only_for_those_that_are_silent() {
        let far = |index: usize| Peer { place: Place::MAX - index as Place, index };
        let mut table = Table::new(0);
        (0..K + 5).for_each(|index| table.learn(far(index)));
        assert_eq!(table.all().count(), K);
        table.failed(far(3));
        table.learn(far(K));
        assert!(table.all().any(|peer| peer == far(K)) && !table.all().any(|peer| peer == far(3)));
        table.learn(Peer { place: 1, index: 100 });
        assert_eq!(table.closest(0).first().map(|peer| peer.index), Some(100));
        (0..2).for_each(|_| table.failed(Peer { place: 1, index: 100 }));
        assert_eq!(table.all().count(), K);
    }
}
