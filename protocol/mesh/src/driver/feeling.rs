//! Paths that stay good: dead connections are noticed, better ones are looked for, and what nobody needs is closed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId, dcutr};

use super::Driver;
use crate::ladder;
use crate::peer::{is_relayed, node_of, peer_of, with_node};
use crate::pulse::Felt;
use crate::session::Link;

/// A question that has waited this long without anything coming back is a reason to ask whether anybody is there.
const QUIET: Duration = Duration::from_secs(1);
/// How long that may take, or so many of the last round trips; and how soon it is asked again.
const ALIVE: Duration = Duration::from_millis(1500);
const ROUND_TRIPS: u32 = 10;
const ALIVE_LONGEST: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_secs(2);
/// Relays that we wait behind are asked this often, and have this long: a dead one is known in 20 seconds.
const RELAY_EVERY: Duration = Duration::from_secs(10);
const RELAY_ALIVE: Duration = Duration::from_millis(9500);
/// After a change of the network everybody has this long.
const AFTER_CHANGE: Duration = Duration::from_secs(3);
/// Pings in a row that came to nothing, after which a connection that serves nothing is closed: after a minute when each is refused, and after three
/// when nothing at all comes back, because libp2p waits 20 seconds for each and does not tell of the first.
const MUTE: u8 = 4;
/// Ticks this late mean that this machine is too busy to blame others.
const LATE: Duration = Duration::from_millis(1500);
/// How long a connection may still carry what is on its way after its session has moved or ended.
const GRACE: Duration = Duration::from_secs(5);
/// What comes of a punch has come by then.
const PUNCHED: Duration = Duration::from_secs(25);
/// Between two attempts to dial a peer that has told us over a circuit where everybody can dial it.
const REVERSE_AGAIN: Duration = Duration::from_secs(60);
/// Addresses that are tried then.
const REVERSED: usize = 8;

/// What is under way.
#[derive(Debug)]
pub(super) struct Feeling {
    /// Sessions that there may be: as many as connections that others make to us.
    places: usize,
    ticked: Instant,
    /// Until then this machine is too busy for its verdicts to count.
    busy_until: Instant,
    relays_at: Instant,
    checked: HashMap<ConnectionId, Instant>,
    /// Connections that are closed then, unless a session uses them.
    leaving: HashMap<ConnectionId, Instant>,
    /// Peers that we dialled through a relay, and until when a direct connection may come of it.
    hopes: HashMap<PeerId, Instant>,
    reversals: HashMap<PeerId, (ConnectionId, Instant)>,
    /// Pings in a row that were not answered.
    mute: HashMap<ConnectionId, u8>,
    /// Relays through which nothing comes, and until when they may say that they are there.
    doubts: HashMap<PeerId, Instant>,
}

impl Feeling {
    pub(super) fn new(places: u32, now: Instant) -> Self {
        let (checked, leaving, hopes, reversals, mute, doubts) = Default::default();
        let places = usize::try_from(places).unwrap_or(usize::MAX);
        Self { places, ticked: now, busy_until: now, relays_at: now, checked, leaving, hopes, reversals, mute, doubts }
    }

    /// A connection is gone.
    pub(super) fn closed(&mut self, connection: ConnectionId) {
        self.leaving.remove(&connection);
        self.checked.remove(&connection);
        self.mute.remove(&connection);
    }

    /// A ping was answered or not. Says whether so many in a row were not.
    fn is_mute(&mut self, connection: ConnectionId, answered: bool) -> bool {
        if answered {
            self.mute.remove(&connection);
            return false;
        }
        let count = self.mute.entry(connection).or_default();
        *count = count.saturating_add(1);
        *count >= MUTE
    }

    /// A peer has no connection any more.
    pub(super) fn gone(&mut self, peer: &PeerId) {
        self.hopes.remove(peer);
        self.reversals.remove(peer);
        self.doubts.remove(peer);
    }

    /// Whether this connection comes of a peer's word over a circuit.
    pub(super) fn is_reversal(&self, connection: ConnectionId) -> bool {
        self.reversals.values().any(|(id, _)| *id == connection)
    }
}

impl Driver {
    /// What is due of keeping paths good.
    pub(super) fn feel(&mut self, now: Instant) {
        let late = now.saturating_duration_since(std::mem::replace(&mut self.feeling.ticked, now)) > LATE;
        if late {
            self.feeling.busy_until = now + ALIVE;
        }
        if self.feeling.relays_at <= now {
            self.feeling.relays_at = now + RELAY_EVERY;
            let pulse = &mut self.swarm.behaviour_mut().pulse;
            for peer in self.relays.held() {
                for connection in pulse.connections(&peer) {
                    pulse.check(peer, connection, RELAY_ALIVE);
                }
            }
        }
        let links = self.shared.table.all();
        for link in &links {
            let Some((connection, _)) = link.waits().filter(|(_, quiet)| *quiet >= QUIET) else { continue };
            let asked = self.feeling.checked.get(&connection);
            if asked.is_none_or(|at| now.saturating_duration_since(*at) >= AGAIN) {
                self.feeling.checked.insert(connection, now);
                // All of them: those that lead the same way die together, and the session should not try them one by one.
                self.ask_whether_alive(peer_of(link.peer));
                if let Some(relay) = self.relay_of(link) {
                    self.doubt(relay, now);
                }
            }
        }
        self.leave_doubted(&links, now);
        self.make_room(&links, now);
        self.close_leaving(now);
        let over: Vec<_> = self.feeling.hopes.iter().filter(|(_, at)| **at <= now).map(|(peer, _)| *peer).collect();
        for peer in over {
            self.feeling.hopes.remove(&peer);
            if self.is_only_relayed(&peer) {
                self.punched(peer, Some("no direct connection came of it".to_owned()));
            }
        }
        for peer in self.punches.due(now) {
            self.punch_again(peer, now);
        }
    }

    /// Whoever does not answer within so many of its round trips is not there.
    pub(super) fn ask_whether_alive(&mut self, peer: PeerId) {
        let patience = self.patience(&peer);
        let pulse = &mut self.swarm.behaviour_mut().pulse;
        for connection in pulse.connections(&peer) {
            pulse.check(peer, connection, patience);
        }
    }

    fn patience(&self, peer: &PeerId) -> Duration {
        self.measured(peer).unwrap_or_default().saturating_mul(ROUND_TRIPS).clamp(ALIVE, ALIVE_LONGEST)
    }

    /// Nothing comes back through a relay. It is often nearer than who is behind it, and so is known sooner to be gone.
    fn doubt(&mut self, relay: PeerId, now: Instant) {
        let pulse = &mut self.swarm.behaviour_mut().pulse;
        for connection in pulse.connections(&relay) {
            pulse.check(relay, connection, RELAY_ALIVE);
        }
        let until = now + self.patience(&relay);
        self.feeling.doubts.entry(relay).or_insert(until);
    }

    /// What waits behind a relay that has not answered goes on elsewhere. The relay itself has longer, for it may only be slow, and to make a place and
    /// its circuits anew would make it slower.
    fn leave_doubted(&mut self, links: &[Arc<Link>], now: Instant) {
        let busy = now < self.feeling.busy_until;
        let due: Vec<_> = self.feeling.doubts.extract_if(|_, until| *until <= now && !busy).collect();
        for (relay, _) in due {
            let waits = |link: &&Arc<Link>| link.waits().is_some_and(|(_, quiet)| quiet >= QUIET);
            let left: Vec<_> = links.iter().filter(waits).map(|link| peer_of(link.peer)).collect();
            for (peer, circuit) in self.swarm.behaviour().session.through(relay) {
                if left.contains(&peer) {
                    self.condemn(peer, circuit);
                }
            }
        }
    }

    /// The relay that carries a session.
    fn relay_of(&self, link: &Link) -> Option<PeerId> {
        self.swarm.behaviour().session.relay_of(&peer_of(link.peer), link.carrier()?)
    }

    /// A session costs a place for as long as its peer likes. When places get scarce those go first that have been still for longest: who comes back
    /// begins another one.
    fn make_room(&mut self, links: &[Arc<Link>], now: Instant) {
        let most = self.feeling.places / 4 * 3;
        if links.len() > most {
            let mut resting: Vec<_> = links.iter().filter_map(|link| Some((link.rests()?, link))).collect();
            resting.sort_by_key(|(rest, _)| std::cmp::Reverse(*rest));
            for (_, link) in resting.iter().take(links.len() - most) {
                if let Some(connection) = link.carrier() {
                    self.feeling.leaving.entry(connection).or_insert(now + GRACE);
                }
                link.close(None, "others want this place");
            }
        }
    }

    pub(super) fn check_all(&mut self) {
        self.swarm.behaviour_mut().pulse.check_all(AFTER_CHANGE);
    }

    /// A peer has come to us once more, perhaps from another address: then nothing says that its old connections are dead, and a relay would go
    /// on handing circuits to them.
    pub(super) fn came_again(&mut self, peer: PeerId, connection: ConnectionId) {
        let pulse = &mut self.swarm.behaviour_mut().pulse;
        for old in pulse.connections(&peer).into_iter().filter(|old| *old != connection) {
            pulse.check(peer, old, AFTER_CHANGE);
        }
    }

    /// A connection was asked whether it lives.
    pub(super) fn felt(&mut self, felt: Felt) {
        let Felt { peer, connection, rtt } = felt;
        match rtt {
            Some(rtt) => {
                self.feeling.doubts.remove(&peer);
                self.relays.measured(peer, rtt);
                if let Some(node) = node_of(&peer) {
                    self.state.send_if_modified(|state| {
                        state.peers.get_mut(&node).is_some_and(|peer| peer.rtt.replace(rtt) != Some(rtt))
                    });
                }
            }
            None if Instant::now() < self.feeling.busy_until => {
                self.swarm.behaviour_mut().pulse.check(peer, connection, ALIVE);
            }
            None => self.condemn(peer, connection),
        }
    }

    /// libp2p's ping was answered or not. Each one is a use of the connection, so that one on which none is answered would never be idle,
    /// and keep its place for ever.
    pub(super) fn pinged(&mut self, peer: PeerId, connection: ConnectionId, answered: bool) {
        // What is told of a connection that is closed already would be kept for ever.
        let is_open = self.swarm.behaviour().session.path_of(&peer, connection).is_some();
        if is_open && self.feeling.is_mute(connection, answered) && !self.needs(&peer) {
            self.swarm.close_connection(connection);
        }
    }

    /// Whether a session is with this peer or goes through it, or one of us is the other's relay.
    fn needs(&self, peer: &PeerId) -> bool {
        let is_through = |link: &Link| self.relay_of(link) == Some(*peer);
        self.shared.table.all().iter().any(|link| peer_of(link.peer) == *peer || is_through(link))
            || self.relays.held().any(|relay| relay == *peer)
            || self.doorway.serves(peer, Instant::now())
    }

    /// Nothing comes back on a connection. Sessions go on elsewhere at once; closing it may take its time.
    fn condemn(&mut self, peer: PeerId, connection: ConnectionId) {
        if !self.swarm.behaviour_mut().session.condemn(peer, connection) {
            return;
        }
        tracing::info!(%peer, %connection, "a connection is dead");
        self.ladder.demotions.inc();
        // Before it is closed: a session that hears of the close alone takes it for the other side's, and leaves it to the other side to go on.
        for link in node_of(&peer).into_iter().flat_map(|node| self.shared.table.with(node)) {
            link.sever(connection);
        }
        self.swarm.close_connection(connection);
        if self.swarm.behaviour().session.best(&peer).is_none() {
            // Nothing leads to it any more, and so nothing through it.
            for (peer, circuit) in self.swarm.behaviour().session.through(peer) {
                self.condemn(peer, circuit);
            }
        }
        self.may_be_gone(peer);
    }

    fn close_leaving(&mut self, now: Instant) {
        let leaving = &mut self.feeling.leaving;
        let due: Vec<_> = leaving.extract_if(|_, at| *at <= now).map(|(id, _)| id).collect();
        if due.is_empty() {
            return;
        }
        let used: Vec<_> = self.shared.table.all().iter().filter_map(|link| link.carrier()).collect();
        for connection in due.into_iter().filter(|connection| !used.contains(connection)) {
            self.swarm.close_connection(connection);
        }
    }

    /// A circuit that no session uses any more is closed a little later: it costs its relay, and it is limited.
    pub(super) fn drop_circuits(&mut self, needless: Vec<ConnectionId>) {
        let until = Instant::now() + GRACE;
        for connection in needless {
            self.feeling.leaving.entry(connection).or_insert(until);
        }
    }

    fn is_only_relayed(&self, peer: &PeerId) -> bool {
        self.swarm.behaviour().session.best(peer).is_some_and(|(_, path)| path.is_relayed())
    }

    /// We have dialled a peer through a relay: soon we know whether more comes of it.
    pub(super) fn hope(&mut self, peer: PeerId) {
        if self.swarm.behaviour().dcutr.is_enabled() {
            self.feeling.hopes.insert(peer, Instant::now() + PUNCHED);
        }
    }

    pub(super) fn punch_ended(&mut self, event: dcutr::Event) {
        let error = event.result.err().map(|error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("{error}{cause}")
        });
        tracing::debug!(peer = %event.remote_peer_id, ?error, "hole punch");
        self.feeling.hopes.remove(&event.remote_peer_id);
        self.punched(event.remote_peer_id, error);
    }

    fn punched(&mut self, peer: PeerId, error: Option<String>) {
        self.ladder.step(ladder::Step::Punch, error.is_none());
        let error = error
            .map(|why| if self.sightings.is_symmetric() { format!("{why}; our router is symmetric") } else { why });
        self.punches.ended(peer, error, Instant::now());
        self.show_punch(peer);
    }

    fn show_punch(&self, peer: PeerId) {
        if let (Some(node), Some(punch)) = (node_of(&peer), self.punches.last(&peer)) {
            self.state.send_modify(|state| {
                if let Some(peer) = state.peers.get_mut(&node) {
                    peer.punch = Some(punch);
                }
            });
        }
    }

    /// Punching goes with the making of a circuit, so another one is made. It is closed when nothing comes of it.
    fn punch_again(&mut self, peer: PeerId, now: Instant) {
        let best = self.swarm.behaviour().session.best(&peer).map(|(_, path)| path);
        let Some(path) = best.filter(|path| path.dialled && self.is_only_relayed(&peer)) else { return };
        if self.sightings.is_symmetric() {
            return;
        }
        let addresses = vec![path.address.clone()];
        let options = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(addresses).build();
        self.feeling.leaving.insert(options.connection_id(), now + PUNCHED);
        if self.swarm.dial(options).is_ok() {
            self.hope(peer);
        }
    }

    /// Over a circuit a peer has told where everybody can dial it: then it needs no hole, whichever side it is of.
    pub(super) fn reverse(&mut self, peer: PeerId, told: &[Multiaddr]) {
        let (now, node) = (Instant::now(), node_of(&peer));
        let recent = |(_, at): &(ConnectionId, Instant)| now.saturating_duration_since(*at) < REVERSE_AGAIN;
        if !self.is_only_relayed(&peer) || self.feeling.reversals.get(&peer).is_some_and(recent) {
            return;
        }
        let public = told.iter().filter(|address| !is_relayed(address) && self.addresses.is_public(address));
        let named = public.take(REVERSED).map(|one| node.map_or(one.clone(), |node| with_node(one.clone(), node)));
        let addresses: Vec<_> = named.collect();
        if addresses.is_empty() {
            return;
        }
        let options = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(addresses).build();
        self.feeling.reversals.insert(peer, (options.connection_id(), now));
        let _its_end_is_heard = self.swarm.dial(options);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_mute_after_four_pings_in_a_row_that_came_to_nothing() {
        let mut feeling = Feeling::new(8, Instant::now());
        let [one, other] = [1, 2].map(ConnectionId::new_unchecked);
        let mut told = |connection, answered| feeling.is_mute(connection, answered);
        assert_eq!([false, false, false, true, false, false, false].map(|answered| told(one, answered)), [false; 7]);
        assert!(!told(other, false), "each is counted by itself");
        assert!(told(one, false));
        assert!(told(one, false), "and stays so");
        feeling.closed(one);
        assert!(feeling.mute.contains_key(&other) && !feeling.mute.contains_key(&one));
    }
}
