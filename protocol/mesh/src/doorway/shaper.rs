//! The connections of a relay, read no faster than its operator wants: what a peer sends comes through [`Shares`].
//!
//! Reading late is enough. The window of a stream that is not read does not move, so that its sender waits, and no byte is held here for it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures::{AsyncRead, AsyncWrite};
use libp2p::PeerId;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Notify;

use super::held;
use super::shares::Shares;

/// A turn is never waited for less: timers are not more exact.
const LEAST: Duration = Duration::from_millis(1);

/// Everything that is read from others.
#[derive(Debug)]
pub(crate) struct Shaper {
    shares: Mutex<Shares>,
    is_free: bool,
    waits: Notify,
    /// Bytes that were read in all.
    pub(crate) carried: Counter,
}

impl Shaper {
    /// At most so many bytes a second in all, and of each peer; 0 is without bound.
    pub(crate) fn new(total: u64, each: u64) -> Self {
        let shares = Shares::new(total, each, Instant::now());
        let is_free = shares.is_free();
        Self { shares: Mutex::new(shares), is_free, waits: Notify::new(), carried: Counter::default() }
    }

    /// Gives everybody their turn, for as long as it is polled.
    pub(crate) async fn run(&self) {
        loop {
            let (woken, next) = {
                let mut shares = held(&self.shares);
                (shares.turn(Instant::now()), shares.next())
            };
            woken.into_iter().for_each(std::task::Waker::wake);
            match next {
                Some(next) => tokio::time::sleep_until(next.max(Instant::now() + LEAST).into()).await,
                None => self.waits.notified().await,
            }
        }
    }

    fn ask(&self, peer: PeerId, context: &Context<'_>) -> Option<usize> {
        let mut shares = held(&self.shares);
        let asleep = shares.next().is_none();
        let credit = shares.ask(peer, context.waker(), Instant::now());
        drop(shares);
        if credit.is_none() && asleep {
            self.waits.notify_one();
        }
        credit.map(|credit| usize::try_from(credit).unwrap_or(usize::MAX))
    }

    fn took(&self, peer: PeerId, bytes: usize) {
        self.carried.inc_by(bytes as u64);
        if !self.is_free {
            held(&self.shares).took(peer, bytes as u64, Instant::now());
        }
    }
}

/// A connection whose streams are shaped.
pub(crate) struct Shaped<M> {
    inner: M,
    lane: Arc<Lane>,
}

/// A peer's part in the shares, for as long as its connection lives.
struct Lane {
    peer: PeerId,
    shaper: Arc<Shaper>,
}

impl Drop for Lane {
    fn drop(&mut self) {
        held(&self.shaper.shares).close(self.peer);
    }
}

impl<M> Shaped<M> {
    pub(crate) fn new(inner: M, peer: PeerId, shaper: Arc<Shaper>) -> Self {
        held(&shaper.shares).open(peer, Instant::now());
        Self { inner, lane: Arc::new(Lane { peer, shaper }) }
    }
}

impl<M: StreamMuxer + Unpin> StreamMuxer for Shaped<M>
where
    M::Substream: Unpin,
{
    type Substream = ShapedStream<M::Substream>;
    type Error = M::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Self::Substream, M::Error>> {
        let inner = ready!(Pin::new(&mut self.inner).poll_inbound(context))?;
        Poll::Ready(Ok(ShapedStream { inner, lane: self.lane.clone() }))
    }

    fn poll_outbound(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Self::Substream, M::Error>> {
        let inner = ready!(Pin::new(&mut self.inner).poll_outbound(context))?;
        Poll::Ready(Ok(ShapedStream { inner, lane: self.lane.clone() }))
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), M::Error>> {
        Pin::new(&mut self.inner).poll_close(context)
    }

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, M::Error>> {
        Pin::new(&mut self.inner).poll(context)
    }
}

/// A stream that is read when it is its peer's turn.
pub(crate) struct ShapedStream<S> {
    inner: S,
    lane: Arc<Lane>,
}

impl<S: AsyncRead + Unpin> AsyncRead for ShapedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let lane = self.lane.clone();
        let most = if lane.shaper.is_free { Some(buffer.len()) } else { lane.shaper.ask(lane.peer, context) };
        let Some(most) = most else { return Poll::Pending };
        let most = most.min(buffer.len());
        let count = ready!(Pin::new(&mut self.inner).poll_read(context, &mut buffer[..most]))?;
        lane.shaper.took(lane.peer, count);
        Poll::Ready(Ok(count))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ShapedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(context)
    }
}
