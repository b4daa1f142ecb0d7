//! One session, shared by those who ask over it, those who answer, and the task that moves its frames.
//!
//! The machine stands behind a lock that is held only for a call of it and never across an await. Whoever changes it wakes the task, or, when nothing
//! else is on its way, writes by itself: one question at a time then waits for no other task's turn. The lock of the stream comes before that of the machine.

mod carrier;
mod job;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use klp::hello::{Memory, SessionId};
use klp::session::{Delivery, Session};
use klp::{NodeId, Refusal, limits};
use libp2p::swarm::ConnectionId;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::task::Attached;
use super::wire::Outlet;
use crate::answer::{Refused, Reply};
use crate::event::{Event, PeerHello, Request};

pub(crate) use job::Job;

/// A stream that follows another within the time of handing one over; a third one would have to wait, and is not wanted.
const STREAMS: usize = 2;

/// How often a session that has not begun is given another stream: a dying connection may be met twice, as it gives none and as it closes; and what
/// breaks each connection must not hold up what is asked next.
const BEGINNINGS: u8 = 3;

/// What the asking side of one request found.
pub(crate) enum Took {
    Chunk(Bytes),
    End(Result<Bytes, Refused>),
}

/// One of our requests, as far as it has been answered. Its chunks are bounded by the credit that the machine gives.
#[derive(Debug, Default)]
struct Call {
    chunks: VecDeque<Bytes>,
    end: Option<Result<Bytes, Refused>>,
    waker: Option<Waker>,
}

/// What a delivery leaves to be done without the lock: whoever is woken may run at once, on another processor, and wants the lock too; and what
/// is dropped here refuses itself, which takes it.
#[derive(Default)]
struct Afterwards {
    wakers: Vec<Waker>,
    unwanted: Vec<Event>,
}

impl Drop for Afterwards {
    fn drop(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }
}

/// What has come of the frames that were read.
pub(super) enum Heard {
    /// Nothing more for now.
    All,
    /// The listener's Hello: it must be checked before the next frame.
    Hello(Bytes),
    /// A frame that breaks the protocol.
    Broken(Refusal),
}

/// Where the session stands after a look at it.
pub(super) struct Standing {
    /// What the machine said when it ended.
    pub(super) is_over: bool,
    /// Events that wait for our owner.
    pub(super) waiting: usize,
    /// Requests since the last look that nobody who keeps to the protocol makes.
    pub(super) offences: u32,
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
    /// How often the first stream was asked of a connection that was dying.
    lost: u8,
    /// Whether the stream goes through a relay.
    pub(super) relayed: bool,
    /// Whether the task waits for the last answer, so that it must hear of each.
    pub(super) draining: bool,
    /// The connection that carries the stream.
    pub(super) connection: Option<ConnectionId>,
    /// That connection is dead, though it does not say so.
    pub(super) severed: bool,
    offences: u32,
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
            lost: 0,
            relayed: false,
            draining: false,
            connection: None,
            severed: false,
            offences: 0,
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
    pub(super) fn pump(&self) -> Standing {
        let mut outlet = self.outlet();
        let mut state = self.lock();
        if let Some(outlet) = outlet.as_mut() {
            outlet.fill(&mut state.session);
        }
        let offences = std::mem::take(&mut state.offences);
        Standing { is_over: state.over.is_some(), waiting: state.inbox.len(), offences }
    }

    /// Hands the frames that have come to the machine and acts on what it has to deliver.
    pub(super) fn hear(self: &Arc<Self>) -> Heard {
        let mut afterwards = Afterwards::default();
        let mut outlet = self.outlet();
        let Some(outlet) = outlet.as_mut() else { return Heard::All };
        let now = self.now();
        let mut state = self.lock();
        loop {
            match outlet.frame() {
                Ok(Some(frame)) => {
                    state.heard = now;
                    state.session.receive(frame, now);
                }
                Ok(None) => return Heard::All,
                Err(refusal) => return Heard::Broken(refusal),
            }
            if let Some(hello) = state.deliver(self, &mut afterwards) {
                return Heard::Hello(hello);
            }
            if state.session.is_closed() {
                return Heard::All;
            }
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

    /// A stream broke, or could not be had because its connection did. Whether to ask for another one: a session that has begun sees to that
    /// itself, and to one that has not its peer may be back already when the old connection ends.
    pub(crate) fn begins_again(&self) -> bool {
        let mut state = self.lock();
        state.lost = state.lost.saturating_add(1);
        state.hello.is_none() && state.lost <= BEGINNINGS
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().session.is_closed()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.lock().session.is_open()
    }

    /// Ends the session.
    pub(crate) fn close(&self, refusal: Option<Refusal>, message: &str) {
        self.lock().session.close(refusal, message);
        self.wake.notify_one();
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

    /// What has come for one of our requests; without anything, whoever asks is woken when something comes.
    pub(crate) fn poll_take(&self, id: u64, context: &Context<'_>) -> Poll<Took> {
        let mut state = self.lock();
        let State { session, calls, .. } = &mut *state;
        let Some(call) = calls.get_mut(&id) else {
            return Poll::Ready(Took::End(Err(Refused::new(Refusal::Cancelled, ""))));
        };
        if let Some(chunk) = call.chunks.pop_front() {
            session.taken(id, &chunk);
            let wake = session.has_frames();
            drop(state);
            if wake {
                self.wake.notify_one();
            }
            return Poll::Ready(Took::Chunk(chunk));
        }
        match call.end.take() {
            Some(end) => {
                calls.remove(&id);
                Poll::Ready(Took::End(end))
            }
            None => {
                call.waker.get_or_insert_with(|| context.waker().clone()).clone_from(context.waker());
                Poll::Pending
            }
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

    /// Acts on everything that the machine has to deliver. Returns the listener's Hello when that has come: it must be checked first.
    pub(crate) fn deliver(self: &Arc<Self>) -> Option<Bytes> {
        let mut afterwards = Afterwards::default();
        self.lock().deliver(self, &mut afterwards)
    }

    /// The next events for our owner.
    pub(super) fn next_events(&self, most: usize) -> Vec<Event> {
        let mut state = self.lock();
        let count = most.min(state.inbox.len());
        let events: Vec<Event> = state.inbox.drain(..count).collect();
        state.told -= events.iter().filter(|event| matches!(event, Event::Told { .. })).count();
        events
    }
}

impl State {
    /// Acts on everything that the machine has to deliver, up to a Hello.
    fn deliver(&mut self, link: &Arc<Link>, afterwards: &mut Afterwards) -> Option<Bytes> {
        let Self { session, calls, jobs, inbox, told, hello, over, .. } = self;
        let mut answer = |id: u64, answer: Took| {
            let Some(call) = calls.get_mut(&id) else { return };
            match answer {
                Took::Chunk(bytes) => call.chunks.push_back(bytes),
                Took::End(end) => call.end = Some(end),
            }
            afterwards.wakers.extend(call.waker.take());
        };
        while let Some(delivery) = session.next_delivery() {
            match delivery {
                Delivery::Hello(body) => return Some(body),
                Delivery::Request { id, body } => {
                    let Some(hello) = hello.clone() else { continue };
                    let job = Arc::new(Job::default());
                    jobs.insert(id, job.clone());
                    let reply = Reply::new(link.clone(), id, job);
                    inbox.push_back(Event::Request(Request { hello, body, reply }));
                }
                Delivery::Cancelled { id } => {
                    if let Some(job) = jobs.remove(&id) {
                        job.ended.cancel();
                    }
                    // It has not even begun: a peer that asks and cancels without end must not fill the inbox.
                    let gone = |event: &Event| matches!(event, Event::Request(request) if request.reply.is_cancelled());
                    afterwards.unwanted.extend(inbox.iter().position(gone).and_then(|at| inbox.remove(at)));
                }
                Delivery::Room { id } => {
                    if let Some(job) = jobs.get(&id) {
                        job.room.notify_one();
                    }
                }
                Delivery::Chunk { id, bytes } => answer(id, Took::Chunk(bytes)),
                Delivery::Response { id, body } => answer(id, Took::End(Ok(body))),
                Delivery::Refused { id, refusal, message } => {
                    answer(id, Took::End(Err(Refused::new(refusal, message))));
                }
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s10_a_session_that_has_not_begun_is_given_three_more_streams() {
        let (link, _streams) = Link::new(NodeId(klp::SecretKey::from_seed(&[1; 32]).did()), [1; 16], [1; 8], true);
        assert_eq!([(); 5].map(|()| link.begins_again()), [true, true, true, false, false]);
    }
}
