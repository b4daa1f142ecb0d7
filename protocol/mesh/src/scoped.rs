//! A protocol that is told only some of our listen addresses, because it tells others all that it knows (`security.md` 25).

use std::collections::HashSet;
use std::task::{Context, Poll, ready};

use libp2p::core::Endpoint;
use libp2p::core::transport::{ListenerId, PortUse};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::{ExpiredListenAddr, NewListenAddr};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

/// A behaviour, and which of our listen addresses it learns.
pub(crate) struct Scoped<B> {
    inner: B,
    admits: fn(&Multiaddr) -> bool,
    /// Whether an address that it confirms is only one that a third party should try.
    claims: bool,
    known: HashSet<(ListenerId, Multiaddr)>,
}

impl<B: NetworkBehaviour> Scoped<B> {
    pub(crate) fn new(inner: B, admits: fn(&Multiaddr) -> bool) -> Self {
        Self { inner, admits, claims: false, known: HashSet::new() }
    }

    /// The same, and what it confirms is no more than a claim.
    pub(crate) fn claiming(inner: B, admits: fn(&Multiaddr) -> bool) -> Self {
        Self { claims: true, ..Self::new(inner, admits) }
    }

    /// Puts another behaviour in its place, which learns what the old one knew.
    pub(crate) fn replace(&mut self, mut inner: B) {
        for (listener_id, addr) in &self.known {
            inner.on_swarm_event(FromSwarm::NewListenAddr(NewListenAddr { listener_id: *listener_id, addr }));
        }
        self.inner = inner;
    }
}

impl<B> std::ops::Deref for Scoped<B> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.inner
    }
}

impl<B> std::ops::DerefMut for Scoped<B> {
    fn deref_mut(&mut self) -> &mut B {
        &mut self.inner
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Scoped<B> {
    type ConnectionHandler = B::ConnectionHandler;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(id, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(id, peer, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner.handle_pending_outbound_connection(id, peer, addresses, role)
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
            FromSwarm::NewListenAddr(NewListenAddr { addr, .. }) if !(self.admits)(addr) => return,
            FromSwarm::NewListenAddr(NewListenAddr { listener_id, addr }) => {
                self.known.insert((*listener_id, (*addr).clone()));
            }
            FromSwarm::ExpiredListenAddr(ExpiredListenAddr { listener_id, addr }) => {
                self.known.remove(&(*listener_id, (*addr).clone()));
            }
            _ => {}
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        self.inner.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            return Poll::Ready(match ready!(self.inner.poll(cx)) {
                ToSwarm::ExternalAddrConfirmed(address) if self.claims => ToSwarm::NewExternalAddrCandidate(address),
                // Over a circuit nobody sees where we are, and says so with a name alone; a hole would be punched to nowhere.
                ToSwarm::NewExternalAddrCandidate(address) if is_nowhere(&address) => continue,
                event => event,
            });
        }
    }
}

fn is_nowhere(address: &Multiaddr) -> bool {
    address.iter().all(|part| matches!(part, Protocol::P2p(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidates;

    #[test]
    fn k16_an_address_that_is_only_a_name_is_no_candidate() {
        let mut scoped = Scoped::new(candidates::Behaviour::default(), |_| true);
        let (peer, somewhere) = (PeerId::random(), "/ip4/8.8.8.8/udp/1/quic-v1".parse::<Multiaddr>().expect("address"));
        scoped.offer(Multiaddr::empty().with(Protocol::P2p(peer)));
        scoped.offer(somewhere.clone());
        let mut context = Context::from_waker(std::task::Waker::noop());
        let Poll::Ready(ToSwarm::NewExternalAddrCandidate(first)) = scoped.poll(&mut context) else { panic!("one") };
        assert_eq!(first, somewhere);
        assert!(scoped.poll(&mut context).is_pending());
    }
}
