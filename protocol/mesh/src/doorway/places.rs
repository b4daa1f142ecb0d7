//! Who may wait behind this relay, and who may be called through it.
//!
//! libp2p refuses renewals when it is full, so that a full relay throws out its own guests. Its own bound is therefore set out of reach, and
//! this one is kept: newcomers find no place above nine tenths, and what is left is for those who had one lately.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use klp::{Digest, NodeId};
use libp2p::PeerId;

use super::bucket::{Buckets, Rate};
use super::network::{Network, host};
use crate::config::RelayLimits;
use crate::peer::node_of;

/// Peers and addresses whose frequency is remembered.
const REMEMBERED: usize = 16_384;
/// Many users share one address behind their provider's router.
const OF_HOST: Rate = Rate { burst: 300, every: Duration::from_secs(1) };
const RESERVATIONS: Rate = Rate { burst: 60, every: Duration::from_secs(60) };
const CIRCUITS: Rate = Rate { burst: 60, every: Duration::from_secs(10) };

/// Who may wait behind a relay. Whom they let call them is their own affair.
#[derive(Clone, Debug, Default)]
pub enum Access {
    /// Everybody.
    #[default]
    Open,
    /// These nodes.
    Listed(Guests),
    /// Those that know this token.
    Token(RelayToken),
}

/// The nodes that may wait behind a relay. Every clone is the same list, so that it can be changed while the relay runs.
#[derive(Clone, Debug, Default)]
pub struct Guests(Arc<RwLock<BTreeSet<NodeId>>>);

impl Guests {
    /// These from now on. Who is not among them keeps a place until it has to be renewed.
    pub fn replace(&self, nodes: BTreeSet<NodeId>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = nodes;
    }

    /// Whether this node may.
    pub fn contains(&self, node: &NodeId) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(node)
    }
}

impl FromIterator<NodeId> for Guests {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        Self(Arc::new(RwLock::new(nodes.into_iter().collect())))
    }
}

/// The secret of a relay's guests, or what was made of it. It is never sent: what is sent holds for one node at one relay.
#[derive(Clone)]
pub struct RelayToken(Digest);

impl RelayToken {
    /// Least length of a token in bytes: a shorter one could be guessed.
    pub const LEAST: usize = 16;

    /// The token in this text, without the white space around it. `None` when it is too short.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (text.len() >= Self::LEAST).then(|| Self(Digest::of(&[b"kos/relay-token/1", text.as_bytes()])))
    }

    /// What a node shows to a relay.
    pub(crate) fn proof(&self, relay: NodeId, node: NodeId) -> [u8; 32] {
        Digest::of(&[b"kos/relay-proof/1", relay.0.key(), node.0.key(), &self.0.0]).0
    }
}

impl std::fmt::Debug for RelayToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Why a relay gave no place or no circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Denied {
    Access,
    Full,
    Network,
    Often,
    /// libp2p's own bounds: circuits at once, in all and of one peer.
    Circuits,
    NoReservation,
    Unreached,
}

impl Denied {
    /// What is denied, and why.
    pub(crate) const REFUSALS: [(&'static str, Self); 9] = [
        ("reservation", Self::Access),
        ("reservation", Self::Often),
        ("reservation", Self::Full),
        ("reservation", Self::Network),
        ("circuit", Self::Network),
        ("circuit", Self::Often),
        ("circuit", Self::Circuits),
        ("circuit", Self::NoReservation),
        ("circuit", Self::Unreached),
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Full => "full",
            Self::Network => "network",
            Self::Often => "often",
            Self::Circuits => "circuits",
            Self::NoReservation => "no_reservation",
            Self::Unreached => "unreached",
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Place {
    network: Option<Network>,
    until: Instant,
    /// Whether its holder is connected. Without it the place is only remembered.
    held: bool,
}

/// The places and circuits of one relay.
#[derive(Debug)]
pub(crate) struct Places {
    me: NodeId,
    limits: RelayLimits,
    places: HashMap<PeerId, Place>,
    shown: BTreeSet<PeerId>,
    reservation_rates: (Buckets<PeerId>, Buckets<IpAddr>),
    circuit_rates: (Buckets<PeerId>, Buckets<IpAddr>),
    circuits: HashMap<(PeerId, PeerId), (Option<Network>, usize)>,
    /// Circuits that were denied here, so that libp2p's event about it is not counted again.
    denied_here: usize,
}

impl Places {
    pub(crate) fn new(me: NodeId, limits: RelayLimits) -> Self {
        let rates = |of_peer| (Buckets::new(of_peer, REMEMBERED), Buckets::new(OF_HOST, REMEMBERED));
        let (reservation_rates, circuit_rates) = (rates(RESERVATIONS), rates(CIRCUITS));
        let (places, shown, circuits) = (HashMap::new(), BTreeSet::new(), HashMap::new());
        Self { me, limits, places, shown, reservation_rates, circuit_rates, circuits, denied_here: 0 }
    }

    /// Somebody asks for a place, or to keep the one it has.
    pub(crate) fn reserve(&mut self, peer: PeerId, ip: Option<IpAddr>, now: Instant) -> Result<(), Denied> {
        self.may_reserve(peer, ip, now)?;
        let until = now + self.limits.reservation_time;
        self.places.insert(peer, Place { network: ip.map(Network::of), until, held: true });
        Ok(())
    }

    fn may_reserve(&mut self, peer: PeerId, ip: Option<IpAddr>, now: Instant) -> Result<(), Denied> {
        if !self.has_access(&peer) {
            return Err(Denied::Access);
        }
        if self.limits.rates && !take(&mut self.reservation_rates, peer, ip, now) {
            return Err(Denied::Often);
        }
        self.places.retain(|_, place| place.until > now);
        let known = self.places.get(&peer).copied();
        if known.is_some_and(|place| place.held) {
            return Ok(());
        }
        let room = if known.is_some() { self.limits.reservations } else { newcomers(self.limits.reservations) };
        if self.used(now) >= room {
            return Err(Denied::Full);
        }
        let network = ip.map(Network::of);
        let neighbours = || self.places.values().filter(|place| place.held && place.network == network).count();
        if network.is_some() && neighbours() >= self.limits.reservations_per_network {
            return Err(Denied::Network);
        }
        // Who lost their connection is remembered, but not without end.
        if self.places.len() >= 2 * self.limits.reservations
            && let Some(gone) = self.places.iter().find(|(_, place)| !place.held).map(|(peer, _)| *peer)
        {
            self.places.remove(&gone);
        }
        Ok(())
    }

    fn has_access(&self, peer: &PeerId) -> bool {
        match &self.limits.access {
            Access::Open => true,
            Access::Listed(nodes) => node_of(peer).is_some_and(|node| nodes.contains(&node)),
            Access::Token(_) => self.shown.contains(peer),
        }
    }

    /// Somebody shows a proof of knowing the token. It counts until they leave.
    pub(crate) fn show(&mut self, peer: PeerId, proof: &[u8; 32]) -> bool {
        let (Access::Token(token), Some(node)) = (&self.limits.access, node_of(&peer)) else { return false };
        let expected = Digest(token.proof(self.me, node));
        // Both are digests of something secret, so that a comparison that ends early tells nothing of use.
        let right = expected == Digest(*proof);
        if right {
            self.shown.insert(peer);
        }
        right
    }

    /// Somebody asks for a circuit to a guest of ours.
    pub(crate) fn call(&mut self, peer: PeerId, ip: Option<IpAddr>, now: Instant) -> Result<(), Denied> {
        let network = ip.map(Network::of);
        let of_network =
            || self.circuits.values().filter(|(of, _)| *of == network).map(|(_, count)| count).sum::<usize>();
        let result = if network.is_some() && of_network() >= self.limits.circuits_per_network {
            Err(Denied::Network)
        } else if self.limits.rates && !take(&mut self.circuit_rates, peer, ip, now) {
            Err(Denied::Often)
        } else {
            Ok(())
        };
        self.denied_here += usize::from(result.is_err());
        result
    }

    /// libp2p has denied a circuit. False when it was because we had said so.
    pub(crate) fn call_denied(&mut self, why: Denied) -> bool {
        let ours = why == Denied::Circuits && self.denied_here > 0;
        self.denied_here -= usize::from(ours);
        !ours
    }

    /// A circuit stands.
    pub(crate) fn joined(&mut self, from: PeerId, to: PeerId, ip: Option<IpAddr>) {
        let (_, count) = self.circuits.entry((from, to)).or_insert((ip.map(Network::of), 0));
        *count += 1;
    }

    /// A circuit is over.
    pub(crate) fn parted(&mut self, from: PeerId, to: PeerId) {
        if let Some((_, count)) = self.circuits.get_mut(&(from, to)) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.circuits.remove(&(from, to));
            }
        }
    }

    /// The last connection of a peer is closed. Its place is kept in mind for as long as it would have lasted.
    pub(crate) fn left(&mut self, peer: &PeerId) {
        self.shown.remove(peer);
        if let Some(place) = self.places.get_mut(peer) {
            place.held = false;
        }
    }

    /// Whether it has a place here, or a circuit.
    pub(crate) fn serves(&self, peer: &PeerId, now: Instant) -> bool {
        let guest = self.places.get(peer).is_some_and(|place| place.held && place.until > now);
        guest || self.circuits.keys().any(|(from, to)| from == peer || to == peer)
    }

    /// Places that are held.
    pub(crate) fn used(&self, now: Instant) -> usize {
        self.places.values().filter(|place| place.held && place.until > now).count()
    }

    /// Circuits that stand.
    pub(crate) fn circuits(&self) -> usize {
        self.circuits.values().map(|(_, count)| count).sum()
    }

    pub(crate) fn limits(&self) -> &RelayLimits {
        &self.limits
    }
}

/// Places that newcomers may fill.
pub(crate) fn newcomers(reservations: usize) -> usize {
    (reservations - reservations / 10).max(1)
}

fn take(rates: &mut (Buckets<PeerId>, Buckets<IpAddr>), peer: PeerId, ip: Option<IpAddr>, now: Instant) -> bool {
    rates.0.take(peer, now) && ip.is_none_or(|ip| rates.1.take(host(ip), now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::peer_of;
    use klp::SecretKey;

    fn node(seed: u8) -> NodeId {
        NodeId(SecretKey::from_seed(&[seed; 32]).did())
    }

    fn ip(network: usize) -> Option<IpAddr> {
        Some(format!("203.0.{network}.1").parse().expect("address"))
    }

    fn places(change: impl FnOnce(&mut RelayLimits)) -> Places {
        let mut limits = RelayLimits { reservations: 10, reservations_per_network: 4, ..RelayLimits::default() };
        change(&mut limits);
        Places::new(node(1), limits)
    }

    #[test]
    fn x2_a_full_relay_refuses_newcomers_and_renews_its_guests() {
        let (mut places, mut now) = (places(|_| {}), Instant::now());
        let guests: Vec<PeerId> = (0..9).map(|_| PeerId::random()).collect();
        for (network, guest) in guests.iter().enumerate() {
            places.reserve(*guest, ip(network), now).expect("there is room");
        }
        let late = PeerId::random();
        assert_eq!(places.reserve(late, ip(200), now), Err(Denied::Full));
        for round in 0..4 {
            now += places.limits.reservation_time * 3 / 4;
            for (network, guest) in guests.iter().enumerate() {
                places.reserve(*guest, ip(network), now).unwrap_or_else(|why| panic!("round {round}: {why:?}"));
            }
            assert_eq!(places.used(now), 9);
        }
        // A guest whose connection broke comes back to its place, though newcomers find none.
        places.left(&guests[0]);
        assert_eq!(places.used(now), 8);
        places.reserve(late, ip(200), now).expect("a place was free");
        places.reserve(guests[0], ip(0), now).expect("the last tenth is for those who had one");
        assert_eq!((places.used(now), places.reserve(PeerId::random(), ip(201), now)), (10, Err(Denied::Full)));
        // And a place that nobody renews runs out.
        now += places.limits.reservation_time;
        assert_eq!(places.used(now), 0);
        places.reserve(PeerId::random(), ip(201), now).expect("there is room");
        assert_eq!(places.places.len(), 1);
    }

    #[test]
    fn x2_one_network_gets_its_share_of_places_and_circuits() {
        let (mut places, now) = (places(|limits| limits.circuits_per_network = 2), Instant::now());
        for _ in 0..4 {
            places.reserve(PeerId::random(), ip(1), now).expect("there is room");
        }
        assert_eq!(places.reserve(PeerId::random(), ip(1), now), Err(Denied::Network));
        places.reserve(PeerId::random(), ip(2), now).expect("another network");
        let (one, other) = (PeerId::random(), PeerId::random());
        for _ in 0..2 {
            places.call(one, ip(1), now).expect("few circuits");
            places.joined(one, other, ip(1));
        }
        assert_eq!(places.call(PeerId::random(), ip(1), now), Err(Denied::Network));
        assert!(!places.call_denied(Denied::Circuits), "we have said so ourselves");
        assert!(places.call_denied(Denied::Circuits) && places.call_denied(Denied::NoReservation), "libp2p has");
        places.call(PeerId::random(), ip(2), now).expect("another network");
        places.parted(one, other);
        places.call(one, ip(1), now).expect("one has ended");
    }

    #[test]
    fn x2_who_asks_too_often_waits() {
        let (mut places, now, peer) = (places(|_| {}), Instant::now(), PeerId::random());
        let given = (0..100).filter(|_| places.reserve(peer, ip(1), now).is_ok()).count();
        assert_eq!(given, 60);
        places.reserve(peer, ip(1), now + RESERVATIONS.every).expect("later again");
        let mut lab = self::places(|limits| limits.rates = false);
        assert!((0..1000).all(|_| lab.reserve(peer, ip(1), now).is_ok()));
    }

    #[test]
    fn x2_only_those_on_the_list_or_with_the_token_find_a_place() {
        let now = Instant::now();
        let (guest, stranger) = (peer_of(node(2)), peer_of(node(3)));
        let guests: Guests = [node(2)].into_iter().collect();
        let mut listed = places(|limits| limits.access = Access::Listed(guests.clone()));
        listed.reserve(guest, None, now).expect("on the list");
        assert_eq!(listed.reserve(stranger, None, now), Err(Denied::Access));
        guests.replace([node(3)].into());
        listed.reserve(stranger, None, now).expect("on the list now");
        assert_eq!(listed.reserve(guest, None, now), Err(Denied::Access), "it is not renewed");
        assert_eq!(listed.used(now), 2, "until its time is over");

        assert!(RelayToken::new(" too short ").is_none());
        let token = RelayToken::new("correct horse battery staple\n").expect("long enough");
        assert_eq!(format!("{token:?}"), "***");
        let mut private = places(|limits| limits.access = Access::Token(token.clone()));
        assert_eq!(private.reserve(guest, None, now), Err(Denied::Access));
        // What another node showed, or what was shown to another relay, is worth nothing here.
        assert!(!private.show(stranger, &token.proof(node(1), node(2))));
        assert!(!private.show(guest, &token.proof(node(4), node(2))));
        assert!(private.show(guest, &token.proof(node(1), node(2))));
        private.reserve(guest, None, now).expect("it knows the token");
        private.left(&guest);
        assert_eq!(private.reserve(guest, None, now), Err(Denied::Access), "it has to be shown again");
        assert!(!listed.show(stranger, &token.proof(node(1), node(3))), "this relay knows no token");
    }
}
