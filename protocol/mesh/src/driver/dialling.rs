//! Making connections: for callers that wait for one, and for sessions that need a stream.

use std::sync::Arc;
use std::time::Instant;

use libp2p::PeerId;
use libp2p::swarm::DialError as SwarmDialError;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};

use super::Driver;
use crate::dial::{DialError, Dialled};
use crate::peer::peer_of;
use crate::session::Link;

impl Driver {
    /// Dials a peer at every address that anybody has told us.
    pub(super) fn connect(&mut self, peer: PeerId, condition: PeerCondition) {
        let addresses = self.dials.addresses(&peer);
        let options = DialOpts::peer_id(peer).condition(condition).addresses(addresses);
        match self.swarm.dial(options.extend_addresses_through_behaviour().build()) {
            // Somebody else's dial is under way, or has been successful: its end is ours.
            Ok(()) | Err(SwarmDialError::DialPeerConditionFalse(_)) => {}
            Err(error) => self.unreachable(peer, error),
        }
    }

    /// A dial has failed.
    pub(super) fn unreachable(&mut self, peer: PeerId, error: SwarmDialError) {
        tracing::debug!(%peer, %error, "dial failed");
        if self.dials.has_crossed(peer, &error) {
            let options = DialOpts::peer_id(peer).addresses(self.dials.addresses(&peer)).allocate_new_port();
            let options =
                options.condition(PeerCondition::DisconnectedAndNotDialing).extend_addresses_through_behaviour();
            if self.swarm.dial(options.build()).is_ok() {
                return;
            }
        }
        self.relays.failed(peer, Instant::now());
        let error = DialError::from(error);
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
