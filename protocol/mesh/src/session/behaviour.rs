//! The session protocol over all connections: which ones a peer has, and which is the best.

use std::collections::{HashMap, VecDeque};
use std::task::{Context, Poll};

use klp::hello::SessionId;
use klp::rule::address::Cidr;
use libp2p::core::transport::PortUse;
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandlerInEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, Stream};
use tokio::sync::OwnedSemaphorePermit;

use super::streams::{StreamEvent, Streams};
use crate::path::{Kind, Path, RelayLimit, Transport};
use crate::peer::{is_relayed, node_of, relay_in};

/// Streams that wait for a connection to one peer: sessions with it are few.
const WANTED: usize = 8;
/// Circuits whose limit is remembered until they are made.
const CIRCUITS: usize = 64;

/// What happened to the streams and connections of a peer.
#[derive(Debug)]
pub(crate) enum Event {
    /// The stream that was asked for.
    Opened { peer: PeerId, id: SessionId, connection: ConnectionId, path: Path, stream: Stream },
    /// It could not be had: no connection, or the peer does not speak the protocol.
    Failed { peer: PeerId, id: SessionId },
    /// The connection on which it was asked for went first, or did not give it.
    Lost { peer: PeerId, id: SessionId },
    /// The peer has opened a stream.
    Came { peer: PeerId, connection: ConnectionId, path: Path, stream: Stream, permit: Option<OwnedSemaphorePermit> },
    /// The peer's connections have changed.
    Changed { peer: PeerId },
}

/// A peer whose key is no usable Ed25519 key can have no DID.
#[derive(Debug, thiserror::Error)]
#[error("the peer's key is not an Ed25519 key")]
struct WrongKey;

#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    path: Path,
    /// Who carries it, unless it leads there directly.
    relay: Option<PeerId>,
    /// Whether we made it from the port on which we listen, so that others can find the way back.
    from_listener: bool,
    /// Whether its relay is farther off than that of another one.
    farther: bool,
    /// Streams asked of its handler: one that is closed before it hears of them would never answer.
    opening: Vec<SessionId>,
}

impl Connection {
    /// The best one has the least.
    fn rank(&self) -> (Kind, bool) {
        (self.path.kind, self.path.is_relayed() && self.farther)
    }
}

/// The session protocol over all connections.
#[derive(Debug)]
pub(crate) struct Behaviour {
    trusted: Vec<Cidr>,
    peers: HashMap<PeerId, Vec<Connection>>,
    wanted: HashMap<PeerId, VecDeque<SessionId>>,
    /// What relays have said last, and about whom.
    limits: VecDeque<(PeerId, RelayLimit)>,
    queue: VecDeque<ToSwarm<Event, SessionId>>,
}

impl Behaviour {
    pub(crate) fn new(trusted: Vec<Cidr>) -> Self {
        let (peers, wanted, limits, queue) = (HashMap::new(), HashMap::new(), VecDeque::new(), VecDeque::new());
        Self { trusted, peers, wanted, limits, queue }
    }

    /// Opens a stream on the best connection, or on the next one that comes. Says whether there was one.
    pub(crate) fn open(&mut self, peer: PeerId, id: SessionId) -> bool {
        if let Some(best) = self.peers.get_mut(&peer).and_then(|connections| connections.first_mut()) {
            if best.opening.contains(&id) {
                return true;
            }
            best.opening.push(id);
            let handler = NotifyHandler::One(best.id);
            self.queue.push_back(ToSwarm::NotifyHandler { peer_id: peer, handler, event: id });
            return true;
        }
        let wanted = self.wanted.entry(peer).or_default();
        if !wanted.contains(&id) {
            wanted.push_back(id);
        }
        if wanted.len() > WANTED
            && let Some(id) = wanted.pop_front()
        {
            self.queue.push_back(ToSwarm::GenerateEvent(Event::Failed { peer, id }));
        }
        false
    }

    /// Nobody can be reached there: what waits for a connection fails.
    pub(crate) fn give_up(&mut self, peer: PeerId) {
        for id in self.wanted.remove(&peer).unwrap_or_default() {
            self.queue.push_back(ToSwarm::GenerateEvent(Event::Failed { peer, id }));
        }
    }

    /// A peer's paths, the best one first.
    pub(crate) fn paths(&self, peer: &PeerId) -> Vec<Path> {
        self.peers.get(peer).into_iter().flatten().map(|connection| connection.path.clone()).collect()
    }

    /// The connection on which a stream would be opened.
    pub(crate) fn best(&self, peer: &PeerId) -> Option<(ConnectionId, &Path)> {
        self.peers.get(peer)?.first().map(|connection| (connection.id, &connection.path))
    }

    /// How a connection goes.
    pub(crate) fn path_of(&self, peer: &PeerId, id: ConnectionId) -> Option<&Path> {
        let connection = self.peers.get(peer)?.iter().find(|connection| connection.id == id)?;
        Some(&connection.path)
    }

    /// The relay that carries a connection.
    pub(crate) fn relay_of(&self, peer: &PeerId, id: ConnectionId) -> Option<PeerId> {
        self.peers.get(peer)?.iter().find(|connection| connection.id == id)?.relay
    }

    /// The connections that a relay carries.
    pub(crate) fn through(&self, relay: PeerId) -> Vec<(PeerId, ConnectionId)> {
        let all = self.peers.iter().flat_map(|(peer, all)| all.iter().map(|one| (*peer, one)));
        all.filter(|(_, one)| one.relay == Some(relay)).map(|(peer, one)| (peer, one.id)).collect()
    }

    /// Whether we made a connection from the port on which we listen.
    pub(crate) fn is_from_listener(&self, peer: &PeerId, id: ConnectionId) -> bool {
        self.peers.get(peer).is_some_and(|all| all.iter().any(|one| one.id == id && one.from_listener))
    }

    /// Connections through a relay, when there is a better one.
    pub(crate) fn needless(&self, peer: &PeerId) -> Vec<ConnectionId> {
        let Some((best, others)) = self.peers.get(peer).and_then(|connections| connections.split_first()) else {
            return Vec::new();
        };
        let is_worse = |other: &&Connection| {
            other.path.is_relayed() && (!best.path.is_relayed() || (other.farther && !best.farther))
        };
        others.iter().filter(is_worse).map(|other| other.id).collect()
    }

    /// Of the circuits to a peer this one goes through the nearest relay.
    pub(crate) fn prefer(&mut self, peer: PeerId, id: ConnectionId) {
        let Some(connections) = self.peers.get_mut(&peer) else { return };
        for connection in connections.iter_mut() {
            connection.farther = connection.id != id;
        }
        connections.sort_by_key(Connection::rank);
        self.queue.push_back(ToSwarm::GenerateEvent(Event::Changed { peer }));
    }

    /// Nothing comes back on a connection: it is none any more, however long closing it takes. Says whether it was one.
    pub(crate) fn condemn(&mut self, peer: PeerId, id: ConnectionId) -> bool {
        let known = self.peers.get(&peer).is_some_and(|all| all.iter().any(|connection| connection.id == id));
        if known {
            self.forget(peer, id);
        }
        known
    }

    fn forget(&mut self, peer: PeerId, id: ConnectionId) {
        let Some(connections) = self.peers.get_mut(&peer) else { return };
        let gone = connections.extract_if(.., |connection| connection.id == id);
        let lost: Vec<_> = gone.flat_map(|connection| connection.opening).collect();
        if connections.is_empty() {
            self.peers.remove(&peer);
        }
        for id in lost {
            self.queue.push_back(ToSwarm::GenerateEvent(Event::Lost { peer, id }));
        }
        self.queue.push_back(ToSwarm::GenerateEvent(Event::Changed { peer }));
    }

    /// What a relay says about a circuit that is being made: from this peer, or through this relay.
    pub(crate) fn limit(&mut self, peer: PeerId, limit: RelayLimit) {
        self.limits.retain(|(known, _)| *known != peer);
        self.limits.push_back((peer, limit));
        if self.limits.len() > CIRCUITS {
            self.limits.pop_front();
        }
    }

    fn path(&self, peer: PeerId, endpoint: &ConnectedPoint) -> Path {
        let mut path = Path::of(endpoint, &self.trusted);
        if path.is_relayed() {
            let said_of = if endpoint.is_dialer() { relay_of(endpoint) } else { Some(peer) };
            path.limit = self.limits.iter().find(|(known, _)| Some(*known) == said_of).map(|(_, limit)| *limit);
        }
        path
    }
}

/// Of a circuit that came to us, the relay stands in our own end.
fn relay_of(endpoint: &ConnectedPoint) -> Option<PeerId> {
    match endpoint {
        ConnectedPoint::Listener { local_addr, .. } if is_relayed(local_addr) => relay_in(local_addr),
        ConnectedPoint::Dialer { address, .. } if is_relayed(address) => relay_in(address),
        _ => None,
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Streams;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Streams, ConnectionDenied> {
        node_of(&peer).map(|_| Streams::new()).ok_or_else(|| ConnectionDenied::new(WrongKey))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Streams, ConnectionDenied> {
        node_of(&peer).map(|_| Streams::new()).ok_or_else(|| ConnectionDenied::new(WrongKey))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id: peer,
                connection_id: id,
                endpoint,
                ..
            }) => {
                let path = self.path(peer, endpoint);
                let connections = self.peers.entry(peer).or_default();
                // WebRTC is dialled from a port of its own, whatever was wished.
                let from_listener = matches!(endpoint, ConnectedPoint::Dialer { port_use: PortUse::Reuse, .. })
                    && path.transport != Transport::WebRtc;
                let relay = relay_of(endpoint);
                connections.push(Connection { id, path, relay, from_listener, farther: false, opening: Vec::new() });
                // Stable, so that of equals the oldest stays first and a session does not wander.
                connections.sort_by_key(Connection::rank);
                for id in self.wanted.remove(&peer).unwrap_or_default() {
                    self.open(peer, id);
                }
                self.queue.push_back(ToSwarm::GenerateEvent(Event::Changed { peer }));
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id: peer, connection_id, .. }) => {
                self.forget(peer, connection_id);
            }
            FromSwarm::AddressChange(change) => {
                let path = self.path(change.peer_id, change.new);
                let connections = self.peers.get_mut(&change.peer_id).into_iter().flatten();
                for connection in connections.filter(|connection| connection.id == change.connection_id) {
                    connection.path = path.clone();
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: StreamEvent) {
        let mut connections = self.peers.get_mut(&peer).into_iter().flatten();
        let path = connections.find(|one| one.id == connection).map(|one| {
            if let StreamEvent::Opened(id, _) | StreamEvent::Failed(id) | StreamEvent::Lost(id) = &event {
                one.opening.retain(|opening| opening != id);
            }
            one.path.clone()
        });
        let event = match (event, path) {
            (StreamEvent::Opened(id, stream), Some(path)) => Event::Opened { peer, id, connection, path, stream },
            (StreamEvent::Came(stream, permit), Some(path)) => Event::Came { peer, connection, path, stream, permit },
            (StreamEvent::Failed(id), Some(_)) => Event::Failed { peer, id },
            (StreamEvent::Lost(id), Some(_)) => Event::Lost { peer, id },
            // The connection is closed already, and the stream with it; what was asked of it is known to be lost.
            (_, None) => return,
        };
        self.queue.push_back(ToSwarm::GenerateEvent(event));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Event, THandlerInEvent<Self>>> {
        // The queue is filled by the swarm's own calls, or by the driver's, which polls the swarm afterwards.
        self.queue.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

#[cfg(test)]
mod tests {
    use libp2p::core::ConnectedPoint;

    use super::*;

    fn told(behaviour: &mut Behaviour) -> Vec<Event> {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let said = std::iter::from_fn(|| match behaviour.poll(&mut context) {
            Poll::Ready(ToSwarm::GenerateEvent(event)) => Some(Some(event)),
            Poll::Ready(_) => Some(None),
            Poll::Pending => None,
        });
        said.flatten().filter(|event| !matches!(event, Event::Changed { .. })).collect()
    }

    #[test]
    fn s10_a_stream_that_a_closing_connection_does_not_give_is_lost_and_one_that_nobody_gives_has_failed() {
        let mut behaviour = Behaviour::new(Vec::new());
        let peer = libp2p::identity::Keypair::generate_ed25519().public().to_peer_id();
        let endpoint = ConnectedPoint::Dialer {
            address: "/ip4/127.0.0.1/tcp/1".parse().expect("address"),
            role_override: Endpoint::Dialer,
            port_use: PortUse::New,
        };
        let (connection_id, id) = (ConnectionId::new_unchecked(1), [7; 16]);
        behaviour.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
            peer_id: peer,
            connection_id,
            endpoint: &endpoint,
            failed_addresses: &[],
            other_established: 0,
        }));
        assert!(behaviour.open(peer, id));
        let closed = ConnectionClosed {
            peer_id: peer,
            connection_id,
            endpoint: &endpoint,
            cause: None,
            remaining_established: 0,
        };
        behaviour.on_swarm_event(FromSwarm::ConnectionClosed(closed));
        assert!(matches!(told(&mut behaviour)[..], [Event::Lost { id: lost, .. }] if lost == id));
        // What the connection's own end of it says too late is known.
        behaviour.on_connection_handler_event(peer, connection_id, StreamEvent::Lost(id));
        assert!(told(&mut behaviour).is_empty());
        assert!(!behaviour.open(peer, id), "it waits for a connection");
        behaviour.give_up(peer);
        assert!(matches!(told(&mut behaviour)[..], [Event::Failed { id: failed, .. }] if failed == id));
    }
}
