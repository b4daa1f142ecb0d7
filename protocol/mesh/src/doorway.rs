//! Who is let in, and how much of us they get: connections, places behind a relay, bytes through it, room in the directory.
//!
//! What decides is pure and has the time passed in: [`gate`], [`places`], [`diversity`], [`bucket`], [`shares`]. A [`Doorway`] holds them for
//! everything of one mesh that has to ask: the swarm, libp2p's relay, the streams that a relay carries, the driver.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use klp::NodeId;
use libp2p::{Multiaddr, PeerId, relay};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::config::{Config, Role};
use crate::peer::ip_in;

mod behaviour;
mod bucket;
mod diversity;
mod gate;
mod network;
mod pass;
mod places;
mod service;
mod shaper;
mod shares;

pub use bucket::Rate;
pub use gate::GateLimits;
pub use places::{Access, Guests, RelayToken};
pub use service::{Places as PlacesInUse, Service};

pub(crate) use behaviour::{Behaviour, Shown};
pub(crate) use bucket::Buckets;
pub(crate) use diversity::Diversity;
pub(crate) use network::Network;
pub(crate) use pass::PROTOCOL as PASS;
pub(crate) use shaper::{Shaped, Shaper};

use gate::{Gate, Turned};
use places::{Denied, Places, newcomers};

/// Seconds over which the speed is taken.
const SAMPLES: usize = 6;
/// Gossip that one peer may bring: its own, and what it passes on.
const GOSSIP: Rate = Rate { burst: 512, every: Duration::from_millis(16) };
/// All that one peer may send of it: also what has been seen, what nobody signed, and what the peers tell each other about it.
const PACKETS: Rate = Rate { burst: 2048, every: Duration::from_millis(2) };
/// One packet counts for no more faults than this.
const FAULTS: usize = 512;
/// Peers whose gossip is counted; only connected ones bring any.
const REMEMBERED: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    what: &'static str,
    reason: &'static str,
}

/// What becomes of a packet of gossip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weighed {
    Taken,
    Refused,
    /// And its sender has to go.
    Gone,
}

/// Everything that one mesh knows of those who want something from it.
#[derive(Debug)]
pub(crate) struct Doorway {
    gate: Mutex<Gate>,
    /// Of a relay.
    places: Option<Mutex<Places>>,
    gossip: Mutex<Buckets<PeerId>>,
    packets: Mutex<Buckets<PeerId>>,
    /// Of a relay: its streams go through here.
    pub(crate) shaper: Option<Arc<Shaper>>,
    /// Moments of the last seconds, and what had been carried by then.
    samples: Mutex<VecDeque<(Instant, u64)>>,
    /// Where connected peers are.
    origins: Mutex<HashMap<PeerId, IpAddr>>,
    refusals: Family<Reason, Counter>,
    refused: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    reservations: Gauge,
    circuits: Gauge,
    bans: Gauge,
}

impl Doorway {
    pub(crate) fn new(me: NodeId, config: &Config, registry: &mut Registry) -> Self {
        let places = (config.role == Role::Relay).then(|| Mutex::new(Places::new(me, config.limits.relay.clone())));
        let (refusals, reservations, circuits, bans) = <(Family<_, Counter>, Gauge, Gauge, Gauge)>::default();
        let registry = registry.sub_registry_with_prefix("kos_door");
        registry.register("refusals", "What was refused to others, by what they wanted and why", refusals.clone());
        // What has not happened yet is shown too, as none.
        let connection = Turned::ALL.map(|why| ("connection", why.as_str()));
        let gossip = ["forged", "often", "invalid"].map(|reason| ("gossip", reason));
        let session = ["stream", "request"].map(|reason| ("session", reason));
        let relayed = places.iter().flat_map(|_| Denied::REFUSALS.map(|(what, why)| (what, why.as_str())));
        for (what, reason) in connection.into_iter().chain(gossip).chain(session).chain(relayed) {
            drop(refusals.get_or_create(&Reason { what, reason }));
        }
        registry.register("bans", "Addresses and peers that are sent away for a while", bans.clone());
        let bounds = &config.limits.relay;
        let shaper =
            places.is_some().then(|| Arc::new(Shaper::new(bounds.bytes_per_second, bounds.peer_bytes_per_second)));
        if let Some(shaper) = &shaper {
            registry.register(
                "carried_bytes",
                "Bytes that others have sent through this relay",
                shaper.carried.clone(),
            );
            registry.register("reservations", "Nodes that wait behind this relay", reservations.clone());
            registry.register("circuits", "Circuits through this relay", circuits.clone());
        }
        Self {
            gate: Mutex::new(Gate::new(config.limits.gate)),
            places,
            shaper,
            samples: Mutex::default(),
            gossip: Mutex::new(Buckets::new(GOSSIP, REMEMBERED)),
            packets: Mutex::new(Buckets::new(PACKETS, REMEMBERED)),
            origins: Mutex::default(),
            refusals,
            refused: Mutex::default(),
            reservations,
            circuits,
            bans,
        }
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        held(&self.gate)
    }

    /// Counts something that was not given or not taken.
    pub(crate) fn refused(&self, what: &'static str, reason: &'static str) {
        self.refusals.get_or_create(&Reason { what, reason }).inc();
        *held(&self.refused).entry((what, reason)).or_default() += 1;
    }

    fn knock(&self, ip: IpAddr, now: Instant) -> Result<(), Turned> {
        self.gate().knock(ip, now).inspect_err(|turned| self.refused("connection", turned.as_str()))
    }

    fn admits(&self, peer: &PeerId, now: Instant) -> Result<(), Turned> {
        self.gate().admits(peer, now).inspect_err(|turned| self.refused("connection", turned.as_str()))
    }

    /// A peer has done what it should not. True when it has to go now.
    pub(crate) fn strike(&self, peer: PeerId, what: &'static str, reason: &'static str, now: Instant) -> bool {
        self.refused(what, reason);
        let ip = self.origin(&peer);
        let gone = self.gate().strike(peer, ip, now);
        if gone {
            tracing::warn!(%peer, what, reason, "sent away for a while");
        }
        gone
    }

    /// Whether a peer has been sent away and may not come back yet.
    pub(crate) fn is_away(&self, peer: &PeerId, now: Instant) -> bool {
        self.gate().admits(peer, now).is_err()
    }

    /// Whether a peer may bring one more gossip message.
    pub(crate) fn may_gossip(&self, peer: PeerId, now: Instant) -> bool {
        held(&self.gossip).take(peer, now)
    }

    /// A peer has sent a packet of gossip with so many parts, and so many more that are forged.
    pub(crate) fn weigh_gossip(&self, peer: PeerId, parts: usize, forged: usize, now: Instant) -> Weighed {
        let count = u32::try_from(parts).unwrap_or(u32::MAX).min(PACKETS.burst * 2);
        let taken = held(&self.packets).take_many(peer, count, now);
        let often = if taken { 0 } else { parts };
        // Each of them is counted, also of a peer that is gone already.
        let faults = [("forged", forged), ("often", often)].map(|(reason, count)| (reason, count.min(FAULTS)));
        let mut gone = false;
        for reason in faults.into_iter().flat_map(|(reason, count)| std::iter::repeat_n(reason, count)) {
            gone |= self.strike(peer, "gossip", reason, now);
        }
        match (gone, taken) {
            (true, _) => Weighed::Gone,
            (false, true) => Weighed::Taken,
            (false, false) => Weighed::Refused,
        }
    }

    /// Where a connected peer is, when it is connected directly.
    pub(crate) fn origin(&self, peer: &PeerId) -> Option<IpAddr> {
        held(&self.origins).get(peer).copied()
    }

    /// Whether a peer waits behind this relay, or has a circuit through it.
    pub(crate) fn serves(&self, peer: &PeerId, now: Instant) -> bool {
        self.places.as_ref().is_some_and(|places| held(places).serves(peer, now))
    }

    /// Whether addresses like this one are counted: those of this machine mostly are not.
    pub(crate) fn counts(&self, ip: IpAddr) -> bool {
        self.gate().counts(ip)
    }

    /// A place behind this relay is asked for.
    fn reserve(&self, peer: PeerId, address: &Multiaddr, now: Instant) -> bool {
        let Some(places) = &self.places else { return false };
        let result = held(places).reserve(peer, ip_in(address), now);
        result.inspect_err(|why| self.refused("reservation", why.as_str())).is_ok()
    }

    /// A circuit through this relay is asked for.
    fn call(&self, peer: PeerId, address: &Multiaddr, now: Instant) -> bool {
        let Some(places) = &self.places else { return false };
        let result = held(places).call(peer, ip_in(address), now);
        result.inspect_err(|why| self.refused("circuit", why.as_str())).is_ok()
    }

    fn show(&self, peer: PeerId, proof: &[u8; 32]) -> bool {
        let right = self.places.as_ref().is_some_and(|places| held(places).show(peer, proof));
        if !right {
            self.refused("reservation", Denied::Access.as_str());
        }
        right
    }

    fn asks_for_token(&self) -> bool {
        self.places.as_ref().is_some_and(|places| matches!(held(places).limits().access, Access::Token(_)))
    }

    /// What libp2p's relay says it has done.
    pub(crate) fn relayed(&self, event: &relay::Event) {
        let Some(places) = &self.places else { return };
        let mut places = held(places);
        match event {
            relay::Event::CircuitReqAccepted { src_peer_id: from, dst_peer_id: to } => {
                places.joined(*from, *to, held(&self.origins).get(from).copied());
            }
            relay::Event::CircuitClosed { src_peer_id: from, dst_peer_id: to, .. } => places.parted(*from, *to),
            relay::Event::CircuitReqDenied { status, .. } => {
                let why = match status {
                    relay::StatusCode::ResourceLimitExceeded => Denied::Circuits,
                    relay::StatusCode::NoReservation => Denied::NoReservation,
                    _ => Denied::Unreached,
                };
                if places.call_denied(why) {
                    self.refused("circuit", why.as_str());
                }
            }
            #[expect(deprecated, reason = "there is no other word of it, and a denial of ours waits for its event")]
            relay::Event::CircuitReqDenyFailed { .. } => {
                places.call_denied(Denied::Circuits);
            }
            _ => {}
        }
    }

    /// What is in use, for those who run this program; the gauges are set to the same.
    pub(crate) fn service(&self, now: Instant) -> Service {
        let mut gate = self.gate();
        let (banned_addresses, banned_peers) = gate.bans(now);
        let open = gate.open();
        drop(gate);
        let places = self.places.as_ref().map(|places| {
            let places = held(places);
            let limits = places.limits();
            PlacesInUse {
                reservations: places.used(now),
                most_reservations: limits.reservations,
                for_newcomers: newcomers(limits.reservations),
                circuits: places.circuits(),
                most_circuits: limits.circuits,
            }
        });
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.bans.set(count(banned_addresses + banned_peers));
        if let Some(places) = &places {
            self.reservations.set(count(places.reservations));
            self.circuits.set(count(places.circuits));
        }
        Service {
            open,
            banned_addresses,
            banned_peers,
            places,
            refusals: held(&self.refused).clone(),
            carried: self.carried(),
            bytes_per_second: self.bytes_per_second(),
        }
    }

    fn carried(&self) -> u64 {
        self.shaper.as_ref().map_or(0, |shaper| shaper.carried.get())
    }

    fn bytes_per_second(&self) -> u64 {
        let samples = held(&self.samples);
        let (Some((from, before)), Some((to, after))) = (samples.front(), samples.back()) else { return 0 };
        let time = to.saturating_duration_since(*from).as_millis().max(1);
        u64::try_from(u128::from(after - before) * 1000 / time).unwrap_or(u64::MAX)
    }

    /// A second has passed.
    pub(crate) fn tick(&self, now: Instant) {
        let mut samples = held(&self.samples);
        samples.push_back((now, self.carried()));
        if samples.len() > SAMPLES {
            samples.pop_front();
        }
        drop(samples);
        let _gauges_are_set = self.service(now);
    }

    /// Two closures for libp2p's relay: one for places and one for circuits.
    pub(crate) fn limiters(self: &Arc<Self>) -> [Limiter; 2] {
        let (places, calls) = (self.clone(), self.clone());
        [
            Box::new(move |peer, address: &Multiaddr, now| places.reserve(peer, address, now)),
            Box::new(move |peer, address: &Multiaddr, now| calls.call(peer, address, now)),
        ]
    }
}

/// What libp2p asks before it gives a place or a circuit.
pub(crate) type Limiter = Box<dyn FnMut(PeerId, &Multiaddr, Instant) -> bool + Send>;

/// Nothing panics while it holds one of these; were it otherwise, what is in there would still be whole.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
