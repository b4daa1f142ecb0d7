//! Where sessions have been: each connection that has carried the open session with a peer.

use std::collections::{BTreeMap, VecDeque};

use klp::hello::SessionId;
use klp::{NodeId, Timestamp};
use mesh::Path;

/// Peers that are remembered.
const PEERS: usize = 1024;
/// Moves of one session that are.
const MOVES: usize = 16;

/// The open session with one peer.
#[derive(Clone, Debug)]
pub(super) struct Journey {
    session: SessionId,
    now: Path,
    pub(super) moves: VecDeque<Move>,
    /// All of them, also those that are not remembered.
    pub(super) count: u64,
}

/// One move.
#[derive(Clone, Debug)]
pub(super) struct Move {
    pub(super) at: Timestamp,
    pub(super) from: Path,
    pub(super) to: Path,
}

/// The open sessions.
#[derive(Debug, Default)]
pub(super) struct Journeys(BTreeMap<NodeId, Journey>);

impl Journeys {
    /// A session is open over this path. The path before, when it has moved.
    pub(super) fn opened(&mut self, peer: NodeId, session: SessionId, path: &Path, at: Timestamp) -> Option<Path> {
        let same = self.0.get_mut(&peer).filter(|journey| journey.session == session);
        let Some(journey) = same else {
            if self.0.len() < PEERS || self.0.contains_key(&peer) {
                let fresh = Journey { session, now: path.clone(), moves: VecDeque::new(), count: 0 };
                self.0.insert(peer, fresh);
            }
            return None;
        };
        if journey.now.address == path.address && journey.now.kind == path.kind {
            return None;
        }
        let from = std::mem::replace(&mut journey.now, path.clone());
        if journey.moves.len() == MOVES {
            journey.moves.pop_front();
        }
        journey.moves.push_back(Move { at, from: from.clone(), to: path.clone() });
        journey.count += 1;
        Some(from)
    }

    /// A session is over.
    pub(super) fn closed(&mut self, peer: &NodeId, session: SessionId) {
        if self.0.get(peer).is_some_and(|journey| journey.session == session) {
            self.0.remove(peer);
        }
    }

    /// The open one with this peer.
    pub(super) fn of(&self, peer: &NodeId) -> Option<Journey> {
        self.0.get(peer).cloned()
    }
}

#[cfg(test)]
mod tests {
    use klp::SecretKey;
    use mesh::{Kind, Transport};

    use super::*;

    #[test]
    fn c15_a_session_that_moves_is_counted_and_a_new_one_begins_anew() {
        let (peer, now) = (NodeId(SecretKey::from_seed(&[1; 32]).did()), Timestamp(1));
        let path = |kind, address: &str| Path {
            kind,
            transport: Transport::Tcp,
            address: address.parse().expect("address"),
            limit: None,
            dialled: true,
        };
        let (circuit, direct) = (path(Kind::Relayed, "/memory/1"), path(Kind::Direct, "/memory/2"));
        let mut journeys = Journeys::default();
        assert_eq!(journeys.opened(peer, [1; 16], &circuit, now), None);
        assert_eq!(journeys.opened(peer, [1; 16], &circuit, now), None, "a newer Hello is no move");
        assert_eq!(journeys.opened(peer, [1; 16], &direct, now), Some(circuit.clone()));
        let journey = journeys.of(&peer).expect("open");
        assert_eq!((journey.count, journey.moves.len(), journey.moves[0].to.kind), (1, 1, Kind::Direct));
        for _ in 0..MOVES {
            journeys.opened(peer, [1; 16], &circuit, now);
            journeys.opened(peer, [1; 16], &direct, now);
        }
        let journey = journeys.of(&peer).expect("open");
        assert_eq!((journey.count, journey.moves.len()), (1 + 2 * MOVES as u64, MOVES));
        journeys.closed(&peer, [2; 16]);
        assert!(journeys.of(&peer).is_some(), "another session");
        assert_eq!(journeys.opened(peer, [3; 16], &circuit, now), None, "a new one has not moved");
        journeys.closed(&peer, [3; 16]);
        assert!(journeys.of(&peer).is_none());
    }
}
