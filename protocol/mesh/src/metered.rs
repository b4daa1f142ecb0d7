//! Gossip that is counted before anything looks at it.
//!
//! Gossipsub passes over what it has seen and what nobody signed without a word, and takes any number of it. Here all of it counts: who
//! brings too much, or what is forged, is limited and then sent away.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use crate::behaviour::Gossipsub;
use crate::doorway::{Doorway, Weighed};

/// What a connection hands up: one packet, of many messages.
type Came = THandlerOutEvent<Gossipsub>;

/// Gossip, and those who have to go.
pub(crate) struct Metered {
    inner: Gossipsub,
    doorway: Arc<Doorway>,
    gone: VecDeque<PeerId>,
}

impl Metered {
    pub(crate) fn new(inner: Gossipsub, doorway: Arc<Doorway>) -> Self {
        Self { inner, doorway, gone: VecDeque::new() }
    }
}

impl std::ops::Deref for Metered {
    type Target = Gossipsub;

    fn deref(&self) -> &Gossipsub {
        &self.inner
    }
}

impl std::ops::DerefMut for Metered {
    fn deref_mut(&mut self) -> &mut Gossipsub {
        &mut self.inner
    }
}

impl NetworkBehaviour for Metered {
    type ConnectionHandler = <Gossipsub as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = <Gossipsub as NetworkBehaviour>::ToSwarm;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(id, peer, local, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_outbound_connection(id, peer, address, role, port_use)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        if let Came::Message { rpc, invalid_messages } = &event {
            let parts = rpc.messages.len() + rpc.control_msgs.len() + rpc.subscriptions.len();
            match self.doorway.weigh_gossip(peer, parts.max(1), invalid_messages.len(), Instant::now()) {
                Weighed::Taken => {}
                Weighed::Refused => return,
                Weighed::Gone => return self.gone.push_back(peer),
            }
        }
        self.inner.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // It was filled by the swarm's own call, which polls afterwards.
        match self.gone.pop_front() {
            Some(peer_id) => Poll::Ready(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::All }),
            None => self.inner.poll(context),
        }
    }
}
