//! What one swarm speaks. Fields only: each protocol's state is in its own file, and the driver joins them.

use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{
    autonat, connection_limits, dcutr, gossipsub, identify, kad, mdns, memory_connection_limits, ping, relay, upnp,
};

use crate::metered::Metered;
use crate::renewed::Renewed;
use crate::scoped::Scoped;
use crate::{blob, candidates, doorway, pulse, session};

/// Gossip that knows our topics and no others.
pub(crate) type Gossipsub = gossipsub::Behaviour<
    gossipsub::IdentityTransform,
    gossipsub::MaxCountSubscriptionFilter<gossipsub::WhitelistSubscriptionFilter>,
>;

/// All protocols. The doorway and the limits come first: behaviours are asked in order, and a refusal ends the asking.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) doorway: doorway::Behaviour,
    pub(crate) limits: connection_limits::Behaviour,
    pub(crate) memory: memory_connection_limits::Behaviour,
    pub(crate) session: session::Behaviour,
    pub(crate) blob: blob::Behaviour,
    pub(crate) identify: Scoped<identify::Behaviour>,
    pub(crate) ping: ping::Behaviour,
    pub(crate) pulse: pulse::Behaviour,
    pub(crate) kad: Scoped<kad::Behaviour<kad::store::MemoryStore>>,
    pub(crate) gossip: Toggle<Metered>,
    pub(crate) relay_client: relay::client::Behaviour,
    pub(crate) relay: Toggle<relay::Behaviour>,
    pub(crate) dcutr: Toggle<dcutr::Behaviour>,
    pub(crate) candidates: candidates::Behaviour,
    pub(crate) autonat_client: Renewed<Toggle<autonat::v2::client::Behaviour>>,
    pub(crate) autonat_server: Toggle<autonat::v2::server::Behaviour>,
    pub(crate) mdns: Scoped<Toggle<mdns::tokio::Behaviour>>,
    pub(crate) upnp: Scoped<Toggle<upnp::tokio::Behaviour>>,
}
