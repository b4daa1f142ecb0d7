//! Making connections: for callers that wait for one, and for sessions that need a stream.

use std::sync::Arc;
use std::time::Instant;

use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError as SwarmDialError};
use libp2p::{Multiaddr, PeerId};

use super::Driver;
use super::reaching::dice;
use crate::dial::{Attempt, DialError, Dialled, attempts};
use crate::ladder::Step;
use crate::peer::{node_of, peer_of};
use crate::session::Link;

impl Driver {
    /// Dials a peer at every address that anybody has told us.
    pub(super) fn connect(&mut self, peer: PeerId, condition: PeerCondition) {
        let addresses = self.dials.addresses(&peer);
        // A connection that is dead counts for the swarm until it is closed, and so does the punch of a hole, which may take many seconds.
        let condition = match (self.is_near(&peer), self.dials.is_dialling(&peer)) {
            (true, _) => condition,
            (false, true) => PeerCondition::NotDialing,
            (false, false) => PeerCondition::Always,
        };
        tracing::debug!(%peer, ?addresses, "dialling");
        let options = DialOpts::peer_id(peer).condition(condition).addresses(addresses);
        let options = options.extend_addresses_through_behaviour().build();
        let id = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => self.dials.begin(peer, id),
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
        let options = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(fresh).build();
        let id = options.connection_id();
        if self.swarm.dial(options).is_ok() {
            self.dials.begin(peer, id);
        }
    }

    /// A dial has failed.
    pub(super) fn unreachable(&mut self, peer: PeerId, id: ConnectionId, error: SwarmDialError) {
        tracing::debug!(%peer, %error, "dial failed");
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
