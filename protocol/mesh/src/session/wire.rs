//! One stream: frames in, frames out, every waiting frame in one write.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures::{AsyncRead, AsyncWrite, AsyncWriteExt};
use klp::frame::{Frame, Kind};
use klp::session::Session;
use klp::{NodeId, Refusal, limits};
use libp2p::Stream;
use tokio::time::Instant;

use super::task::Shared;

/// Bytes gathered for one write: two of the largest frames, so that a full one never waits for room.
const BATCH: usize = 2 * limits::FRAME;
/// Bytes of one read: what Noise hands over at once.
const READ: usize = 16 * 1024;
/// Frames that follow each other within this time are worth one write.
const GATHER: Duration = Duration::from_micros(50);
/// Bytes of the first read after a rest; those that follow find more room.
const FIRST: usize = 512;

/// What moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Bytes came.
    Read(usize),
    /// All that waited was written.
    Wrote,
}

/// A stream with what is on its way in and out.
pub(crate) struct Wire {
    stream: Stream,
    out: BytesMut,
    inward: BytesMut,
    /// Room for one read; none while the stream rests.
    scratch: Box<[u8]>,
    unflushed: bool,
    /// Bytes written that have not been counted yet.
    sent: u64,
    moved: Instant,
    /// Since when a frame has been coming in.
    begun: Option<Instant>,
    /// Nothing has moved since the last look.
    resting: bool,
}

impl Wire {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream,
            out: BytesMut::new(),
            inward: BytesMut::new(),
            scratch: Box::default(),
            unflushed: false,
            sent: 0,
            moved: Instant::now(),
            begun: None,
            resting: false,
        }
    }

    /// Gives back its buffers when nothing has moved since the last time: a session that nobody uses costs next to nothing.
    pub(super) fn rest(&mut self) {
        if std::mem::replace(&mut self.resting, true) && self.out.is_empty() && self.inward.is_empty() {
            (self.out, self.inward, self.scratch) = (BytesMut::new(), BytesMut::new(), Box::default());
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

    /// Whether something was written a moment ago.
    pub(super) fn is_busy(&self) -> bool {
        self.moved.elapsed() < GATHER
    }

    /// Whether everything pushed is on its way.
    pub(crate) fn is_flushed(&self) -> bool {
        self.out.is_empty() && !self.unflushed
    }

    /// Writes what waits and reads what has come; resolves when either moved. Nothing is lost when it is dropped half-way.
    pub(crate) async fn step(&mut self) -> io::Result<Step> {
        poll_fn(|cx| self.poll_step(cx)).await
    }

    /// Writes and flushes as far as it goes; says how many bytes went.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> io::Result<usize> {
        let mut written = 0;
        while !self.out.is_empty() {
            let Poll::Ready(wrote) = Pin::new(&mut self.stream).poll_write(cx, &self.out) else { break };
            match wrote? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => {
                    self.out.advance(count);
                    written += count;
                    self.sent += count as u64;
                }
            }
            self.unflushed = true;
            self.resting = false;
            self.moved = Instant::now();
        }
        if self.unflushed
            && self.out.is_empty()
            && let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            flushed?;
            self.unflushed = false;
        }
        Ok(written)
    }

    /// Writes what waits and reads what has come; ready when either moved.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Step>> {
        let written = self.poll_out(cx)?;
        let mut first = [0; FIRST];
        let room = if self.scratch.is_empty() { &mut first[..] } else { &mut self.scratch[..] };
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, room) {
            let count = read?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.inward.extend_from_slice(&room[..count]);
            if self.scratch.is_empty() {
                self.scratch = vec![0; READ].into_boxed_slice();
            }
            self.resting = false;
            return Poll::Ready(Ok(Step::Read(count)));
        }
        if written > 0 && self.out.is_empty() {
            return Poll::Ready(Ok(Step::Wrote));
        }
        Poll::Pending
    }

    /// Writes what waits and closes our direction, within `wait`.
    pub(crate) async fn finish(mut self, wait: Duration) {
        let _closed = tokio::time::timeout(wait, async {
            self.stream.write_all(&self.out).await?;
            self.stream.close().await
        })
        .await;
    }
}

/// The stream of a session, for the task that waits for it and for whoever has something to say at once.
pub(super) struct Outlet {
    pub(super) wire: Wire,
    /// Whether it goes through a relay, where bytes are dear.
    relayed: bool,
    peer: NodeId,
    shared: Arc<Shared>,
}

impl Outlet {
    pub(super) fn new(wire: Wire, relayed: bool, peer: NodeId, shared: Arc<Shared>) -> Self {
        Self { wire, relayed, peer, shared }
    }

    /// Takes the machine's frames, as many as fit into one write, and packs no more of them in one go.
    pub(super) fn fill(&mut self, session: &mut Session) {
        let packs = self.relayed && session.packs();
        let mut saved = 0;
        while self.wire.has_room()
            && saved < BATCH
            && let Some(mut frame) = session.next_frame()
        {
            if packs {
                saved += frame.pack();
            }
            self.wire.push(&frame);
            self.shared.metrics.frames_out.inc();
            if frame.kind == Kind::Request && !frame.again && !frame.more {
                self.shared.metrics.asked.inc();
            }
            self.count_refusal(&frame);
        }
        if saved > 0 {
            self.shared.metrics.saved.inc_by(saved as u64);
        }
    }

    /// Nothing more is written: who never reads is refused all the same.
    pub(super) fn give_up(&self, session: &mut Session) {
        while let Some(frame) = session.next_frame() {
            self.count_refusal(&frame);
        }
    }

    fn count_refusal(&self, frame: &Frame) {
        if matches!(frame.kind, Kind::Error | Kind::Bye)
            && let Ok((Some(refusal), _)) = frame.reason()
        {
            match frame.kind {
                Kind::Bye => self.shared.turned_away(self.peer, refusal),
                _ => self.shared.metrics.refused(refusal),
            }
        }
    }

    /// The next whole frame that has come.
    pub(super) fn frame(&mut self) -> Result<Option<Frame>, Refusal> {
        let frame = self.wire.frame()?;
        if let Some(frame) = &frame {
            self.shared.metrics.frames_in.inc();
            if frame.kind == Kind::Request && !frame.again && !frame.more {
                self.shared.metrics.requests.inc();
            }
        }
        Ok(frame)
    }

    /// Writes without waiting, and says whether something was written and nothing is left. Nobody is woken when the stream has room again: whoever hears
    /// `false` wakes the task, which then waits for that; an error is the task's to find too.
    pub(super) fn write_now(&mut self) -> bool {
        let wrote = self.wire.poll_out(&mut Context::from_waker(Waker::noop()));
        self.count();
        wrote.is_ok_and(|count| count > 0) && self.wire.is_flushed()
    }

    /// Moves what can be moved.
    pub(super) fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Step>> {
        let step = self.wire.poll_step(cx);
        self.count();
        step
    }

    /// Counts what went, also when less went than waited or something came in the same moment.
    fn count(&mut self) {
        self.shared.metrics.bytes_out.inc_by(std::mem::take(&mut self.wire.sent));
    }
}

impl std::fmt::Debug for Outlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outlet")
    }
}
