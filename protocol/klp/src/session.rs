//! A session: everything that one pair of nodes says to each other, as a machine without input or output of its own.
//!
//! The caller feeds it frames, moments and wishes; it yields frames to write and deliveries to act on. A session outlives its stream:
//! when a better connection appears, or the old one breaks, it goes on with a new stream that carries the same session id, and requests
//! run at most once. Source: `specs/03-session.md`.
//!
//! Moments are spans since an origin that the caller chooses once, from a clock that never goes back.

mod answering;
mod asked;
mod outbox;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::frame::{Frame, Kind};
use crate::hello::{Limits, Memory, SessionId, Terms};
use crate::limits;
use crate::refusal::Refusal;
use answering::Answering;
use asked::Asked;
use outbox::Outbox;

/// What the session wants its owner to act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The listener's Hello has come: check it, then call [`Session::greeted`] or [`Session::close`], before the next frame.
    Hello(Bytes),
    /// The peer asks; answer with [`Session::chunk`], and [`Session::respond`] or [`Session::refuse`].
    Request {
        /// Names it from here on.
        id: u64,
        /// What it asks.
        body: Bytes,
    },
    /// The peer's request has been ended here: by the peer, by a stall, or because the session is over. Stop working on it.
    Cancelled {
        /// The request.
        id: u64,
    },
    /// A chunk that did not fit may be tried again.
    Room {
        /// The request.
        id: u64,
    },
    /// A piece of an answer to us; give it back with [`Session::taken`] once it has been read.
    Chunk {
        /// Our request.
        id: u64,
        /// Between 1 byte and [`limits::FRAME`].
        bytes: Bytes,
    },
    /// The final answer to us.
    Response {
        /// Our request.
        id: u64,
        /// What it says.
        body: Bytes,
    },
    /// Our request is refused, or cannot be answered any more.
    Refused {
        /// Our request.
        id: u64,
        /// Why.
        refusal: Refusal,
        /// More about it, for people; may be empty.
        message: String,
    },
    /// The peer tells something. Its owner keeps at most [`limits::EVENTS`] of them and closes a session that sends more.
    Event(Bytes),
    /// The session is over, and everything that was open has been delivered as refused or cancelled.
    Closed {
        /// Why, unless all was well.
        refusal: Option<Refusal>,
        /// More about it, for people.
        message: String,
    },
}

/// Why a chunk was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// No credit; wait for [`Delivery::Room`]. The chunk is given back.
    #[error("the reader has not taken enough yet")]
    Full(Bytes),
    /// The request is answered, cancelled or unknown.
    #[error("this request has ended")]
    Ended,
    /// More than [`limits::FRAME`] bytes.
    #[error("a chunk holds at most {} bytes", limits::FRAME)]
    TooLarge,
}

/// Where the session stands with its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No stream, since then.
    Detached(Duration),
    /// We dialled and said Hello; the listener's Hello must come before this moment.
    Greeting(Duration),
    /// Both Hellos are said.
    Open,
    /// Over.
    Closed,
}

/// The machine of one session.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    memory: Memory,
    /// The peer's memory, once it has said Hello.
    theirs: Option<Memory>,
    phase: Phase,
    limits: Limits,
    /// Whether packed frames were agreed on.
    packs: bool,
    asked: Asked,
    answering: Answering,
    /// When the last frame came, for messages that begin and never end.
    heard: Duration,
    frames: Outbox,
    deliveries: VecDeque<Delivery>,
}

impl Session {
    /// A session without a stream. Requests may already be made; they wait. `memory` is 8 random bytes.
    pub fn new(id: SessionId, memory: Memory, now: Duration) -> Self {
        Self {
            id,
            memory,
            theirs: None,
            phase: Phase::Detached(now),
            limits: Limits::EARLY,
            packs: false,
            asked: Asked::default(),
            answering: Answering::default(),
            heard: now,
            frames: Outbox::default(),
            deliveries: VecDeque::new(),
        }
    }

    /// Its id, the same on both sides.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Goes on with a stream that we dialled. Our Hello rides with everything that waits; what the old stream still carried is void.
    pub fn dial(&mut self, hello: Bytes, now: Duration) {
        if self.phase == Phase::Closed {
            return;
        }
        self.asked.change_stream();
        self.attach(hello, Phase::Greeting(now + limits::HELLO_WAIT), now);
    }

    /// Goes on with a stream that the peer dialled, whose Hello has been checked and is answered by `hello`.
    pub fn accept(&mut self, hello: Bytes, theirs: &Terms, now: Duration) {
        if self.phase == Phase::Closed {
            return;
        }
        self.asked.change_stream();
        self.agree(theirs);
        self.attach(hello, Phase::Open, now);
    }

    fn attach(&mut self, hello: Bytes, phase: Phase, now: Duration) {
        self.phase = phase;
        self.heard = now;
        self.frames.clear();
        self.frames.push(Frame::new(Kind::Hello, 0, hello));
        self.answering.change_stream();
        self.asked.send_again(&mut self.frames);
        self.send_waiting();
    }

    /// Sends what the limits let through. A session that goes on first hears who is there: a request whose first receiver is not known
    /// could not be sent again.
    fn send_waiting(&mut self) {
        if self.phase == Phase::Open || (matches!(self.phase, Phase::Greeting(_)) && self.theirs.is_none()) {
            self.asked.send_waiting(&self.limits, &mut self.frames, &mut self.deliveries);
        }
    }

    /// What we remember of it, for our Hello.
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// The peer's terms hold from here on. A peer that has restarted remembers nothing: what it asked before is void and it numbers its
    /// requests anew; what we asked it before ends when we ask again.
    fn agree(&mut self, theirs: &Terms) {
        self.limits = Limits::OURS.and(&theirs.limits);
        self.packs = theirs.packs;
        if self.theirs.replace(theirs.memory).is_some_and(|memory| memory != theirs.memory) {
            self.answering.forget(&mut self.deliveries);
        }
        self.asked.agree(theirs.memory);
    }

    /// The listener's Hello holds.
    pub fn greeted(&mut self, theirs: &Terms) {
        if matches!(self.phase, Phase::Greeting(_)) {
            self.phase = Phase::Open;
            self.agree(theirs);
            self.send_waiting();
        }
    }

    /// The stream is gone. Requests stay open for [`limits::STALL`], so that a new stream can go on.
    pub fn detach(&mut self, now: Duration) {
        if matches!(self.phase, Phase::Greeting(_) | Phase::Open) {
            self.phase = Phase::Detached(now);
            self.frames.clear();
        }
    }

    /// Takes one frame. A frame that breaks a rule ends the session with a bye that names the rule.
    pub fn receive(&mut self, frame: Frame, now: Duration) {
        self.heard = now;
        if let Err(refusal) = self.take(frame) {
            self.close(Some(refusal), "the other side broke the protocol");
        }
    }

    fn take(&mut self, mut frame: Frame) -> Result<(), Refusal> {
        if frame.packed && self.phase == Phase::Open {
            if !self.packs {
                return Err(Refusal::Malformed);
            }
            frame.unpack()?;
        }
        let id = frame.id;
        let (frames, out) = (&mut self.frames, &mut self.deliveries);
        match (self.phase, frame.kind) {
            // What the peer wrote before it heard that the stream or the session is over.
            (Phase::Closed | Phase::Detached(_), _) => Ok(()),
            (_, Kind::Bye) => {
                let (refusal, message) = frame.reason()?;
                self.end(refusal, &message);
                Ok(())
            }
            (Phase::Greeting(_), Kind::Hello) => {
                out.push_back(Delivery::Hello(frame.body));
                Ok(())
            }
            // Nothing comes before Hello, and Hello comes once.
            (Phase::Greeting(_), _) | (Phase::Open, Kind::Hello) => Err(Refusal::Malformed),
            (Phase::Open, Kind::Request) => self.answering.request(frame, self.memory, frames, out),
            (Phase::Open, Kind::Credit) => self.answering.credit(id, &frame.body, out),
            (Phase::Open, Kind::Cancel) => {
                self.answering.cancel(id, frames, out);
                Ok(())
            }
            (Phase::Open, Kind::Chunk) => self.asked.chunk(id, frame.body, out),
            (Phase::Open, Kind::Event) => {
                out.push_back(Delivery::Event(frame.body));
                Ok(())
            }
            (Phase::Open, Kind::Response) => {
                self.asked.response(frame, out)?;
                self.asked.send_waiting(&self.limits, frames, out);
                Ok(())
            }
            (Phase::Open, Kind::Error) => {
                self.asked.refused(&frame, out)?;
                self.asked.send_waiting(&self.limits, frames, out);
                Ok(())
            }
        }
    }

    /// Asks. An empty body is a ping: the other side's session answers it by itself.
    ///
    /// # Errors
    /// `busy` when [`limits::CALLER_QUEUE`] requests wait already, `too_large` over [`limits::MESSAGE`], `unreachable` when it is over.
    pub fn request(&mut self, body: Bytes) -> Result<u64, Refusal> {
        if self.phase == Phase::Closed {
            return Err(Refusal::Unreachable);
        }
        let id = self.asked.request(body)?;
        self.send_waiting();
        Ok(id)
    }

    /// Our request is not wanted any more. Nothing more is delivered for it.
    pub fn cancel(&mut self, id: u64) {
        self.asked.cancel(id, &mut self.frames);
        self.drop_frames_without_stream();
    }

    /// A delivered chunk has been read, so the peer may send as much again.
    pub fn taken(&mut self, id: u64, chunk: &Bytes) {
        self.asked.taken(id, chunk, &mut self.frames);
        self.drop_frames_without_stream();
    }

    /// Tells the peer something; what is told while there is no open stream is lost.
    ///
    /// # Errors
    /// `too_large` over [`limits::FRAME`], `unreachable` without an open stream, `busy` while more than [`limits::EVENTS`] frames wait.
    pub fn tell(&mut self, body: Bytes) -> Result<(), Refusal> {
        if body.len() > limits::FRAME {
            return Err(Refusal::TooLarge);
        }
        if self.phase != Phase::Open {
            return Err(Refusal::Unreachable);
        }
        if self.frames.len() > limits::EVENTS {
            return Err(Refusal::Busy);
        }
        self.frames.push(Frame::new(Kind::Event, 0, body));
        Ok(())
    }

    /// Sends a piece of an answer.
    ///
    /// # Errors
    /// [`ChunkError`]; a full window gives the chunk back.
    pub fn chunk(&mut self, id: u64, bytes: Bytes, now: Duration) -> Result<(), ChunkError> {
        let sent = self.answering.chunk(id, bytes, self.limits.unread, now, &mut self.frames);
        self.drop_frames_without_stream();
        sent
    }

    /// Answers. Nothing happens when the request has ended already.
    pub fn respond(&mut self, id: u64, body: Bytes) {
        self.answering.respond(id, body, self.limits.message, &mut self.frames);
        self.drop_frames_without_stream();
    }

    /// Refuses. Nothing happens when the request has ended already.
    pub fn refuse(&mut self, id: u64, refusal: Refusal, message: String) {
        self.answering.refuse(id, refusal, message, &mut self.frames);
        self.drop_frames_without_stream();
    }

    /// Without a stream nothing waits to be written: a new stream says everything again.
    fn drop_frames_without_stream(&mut self) {
        if matches!(self.phase, Phase::Detached(_)) {
            self.frames.clear();
        }
    }

    /// Time passes. Call it at least once a second.
    pub fn tick(&mut self, now: Duration) {
        match self.phase {
            Phase::Greeting(until) if now > until => {
                self.close(Some(Refusal::Timeout), "no Hello came in 10 seconds");
            }
            Phase::Detached(since) if now.saturating_sub(since) > limits::STALL => {
                self.end(Some(Refusal::Unreachable), "the connection was lost and did not come back");
            }
            Phase::Open if self.is_receiving() && now.saturating_sub(self.heard) > limits::STALL => {
                self.close(Some(Refusal::Stalled), "a message was begun and did not end in 30 seconds");
            }
            _ => self.answering.tick(now, &mut self.frames, &mut self.deliveries),
        }
        self.drop_frames_without_stream();
    }

    /// Ends the session and says why; the bye is the last frame.
    pub fn close(&mut self, refusal: Option<Refusal>, message: &str) {
        match self.phase {
            Phase::Closed => return,
            Phase::Detached(_) => {}
            Phase::Greeting(_) | Phase::Open => {
                self.frames.push(Frame::refusal(Kind::Bye, 0, refusal, message));
            }
        }
        self.end(refusal, message);
    }

    fn end(&mut self, refusal: Option<Refusal>, message: &str) {
        let (sent, unsent) = match self.phase {
            // A listener that refuses Hello has run nothing, and its reason is the answer.
            Phase::Greeting(_) => {
                let why = refusal.unwrap_or(Refusal::Unreachable);
                (why, why)
            }
            _ => (Refusal::UnknownOutcome, Refusal::Unreachable),
        };
        self.phase = Phase::Closed;
        self.asked.fail(sent, unsent, message, &mut self.deliveries);
        self.answering.fail(&mut self.deliveries);
        self.deliveries.push_back(Delivery::Closed { refusal, message: message.to_owned() });
    }

    /// The next frame to write.
    pub fn next_frame(&mut self) -> Option<Frame> {
        self.frames.pop()
    }

    /// Whether the peer reads packed frames: whoever writes a frame for it may pack it first.
    pub fn packs(&self) -> bool {
        self.packs && self.phase == Phase::Open
    }

    /// Whether frames wait to be written.
    pub fn has_frames(&self) -> bool {
        !self.frames.is_empty()
    }

    /// Whether we dialled, and the listener's Hello has not come.
    pub fn is_greeting(&self) -> bool {
        matches!(self.phase, Phase::Greeting(_))
    }

    /// The next thing to act on.
    pub fn next_delivery(&mut self) -> Option<Delivery> {
        self.deliveries.pop_front()
    }

    /// Whether both Hellos are said and the session goes on.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether there is no stream at the moment.
    pub fn is_detached(&self) -> bool {
        matches!(self.phase, Phase::Detached(_))
    }

    /// Whether it is over.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether neither side waits for anything.
    pub fn is_idle(&self) -> bool {
        self.asked.is_idle() && self.answering.is_idle()
    }

    fn is_receiving(&self) -> bool {
        self.asked.is_receiving() || self.answering.is_receiving()
    }
}

#[cfg(test)]
mod tests;
