//! A behaviour that can be made anew while its connections live on: AutoNAT's client asks about each address once and never again.
//!
//! Connections of before the renewal are not told to the new one, which would not know them, and it hears of no address that a third party could
//! not dial by itself.

use std::collections::HashSet;
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use crate::peer::{ip_in, is_relayed, is_webrtc};

/// A behaviour, and the connections that it knows.
pub(crate) struct Renewed<B> {
    inner: B,
    known: HashSet<ConnectionId>,
}

impl<B> Renewed<B> {
    pub(crate) fn new(inner: B) -> Self {
        Self { inner, known: HashSet::new() }
    }

    /// Begins again with this one.
    pub(crate) fn renew(&mut self, inner: B) {
        self.inner = inner;
        self.known.clear();
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Renewed<B> {
    type ConnectionHandler = B::ConnectionHandler;
    type ToSwarm = B::ToSwarm;

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
        match &event {
            FromSwarm::ConnectionEstablished(established) => {
                self.known.insert(established.connection_id);
            }
            FromSwarm::ConnectionClosed(closed) if !self.known.remove(&closed.connection_id) => return,
            FromSwarm::NewExternalAddrCandidate(candidate) if !is_dialled(candidate.addr) => return,
            FromSwarm::AddressChange(change) if !self.known.contains(&change.connection_id) => return,
            _ => {}
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        if self.known.contains(&id) {
            self.inner.on_connection_handler_event(peer, id, event);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.inner.poll(cx)
    }
}

/// Whether dialling it says anything about us: a circuit says something about its relay, and what a peer has seen at the end of a circuit, or what
/// identify makes of it with our own host, is no place at all. Nor is one of WebRTC without the digest of a certificate: so others see whoever dials.
fn is_dialled(address: &Multiaddr) -> bool {
    let told = address.iter().any(|part| matches!(part, Protocol::Certhash(_)));
    ip_in(address).is_some() && !is_relayed(address) && (told || !is_webrtc(address))
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use libp2p::swarm::SwarmEvent;
    use libp2p::{Swarm, SwarmBuilder, autonat, noise, tcp, yamux};

    use super::*;

    const DIGEST: &str = "uEiDikp5KVUgkLta1EjUN-IKbHk-dUBg8VzKgf5nXxLK46w";

    type Client = Renewed<autonat::v2::client::Behaviour>;

    fn swarm() -> Swarm<Client> {
        let builder = SwarmBuilder::with_new_identity().with_tokio();
        let builder = builder.with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default);
        let built = builder.expect("noise").with_behaviour(|_| Renewed::new(autonat::v2::client::Behaviour::default()));
        built.expect("a behaviour").build()
    }

    async fn address(swarm: &mut Swarm<Client>) -> Multiaddr {
        swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().expect("address")).expect("listens");
        loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                return address;
            }
        }
    }

    #[test]
    fn k16_no_third_party_is_asked_to_dial_a_circuit() {
        let peer = PeerId::random();
        for (text, asked) in [
            ("/ip4/8.8.8.8/udp/4001/quic-v1".to_owned(), true),
            ("/ip6/2001:db8::1/tcp/4001".to_owned(), true),
            (format!("/ip4/8.8.8.8/tcp/4001/p2p/{peer}/p2p-circuit"), false),
            (format!("/p2p/{peer}"), false),
            ("/ip4/8.8.8.8/udp/4001/webrtc-direct".to_owned(), false),
            (format!("/ip4/8.8.8.8/udp/4001/webrtc-direct/certhash/{DIGEST}"), true),
        ] {
            assert_eq!(is_dialled(&text.parse().expect("address")), asked, "{text}");
        }
    }

    /// Without the wall between them AutoNAT's client panics at the end of a connection whose beginning it has not seen.
    #[tokio::test]
    async fn k16_connections_of_before_a_renewal_end_quietly() {
        let (mut there, mut here) = (swarm(), swarm());
        here.dial(address(&mut there).await).expect("dials");
        tokio::spawn(async move { while there.next().await.is_some() {} });
        let ended = async {
            loop {
                match here.select_next_some().await {
                    SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                        here.behaviour_mut().renew(autonat::v2::client::Behaviour::default());
                        here.disconnect_peer_id(peer_id).expect("connected");
                    }
                    SwarmEvent::ConnectionClosed { .. } => return,
                    _ => {}
                }
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), ended).await.expect("in time");
        assert!(here.behaviour().known.is_empty());
    }
}
