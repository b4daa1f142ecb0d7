//! One stream: frames in, frames out, every waiting frame in one write.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use futures::{AsyncRead, AsyncWrite, AsyncWriteExt};
use klp::Refusal;
use klp::frame::Frame;
use klp::limits;
use libp2p::Stream;
use tokio::time::Instant;

/// Bytes gathered for one write: two of the largest frames, so that a full one never waits for room.
const BATCH: usize = 2 * limits::FRAME;
/// Bytes of one read: what Noise hands over at once.
const READ: usize = 16 * 1024;

/// What moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Bytes came.
    Read(usize),
    /// All that waited was written.
    Wrote(usize),
}

/// A stream with what is on its way in and out.
pub(crate) struct Wire {
    stream: Stream,
    out: BytesMut,
    inward: BytesMut,
    scratch: Box<[u8]>,
    unflushed: bool,
    moved: Instant,
    /// Since when a frame has been coming in.
    begun: Option<Instant>,
}

impl Wire {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream,
            out: BytesMut::with_capacity(READ),
            inward: BytesMut::with_capacity(READ),
            scratch: vec![0; READ].into_boxed_slice(),
            unflushed: false,
            moved: Instant::now(),
            begun: None,
        }
    }

    /// Whether another frame may be pushed.
    pub(crate) fn has_room(&self) -> bool {
        self.out.len() < BATCH
    }

    pub(crate) fn push(&mut self, frame: &Frame) {
        if self.out.is_empty() {
            self.moved = Instant::now();
        }
        frame.write(&mut self.out);
    }

    /// Bytes that need not be a frame, as only a bad peer writes them.
    #[cfg(any(test, feature = "raw"))]
    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// The next whole frame that has come.
    pub(crate) fn frame(&mut self) -> Result<Option<Frame>, Refusal> {
        let frame = Frame::read(&mut self.inward)?;
        self.begun = match frame {
            None if !self.inward.is_empty() => self.begun.or_else(|| Some(Instant::now())),
            _ => None,
        };
        Ok(frame)
    }

    /// Whether a frame has been coming in for more than 30 seconds: at a byte a second it would be a day.
    pub(crate) fn is_overdue(&self) -> bool {
        self.begun.is_some_and(|begun| begun.elapsed() > limits::STALL)
    }

    /// Whether bytes wait to be written and none went for 30 seconds.
    pub(crate) fn is_stalled(&self) -> bool {
        !self.out.is_empty() && self.moved.elapsed() > limits::STALL
    }

    /// Whether everything pushed is on its way.
    pub(crate) fn is_flushed(&self) -> bool {
        self.out.is_empty() && !self.unflushed
    }

    /// Writes what waits and reads what has come; resolves when either moved. Nothing is lost when it is dropped half-way.
    pub(crate) async fn step(&mut self) -> io::Result<Step> {
        poll_fn(|cx| self.poll_step(cx)).await
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Step>> {
        let mut written = 0;
        while !self.out.is_empty() {
            let Poll::Ready(wrote) = Pin::new(&mut self.stream).poll_write(cx, &self.out) else { break };
            match wrote? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => {
                    self.out.advance(count);
                    written += count;
                }
            }
            self.unflushed = true;
            self.moved = Instant::now();
        }
        if self.unflushed
            && self.out.is_empty()
            && let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            flushed?;
            self.unflushed = false;
        }
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, &mut self.scratch) {
            let count = read?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.inward.extend_from_slice(&self.scratch[..count]);
            return Poll::Ready(Ok(Step::Read(count)));
        }
        if written > 0 && self.out.is_empty() {
            return Poll::Ready(Ok(Step::Wrote(written)));
        }
        Poll::Pending
    }

    /// Writes what waits and closes our direction, within `wait`.
    pub(crate) async fn finish(mut self, wait: std::time::Duration) {
        let _closed = tokio::time::timeout(wait, async {
            self.stream.write_all(&self.out).await?;
            self.stream.close().await
        })
        .await;
    }
}
