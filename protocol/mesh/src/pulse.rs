//! Whether a connection is alive, asked when it matters: one ping with a deadline of its own.
//!
//! libp2p's ping asks every quarter of a minute and passes over the first failure. A question that waits, a relay that we wait behind, and a
//! network that has changed cannot wait as long. The other side answers with libp2p's ping.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{AsyncReadExt as _, AsyncWriteExt as _, FutureExt as _};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{DeniedUpgrade, ReadyUpgrade};
use libp2p::swarm::handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    NotifyHandler, StreamUpgradeError, SubstreamProtocol, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, ping};
use tokio::time::{Instant, Sleep};

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Felt {
    pub(crate) peer: PeerId,
    pub(crate) connection: ConnectionId,
    /// The round trip; nothing when there was no answer in time.
    pub(crate) rtt: Option<Duration>,
}

/// What a connection is told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tell {
    /// Ask now, and wait this long.
    Check(Duration),
    /// Stay, or do not stay, without any other use.
    Stay(bool),
}

/// Asks on single connections.
#[derive(Debug, Default)]
pub(crate) struct Behaviour {
    queue: VecDeque<ToSwarm<Felt, Tell>>,
    connections: HashMap<PeerId, BTreeSet<ConnectionId>>,
    kept: BTreeSet<PeerId>,
}

impl Behaviour {
    /// Asks on this connection; one that is asked already is not asked twice.
    pub(crate) fn check(&mut self, peer: PeerId, connection: ConnectionId, patience: Duration) {
        if self.connections.get(&peer).is_some_and(|known| known.contains(&connection)) {
            self.tell(peer, connection, Tell::Check(patience));
        }
    }

    /// Asks on all connections.
    pub(crate) fn check_all(&mut self, patience: Duration) {
        let all: Vec<_> = self.connections.iter().flat_map(|(peer, ids)| ids.iter().map(|id| (*peer, *id))).collect();
        for (peer, connection) in all {
            self.tell(peer, connection, Tell::Check(patience));
        }
    }

    /// The connections of a peer.
    pub(crate) fn connections(&self, peer: &PeerId) -> Vec<ConnectionId> {
        self.connections.get(peer).into_iter().flatten().copied().collect()
    }

    /// Connections to these peers stay also when nothing uses them.
    pub(crate) fn keep(&mut self, peers: BTreeSet<PeerId>) {
        let before = std::mem::replace(&mut self.kept, peers);
        for peer in before.symmetric_difference(&self.kept.clone()) {
            let stay = self.kept.contains(peer);
            for connection in self.connections(peer) {
                self.tell(*peer, connection, Tell::Stay(stay));
            }
        }
    }

    fn tell(&mut self, peer: PeerId, connection: ConnectionId, tell: Tell) {
        let handler = NotifyHandler::One(connection);
        self.queue.push_back(ToSwarm::NotifyHandler { peer_id: peer, handler, event: tell });
    }

    fn beat(&self, peer: &PeerId) -> Beat {
        Beat { stays: self.kept.contains(peer), check: None, wanted: false, felt: None }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Beat;
    type ToSwarm = Felt;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Beat, ConnectionDenied> {
        Ok(self.beat(&peer))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Beat, ConnectionDenied> {
        Ok(self.beat(&peer))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(one) => {
                self.connections.entry(one.peer_id).or_default().insert(one.connection_id);
            }
            FromSwarm::ConnectionClosed(one) => {
                if let Some(known) = self.connections.get_mut(&one.peer_id) {
                    known.remove(&one.connection_id);
                    if known.is_empty() {
                        self.connections.remove(&one.peer_id);
                    }
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, rtt: THandlerOutEvent<Self>) {
        self.queue.push_back(ToSwarm::GenerateEvent(Felt { peer, connection, rtt }));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Felt, THandlerInEvent<Self>>> {
        // The queue is filled by the swarm's own calls, or by the driver's, which polls the swarm afterwards.
        self.queue.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

struct Check {
    begun: Instant,
    deadline: Pin<Box<Sleep>>,
    pong: Option<BoxFuture<'static, io::Result<()>>>,
}

/// Asks on one connection.
pub(crate) struct Beat {
    stays: bool,
    check: Option<Check>,
    /// Whether a stream is still to be asked for.
    wanted: bool,
    felt: Option<Option<Duration>>,
}

impl Beat {
    fn end(&mut self, alive: bool) {
        if let Some(check) = self.check.take() {
            self.wanted = false;
            self.felt = Some(alive.then(|| check.begun.elapsed()));
        }
    }
}

async fn echo(mut stream: Stream) -> io::Result<()> {
    let (mut sent, mut back) = ([0; 32], [0; 32]);
    getrandom::fill(&mut sent).map_err(|_| io::Error::other("no entropy"))?;
    stream.write_all(&sent).await?;
    stream.flush().await?;
    stream.read_exact(&mut back).await?;
    if sent == back { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

impl ConnectionHandler for Beat {
    type FromBehaviour = Tell;
    type ToBehaviour = Option<Duration>;
    type InboundProtocol = DeniedUpgrade;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<DeniedUpgrade> {
        SubstreamProtocol::new(DeniedUpgrade, ())
    }

    fn connection_keep_alive(&self) -> bool {
        self.stays
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        if let Some(check) = &mut self.check {
            let pong = check.pong.as_mut().map_or(Poll::Pending, |pong| pong.poll_unpin(context));
            if pong.is_ready() {
                // Also a stream that was reset is an answer: libp2p's ping hears one stream at a time, and drops it for a newer one. A
                // connection that has broken says so itself.
                self.end(true);
            } else if check.deadline.poll_unpin(context).is_ready() {
                self.end(false);
            }
        }
        if let Some(rtt) = self.felt.take() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(rtt));
        }
        if std::mem::take(&mut self.wanted) {
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(ping::PROTOCOL_NAME), ());
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, tell: Tell) {
        match tell {
            Tell::Stay(stays) => self.stays = stays,
            Tell::Check(patience) if self.check.is_none() => {
                let deadline = Box::pin(tokio::time::sleep(patience));
                self.check = Some(Check { begun: Instant::now(), deadline, pong: None });
                self.wanted = true;
            }
            Tell::Check(_) => {}
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol, (), ()>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, .. }) => {
                // A stream that comes after its deadline belongs to no check, and ends here.
                if let Some(check) = self.check.as_mut().filter(|check| check.pong.is_none()) {
                    check.pong = Some(echo(stream).boxed());
                }
            }
            // Whoever refuses the protocol has answered.
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => {
                self.end(!matches!(error, StreamUpgradeError::Timeout));
            }
            _ => {}
        }
    }
}
