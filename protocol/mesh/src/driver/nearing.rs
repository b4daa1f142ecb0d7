//! A session that runs through a relay although another one, which leads there too, is much nearer by now.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId};

use super::Driver;
use crate::peer::{is_relayed, peer_of, relay_in};

/// How often sessions are looked at, and how soon one is tried again.
const EVERY: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_secs(60);
/// A relay is much nearer when a round trip to it takes half the time at most, and so much less.
const GAIN: Duration = Duration::from_millis(10);

/// What is under way.
#[derive(Debug)]
pub(super) struct Nearing {
    at: Instant,
    tried: HashMap<PeerId, (ConnectionId, Instant)>,
}

impl Nearing {
    pub(super) fn new(now: Instant) -> Self {
        Self { at: now, tried: HashMap::new() }
    }

    /// A peer has no connection any more.
    pub(super) fn gone(&mut self, peer: &PeerId) {
        self.tried.remove(peer);
    }
}

impl Driver {
    /// Makes circuits through nearer relays to the peers with which we have a session over a farther one.
    pub(super) fn near(&mut self, now: Instant) {
        if self.nearing.at > now {
            return;
        }
        self.nearing.at = now + EVERY;
        let links = self.shared.table.all();
        let carried = links.iter().filter(|link| link.ours && link.is_open() && link.is_relayed());
        for peer in carried.map(|link| peer_of(link.peer)).collect::<BTreeSet<_>>() {
            let recent = |(_, at): &(ConnectionId, Instant)| now.saturating_duration_since(*at) < AGAIN;
            let addresses = self.nearer(&peer);
            if addresses.is_empty()
                || self.dials.is_dialling(&peer)
                || self.nearing.tried.get(&peer).is_some_and(recent)
            {
                continue;
            }
            tracing::debug!(%peer, ?addresses, "another relay is nearer");
            let options = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(addresses).build();
            self.nearing.tried.insert(peer, (options.connection_id(), now));
            let _its_end_is_heard = self.swarm.dial(options);
        }
    }

    /// Where a peer may be, through relays that are much nearer than the one through which we have dialled it.
    fn nearer(&mut self, peer: &PeerId) -> Vec<Multiaddr> {
        let session = &self.swarm.behaviour().session;
        let best = session.best(peer).filter(|(_, path)| path.is_relayed() && path.dialled);
        let used = best.and_then(|(_, path)| relay_in(&path.address)).and_then(|relay| self.measured(&relay));
        let Some(used) = used else { return Vec::new() };
        let addresses = self.dials.addresses(peer).into_iter().filter(is_relayed);
        let through = |address: &Multiaddr| self.measured(&relay_in(address)?);
        addresses.filter(|address| through(address).is_some_and(|there| is_nearer(there, used))).collect()
    }

    /// A circuit has been made, perhaps through a nearer relay.
    pub(super) fn neared(&mut self, peer: PeerId, connection: ConnectionId) {
        if self.nearing.tried.get(&peer).is_some_and(|(tried, _)| *tried == connection) {
            self.swarm.behaviour_mut().session.prefer(peer, connection);
        }
    }
}

/// So much that moving is worth it, and that a round trip which takes longer for once does not make sessions wander.
fn is_nearer(there: Duration, used: Duration) -> bool {
    there * 2 <= used && there + GAIN <= used
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c14_a_relay_is_nearer_by_half_and_by_ten_milliseconds() {
        let ms = Duration::from_millis;
        assert!(is_nearer(ms(10), ms(20)) && is_nearer(ms(1), ms(11)) && is_nearer(ms(0), ms(10)));
        assert!(!is_nearer(ms(11), ms(21)) && !is_nearer(ms(1), ms(10)) && !is_nearer(ms(20), ms(20)));
    }
}
