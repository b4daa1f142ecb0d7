//! The address under which a peer sees us, offered for hole punching as it is.
//!
//! identify 0.48 replaces the observed port by our listen port unless they are equal, so that behind a router which gives out other
//! ports every punch goes to a port where nobody listens.

use std::collections::{BTreeMap, VecDeque};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dummy::ConnectionHandler;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

/// Candidates that wait to be offered; identify brings one for each connection.
const WAITING: usize = 32;
/// Peers that look at us over TCP too: two, for one may see wrong.
const LOOKS: usize = 2;
/// How long such a look is not repeated.
const FRESH: Duration = Duration::from_secs(60);

/// Offers observed addresses.
#[derive(Debug, Default)]
pub(crate) struct Behaviour {
    waiting: VecDeque<Multiaddr>,
    looks: BTreeMap<PeerId, Instant>,
}

impl Behaviour {
    /// A peer that we dialled directly, from the port on which we listen, sees us there.
    pub(crate) fn offer(&mut self, observed: Multiaddr) {
        if self.waiting.len() < WAITING && !self.waiting.contains(&observed) {
            self.waiting.push_back(observed);
        }
    }

    /// Where to dial a peer once more, so that it sees us over TCP: it has been dialled at `via`, over QUIC, and says that it listens at
    /// `told`. Somebody whose network drops UDP can be met only there, and the router may have another port for it.
    pub(crate) fn look(
        &mut self,
        peer: PeerId,
        via: &Multiaddr,
        told: &[Multiaddr],
        now: Instant,
    ) -> Option<Multiaddr> {
        self.looks.retain(|_, at| now.saturating_duration_since(*at) < FRESH);
        let is_quic = via.iter().any(|part| part == Protocol::QuicV1);
        if !is_quic || self.looks.len() >= LOOKS || self.looks.contains_key(&peer) {
            return None;
        }
        // At the same host and no other: what a peer tells of itself must not send us anywhere.
        let there = told.iter().find(|address| {
            let mut parts = address.iter();
            parts.next() == via.iter().next()
                && matches!(parts.next(), Some(Protocol::Tcp(_)))
                && matches!(parts.next(), None | Some(Protocol::P2p(_)))
        })?;
        self.looks.insert(peer, now);
        Some(there.clone())
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = ConnectionHandler;
    type ToSwarm = std::convert::Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<ConnectionHandler, ConnectionDenied> {
        Ok(ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<ConnectionHandler, ConnectionDenied> {
        Ok(ConnectionHandler)
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        match self.waiting.pop_front() {
            Some(address) => Poll::Ready(ToSwarm::NewExternalAddrCandidate(address)),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().expect("address")
    }

    #[test]
    fn k16_a_server_that_saw_us_over_quic_looks_once_more_over_tcp() {
        let (mut looks, now, peer) = (Behaviour::default(), Instant::now(), PeerId::random());
        let quic = address("/ip4/8.8.8.8/udp/1/quic-v1");
        let told =
            ["/ip4/10.0.0.1/tcp/1", "/ip4/9.9.9.9/tcp/1", "/ip4/8.8.8.8/tcp/2/ws", "/ip4/8.8.8.8/tcp/1"].map(address);
        assert_eq!(looks.look(peer, &address("/ip4/8.8.8.8/tcp/1"), &told, now), None, "it has seen us there");
        assert_eq!(looks.look(peer, &quic, &told[..3], now), None, "at its own host, and plain");
        assert_eq!(looks.look(peer, &quic, &told, now), Some(told[3].clone()));
        assert_eq!(looks.look(peer, &quic, &told, now), None, "once");
        assert!(looks.look(PeerId::random(), &quic, &told, now).is_some(), "two are asked");
        assert_eq!(looks.look(PeerId::random(), &quic, &told, now), None, "and no third");
        assert!(looks.look(peer, &quic, &told, now + FRESH).is_some(), "and again when the network may be another one");
    }
}
