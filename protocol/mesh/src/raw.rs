//! Peers that do and write what they like, for tests of nodes that must not mind. Behind the feature `raw`.

mod gossip;
mod sybil;

use std::io;

use klp::frame::Frame;
use klp::{NodeId, SecretKey};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, Swarm, SwarmBuilder, noise, tcp, yamux};

use futures::StreamExt as _;

use crate::peer::{keypair, peer_of};
use crate::session::{Behaviour, Event, Wire};

pub use gossip::{RawGossip, packet};
pub use sybil::{Sybil, keys_around};

/// One connection to a node, with our behaviour and nothing above it.
pub struct Raw {
    swarm: Swarm<Behaviour>,
    opened: u8,
}

/// One stream of it.
pub struct RawStream(Wire);

impl Raw {
    /// Connects over TCP.
    ///
    /// # Errors
    /// When nobody can be reached there.
    pub async fn connect(key: &SecretKey, to: Multiaddr) -> io::Result<Self> {
        let builder = SwarmBuilder::with_existing_identity(keypair(key).map_err(io::Error::other)?).with_tokio();
        let builder = builder.with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default);
        let builder = builder.map_err(io::Error::other)?.with_behaviour(|_| Behaviour::new(Vec::new()));
        let mut swarm = builder.map_err(io::Error::other)?.build();
        swarm.dial(to).map_err(io::Error::other)?;
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::ConnectionEstablished { .. } => return Ok(Self { swarm, opened: 0 }),
                SwarmEvent::OutgoingConnectionError { error, .. } => return Err(io::Error::other(error)),
                _ => {}
            }
        }
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// When the connection is gone, or the other side does not want it.
    pub async fn open(&mut self, to: NodeId) -> io::Result<RawStream> {
        self.wire(to).await.map(RawStream)
    }

    /// The next stream that the other side opens.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn accept(&mut self) -> io::Result<RawStream> {
        loop {
            match self.swarm.select_next_some().await {
                SwarmEvent::Behaviour(Event::Came { stream, .. }) => return Ok(RawStream(Wire::new(stream))),
                SwarmEvent::ConnectionClosed { .. } => return Err(io::ErrorKind::ConnectionAborted.into()),
                _ => {}
            }
        }
    }

    pub(crate) async fn wire(&mut self, to: NodeId) -> io::Result<Wire> {
        self.opened = self.opened.wrapping_add(1);
        if !self.swarm.behaviour_mut().open(peer_of(to), [self.opened; 16]) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        loop {
            match self.swarm.select_next_some().await {
                SwarmEvent::Behaviour(Event::Opened { stream, .. }) => return Ok(Wire::new(stream)),
                SwarmEvent::Behaviour(Event::Failed { .. } | Event::Lost { .. }) => {
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
                SwarmEvent::ConnectionClosed { .. } => return Err(io::ErrorKind::ConnectionAborted.into()),
                _ => {}
            }
        }
    }
}

impl RawStream {
    /// Writes bytes that need be no frames; waits while the other side takes none.
    ///
    /// # Errors
    /// When the stream is gone.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.push_bytes(bytes);
        while !self.0.is_flushed() {
            self.0.step().await?;
        }
        Ok(())
    }

    /// The next frame.
    ///
    /// # Errors
    /// When the stream is gone, or what comes is no frame.
    pub async fn next(&mut self) -> io::Result<Frame> {
        loop {
            if let Some(frame) = self.0.frame().map_err(io::Error::other)? {
                return Ok(frame);
            }
            self.0.step().await?;
        }
    }
}
