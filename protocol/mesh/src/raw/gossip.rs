//! A peer that writes what it likes on a stream of gossip.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};

use futures::{AsyncWriteExt as _, StreamExt as _};
use klp::{NodeId, SecretKey};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{DeniedUpgrade, ReadyUpgrade};
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    SubstreamProtocol, SwarmEvent, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, SwarmBuilder, noise, tcp, yamux};
use tokio::task::AbortHandle;

use crate::event::Topic;
use crate::peer::{keypair, peer_of};

const PROTOCOL: StreamProtocol = StreamProtocol::new("/meshsub/1.1.0");
/// What a signature of gossipsub covers begins so.
const DOMAIN: &[u8] = b"libp2p-pubsub:";

/// A connection with one stream of gossip.
pub struct RawGossip {
    stream: Stream,
    swarm: AbortHandle,
}

impl Drop for RawGossip {
    fn drop(&mut self) {
        self.swarm.abort();
    }
}

impl RawGossip {
    /// Connects over TCP.
    ///
    /// # Errors
    /// When nobody can be reached there, or gossip is not spoken.
    pub async fn connect(key: &SecretKey, to: Multiaddr) -> io::Result<Self> {
        let builder = SwarmBuilder::with_existing_identity(keypair(key).map_err(io::Error::other)?).with_tokio();
        let builder = builder.with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default);
        let builder = builder.map_err(io::Error::other)?.with_behaviour(|_| Opening::default());
        let mut swarm = builder.map_err(io::Error::other)?.build();
        swarm.dial(to).map_err(io::Error::other)?;
        let stream = loop {
            match swarm.select_next_some().await {
                SwarmEvent::Behaviour(stream) => break stream,
                SwarmEvent::OutgoingConnectionError { error, .. } => return Err(io::Error::other(error)),
                SwarmEvent::ConnectionClosed { .. } => return Err(io::ErrorKind::ConnectionAborted.into()),
                _ => {}
            }
        };
        let swarm = tokio::spawn(async move { while swarm.next().await.is_some() {} }).abort_handle();
        Ok(Self { stream, swarm })
    }

    /// Writes bytes that need be no packet; waits while the other side takes none.
    ///
    /// # Errors
    /// When the other side has hung up.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }
}

/// A packet with one message, as gossipsub writes it. A dishonest one is signed by nobody.
pub fn packet(key: &SecretKey, topic: Topic, number: u64, body: &[u8], honest: bool) -> Vec<u8> {
    let (mut message, mut rpc, mut packet) = (Vec::new(), Vec::new(), Vec::new());
    field(&mut message, 1, &peer_of(NodeId(key.did())).to_bytes());
    field(&mut message, 2, body);
    field(&mut message, 3, &number.to_be_bytes());
    field(&mut message, 4, topic.name().as_bytes());
    let signature = keypair(key).ok().and_then(|key| key.sign(&[DOMAIN, &message].concat()).ok()).unwrap_or_default();
    field(&mut message, 5, if honest { &signature } else { &[7; 64] });
    field(&mut rpc, 2, &message);
    varint(&mut packet, rpc.len());
    packet.extend(rpc);
    packet
}

fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, bytes.len());
    out.extend(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Opens one stream on each connection, and nothing else.
#[derive(Default)]
struct Opening(VecDeque<Stream>);

impl NetworkBehaviour for Opening {
    type ConnectionHandler = Opener;
    type ToSwarm = Stream;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Opener, ConnectionDenied> {
        Ok(Opener::default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Opener, ConnectionDenied> {
        Ok(Opener::default())
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, stream: THandlerOutEvent<Self>) {
        self.0.push_back(stream);
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Stream, THandlerInEvent<Self>>> {
        self.0.pop_front().map_or(Poll::Pending, |stream| Poll::Ready(ToSwarm::GenerateEvent(stream)))
    }
}

#[derive(Default)]
struct Opener {
    asked: bool,
    stream: Option<Stream>,
}

impl ConnectionHandler for Opener {
    type FromBehaviour = std::convert::Infallible;
    type ToBehaviour = Stream;
    type InboundProtocol = DeniedUpgrade;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<DeniedUpgrade> {
        SubstreamProtocol::new(DeniedUpgrade, ())
    }

    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Stream>> {
        if let Some(stream) = self.stream.take() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(stream));
        }
        if !std::mem::replace(&mut self.asked, true) {
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ());
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, never: std::convert::Infallible) {
        match never {}
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol, (), ()>,
    ) {
        if let ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, .. }) = event {
            self.stream = Some(protocol);
        }
    }
}
