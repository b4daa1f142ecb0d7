//! How many requests a node carries at once: of one peer, and of all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use klp::{NodeId, limits};

/// The places, by peer.
#[derive(Clone, Default)]
pub(super) struct Places(Arc<Mutex<BTreeMap<NodeId, usize>>>);

/// One that is taken as long as this lives.
pub(super) struct Place {
    places: Places,
    peer: NodeId,
}

impl Places {
    /// Takes one for a peer; none when it has all of its own, or all are taken.
    pub(super) fn take(&self, peer: NodeId) -> Option<Place> {
        let mut taken = self.lock();
        let all: usize = taken.values().sum();
        let of_peer = taken.entry(peer).or_default();
        if *of_peer >= limits::FORWARDS || all >= limits::FORWARDS_ALL {
            if *of_peer == 0 {
                taken.remove(&peer);
            }
            return None;
        }
        *of_peer += 1;
        Some(Place { places: self.clone(), peer })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        if let Some(of_peer) = taken.get_mut(&self.peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                taken.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(seed: u8) -> NodeId {
        NodeId(klp::SecretKey::from_seed(&[seed; 32]).did())
    }

    #[test]
    fn k15_each_peer_has_its_places_and_all_have_theirs() {
        let places = Places::default();
        let mut taken: Vec<_> = (0..limits::FORWARDS).map(|_| places.take(node(1)).expect("free")).collect();
        assert!(places.take(node(1)).is_none(), "a peer has no more than its own");
        taken.pop();
        taken.push(places.take(node(1)).expect("free again"));
        for peer in 2..=u8::try_from(limits::FORWARDS_ALL / limits::FORWARDS).expect("few") {
            taken.extend((0..limits::FORWARDS).map(|_| places.take(node(peer)).expect("free")));
        }
        assert!(places.take(node(99)).is_none(), "all are taken");
        drop(taken);
        assert!(places.lock().is_empty(), "nothing is remembered of who has gone");
    }
}
