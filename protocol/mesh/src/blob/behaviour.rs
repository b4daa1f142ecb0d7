//! The blob protocol on all connections. It chooses none: whoever asks for a stream says where.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll};

use klp::limits;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    NotifyHandler, SubstreamProtocol, THandlerInEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::PROTOCOL;

/// A stream that we have opened, and the bytes of blobs that its connection carries in all. When there is none its sender is dropped.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) stream: Stream,
    pub(crate) carried: Arc<AtomicU64>,
}

/// A stream that the peer has opened. Without a permit there are too many, and it is refused by name.
#[derive(Debug)]
pub(crate) struct Came {
    pub(crate) opened: Opened,
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

type Want = oneshot::Sender<Opened>;

/// The blob protocol over all connections.
#[derive(Debug, Default)]
pub(crate) struct Behaviour {
    queue: VecDeque<ToSwarm<(PeerId, ConnectionId, Came), Want>>,
}

impl Behaviour {
    /// Opens a stream on this connection.
    pub(crate) fn open(&mut self, peer_id: PeerId, connection: ConnectionId, want: Want) {
        let handler = NotifyHandler::One(connection);
        self.queue.push_back(ToSwarm::NotifyHandler { peer_id, handler, event: want });
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Streams;
    type ToSwarm = (PeerId, ConnectionId, Came);

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Streams, ConnectionDenied> {
        Ok(Streams::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Streams, ConnectionDenied> {
        Ok(Streams::new())
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, came: Came) {
        self.queue.push_back(ToSwarm::GenerateEvent((peer, connection, came)));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // The queue is filled by the swarm's own calls, or by the driver's, which polls the swarm afterwards.
        self.queue.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// The blob protocol on one connection.
pub(crate) struct Streams {
    wanted: VecDeque<Want>,
    came: VecDeque<Came>,
    /// Streams whose question has not been heard yet.
    unheard: Arc<Semaphore>,
    carried: Arc<AtomicU64>,
}

impl Streams {
    fn new() -> Self {
        let unheard = Arc::new(Semaphore::new(limits::BLOB_STREAMS));
        Self { wanted: VecDeque::new(), came: VecDeque::new(), unheard, carried: Arc::default() }
    }
}

impl ConnectionHandler for Streams {
    type FromBehaviour = Want;
    type ToBehaviour = Came;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Want;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Want, Came>> {
        // Both queues are filled by the two methods below, after which the connection polls again.
        if let Some(came) = self.came.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(came));
        }
        if let Some(want) = self.wanted.pop_front() {
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), want);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, want: Want) {
        self.wanted.push_back(want);
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol, (), Want>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: stream, .. }) => {
                let permit = self.unheard.clone().try_acquire_owned().ok();
                self.came.push_back(Came { opened: Opened { stream, carried: self.carried.clone() }, permit });
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, info: want }) => {
                let _gone = want.send(Opened { stream, carried: self.carried.clone() });
            }
            // What was wanted and cannot be had is dropped with its event.
            _ => {}
        }
    }
}
