//! Who may come in at all: how many connections, handshakes and tries of one address and of one network; and who is sent away for a while.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use libp2p::PeerId;

use super::bucket::{Buckets, Rate};
use super::network::{Network, host};

/// Addresses and networks whose frequency is remembered.
const REMEMBERED: usize = 16_384;
/// Bans at once, of addresses and of peers; the one that ends first makes room.
const BANS: usize = 4096;

/// What one address and one network may do at this door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateLimits {
    /// Whether anything is limited. Addresses of this machine are only when `loopback` says so.
    pub on: bool,
    /// Whether addresses of this machine are limited too.
    pub loopback: bool,
    /// Open connections of one address, and of one network.
    pub open: [usize; 2],
    /// Handshakes under way of one address, and of one network.
    pub handshakes: [usize; 2],
    /// New connections of one address, and of one network.
    pub knocks: [Rate; 2],
    /// What is forgiven to an address or a peer before it is sent away.
    pub strikes: Rate,
    /// For how long it is sent away.
    pub ban: Duration,
}

impl Default for GateLimits {
    fn default() -> Self {
        Self {
            on: true,
            loopback: false,
            // Many people share one address behind their provider's router.
            open: [256, 512],
            handshakes: [64, 112],
            knocks: [
                Rate { burst: 256, every: Duration::from_millis(64) },
                Rate { burst: 512, every: Duration::from_millis(16) },
            ],
            strikes: Rate { burst: 512, every: Duration::from_secs(1) },
            ban: Duration::from_secs(10 * 60),
        }
    }
}

/// Why somebody was not let in, or something was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub(crate) enum Turned {
    #[error("this address has been sent away for a while")]
    BannedAddress,
    #[error("this peer has been sent away for a while")]
    BannedPeer,
    #[error("too many handshakes at once from one address or network")]
    Handshakes,
    #[error("too many connections from one address or network")]
    Crowded,
    #[error("too many new connections from one address or network")]
    Often,
}

impl Turned {
    pub(crate) const ALL: [Self; 5] =
        [Self::BannedAddress, Self::BannedPeer, Self::Handshakes, Self::Crowded, Self::Often];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::BannedAddress => "banned_address",
            Self::BannedPeer => "banned_peer",
            Self::Handshakes => "handshakes",
            Self::Crowded => "crowded",
            Self::Often => "often",
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    handshakes: usize,
    open: usize,
}

impl Count {
    fn all(self) -> usize {
        self.handshakes + self.open
    }
}

/// The gate. A connection is begun, opened and ended here by the address from which it came.
#[derive(Debug)]
pub(crate) struct Gate {
    limits: GateLimits,
    hosts: HashMap<IpAddr, Count>,
    networks: HashMap<Network, Count>,
    host_knocks: Buckets<IpAddr>,
    network_knocks: Buckets<Network>,
    host_strikes: Buckets<IpAddr>,
    peer_strikes: Buckets<PeerId>,
    banned_hosts: Bans<IpAddr>,
    banned_peers: Bans<PeerId>,
}

impl Gate {
    pub(crate) fn new(limits: GateLimits) -> Self {
        let [host, network] = limits.knocks;
        Self {
            limits,
            hosts: HashMap::new(),
            networks: HashMap::new(),
            host_knocks: Buckets::new(host, REMEMBERED),
            network_knocks: Buckets::new(network, REMEMBERED),
            host_strikes: Buckets::new(limits.strikes, REMEMBERED),
            peer_strikes: Buckets::new(limits.strikes, REMEMBERED),
            banned_hosts: Bans::default(),
            banned_peers: Bans::default(),
        }
    }

    /// Whether this address is counted at all.
    pub(crate) fn counts(&self, ip: IpAddr) -> bool {
        self.limits.on && (self.limits.loopback || !ip.to_canonical().is_loopback())
    }

    /// Somebody wants to come in. What is let in is a handshake under way.
    pub(crate) fn knock(&mut self, ip: IpAddr, now: Instant) -> Result<(), Turned> {
        if !self.counts(ip) {
            return Ok(());
        }
        let (ip, network) = (host(ip), Network::of(ip));
        if self.banned_hosts.holds(&ip, now) {
            return Err(Turned::BannedAddress);
        }
        let (here, there) = (self.hosts.entry(ip).or_default(), self.networks.entry(network).or_default());
        let [of_host, of_network] = self.limits.handshakes;
        let [host_open, network_open] = self.limits.open;
        // Those whose handshake is under way will be open in a moment.
        let turned = if here.all() >= host_open || there.all() >= network_open {
            Some(Turned::Crowded)
        } else if here.handshakes >= of_host || there.handshakes >= of_network {
            Some(Turned::Handshakes)
        } else if !self.host_knocks.take(ip, now) || !self.network_knocks.take(network, now) {
            Some(Turned::Often)
        } else {
            here.handshakes += 1;
            there.handshakes += 1;
            None
        };
        tidy(&mut self.hosts, &ip);
        tidy(&mut self.networks, &network);
        match turned {
            None => Ok(()),
            Some(turned) => {
                self.strike_host(ip, 1, now);
                Err(turned)
            }
        }
    }

    /// A handshake has ended well.
    pub(crate) fn opened(&mut self, ip: IpAddr) {
        self.change(ip, |count| {
            count.handshakes = count.handshakes.saturating_sub(1);
            count.open += 1;
        });
    }

    /// A handshake has failed.
    pub(crate) fn failed(&mut self, ip: IpAddr) {
        self.change(ip, |count| count.handshakes = count.handshakes.saturating_sub(1));
    }

    /// A connection is over.
    pub(crate) fn closed(&mut self, ip: IpAddr) {
        self.change(ip, |count| count.open = count.open.saturating_sub(1));
    }

    fn change(&mut self, ip: IpAddr, change: impl Fn(&mut Count)) {
        if !self.counts(ip) {
            return;
        }
        let (ip, network) = (host(ip), Network::of(ip));
        self.hosts.entry(ip).and_modify(&change);
        self.networks.entry(network).and_modify(&change);
        tidy(&mut self.hosts, &ip);
        tidy(&mut self.networks, &network);
    }

    /// Whether this peer may have a connection.
    pub(crate) fn admits(&mut self, peer: &PeerId, now: Instant) -> Result<(), Turned> {
        if self.banned_peers.holds(peer, now) { Err(Turned::BannedPeer) } else { Ok(()) }
    }

    /// A peer has done what it should not. True when it was once too often: it is sent away, and its address is nearer to it.
    pub(crate) fn strike(&mut self, peer: PeerId, ip: Option<IpAddr>, now: Instant) -> bool {
        if !self.limits.on || self.peer_strikes.take(peer, now) {
            return false;
        }
        let new = !self.banned_peers.holds(&peer, now);
        self.banned_peers.add(peer, now + self.limits.ban, now);
        if let Some(ip) = ip.filter(|ip| new && self.counts(*ip)) {
            self.strike_host(host(ip), (self.limits.strikes.burst / 8).max(1), now);
        }
        new
    }

    fn strike_host(&mut self, ip: IpAddr, count: u32, now: Instant) {
        if !self.host_strikes.take_many(ip, count, now) {
            self.banned_hosts.add(ip, now + self.limits.ban, now);
        }
    }

    /// Bans that hold: of addresses, and of peers.
    pub(crate) fn bans(&mut self, now: Instant) -> (usize, usize) {
        (self.banned_hosts.count(now), self.banned_peers.count(now))
    }

    /// Open connections that are counted.
    pub(crate) fn open(&self) -> usize {
        self.hosts.values().map(|count| count.open).sum()
    }
}

fn tidy<K: Eq + Hash>(counts: &mut HashMap<K, Count>, key: &K) {
    if counts.get(key).is_some_and(|count| count.handshakes == 0 && count.open == 0) {
        counts.remove(key);
    }
}

#[derive(Debug)]
struct Bans<K>(HashMap<K, Instant>);

impl<K> Default for Bans<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Copy + Eq + Hash> Bans<K> {
    fn holds(&mut self, key: &K, now: Instant) -> bool {
        match self.0.get(key) {
            Some(until) if *until > now => true,
            Some(_) => {
                self.0.remove(key);
                false
            }
            None => false,
        }
    }

    fn add(&mut self, key: K, until: Instant, now: Instant) {
        if self.0.len() >= BANS && self.count(now) >= BANS {
            let first = self.0.iter().min_by_key(|(_, until)| **until).map(|(key, _)| *key);
            first.and_then(|key| self.0.remove(&key));
        }
        self.0.insert(key, until);
    }

    fn count(&mut self, now: Instant) -> usize {
        self.0.retain(|_, until| *until > now);
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    fn limits() -> GateLimits {
        let knocks =
            [Rate { burst: 20, every: Duration::from_secs(1) }, Rate { burst: 60, every: Duration::from_secs(1) }];
        let strikes = Rate { burst: 30, every: Duration::from_secs(1) };
        GateLimits { open: [8, 16], handshakes: [4, 12], knocks, strikes, ..GateLimits::default() }
    }

    #[test]
    fn x3_one_address_has_few_handshakes_few_connections_and_few_tries() {
        let (mut gate, now, from) = (Gate::new(limits()), Instant::now(), ip("203.0.113.7"));
        for _ in 0..4 {
            gate.knock(from, now).expect("let in");
        }
        assert_eq!(gate.knock(from, now), Err(Turned::Handshakes));
        for _ in 0..4 {
            gate.opened(from);
            gate.knock(from, now).expect("let in");
        }
        assert_eq!((gate.open(), gate.knock(from, now)), (4, Err(Turned::Crowded)), "four more are under way");
        for _ in 0..4 {
            gate.opened(from);
        }
        assert_eq!((gate.open(), gate.knock(from, now)), (8, Err(Turned::Crowded)));
        gate.closed(from);
        for _ in 0..12 {
            gate.knock(from, now).expect("let in");
            gate.failed(from);
        }
        assert_eq!(gate.knock(from, now), Err(Turned::Often));
        gate.knock(from, now + Duration::from_secs(1)).expect("let in again");
        // The neighbour has what is left of the network, a stranger has all.
        gate.knock(ip("203.0.113.8"), now).expect("let in");
        gate.knock(ip("198.51.100.1"), now).expect("let in");
        let home = Gate::new(limits());
        assert!(!home.counts(ip("127.0.0.1")) && !home.counts(ip("::1")) && !home.counts(ip("::ffff:127.0.0.1")));
    }

    #[test]
    fn x3_neighbours_together_are_limited_too() {
        let (mut gate, now) = (Gate::new(limits()), Instant::now());
        let let_in = (0..64).filter(|last| gate.knock(ip(&format!("203.0.113.{last}")), now).is_ok()).count();
        assert_eq!(let_in, 12, "handshakes of one network");
    }

    #[test]
    fn x3_who_goes_on_is_sent_away_for_a_while_and_everything_is_forgotten() {
        let (mut gate, mut now, from) = (Gate::new(limits()), Instant::now(), ip("203.0.113.7"));
        let mut turned = Vec::new();
        for _ in 0..10_000 {
            match gate.knock(from, now) {
                Ok(()) => gate.failed(from),
                Err(why) => turned.push(why),
            }
        }
        assert_eq!((turned.first(), turned.last()), (Some(&Turned::Often), Some(&Turned::BannedAddress)));
        assert_eq!(gate.bans(now), (1, 0));
        now += limits().ban;
        gate.knock(from, now).expect("the ban has ended");
        gate.failed(from);
        assert_eq!((gate.bans(now), gate.hosts.len(), gate.networks.len()), ((0, 0), 0, 0));
    }

    #[test]
    fn x3_a_peer_that_misbehaves_is_sent_away_and_bans_are_bounded() {
        let (mut gate, now, peer) = (Gate::new(limits()), Instant::now(), PeerId::random());
        let from = Some(ip("203.0.113.7"));
        let banned = (0..100).filter(|_| gate.strike(peer, from, now)).count();
        assert_eq!((banned, gate.admits(&peer, now)), (1, Err(Turned::BannedPeer)));
        gate.admits(&PeerId::random(), now).expect("a stranger is welcome");
        gate.admits(&peer, now + limits().ban).expect("the ban has ended");
        let mut bans = Bans::default();
        for key in 0..10_000_u32 {
            bans.add(key, now + Duration::from_secs(1 + u64::from(key)), now);
        }
        assert_eq!(bans.count(now), BANS);
        assert!(bans.holds(&9999, now) && !bans.holds(&0, now), "the one that ends first made room");
    }
}
