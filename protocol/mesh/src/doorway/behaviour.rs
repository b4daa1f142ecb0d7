//! The doorway as the swarm sees it: it is asked before anybody else, and hears of every connection's beginning and end.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use klp::NodeId;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished, ListenFailure};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandlerInEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use super::pass::Pass;
use super::{Doorway, RelayToken, held};
use crate::peer::{ip_in, is_relayed, node_of};

/// A relay has answered to our proof, and whether it took it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    pub(crate) peer: PeerId,
    pub(crate) taken: bool,
}

/// The doorway as the swarm sees it.
pub(crate) struct Behaviour {
    me: NodeId,
    doorway: Arc<Doorway>,
    token: Option<RelayToken>,
    /// Connections that others are making or have made, by where they come from.
    came: HashMap<ConnectionId, IpAddr>,
    queue: VecDeque<ToSwarm<Shown, [u8; 32]>>,
}

impl Behaviour {
    pub(crate) fn new(me: NodeId, doorway: Arc<Doorway>, token: Option<RelayToken>) -> Self {
        Self { me, doorway, token, came: HashMap::new(), queue: VecDeque::new() }
    }

    /// Shows a relay that we know its token, when we have one. Its answer comes as an event.
    pub(crate) fn show(&mut self, peer_id: PeerId, connection: ConnectionId) -> bool {
        let (Some(token), Some(relay)) = (&self.token, node_of(&peer_id)) else { return false };
        let event = token.proof(relay, self.me);
        self.queue.push_back(ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::One(connection), event });
        true
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Pass;
    type ToSwarm = Shown;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        // What has no IP address comes through a relay, and is limited there and by its session, or from memory.
        let Some(ip) = ip_in(remote).filter(|_| !is_relayed(remote)) else { return Ok(()) };
        self.doorway.knock(ip, Instant::now()).map_err(ConnectionDenied::new)?;
        self.came.insert(id, ip);
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Pass, ConnectionDenied> {
        self.doorway.admits(&peer, Instant::now()).map_err(ConnectionDenied::new)?;
        Ok(Pass::new(peer, self.doorway.clone()))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Pass, ConnectionDenied> {
        Ok(Pass::new(peer, self.doorway.clone()))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { peer_id, connection_id, endpoint, .. }) => {
                if let Some(ip) = self.came.get(&connection_id) {
                    self.doorway.gate().opened(*ip);
                }
                if let Some(ip) = ip_in(endpoint.get_remote_address()).filter(|_| !endpoint.is_relayed()) {
                    held(&self.doorway.origins).insert(peer_id, ip);
                }
            }
            FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) => {
                if let Some(ip) = self.came.remove(&connection_id) {
                    self.doorway.gate().failed(ip);
                }
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, remaining_established, .. }) => {
                if let Some(ip) = self.came.remove(&connection_id) {
                    self.doorway.gate().closed(ip);
                }
                if remaining_established == 0 {
                    held(&self.doorway.origins).remove(&peer_id);
                    if let Some(places) = &self.doorway.places {
                        held(places).left(&peer_id);
                    }
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, _: ConnectionId, taken: bool) {
        self.queue.push_back(ToSwarm::GenerateEvent(Shown { peer, taken }));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Shown, THandlerInEvent<Self>>> {
        // The queue is filled by the swarm's own calls, or by the driver's, which polls the swarm afterwards.
        self.queue.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}
