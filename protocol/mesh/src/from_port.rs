//! TCP that dials from the port on which it listens, and from any other one when that port cannot be shared.
//!
//! libp2p binds such a dial to the port at every address of the machine, so that somebody else's socket at the same port of another address forbids it,
//! also one that only waits for its end. Without the other port no dial would succeed for as long as that socket is there.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use libp2p::core::Transport;
use libp2p::core::transport::{DialOpts, ListenerId, PortUse, TransportError, TransportEvent};
use libp2p::{Multiaddr, tcp};

type Inner = tcp::tokio::Transport;

/// TCP that dials from its listening port if it can.
pub(crate) struct FromPort(Inner);

impl FromPort {
    pub(crate) fn new() -> Self {
        Self(inner())
    }
}

fn inner() -> Inner {
    Inner::new(tcp::Config::default().nodelay(true))
}

impl Transport for FromPort {
    type Output = <Inner as Transport>::Output;
    type Error = io::Error;
    type ListenerUpgrade = <Inner as Transport>::ListenerUpgrade;
    type Dial = BoxFuture<'static, io::Result<Self::Output>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.0.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.0.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let dial = self.0.dial(address.clone(), options)?;
        Ok(async move {
            match dial.await {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    let options = DialOpts { port_use: PortUse::New, ..options };
                    inner().dial(address, options).map_err(|error| io::Error::other(error.to_string()))?.await
                }
                dialled => dialled,
            }
        }
        .boxed())
    }

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.0).poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::TcpListener;

    use libp2p::core::Endpoint;
    use libp2p::multiaddr::Protocol;

    use super::*;

    #[tokio::test]
    async fn c16_a_listening_port_that_cannot_be_shared_costs_no_dial() {
        let mut transport = FromPort::new();
        let here = "/ip4/127.0.0.1/tcp/0".parse().expect("address");
        transport.listen_on(ListenerId::next(), here).expect("listens");
        let ours = poll_fn(|context| Pin::new(&mut transport).poll(context)).await.into_new_address().expect("listens");
        let port = ours.iter().find_map(|part| if let Protocol::Tcp(port) = part { Some(port) } else { None });
        let _others = TcpListener::bind(("127.18.0.2", port.expect("TCP"))).expect("free at another address");
        let far = TcpListener::bind("127.0.0.1:0").expect("binds");
        let at = format!("/ip4/127.0.0.1/tcp/{}", far.local_addr().expect("bound").port()).parse().expect("address");
        let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::Reuse };
        transport.dial(at, options).expect("dials").await.expect("connects");
    }
}
