//! What a mesh is opened with.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use klp::hello::Extras;
use klp::rule::address::Cidr;
use klp::rule::record::Standing;
use klp::{NodeId, SecretKey, Timestamp, limits};
use libp2p::Multiaddr;

use crate::doorway::{Access, GateLimits, RelayToken};
use crate::tls::Tls;
use crate::weather::Weather;

/// Says what our Hello tells a peer. It looks something up and never waits: it is called on the road of every new session. What it
/// returns for somebody who is no contact must be empty (`security.md` 8).
pub type Introduce = Arc<dyn Fn(&NodeId) -> Extras + Send + Sync>;

/// Whether a DHT record may be stored or believed: key, value, and the node that claims to have published it. Its standing says which of
/// two that hold counts.
pub type RecordCheck = Arc<dyn Fn(&[u8], &[u8], Option<NodeId>) -> Option<Standing> + Send + Sync>;

/// The wall clock, for Hellos.
pub type Wall = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What this program is to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A person's node: asks and answers; serves no strangers' lookups and carries no strangers' bytes.
    Node,
    /// Carries circuits between nodes that cannot reach each other, and answers lookups.
    Relay,
    /// Answers lookups, so that new nodes find others.
    Bootstrap,
}

/// Bounds of one mesh.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Events that wait for their reader; at least 1.
    pub events: usize,
    /// Connections that peers have opened to us.
    pub incoming: u32,
    /// Connections of one peer. Hole punching leaves three, so at least 4.
    pub per_peer: u32,
    /// New connections are refused while the process uses more bytes than this.
    pub memory: usize,
    /// A blob stream that owes bytes and moves none for this long is cut.
    pub stall: Duration,
    /// What others put here is kept this long at most, and what this mesh provides is said again at half of it.
    pub record_life: Duration,
    /// Who is let in.
    pub gate: GateLimits,
    /// What a relay gives away.
    pub relay: RelayLimits,
}

/// What a relay gives away. Only read in the role [`Role::Relay`].
#[derive(Clone, Debug)]
pub struct RelayLimits {
    /// Peers that may wait behind this relay. Newcomers fill nine tenths; the rest is for those that had a place lately.
    pub reservations: usize,
    /// Peers of one network, a /24 or an IPv6 /48, that may.
    pub reservations_per_network: usize,
    /// Who may.
    pub access: Access,
    /// Life of a reservation.
    pub reservation_time: Duration,
    /// Circuits at once, and of one peer.
    pub circuits: usize,
    /// Circuits of one peer.
    pub circuits_per_peer: usize,
    /// Circuits that the peers of one network may have asked for.
    pub circuits_per_network: usize,
    /// Life of a circuit; never zero, which would end it at once.
    pub circuit_time: Duration,
    /// Bytes of both directions of a circuit; zero is without limit.
    pub circuit_bytes: u64,
    /// Bytes a second that all may send through this relay, shared fairly; zero is without limit.
    pub bytes_per_second: u64,
    /// Bytes a second of one peer; zero is without limit.
    pub peer_bytes_per_second: u64,
    /// Whether requests for reservations and circuits are limited by peer and by IP address. Off in a lab where all share one.
    pub rates: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            events: 64,
            incoming: 512,
            per_peer: 6,
            memory: 2 * 1024 * 1024 * 1024,
            stall: limits::STALL,
            record_life: limits::RECORD_LIFE,
            gate: GateLimits::default(),
            relay: RelayLimits::default(),
        }
    }
}

impl Default for RelayLimits {
    fn default() -> Self {
        Self {
            reservations: 4096,
            reservations_per_network: 256,
            access: Access::Open,
            reservation_time: Duration::from_secs(30 * 60),
            circuits: 512,
            circuits_per_peer: 8,
            circuits_per_network: 128,
            circuit_time: Duration::from_secs(10 * 60),
            circuit_bytes: 16 * 1024 * 1024,
            bytes_per_second: 0,
            peer_bytes_per_second: 0,
            rates: true,
        }
    }
}

/// What a mesh is opened with.
#[derive(Clone)]
pub struct Config {
    /// The node key.
    pub key: SecretKey,
    /// What this program is to others.
    pub role: Role,
    /// Where to listen; port 0 takes any. `/memory/N` works for tests.
    pub listen: Vec<Multiaddr>,
    /// Addresses that the user vouches for: told to everybody without asking anybody.
    pub external: Vec<Multiaddr>,
    /// Peers to join the DHT through, each ending in `/p2p/PEER`.
    pub bootstrap: Vec<Multiaddr>,
    /// Peers that were in the routing table when this program last ran, each ending in `/p2p/PEER`: greeted once, at the start.
    pub known: Vec<Multiaddr>,
    /// Relays to wait behind, each ending in `/p2p/PEER`.
    pub relays: Vec<Multiaddr>,
    /// What relays that ask for a token are shown.
    pub relay_token: Option<RelayToken>,
    /// What is shown and believed at `/wss`.
    pub tls: Tls,
    /// Address ranges that count as public.
    pub trust_cidr: Vec<Cidr>,
    /// Whether to look for peers in the local network. It has no effect while all listeners are loopback.
    pub mdns: bool,
    /// Bounds.
    pub limits: Limits,
    /// What our Hello tells whom.
    pub introduce: Introduce,
    /// How connections under `/memory/N` break, in tests.
    pub weather: Option<Weather>,
    /// Which DHT records hold.
    pub check_record: RecordCheck,
    /// The wall clock.
    pub wall: Wall,
}

impl Config {
    /// A mesh that listens nowhere, tells nobody anything, believes no record, and takes the system's clock.
    pub fn new(key: SecretKey, role: Role) -> Self {
        let incoming = match role {
            // A listed agent has more visitors than its owner has contacts, and a visitor's session stays open.
            Role::Node => 512,
            Role::Relay => 4096,
            Role::Bootstrap => 2048,
        };
        Self {
            key,
            role,
            listen: Vec::new(),
            external: Vec::new(),
            bootstrap: Vec::new(),
            known: Vec::new(),
            relays: Vec::new(),
            relay_token: None,
            tls: Tls::default(),
            trust_cidr: Vec::new(),
            mdns: false,
            limits: Limits { incoming, ..Limits::default() },
            weather: None,
            introduce: Arc::new(|_| Extras::default()),
            check_record: Arc::new(|_, _, _| None),
            wall: Arc::new(system_time),
        }
    }
}

fn system_time() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
