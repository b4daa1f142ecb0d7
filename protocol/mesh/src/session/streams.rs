//! The session protocol on one connection: opens streams when told, hands over those that come.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use klp::hello::SessionId;
use libp2p::Stream;
use libp2p::StreamProtocol;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::swarm::handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::PROTOCOL;

/// Streams of one connection whose Hello has not been heard yet; a peer needs one, and one more while it moves.
const UNHEARD: usize = 4;

/// What the handler tells the behaviour.
#[derive(Debug)]
pub(crate) enum StreamEvent {
    /// The stream that was asked for.
    Opened(SessionId, Stream),
    /// The peer does not speak the protocol.
    Failed(SessionId),
    /// The connection broke, or was too slow for it.
    Lost(SessionId),
    /// The peer has opened a stream. Without a permit there are too many, and it is refused by name.
    Came(Stream, Option<OwnedSemaphorePermit>),
}

/// The session protocol on one connection.
pub(crate) struct Streams {
    wanted: VecDeque<SessionId>,
    events: VecDeque<StreamEvent>,
    unheard: Arc<Semaphore>,
}

impl Streams {
    pub(super) fn new() -> Self {
        Self { wanted: VecDeque::new(), events: VecDeque::new(), unheard: Arc::new(Semaphore::new(UNHEARD)) }
    }
}

impl ConnectionHandler for Streams {
    type FromBehaviour = SessionId;
    type ToBehaviour = StreamEvent;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = SessionId;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, SessionId, StreamEvent>> {
        // Both queues are filled by the two methods below, after which the connection polls again.
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event));
        }
        if let Some(id) = self.wanted.pop_front() {
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), id);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, id: SessionId) {
        self.wanted.push_back(id);
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol, (), SessionId>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: stream, .. }) => {
                let permit = self.unheard.clone().try_acquire_owned().ok();
                self.events.push_back(StreamEvent::Came(stream, permit));
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, info }) => {
                self.events.push_back(StreamEvent::Opened(info, stream));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let refused = matches!(error, StreamUpgradeError::NegotiationFailed);
                self.events.push_back(if refused { StreamEvent::Failed(info) } else { StreamEvent::Lost(info) });
            }
            _ => {}
        }
    }
}
