//! Making connections: for callers that wait for one, and for sessions that need a stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition, WithPeerIdWithAddresses};
use libp2p::swarm::{ConnectionId, DialError as SwarmDialError};
use libp2p::{Multiaddr, PeerId};

use super::Driver;
use super::reaching::dice;
use crate::dial::{Attempt, DialError, Dialled, attempts, nearest};
use crate::ladder::Step;
use crate::peer::{is_relayed, node_of, peer_of, relay_in};
use crate::session::Link;

/// A relay of which no round trip is known counts as this far.
const UNKNOWN: Duration = Duration::from_millis(250);
/// So many round trips to the nearest relay of a peer pass before farther ones are dialled too.
const ROUND_TRIPS: u32 = 8;
const HEAD_START: Duration = Duration::from_millis(500);
const HEAD_START_LONGEST: Duration = Duration::from_secs(2);

impl Driver {
    /// Dials a peer at every address that anybody has told us; through relays that are known to be farther off than another one only when that
    /// one does not lead there soon.
    pub(super) fn connect(&mut self, peer: PeerId, condition: PeerCondition) {
        let addresses = self.dials.addresses(&peer);
        // A connection that is dead counts for the swarm until it is closed, and so does the punch of a hole, which may take many seconds.
        let condition = match (self.is_near(&peer), self.dials.is_dialling(&peer)) {
            (true, _) => condition,
            (false, true) => PeerCondition::NotDialing,
            (false, false) => PeerCondition::Always,
        };
        // Who asks for another connection beside the one that there is wants all of them tried.
        let (addresses, later) = match self.is_near(&peer) {
            true => (addresses, Vec::new()),
            false => nearest(addresses, |relay| self.distance(relay)),
        };
        tracing::debug!(%peer, ?addresses, ?later, "dialling");
        let near = addresses
            .iter()
            .filter(|address| is_relayed(address))
            .filter_map(relay_in)
            .map(|relay| self.distance(&relay));
        let head_start = (near.min().unwrap_or_default() * ROUND_TRIPS).clamp(HEAD_START, HEAD_START_LONGEST);
        let options = DialOpts::peer_id(peer).condition(condition).addresses(addresses);
        let options = self.leaving_from(peer, options.extend_addresses_through_behaviour()).build();
        let id = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.dials.begin(peer, id);
                self.dials.postpone(peer, Instant::now() + head_start, later);
            }
            // Somebody else's dial is under way, or has been successful: its end is ours.
            Err(SwarmDialError::DialPeerConditionFalse(_)) => {}
            Err(error) => self.unreachable(peer, id, error),
        }
    }

    /// Dials a peer for somebody who knows these addresses. Those that a dial under way does not try are tried beside it.
    pub(super) fn connect_at(&mut self, peer: PeerId, addresses: impl Iterator<Item = Multiaddr>) {
        let fresh: Vec<_> = addresses.filter(|address| self.dials.learn(peer, address.clone())).collect();
        if !self.dials.is_dialling(&peer) || fresh.is_empty() {
            return self.connect(peer, PeerCondition::NotDialing);
        }
        self.connect_beside(peer, fresh);
    }

    /// Dials a peer at these addresses too, whatever else is under way.
    fn connect_beside(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        let options = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(addresses);
        let options = self.leaving_from(peer, options).build();
        let id = options.connection_id();
        if self.swarm.dial(options).is_ok() {
            self.dials.begin(peer, id);
        }
    }

    /// Relays that are farther off have waited for long enough.
    pub(super) fn dial_farther(&mut self, now: Instant) {
        for (peer, addresses) in self.dials.due(now) {
            if !self.is_near(&peer) {
                self.connect_beside(peer, addresses);
            } else if self.dials.is_dialling(&peer) {
                // The connection may die while the dial still hangs, and nobody else dials then.
                self.dials.postpone(peer, now + HEAD_START, addresses);
            }
        }
    }

    /// How far off a relay is, as far as that is known: a round trip to it.
    fn distance(&self, relay: &PeerId) -> Duration {
        self.measured(relay).unwrap_or(UNKNOWN)
    }

    /// A round trip to a peer, if there has been one.
    pub(super) fn measured(&self, peer: &PeerId) -> Option<Duration> {
        self.state.borrow().peers.get(&node_of(peer)?)?.rtt
    }

    /// Servers are dialled from the port on which we listen, for they tell us how others see it. Everybody else is dialled from another one: a dial that
    /// the other's router drops would leave our own router open from there to our listening port, and a hole for TCP that is punched soon after
    /// would come out at our listener, with both sides waiting for the other's first word.
    fn leaving_from(&self, peer: PeerId, options: WithPeerIdWithAddresses) -> WithPeerIdWithAddresses {
        let is_bootstrap = self.bootstrap.iter().any(|address| address.iter().last() == Some(Protocol::P2p(peer)));
        let is_relay = self.relays.shown().iter().any(|relay| Some(relay.node) == node_of(&peer));
        if is_bootstrap || is_relay { options } else { options.allocate_new_port() }
    }

    /// A dial has failed.
    pub(super) fn unreachable(&mut self, peer: PeerId, id: ConnectionId, error: SwarmDialError) {
        tracing::debug!(%peer, %error, "dial failed");
        let later = self.dials.postponed(&peer);
        if !later.is_empty() && !self.is_near(&peer) {
            self.connect_beside(peer, later);
        }
        if !self.dials.over(&peer, id) {
            if let SwarmDialError::Transport(errors) = &error {
                self.show_attempts(peer, attempts(errors, &self.trusted));
            }
            return;
        }
        if self.dials.has_crossed(peer, &error) {
            let options = DialOpts::peer_id(peer).addresses(self.dials.addresses(&peer)).allocate_new_port();
            let options =
                options.condition(PeerCondition::DisconnectedAndNotDialing).extend_addresses_through_behaviour();
            let options = options.build();
            let id = options.connection_id();
            if self.swarm.dial(options).is_ok() {
                return self.dials.begin(peer, id);
            }
        }
        self.relays.failed(peer, &error.to_string(), Instant::now(), dice());
        let error = DialError::of(error, &self.trusted);
        if let DialError::Unreachable { attempts } = &error {
            self.show_attempts(peer, attempts.clone());
        }
        let best = self.swarm.behaviour().session.best(&peer).map(|(_, path)| path.clone());
        let result = match (best, error) {
            (Some(path), DialError::Unreachable { attempts }) => Ok(Dialled { path, attempts }),
            (Some(path), _) => Ok(Dialled { path, attempts: Vec::new() }),
            (None, error) => Err(error),
        };
        if result.is_err() {
            self.swarm.behaviour_mut().session.give_up(peer);
        }
        self.dials.end(&peer, &result);
    }

    /// What was tried in vain, for whoever wants to see it as long as the peer is connected.
    pub(super) fn show_attempts(&self, peer: PeerId, attempts: Vec<Attempt>) {
        for attempt in &attempts {
            self.ladder.step(Step::Dial(attempt.kind), false);
        }
        let Some(node) = node_of(&peer).filter(|_| self.is_near(&peer)) else { return };
        let paths = self.swarm.behaviour().session.paths(&peer);
        self.state.send_if_modified(|state| {
            let peer = state.peers.entry(node).or_default();
            peer.paths = paths;
            std::mem::replace(&mut peer.attempts, attempts.clone()) != attempts
        });
    }

    /// Lets a server that has seen us over QUIC see us over TCP too: somebody whose network drops UDP can be met only there.
    pub(super) fn look(&mut self, peer: PeerId, via: &Multiaddr, told: &[Multiaddr]) {
        let Some(there) = self.swarm.behaviour_mut().candidates.look(peer, via, told, Instant::now()) else { return };
        let options = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(vec![there]);
        // What does not come about shows us nothing, and that is all.
        let _unseen = self.swarm.dial(options.build());
    }

    /// Gets a stream for a session.
    pub(super) fn open(&mut self, link: &Arc<Link>, dial: bool) {
        let peer = peer_of(link.peer);
        if self.swarm.behaviour_mut().session.open(peer, link.id) {
            return;
        }
        if dial {
            self.connect(peer, PeerCondition::DisconnectedAndNotDialing);
        } else {
            self.swarm.behaviour_mut().session.give_up(peer);
        }
    }
}
