//! The relays that we wait behind: dial, be identified, reserve, and begin again after a loss.

use std::time::{Duration, Instant};

use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

/// The first wait after a loss; it doubles up to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(10 * 60);
/// A dial or a reservation that has not succeeded by then is tried again.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where one relay stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is under way until then.
    Waiting(Instant),
    /// A connection is being made, since then.
    Dialling(Instant),
    /// A reservation was asked for, since then.
    Reserving(ListenerId, Instant),
    /// The relay holds a place for us.
    Active(ListenerId),
}

#[derive(Debug)]
struct Relay {
    peer: PeerId,
    address: Multiaddr,
    phase: Phase,
    failures: u32,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Connect to it.
    Dial(PeerId, Multiaddr),
    /// Listen there: that asks for a reservation.
    Listen(PeerId, Multiaddr),
    /// Give up this listener.
    Drop(ListenerId),
}

/// All relays that we wait behind.
#[derive(Debug, Default)]
pub(crate) struct Relays(Vec<Relay>);

impl Relays {
    /// Each address ends in `/p2p/PEER`; others were refused when the mesh was opened.
    pub(crate) fn new(addresses: Vec<Multiaddr>, now: Instant) -> Self {
        let relays = addresses.into_iter().filter_map(|address| match address.iter().last() {
            Some(Protocol::P2p(peer)) => Some(Relay { peer, address, phase: Phase::Waiting(now), failures: 0 }),
            _ => None,
        });
        Self(relays.collect())
    }

    /// What is due.
    pub(crate) fn tick(&mut self, now: Instant) -> Vec<Step> {
        let mut steps = Vec::new();
        for relay in &mut self.0 {
            match relay.phase {
                Phase::Waiting(until) if until <= now => {
                    relay.phase = Phase::Dialling(now);
                    steps.push(Step::Dial(relay.peer, relay.address.clone()));
                }
                Phase::Dialling(since) if now.saturating_duration_since(since) > PATIENCE => relay.lose(now),
                Phase::Reserving(listener, since) if now.saturating_duration_since(since) > PATIENCE => {
                    steps.push(Step::Drop(listener));
                    relay.lose(now);
                }
                _ => {}
            }
        }
        steps
    }

    /// A relay is connected and has told us that it carries circuits. Only now do we know how it sees us, which hole punching needs.
    pub(crate) fn identified(&mut self, peer: PeerId) -> Option<Step> {
        let relay = self.0.iter().find(|relay| relay.peer == peer && matches!(relay.phase, Phase::Dialling(_)))?;
        Some(Step::Listen(peer, relay.address.clone().with(Protocol::P2pCircuit)))
    }

    /// A reservation was asked for.
    pub(crate) fn asked(&mut self, peer: PeerId, listener: ListenerId, now: Instant) {
        for relay in self.0.iter_mut().filter(|relay| relay.peer == peer) {
            relay.phase = Phase::Reserving(listener, now);
        }
    }

    /// The relay has agreed.
    pub(crate) fn accepted(&mut self, peer: PeerId) {
        for relay in self.0.iter_mut().filter(|relay| relay.peer == peer) {
            if let Phase::Reserving(listener, _) = relay.phase {
                relay.phase = Phase::Active(listener);
                relay.failures = 0;
            }
        }
    }

    /// A listener has ended; it may be one of these.
    pub(crate) fn closed(&mut self, listener: ListenerId, now: Instant) {
        for relay in &mut self.0 {
            if matches!(relay.phase, Phase::Reserving(id, _) | Phase::Active(id) if id == listener) {
                relay.lose(now);
            }
        }
    }

    /// No connection could be made.
    pub(crate) fn failed(&mut self, peer: PeerId, now: Instant) {
        for relay in self.0.iter_mut().filter(|relay| relay.peer == peer && matches!(relay.phase, Phase::Dialling(_))) {
            relay.lose(now);
        }
    }

    /// Relays that hold a place for us.
    pub(crate) fn active(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.0.iter().filter(|relay| matches!(relay.phase, Phase::Active(_))).map(|relay| relay.peer)
    }
}

impl Relay {
    fn lose(&mut self, now: Instant) {
        let wait = FIRST.saturating_mul(1 << self.failures.min(8)).min(LONGEST);
        self.failures += 1;
        self.phase = Phase::Waiting(now + wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_relay_is_tried_again_later_and_later() {
        let start = Instant::now();
        let peer = PeerId::random();
        let address: Multiaddr = format!("/ip4/127.0.0.1/tcp/1/p2p/{peer}").parse().expect("address");
        let mut relays = Relays::new(vec![address.clone()], start);
        assert_eq!(relays.tick(start), [Step::Dial(peer, address.clone())]);
        assert_eq!(relays.tick(start), []);
        let circuit = address.clone().with(Protocol::P2pCircuit);
        assert_eq!(relays.identified(peer), Some(Step::Listen(peer, circuit)));
        let listener = ListenerId::next();
        relays.asked(peer, listener, start);
        assert_eq!(relays.active().count(), 0);
        relays.accepted(peer);
        assert_eq!(relays.active().collect::<Vec<_>>(), [peer]);
        relays.closed(listener, start);
        assert_eq!(relays.active().count(), 0);
        assert_eq!(relays.tick(start + FIRST / 2), []);
        assert_eq!(relays.tick(start + FIRST), [Step::Dial(peer, address.clone())]);
        relays.failed(peer, start + FIRST);
        assert_eq!(relays.tick(start + 2 * FIRST), []);
        assert_eq!(relays.tick(start + 3 * FIRST), [Step::Dial(peer, address)]);
    }
}
