//! Streams that are left only when the other side is done with them.
//!
//! Whoever says one thing and wants no answer closes its side and drops the stream. On QUIC that tells the peer at once to send nothing more, and a peer
//! that still has to agree to the stream's protocol fails there, and never reads what was said: provider records and news of our addresses were lost
//! that way. Here such a stream is read to its end before it is dropped.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// Streams of one connection that are on their way out; one more is dropped as it is.
const LEAVING: usize = 64;
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the other side may still say: the name of a protocol.
const LAST_WORDS: u64 = 1024;

/// A connection whose streams part in peace.
pub(crate) struct Parting<M> {
    muxer: M,
    leaving: Arc<Semaphore>,
}

impl<M> Parting<M> {
    pub(crate) fn new(muxer: M) -> Self {
        Self { muxer, leaving: Arc::new(Semaphore::new(LEAVING)) }
    }

    fn stream<S: AsyncRead + Unpin + Send + 'static>(&self, stream: S) -> Stream<S> {
        Stream { inner: Some(stream), closed: false, ended: false, leaving: self.leaving.clone() }
    }
}

impl<M> StreamMuxer for Parting<M>
where
    M: StreamMuxer + Unpin,
    M::Substream: Unpin + Send + 'static,
{
    type Substream = Stream<M::Substream>;
    type Error = M::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Self::Substream, M::Error>> {
        let stream = Pin::new(&mut self.muxer).poll_inbound(context);
        stream.map_ok(|stream| self.stream(stream))
    }

    fn poll_outbound(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Self::Substream, M::Error>> {
        let stream = Pin::new(&mut self.muxer).poll_outbound(context);
        stream.map_ok(|stream| self.stream(stream))
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), M::Error>> {
        Pin::new(&mut self.muxer).poll_close(context)
    }

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, M::Error>> {
        Pin::new(&mut self.muxer).poll(context)
    }
}

/// One stream of such a connection.
pub(crate) struct Stream<S: AsyncRead + Unpin + Send + 'static> {
    inner: Option<S>,
    /// We say nothing more.
    closed: bool,
    /// The peer says nothing more.
    ended: bool,
    leaving: Arc<Semaphore>,
}

impl<S: AsyncRead + Unpin + Send + 'static> Drop for Stream<S> {
    fn drop(&mut self) {
        let Some(stream) = self.inner.take().filter(|_| self.closed && !self.ended) else { return };
        if let (Ok(runtime), Ok(permit)) = (Handle::try_current(), self.leaving.clone().try_acquire_owned()) {
            runtime.spawn(async move {
                let mut words = stream.take(LAST_WORDS);
                let mut nowhere = futures::io::sink();
                let end = futures::io::copy(&mut words, &mut nowhere);
                let _whatever_it_was = tokio::time::timeout(PATIENCE, end).await;
                drop(permit);
            });
        }
    }
}

impl<S: AsyncRead + Unpin + Send + 'static> Stream<S> {
    fn inner(&mut self) -> io::Result<Pin<&mut S>> {
        self.inner.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<S: AsyncRead + Unpin + Send + 'static> AsyncRead for Stream<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = self.inner()?.poll_read(context, buffer);
        self.ended |= match &read {
            Poll::Ready(Ok(count)) => *count == 0 && !buffer.is_empty(),
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        self.inner()?.poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner()?.poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = self.inner()?.poll_close(context);
        self.closed |= matches!(closed, Poll::Ready(Ok(())));
        closed
    }
}
