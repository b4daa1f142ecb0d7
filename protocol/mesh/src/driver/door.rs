//! What the driver does about the doorway: those that have to go, tokens that are shown, peers of an earlier life.

use std::time::Instant;

use libp2p::PeerId;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::PeerCondition;

use super::Driver;
use crate::doorway::Shown;
use crate::event::Verdict;
use crate::topics::{self, Message};

/// Peers of an earlier life that are greeted at the start.
const GREETED: usize = 64;

impl Driver {
    /// A peer has done what it should not once too often: its connections end, and new ones are refused for a while.
    pub(super) fn send_away(&mut self, peer: Option<PeerId>) {
        if let Some(peer) = peer {
            let _gone = self.swarm.disconnect_peer_id(peer);
        }
    }

    /// Whether one more gossip message of this peer is worth a look.
    pub(super) fn takes_gossip(&mut self, from: PeerId) -> bool {
        let now = Instant::now();
        if self.doorway.may_gossip(from, now) {
            return true;
        }
        if self.doorway.strike(from, "gossip", "often", now) {
            self.send_away(Some(from));
        }
        false
    }

    /// A gossip message was judged. One that cannot be true is held against whoever brought it: nobody passes on what they have not judged.
    pub(super) fn judge(&mut self, message: &Message, verdict: Verdict) {
        if let Some(gossip) = self.swarm.behaviour_mut().gossip.as_mut() {
            topics::judge(gossip, message, verdict);
        }
        let from = message.from();
        if verdict == Verdict::Reject && self.doorway.strike(from, "gossip", "invalid", Instant::now()) {
            self.send_away(Some(from));
        }
    }

    /// A relay is connected and identified. One that asks for a token is shown that we have it, before a place is asked for.
    pub(super) fn present(&mut self, relay: PeerId, connection: ConnectionId, asks: bool) {
        if !asks || !self.swarm.behaviour_mut().doorway.show(relay, connection) {
            self.reserve(relay, Instant::now());
        }
    }

    /// A relay has answered to what it was shown. When it did not take it, its own refusal of a place says so to whoever asks.
    pub(super) fn shown(&mut self, shown: Shown) {
        if !shown.taken {
            tracing::warn!(relay = %shown.peer, "this relay did not take our token");
        }
        self.reserve(shown.peer, Instant::now());
    }

    /// Says hello to those that were in the table in an earlier life, once.
    pub(super) fn greet_known(&mut self) {
        for address in std::mem::take(&mut self.known).into_iter().take(GREETED) {
            if let Some(Protocol::P2p(peer)) = address.iter().last()
                && peer != *self.swarm.local_peer_id()
                && !self.swarm.is_connected(&peer)
            {
                self.dials.learn(peer, address);
                self.connect(peer, PeerCondition::DisconnectedAndNotDialing);
            }
        }
    }
}
