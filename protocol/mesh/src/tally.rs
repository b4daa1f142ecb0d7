//! Bytes between us and each peer, by the way that they took: through a relay, or with nobody in between.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};

use futures::{AsyncRead, AsyncWrite};
use libp2p::PeerId;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};

use crate::path::Kind;

/// Peers from which on those that are gone are forgotten.
const FULL: usize = 64;

/// Bytes of all streams of one way to a peer, as they were before encryption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// To the peer.
    pub sent: u64,
    /// From the peer.
    pub received: u64,
}

/// Bytes between us and a peer for as long as it has been connected, one way or the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// What relays have carried.
    pub relayed: Carried,
    /// What nobody in between has.
    pub direct: Carried,
}

/// What is counted of one way.
#[derive(Debug, Default)]
struct Pan {
    sent: AtomicU64,
    received: AtomicU64,
}

/// What is counted of one peer. Its connections and their streams hold it, and with the last of them it goes.
#[derive(Debug, Default)]
struct Scales {
    relayed: Pan,
    direct: Pan,
}

#[derive(Debug)]
struct Peers {
    scales: HashMap<PeerId, Weak<Scales>>,
    /// So many, and those that are gone are forgotten.
    full: usize,
}

/// What is counted of all peers.
#[derive(Debug)]
pub(crate) struct Tally(Mutex<Peers>);

impl Tally {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Peers { scales: HashMap::new(), full: FULL }))
    }

    /// What has gone to and fro; nothing when the peer is not connected.
    pub(crate) fn of(&self, peer: &PeerId) -> Traffic {
        let scales = self.peers().scales.get(peer).and_then(Weak::upgrade);
        scales
            .map(|scales| Traffic { relayed: scales.relayed.read(), direct: scales.direct.read() })
            .unwrap_or_default()
    }

    /// A connection whose bytes are counted from now on.
    pub(crate) fn count<M>(&self, inner: M, peer: PeerId, kind: Kind) -> Tallied<M> {
        let mut peers = self.peers();
        let known = peers.scales.get(&peer).and_then(Weak::upgrade);
        let scales = known.unwrap_or_else(|| {
            if peers.scales.len() >= peers.full {
                peers.scales.retain(|_, scales| scales.strong_count() > 0);
                peers.full = FULL.max(2 * peers.scales.len());
            }
            let fresh = Arc::new(Scales::default());
            peers.scales.insert(peer, Arc::downgrade(&fresh));
            fresh
        });
        Tallied { inner, way: Way { scales, relayed: kind == Kind::Relayed } }
    }

    fn peers(&self) -> std::sync::MutexGuard<'_, Peers> {
        // Each change of the map is one call of it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pan {
    fn read(&self) -> Carried {
        Carried { sent: self.sent.load(Ordering::Relaxed), received: self.received.load(Ordering::Relaxed) }
    }
}

/// The pan in which a connection's bytes fall.
#[derive(Clone, Debug)]
struct Way {
    scales: Arc<Scales>,
    relayed: bool,
}

impl Way {
    fn pan(&self) -> &Pan {
        if self.relayed { &self.scales.relayed } else { &self.scales.direct }
    }
}

/// A connection whose bytes are counted.
pub(crate) struct Tallied<M> {
    inner: M,
    way: Way,
}

impl<M: StreamMuxer + Unpin> StreamMuxer for Tallied<M>
where
    M::Substream: Unpin,
{
    type Substream = TalliedStream<M::Substream>;
    type Error = M::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Self::Substream, M::Error>> {
        let inner = ready!(Pin::new(&mut self.inner).poll_inbound(context))?;
        Poll::Ready(Ok(TalliedStream { inner, way: self.way.clone() }))
    }

    fn poll_outbound(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Self::Substream, M::Error>> {
        let inner = ready!(Pin::new(&mut self.inner).poll_outbound(context))?;
        Poll::Ready(Ok(TalliedStream { inner, way: self.way.clone() }))
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), M::Error>> {
        Pin::new(&mut self.inner).poll_close(context)
    }

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, M::Error>> {
        Pin::new(&mut self.inner).poll(context)
    }
}

/// A stream whose bytes are counted.
pub(crate) struct TalliedStream<S> {
    inner: S,
    way: Way,
}

impl<S: AsyncRead + Unpin> AsyncRead for TalliedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        self.way.pan().received.fetch_add(count as u64, Ordering::Relaxed);
        Poll::Ready(Ok(count))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TalliedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.inner).poll_write(context, bytes))?;
        self.way.pan().sent.fetch_add(count as u64, Ordering::Relaxed);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c15_a_peer_that_is_gone_is_forgotten_and_one_that_stays_is_not() {
        let tally = Tally::new();
        let stays = PeerId::random();
        let [circuit, direct] = [Kind::Relayed, Kind::Lan].map(|kind| tally.count((), stays, kind));
        circuit.way.pan().sent.fetch_add(5, Ordering::Relaxed);
        direct.way.pan().received.fetch_add(7, Ordering::Relaxed);
        for _ in 0..10 * FULL {
            let gone = PeerId::random();
            drop(tally.count((), gone, Kind::Direct));
            assert_eq!(tally.of(&gone), Traffic::default());
        }
        assert!(tally.peers().scales.len() <= FULL, "{}", tally.peers().scales.len());
        drop(circuit);
        let (relayed, direct) = (Carried { sent: 5, received: 0 }, Carried { sent: 0, received: 7 });
        assert_eq!(tally.of(&stays), Traffic { relayed, direct }, "the circuit is gone, and what it carried is not");
    }
}
