//! Holes that could not be punched: when to try once more.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use libp2p::PeerId;

use super::shown::Punch;

/// Waits before the next attempt; the last one repeats. The first is short: often not everything was known yet of how others see us.
const WAITS: [Duration; 4] =
    [Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(5 * 60), Duration::from_secs(30 * 60)];
/// After a change of the network; what changed settles meanwhile.
const SOON: Duration = Duration::from_secs(5);
/// Peers that are remembered.
const PEERS: usize = 1024;

#[derive(Debug)]
struct Try {
    failures: usize,
    due: Option<Instant>,
    last: Punch,
}

/// What came of punching, by peer.
#[derive(Debug, Default)]
pub(crate) struct Punches(HashMap<PeerId, Try>);

impl Punches {
    /// An attempt has ended.
    pub(crate) fn ended(&mut self, peer: PeerId, error: Option<String>, now: Instant) {
        if self.0.len() >= PEERS && !self.0.contains_key(&peer) {
            return;
        }
        let failures = self.0.get(&peer).map_or(0, |one| one.failures);
        let wait = WAITS.get(failures).or(WAITS.last()).copied().unwrap_or_default();
        let (failures, due) = match &error {
            Some(_) => (failures + 1, Some(now + wait)),
            None => (0, None),
        };
        self.0.insert(peer, Try { failures, due, last: Punch { at: now, error } });
    }

    /// The peer is not connected any more.
    pub(crate) fn gone(&mut self, peer: &PeerId) {
        self.0.remove(peer);
    }

    /// The network has changed, and with it what can be punched.
    pub(crate) fn changed(&mut self, now: Instant) {
        for one in self.0.values_mut().filter(|one| one.failures > 0) {
            (one.failures, one.due) = (1, Some(now + SOON));
        }
    }

    /// Peers whose turn it is. Each is told once; what comes of it sets the next time.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<PeerId> {
        let due = self.0.iter_mut().filter_map(|(peer, one)| one.due.take_if(|at| *at <= now).map(|_| *peer));
        due.collect()
    }

    /// How the last attempt ended.
    pub(crate) fn last(&self, peer: &PeerId) -> Option<Punch> {
        self.0.get(peer).map(|one| one.last.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k16_a_hole_is_tried_again_later_and_later_and_at_once_elsewhere() {
        let (mut punches, start, peer) = (Punches::default(), Instant::now(), PeerId::random());
        let mut now = start;
        for wait in [10, 60, 300, 1800, 1800] {
            punches.ended(peer, Some("no".to_owned()), now);
            assert_eq!(punches.due(now + Duration::from_secs(wait - 1)), []);
            now += Duration::from_secs(wait);
            assert_eq!(punches.due(now), [peer], "after {wait} s");
            assert_eq!(punches.due(now), [], "once");
        }
        punches.ended(peer, Some("no".to_owned()), now);
        punches.changed(now);
        assert_eq!(punches.due(now + SOON), [peer]);
        punches.ended(peer, None, now);
        punches.changed(now);
        assert_eq!(punches.due(now + WAITS[3]), [], "a hole that is there needs no other");
        assert_eq!(punches.last(&peer).map(|punch| punch.error), Some(None));
        punches.gone(&peer);
        assert_eq!(punches.last(&peer), None);
    }
}
