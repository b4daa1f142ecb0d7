//! One session, shared by those who ask over it, those who answer, and the task that moves its frames.
//!
//! The machine stands behind a lock that is held only for a call of it and never across an await. Whoever changes it wakes the task, or, when nothing
//! else is on its way, writes by itself: one question at a time then waits for no other task's turn. The lock of the stream comes before that of the machine.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use bytes::Bytes;
use klp::hello::{Memory, SessionId};
use klp::session::{ChunkError, Delivery, Session};
use klp::{NodeId, Refusal, limits};
use libp2p::swarm::ConnectionId;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::task::Attached;
use super::wire::Outlet;
use crate::answer::{Ended, Refused, Reply};
use crate::event::{Event, PeerHello, Request};

/// A stream that follows another within the time of handing one over; a third one would have to wait, and is not wanted.
const STREAMS: usize = 2;

/// What the answering side of one request watches.
#[derive(Debug, Default)]
pub(crate) struct Job {
    pub(crate) room: Notify,
    pub(crate) ended: CancellationToken,
}

/// What the asking side of one request found.
pub(crate) enum Took {
    Chunk(Bytes),
    End(Result<Bytes, Refused>),
    Nothing(Arc<Notify>),
}

/// One of our requests, as far as it has been answered. Its chunks are bounded by the credit that the machine gives.
#[derive(Debug, Default)]
struct Call {
    chunks: VecDeque<Bytes>,
    end: Option<Result<Bytes, Refused>>,
    wake: Arc<Notify>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) session: Session,
    calls: HashMap<u64, Call>,
    jobs: HashMap<u64, Arc<Job>>,
    /// Events for our owner, at most 64 requests, 64 tidings and one Opened for each stream.
    pub(super) inbox: VecDeque<Event>,
    told: usize,
    pub(super) hello: Option<Arc<PeerHello>>,
    /// What the machine said when it ended.
    pub(super) over: Option<Option<Refusal>>,
    /// A stream was asked for and could not be had.
    pub(super) failed: bool,
    /// Whether the stream goes through a relay.
    pub(super) relayed: bool,
    /// Whether the task waits for the last answer, so that it must hear of each.
    pub(super) draining: bool,
    /// The connection that carries the stream.
    pub(super) connection: Option<ConnectionId>,
    /// That connection is dead, though it does not say so.
    pub(super) severed: bool,
    /// When something was last heard, and when the oldest question that waits was asked at the earliest.
    pub(super) heard: Duration,
    asked: Duration,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: NodeId,
    pub(crate) id: SessionId,
    /// Whether we dialled the session's first stream.
    pub(crate) ours: bool,
    state: Mutex<State>,
    outlet: Mutex<Option<Outlet>>,
    pub(super) wake: Notify,
    streams: mpsc::Sender<Box<Attached>>,
    born: Instant,
}

impl Link {
    /// A session without a stream, and where its streams come in.
    pub(crate) fn new(
        peer: NodeId,
        id: SessionId,
        memory: Memory,
        ours: bool,
    ) -> (Arc<Self>, mpsc::Receiver<Box<Attached>>) {
        let (streams, incoming) = mpsc::channel(STREAMS);
        let state = State {
            session: Session::new(id, memory, Duration::ZERO),
            calls: HashMap::new(),
            jobs: HashMap::new(),
            inbox: VecDeque::new(),
            told: 0,
            hello: None,
            over: None,
            failed: false,
            relayed: false,
            draining: false,
            connection: None,
            severed: false,
            heard: Duration::ZERO,
            asked: Duration::ZERO,
        };
        let (state, outlet, wake, born) = (Mutex::new(state), Mutex::new(None), Notify::new(), Instant::now());
        (Arc::new(Self { peer, id, ours, state, outlet, wake, streams, born }), incoming)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // The machine is left whole even by a panic in one of its callers: each call of it is complete or not begun.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stream, while there is one. Whoever holds it may lock the machine, and not the other way round.
    pub(super) fn outlet(&self) -> MutexGuard<'_, Option<Outlet>> {
        self.outlet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands the machine's frames to the stream, as many as fit into one write.
    pub(super) fn pump(&self) {
        if let Some(outlet) = self.outlet().as_mut() {
            outlet.fill(&mut self.lock().session);
        }
    }

    /// Something is to be written. Alone it goes out here and now; of several, the task makes one write.
    fn say(&self, alone: bool) {
        if !(alone && self.say_now()) {
            self.wake.notify_one();
        }
    }

    /// Writes what waits, if the stream is free and takes all of it. What it does not take, or what is left to be delivered, is the task's.
    fn say_now(&self) -> bool {
        let mut outlet = match self.outlet.try_lock() {
            Ok(outlet) => outlet,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        let Some(outlet) = outlet.as_mut() else { return false };
        let mut state = self.lock();
        outlet.fill(&mut state.session);
        let more = state.session.has_frames() || state.draining;
        drop(state);
        outlet.write_now() && !more
    }

    /// Whether several talk, and so fast that it is worth waiting for one more. Where each has work to do first, nobody waits.
    pub(super) fn is_crowded(&self) -> bool {
        let busy = self.outlet().as_ref().is_some_and(|outlet| outlet.wire.is_busy());
        let state = self.lock();
        busy && state.calls.len() + state.jobs.len() > 1
    }

    /// The machine's moment.
    pub(super) fn now(&self) -> Duration {
        self.born.elapsed()
    }

    /// Hands over a stream; gives it back when one is being handed over already.
    pub(crate) fn attach(&self, attached: Box<Attached>) -> Result<(), Box<Attached>> {
        self.streams.try_send(attached).map_err(mpsc::error::TrySendError::into_inner)
    }

    /// A stream was asked for and could not be had.
    pub(crate) fn fail(&self) {
        self.lock().failed = true;
        self.wake.notify_one();
    }

    /// Whether its stream goes through a relay.
    pub(crate) fn is_relayed(&self) -> bool {
        let state = self.lock();
        state.relayed && !state.session.is_detached() && !state.session.is_closed()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().session.is_closed()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.lock().session.is_open()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.lock().session.is_idle()
    }

    /// Ends the session.
    pub(crate) fn close(&self, refusal: Option<Refusal>, message: &str) {
        self.lock().session.close(refusal, message);
        self.wake.notify_one();
    }

    /// The connection that carries it, and for how long nothing was heard on it while a question of ours waits.
    pub(crate) fn waits(&self) -> Option<(ConnectionId, Duration)> {
        let now = self.now();
        let state = self.lock();
        let waits = state.calls.values().any(|call| call.end.is_none());
        let connection = state.connection.filter(|_| waits && !state.session.is_detached())?;
        Some((connection, now.saturating_sub(state.heard.max(state.asked))))
    }

    /// The connection that carries it.
    pub(crate) fn carrier(&self) -> Option<ConnectionId> {
        let state = self.lock();
        state.connection.filter(|_| !state.session.is_detached())
    }

    /// The connection is dead, though it does not say so: the session goes on over another one.
    pub(crate) fn sever(&self, connection: ConnectionId) {
        let mut state = self.lock();
        if state.connection == Some(connection) {
            state.severed = true;
            drop(state);
            self.wake.notify_one();
        }
    }

    pub(crate) fn request(&self, body: Bytes) -> Result<u64, Refusal> {
        let now = self.now();
        let mut state = self.lock();
        let id = state.session.request(body)?;
        let alone = state.calls.is_empty();
        if alone {
            state.asked = now;
        }
        state.calls.insert(id, Call::default());
        drop(state);
        self.say(alone);
        Ok(id)
    }

    /// What has come for one of our requests.
    pub(crate) fn take(&self, id: u64) -> Took {
        let mut state = self.lock();
        let State { session, calls, .. } = &mut *state;
        let Some(call) = calls.get_mut(&id) else { return Took::End(Err(Refused::new(Refusal::Cancelled, ""))) };
        if let Some(chunk) = call.chunks.pop_front() {
            session.taken(id, &chunk);
            let wake = session.has_frames();
            drop(state);
            if wake {
                self.wake.notify_one();
            }
            return Took::Chunk(chunk);
        }
        match call.end.take() {
            Some(end) => {
                calls.remove(&id);
                Took::End(end)
            }
            None => Took::Nothing(call.wake.clone()),
        }
    }

    pub(crate) fn cancel(&self, id: u64) {
        let mut state = self.lock();
        if state.calls.remove(&id).is_some() {
            state.session.cancel(id);
            drop(state);
            self.wake.notify_one();
        }
    }

    pub(crate) fn tell(&self, body: Bytes) -> Result<(), Refusal> {
        self.lock().session.tell(body)?;
        self.wake.notify_one();
        Ok(())
    }

    /// Sends a chunk; gives it back when it must wait for room.
    pub(crate) fn chunk(&self, id: u64, chunk: Bytes) -> Result<Option<Bytes>, Ended> {
        let now = self.now();
        let sent = self.lock().session.chunk(id, chunk, now);
        match sent {
            Ok(()) => {
                self.wake.notify_one();
                Ok(None)
            }
            Err(ChunkError::Full(chunk)) => Ok(Some(chunk)),
            Err(ChunkError::Ended | ChunkError::TooLarge) => Err(Ended),
        }
    }

    pub(crate) fn respond(&self, id: u64, body: Bytes) {
        let mut state = self.lock();
        state.jobs.remove(&id);
        state.session.respond(id, body);
        let alone = state.jobs.is_empty();
        drop(state);
        self.say(alone);
    }

    pub(crate) fn refuse(&self, id: u64, refusal: Refusal, message: &str) {
        let mut state = self.lock();
        state.jobs.remove(&id);
        state.session.refuse(id, refusal, message.to_owned());
        let alone = state.jobs.is_empty();
        drop(state);
        self.say(alone);
    }

    /// Acts on everything that the machine has to deliver. Returns the listener's Hello when that has come: it must be checked first.
    pub(crate) fn deliver(self: &Arc<Self>) -> Option<Bytes> {
        // What is dropped refuses itself, which takes the lock: it is dropped after the lock.
        let mut unwanted = Vec::new();
        let mut state = self.lock();
        let State { session, calls, jobs, inbox, told, hello, over, .. } = &mut *state;
        while let Some(delivery) = session.next_delivery() {
            match delivery {
                Delivery::Hello(body) => return Some(body),
                Delivery::Request { id, body } => {
                    let Some(hello) = hello.clone() else { continue };
                    let job = Arc::new(Job::default());
                    jobs.insert(id, job.clone());
                    let reply = Reply::new(self.clone(), id, job);
                    inbox.push_back(Event::Request(Request { hello, body, reply }));
                }
                Delivery::Cancelled { id } => {
                    if let Some(job) = jobs.remove(&id) {
                        job.ended.cancel();
                    }
                    // It has not even begun: a peer that asks and cancels without end must not fill the inbox.
                    let gone = |event: &Event| matches!(event, Event::Request(request) if request.reply.is_cancelled());
                    unwanted.extend(inbox.iter().position(gone).and_then(|at| inbox.remove(at)));
                }
                Delivery::Room { id } => {
                    if let Some(job) = jobs.get(&id) {
                        job.room.notify_one();
                    }
                }
                Delivery::Chunk { id, bytes } => {
                    if let Some(call) = calls.get_mut(&id) {
                        call.chunks.push_back(bytes);
                        call.wake.notify_one();
                    }
                }
                Delivery::Response { id, body } => end(calls, id, Ok(body)),
                Delivery::Refused { id, refusal, message } => end(calls, id, Err(Refused::new(refusal, message))),
                Delivery::Event(body) => {
                    let Some(hello) = hello.clone() else { continue };
                    *told += 1;
                    if *told > limits::EVENTS {
                        session.close(Some(Refusal::Busy), "too many events at once");
                        continue;
                    }
                    inbox.push_back(Event::Told { hello, body });
                }
                Delivery::Closed { refusal, .. } => *over = Some(refusal),
            }
        }
        None
    }

    /// The next event for our owner.
    pub(super) fn next_event(&self) -> Option<Event> {
        let mut state = self.lock();
        let event = state.inbox.pop_front();
        if matches!(event, Some(Event::Told { .. })) {
            state.told -= 1;
        }
        event
    }
}

fn end(calls: &mut HashMap<u64, Call>, id: u64, end: Result<Bytes, Refused>) {
    if let Some(call) = calls.get_mut(&id) {
        call.end = Some(end);
        call.wake.notify_one();
    }
}
