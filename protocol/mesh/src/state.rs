//! What can be seen of a mesh at any moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use klp::NodeId;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use crate::dial::Attempt;
use crate::event::PeerHello;
use crate::path::Path;
use crate::reach::shown::{Mappings, OwnAddress, Probe, Punch, RelayView, Upnp};

/// How others can reach us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Nothing is known yet.
    #[default]
    Unknown,
    /// All listeners are loopback: only this machine.
    Loopback,
    /// Only from the same private networks.
    Private,
    /// Through at least one relay.
    Relayed,
    /// From everywhere: an address was dialled by a third party, or the user vouches for it.
    Public,
}

impl Reach {
    /// `unknown`, `loopback`, `private`, `relayed` or `public`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::Relayed => "relayed",
            Self::Public => "public",
        }
    }
}

/// A connected peer.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Its connections, the best one first. Requests ride on the first.
    pub paths: Vec<Path>,
    /// The last round trip on any of them.
    pub rtt: Option<Duration>,
    /// What it said, while a session is open.
    pub hello: Option<Arc<PeerHello>>,
    /// What was tried in vain before the last connection to it was made.
    pub attempts: Vec<Attempt>,
    /// How the last attempt to punch a hole to it has ended.
    pub punch: Option<Punch>,
}

/// What can be seen of a mesh at any moment.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Where it listens, each ending in `/p2p/PEER`.
    pub listen: Vec<Multiaddr>,
    /// Addresses that a third party has dialled, or the user vouches for, each ending in `/p2p/PEER`.
    pub external: Vec<Multiaddr>,
    /// Connected peers.
    pub peers: BTreeMap<NodeId, Peer>,
    /// Relays that hold a reservation for us.
    pub reservations: Vec<NodeId>,
    /// How others can reach us.
    pub reach: Reach,
    /// Peers in the DHT's routing table.
    pub routing: usize,
    /// Each of our own addresses, and who says that it reaches us.
    pub own: Vec<OwnAddress>,
    /// How others see us, and what it says of the router in front of us.
    pub mappings: Mappings,
    /// All relays that are known, whatever their state.
    pub relays: Vec<RelayView>,
    /// What third parties found when they dialled us, the newest first.
    pub probes: Vec<Probe>,
    /// What the router in front of us does when it is asked to open a port.
    pub upnp: Upnp,
}

impl State {
    /// The node that has dialled one of the `external` addresses; nobody, as long as only the user vouches for it.
    pub fn confirmed_by(&self, external: &Multiaddr) -> Option<NodeId> {
        let bare = external.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect();
        self.own.iter().find(|own| own.address == bare).and_then(|own| own.by)
    }
}
