//! WebRTC Direct: UDP, DTLS and SCTP, with a data channel for each stream, and Noise over the digests of both certificates.
//!
//! Whoever dials knows the digest of the listener's certificate from its address. libp2p's crate is an alpha, and what it does not do yet is done here and
//! in `leaving`.

mod certificate;
mod leaving;
mod paced;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use klp::SecretKey;
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::core::{Endpoint, Transport};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use libp2p_webrtc::tokio::{Certificate, Error};

use crate::config::Config;
use crate::peer::{ip_in, is_webrtc};
use leaving::{Leaving, Socket};

/// The same with the digest of its certificate at the end of addresses that the user vouches for: nobody need know it.
pub(crate) fn certified(mut config: Config) -> io::Result<Config> {
    let digest = certificate::of(&config.key).map_err(io::Error::other)?.fingerprint().to_multihash();
    for address in &mut config.external {
        if address.iter().last() == Some(Protocol::WebRTCDirect) {
            address.push(Protocol::Certhash(digest));
        }
    }
    Ok(config)
}

type Inner = libp2p_webrtc::tokio::Transport;

/// WebRTC Direct that dials each time from a socket of its own. The crate dials from the socket of a listener, whatever address that has, and the other
/// side tells connections apart by where they come from: of two from one socket the second would never be made.
pub(crate) struct Direct {
    keypair: Keypair,
    certificate: Certificate,
    listening: Inner,
}

impl Direct {
    /// With the certificate that belongs to this key.
    pub(crate) fn new(keypair: &Keypair, key: &SecretKey) -> io::Result<Self> {
        // DTLS takes the cryptography that the process has chosen, and gives up where none was and two are to be had. One that is there stays.
        let _chosen_before = rustls::crypto::ring::default_provider().install_default();
        let certificate = certificate::of(key).map_err(io::Error::other)?;
        let listening = Inner::new(keypair.clone(), certificate.clone());
        Ok(Self { keypair: keypair.clone(), certificate, listening })
    }
}

/// Where a socket is bound that dials this address.
fn bound(there: IpAddr) -> IpAddr {
    match there {
        IpAddr::V4(there) if there.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(there) if there.is_loopback() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// The error of the system below, where there is one.
fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io(error) | Error::UDPMux(error) => error,
        other => io::Error::other(other),
    }
}

type Made = BoxFuture<'static, io::Result<(PeerId, Leaving)>>;

fn came(inner: <Inner as Transport>::ListenerUpgrade) -> Made {
    inner.map(|made| made.map(|(peer, muxer)| (peer, Leaving::came(muxer))).map_err(io_error)).boxed()
}

impl Transport for Direct {
    type Output = (PeerId, Leaving);
    type Error = io::Error;
    type ListenerUpgrade = Made;
    type Dial = Made;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.listening.listen_on(id, address).map_err(|error| error.map(io_error))
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.listening.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Made, TransportError<io::Error>> {
        // Holes are not punched with it: a dialler that plays the listener would have to answer as one.
        let is_ours = is_webrtc(&address) && options.role == Endpoint::Dialer;
        let Some(there) = ip_in(&address).filter(|_| is_ours) else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        let mut inner = Inner::new(self.keypair.clone(), self.certificate.clone());
        let here = Multiaddr::from(bound(there)).with(Protocol::Udp(0)).with(Protocol::WebRTCDirect);
        inner.listen_on(ListenerId::next(), here).map_err(|error| error.map(io_error))?;
        let dial = inner.dial(address, options).map_err(|error| error.map(io_error))?;
        let socket = Socket::new(inner);
        Ok(async move {
            let (peer, muxer) = dial.await.map_err(io_error)?;
            Ok((peer, Leaving::dialled(muxer, socket)))
        }
        .boxed())
    }

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<TransportEvent<Made, io::Error>> {
        Pin::new(&mut self.listening).poll(context).map(|event| event.map_upgrade(came).map_err(io_error))
    }
}
