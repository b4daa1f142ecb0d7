//! Walking towards a place: ask the nearest peers that are known for nearer ones, until the nearest have answered.

use std::collections::BTreeMap;

use super::table::{K, Peer, Place};

/// Peers that are asked at once.
const ALPHA: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    New,
    Asked,
    Answered,
    Failed,
}

/// One walk.
#[derive(Debug)]
pub(super) struct Lookup {
    target: Place,
    /// By distance.
    peers: BTreeMap<Place, (Peer, Step)>,
    /// Those that have been asked and have not answered.
    waiting: usize,
}

impl Lookup {
    pub(super) fn new(target: Place, from: Vec<Peer>) -> Self {
        let mut lookup = Self { target, peers: BTreeMap::new(), waiting: 0 };
        lookup.add(from);
        lookup
    }

    fn add(&mut self, peers: Vec<Peer>) {
        for peer in peers.into_iter().take(K) {
            self.peers.entry(peer.place ^ self.target).or_insert((peer, Step::New));
        }
    }

    fn nearest(&self) -> impl Iterator<Item = &(Peer, Step)> {
        self.peers.values().filter(|(_, step)| *step != Step::Failed).take(K)
    }

    /// Whom to ask now, if anybody.
    pub(super) fn next(&mut self) -> Option<Peer> {
        if self.waiting >= ALPHA {
            return None;
        }
        let peer = self.nearest().find(|(_, step)| *step == Step::New).map(|(peer, _)| *peer)?;
        self.step(peer, Step::Asked);
        self.waiting += 1;
        Some(peer)
    }

    fn step(&mut self, peer: Peer, step: Step) {
        let known = self.peers.get_mut(&(peer.place ^ self.target));
        if known.is_some_and(|known| std::mem::replace(&mut known.1, step) == Step::Asked) {
            self.waiting -= 1;
        }
    }

    pub(super) fn answered(&mut self, peer: Peer, nearer: Vec<Peer>) {
        self.step(peer, Step::Answered);
        self.add(nearer);
    }

    pub(super) fn failed(&mut self, peer: Peer) {
        self.step(peer, Step::Failed);
    }

    /// Whether the nearest peers have all answered.
    pub(super) fn is_done(&self) -> bool {
        self.nearest().all(|(_, step)| *step == Step::Answered)
    }

    /// The nearest peers that have answered.
    pub(super) fn closest(&self) -> Vec<Peer> {
        let answered = self.peers.values().filter(|(_, step)| *step == Step::Answered);
        answered.map(|(peer, _)| *peer).take(K).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(index: usize) -> Peer {
        Peer { place: index as Place, index }
    }

    #[test]
    fn it_goes_on_until_the_nearest_have_answered_and_passes_over_the_silent() {
        let mut lookup = Lookup::new(0, vec![peer(64)]);
        assert_eq!(lookup.next(), Some(peer(64)));
        assert_eq!((lookup.next(), lookup.is_done()), (None, false));
        lookup.answered(peer(64), (1..=5).map(peer).collect());
        assert_eq!(
            [lookup.next(), lookup.next(), lookup.next(), lookup.next()],
            [1, 2, 3, 0].map(|at| { (at > 0).then(|| peer(at)) })
        );
        lookup.failed(peer(1));
        (2..=5).for_each(|at| {
            lookup.next();
            lookup.answered(peer(at), Vec::new());
        });
        assert!(lookup.is_done());
        assert_eq!(lookup.closest(), [2, 3, 4, 5, 64].map(peer));
    }
}
