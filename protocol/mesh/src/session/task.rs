//! The loop of one session: frames from the machine to the stream and back, whichever stream that is at the moment.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;
use std::{future, io};

use bytes::Bytes;
use klp::hello::{Extras, Fresh, Greeting, Hello, ReplayWindow, negotiate};
use klp::message::Outcomes;
use klp::session::Session;
use klp::{NodeId, Refusal, SecretKey, Timestamp};
use libp2p::swarm::ConnectionId;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::link::{Heard, Link, Standing};
use super::table::Table;
use super::wire::{Outlet, Step, Wire};
use crate::blob::Shelf;
use crate::config::{Introduce, Wall};
use crate::doorway::Doorway;
use crate::event::{Event, PeerHello};
use crate::metrics::Metrics;
use crate::path::Path;
use crate::peer::peer_of;

/// How long what is still open may take when the mesh stops.
const DRAIN: Duration = Duration::from_secs(2);
/// How long the last frames of a session may take.
const FINISH: Duration = Duration::from_secs(3);
/// How long the side that did not dial a session waits before it opens a new stream for it itself; and how long when it has something to ask or to
/// answer. A peer that has restarted knows of no session that it should go on with.
const PATIENCE: Duration = Duration::from_secs(5);
const PATIENCE_AT_WORK: Duration = Duration::from_secs(1);
/// The machine wants to know the time at least once a second.
const TICK: Duration = Duration::from_millis(500);

/// What every session of a mesh needs.
pub(crate) struct Shared {
    pub(crate) me: NodeId,
    pub(crate) key: SecretKey,
    pub(crate) introduce: Introduce,
    pub(crate) wall: Wall,
    pub(crate) window: Mutex<ReplayWindow>,
    pub(crate) table: Arc<Table>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) notes: mpsc::Sender<Note>,
    pub(crate) stop: CancellationToken,
    pub(crate) metrics: Metrics,
    pub(crate) doorway: Arc<Doorway>,
}

impl Shared {
    /// Counts why a stream is refused or a session ended, and holds it against the peer when it should not have come to that.
    pub(super) fn turned_away(&self, peer: NodeId, refusal: Refusal) {
        self.metrics.refused(refusal);
        if Refusal::GRAVE.contains(&refusal) {
            self.strike(peer, "stream");
        }
    }

    fn strike(&self, peer: NodeId, what: &'static str) {
        let (peer_id, now) = (peer_of(peer), std::time::Instant::now());
        self.doorway.strike(peer_id, "session", what, now);
        if self.doorway.is_away(&peer_id, now) {
            // One that finds no room is told with its next offence.
            let _told = self.notes.try_send(Note::SentAway { peer });
        }
    }

    /// Checks a Hello that has come from `peer`.
    pub(super) fn check(&self, hello: &[u8], peer: NodeId, ours: Option<&[u8]>) -> Result<Greeting, Refusal> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        Greeting::check(hello, peer, self.me, ours, (self.wall)(), &mut window)
    }
}

/// What a session tells the driver.
pub(crate) enum Note {
    /// It needs a stream; with `dial`, a new connection is worth it.
    Open { link: Arc<Link>, dial: bool },
    /// The peer has said Hello.
    Opened { hello: Arc<PeerHello> },
    /// It is over.
    Over { peer: NodeId },
    /// The peer has broken the protocol too often.
    SentAway { peer: NodeId },
}

/// A stream for a session.
pub(crate) struct Attached {
    pub(crate) wire: Wire,
    pub(crate) connection: ConnectionId,
    pub(crate) path: Path,
    pub(crate) from: From,
}

/// Who opened it.
pub(crate) enum From {
    /// We did.
    Us,
    /// The peer did, and this is its Hello.
    Peer(Box<Greeting>, OwnedSemaphorePermit),
}

struct Task {
    link: Arc<Link>,
    shared: Arc<Shared>,
    path: Option<Path>,
    /// Our Hello on this stream, and what we offered and wanted in it.
    ours: Vec<u8>,
    extras: Extras,
    greeted: bool,
    reopen: Option<Reopen>,
    attempts: u32,
    /// Whether the last one could dial.
    dialled: bool,
}

/// When a new stream is asked for: of a session at work, and of one that is idle.
struct Reopen {
    at_work: Instant,
    idle: Instant,
}

impl Reopen {
    fn after(at_work: Duration, idle: Duration) -> Option<Self> {
        let now = Instant::now();
        Some(Self { at_work: now + at_work, idle: now + idle })
    }
}

/// Moves the frames of one session until it is over.
pub(crate) async fn run(link: Arc<Link>, mut streams: mpsc::Receiver<Box<Attached>>, shared: Arc<Shared>) {
    let (ours, extras) = (Vec::new(), Extras::default());
    let mut task =
        Task { link, shared, path: None, ours, extras, greeted: false, reopen: None, attempts: 0, dialled: false };
    let stop = task.shared.stop.clone();
    let mut stopping: Option<Instant> = None;
    let mut tick = tokio::time::interval(TICK);
    let (link, events) = (task.link.clone(), task.shared.events.clone());
    let stopped = stop.cancelled();
    tokio::pin!(stopped);
    loop {
        let Standing { is_over, mut waiting, .. } = task.pump();
        if is_over {
            break;
        }
        if stopping.is_some_and(|since| link.is_idle() || since.elapsed() > DRAIN) {
            link.close(None, "this node is stopping");
            continue;
        }
        // Most events find room at once.
        if waiting > 0
            && let Ok(permits) = events.try_reserve_many(waiting.min(events.capacity()))
        {
            let ready = link.next_events(permits.len());
            waiting -= ready.len();
            permits.zip(ready).for_each(|(permit, event)| permit.send(event));
        }
        tokio::select! {
            biased;
            Some(attached) = streams.recv() => task.attach(attached).await,
            () = &mut stopped, if stopping.is_none() => {
                link.lock().draining = true;
                stopping = Some(Instant::now());
            }
            _ = tick.tick() => task.tick(),
            permit = events.reserve(), if waiting > 0 => match (permit, link.next_events(1).pop()) {
                (Ok(permit), Some(event)) => permit.send(event),
                // Nobody listens any more; what is dropped here refuses itself.
                (_, event) => drop(event),
            },
            step = step(&link) => task.moved(step),
            () = link.wake.notified() => {
                task.failed();
                task.severed();
                task.reopen();
                if link.is_crowded() {
                    // Whoever else is about to speak does so first, and all of it is one write.
                    tokio::task::yield_now().await;
                }
            }
        }
    }
    task.end().await;
}

/// Moves what can be moved on the stream. Without one nothing does, until the loop has another.
async fn step(link: &Link) -> io::Result<Step> {
    future::poll_fn(|context| match link.outlet().as_mut() {
        Some(outlet) => outlet.poll_step(context),
        None => Poll::Pending,
    })
    .await
}

impl Task {
    /// Delivers what the machine has to say and hands its frames to the stream, as many as fit into one write.
    fn pump(&mut self) -> Standing {
        while let Some(hello) = self.link.deliver() {
            self.answered(&hello);
        }
        let standing = self.link.pump();
        (0..standing.offences).for_each(|_| self.shared.strike(self.link.peer, "request"));
        standing
    }

    fn moved(&mut self, step: io::Result<Step>) {
        match step {
            Ok(Step::Wrote) => {}
            Ok(Step::Read(count)) => {
                self.shared.metrics.bytes_in.inc_by(count as u64);
                self.read();
            }
            Err(error) => self.lost(&error),
        }
    }

    fn read(&mut self) {
        loop {
            match self.link.hear() {
                Heard::All => return,
                Heard::Hello(hello) => self.answered(&hello),
                Heard::Broken(refusal) => return self.link.close(Some(refusal), "a frame breaks the protocol"),
            }
        }
    }

    /// Goes on with another stream.
    async fn attach(&mut self, attached: Box<Attached>) {
        let Attached { wire, path, from, connection } = *attached;
        let peer = self.link.peer;
        let greeting = self.link.lock().session.is_greeting();
        let keep_ours = greeting && peer_of(self.shared.me) < peer_of(peer);
        if matches!(from, From::Peer(..)) && keep_ours {
            // Both sides have opened a stream for this session at once; ours stays.
            let why = "the other stream of this session stays";
            return super::greet::bye(&self.shared, peer, wire, Refusal::State, why).await;
        }
        let mut nonce = [0; 16];
        if getrandom::fill(&mut nonce).is_err() {
            return self.link.close(Some(Refusal::Internal), "no entropy");
        }
        tracing::debug!(%peer, %path, %connection, session = ?self.link.id, "session stream");
        let memory = self.link.lock().session.memory();
        let fresh = Fresh { nonce, now: self.wall(), session: self.link.id, memory };
        self.extras = (self.shared.introduce)(&peer);
        let relayed = path.is_relayed();
        self.path = Some(path);
        self.reopen = None;
        match from {
            From::Us => {
                self.ours = Hello::make(&self.shared.key, peer, fresh, self.extras.clone(), None);
                let ours = Bytes::copy_from_slice(&self.ours);
                self.change(wire, relayed, connection, |session, now| session.dial(ours, now));
            }
            From::Peer(theirs, _permit) => {
                self.ours = Hello::make(&self.shared.key, peer, fresh, self.extras.clone(), Some(&theirs));
                let granted = negotiate(&self.extras.wants, &theirs.offers);
                let granting = negotiate(&theirs.wants, &self.extras.offers);
                let ours = Bytes::copy_from_slice(&self.ours);
                self.change(wire, relayed, connection, |session, now| session.accept(ours, &theirs.terms(), now));
                self.opened(&theirs, granted, granting);
                // The dialler's first request rode with its Hello and has been read with it.
                self.read();
            }
        }
    }

    /// Stream and machine change together: whoever writes at once meets the old stream with the old frames, or the new one with Hello first.
    fn change(&self, wire: Wire, relayed: bool, connection: ConnectionId, to: impl FnOnce(&mut Session, Duration)) {
        let now = self.link.now();
        let mut outlet = self.link.outlet();
        let mut state = self.link.lock();
        *outlet = Some(Outlet::new(wire, relayed, self.link.peer, self.shared.clone()));
        state.relayed = relayed;
        (state.connection, state.severed, state.heard) = (Some(connection), false, now);
        to(&mut state.session, now);
    }

    /// The listener's Hello has come.
    fn answered(&mut self, hello: &[u8]) {
        match self.shared.check(hello, self.link.peer, Some(&self.ours)) {
            Ok(theirs) if theirs.session == self.link.id => {
                self.link.lock().session.greeted(&theirs.terms());
                let granting = negotiate(&theirs.wants, &self.extras.offers);
                let granted = theirs.outcomes.clone();
                self.opened(&theirs, granted, granting);
            }
            Ok(_) => self.link.close(Some(Refusal::Malformed), "this Hello names another session"),
            Err(refusal) => self.link.close(Some(refusal), "your Hello is refused"),
        }
    }

    fn opened(&mut self, theirs: &Greeting, granted: Vec<Outcomes>, granting: Vec<Outcomes>) {
        let hello = Arc::new(PeerHello::new(theirs, granted, granting));
        let first = !std::mem::replace(&mut self.greeted, true);
        if first {
            self.shared.metrics.sessions.inc();
        } else {
            self.shared.metrics.moves.inc();
        }
        self.attempts = 0;
        let mut state = self.link.lock();
        state.hello = Some(hello.clone());
        if let Some(path) = self.path.clone() {
            state.inbox.retain(|event| !matches!(event, Event::Opened { .. }));
            state.inbox.push_back(Event::Opened { hello: hello.clone(), path });
        }
        drop(state);
        self.note(Note::Opened { hello });
    }

    /// The stream is gone.
    fn lost(&mut self, error: &io::Error) {
        tracing::debug!(peer = %self.link.peer, %error, "session stream lost");
        *self.link.outlet() = None;
        let refused_protocol = self.link.lock().session.is_greeting() && error.kind() == io::ErrorKind::Other;
        if refused_protocol {
            return self.link.close(Some(Refusal::Unreachable), "the other side does not speak /kos/klp/1");
        }
        let now = self.link.now();
        self.link.lock().session.detach(now);
        if !self.greeted && !self.link.begins_again() {
            return self.link.close(Some(Refusal::Unreachable), "its connections break before anybody says Hello");
        }
        // Of a connection that dies in silence only one side knows, and it does not wait for the other.
        let severed = std::mem::take(&mut self.link.lock().severed);
        if self.link.ours || severed || error.kind() == io::ErrorKind::TimedOut {
            let wait = self.backoff();
            self.reopen = Reopen::after(wait, wait);
        } else {
            self.reopen = Reopen::after(PATIENCE_AT_WORK, PATIENCE);
        }
        self.reopen();
    }

    /// The connection below is dead and does not say so.
    fn severed(&mut self) {
        if self.link.lock().severed && self.has_stream() {
            self.lost(&io::ErrorKind::TimedOut.into());
        }
    }

    /// At once, then after a second, then twice as long each time: the machine itself gives up after 30 seconds.
    fn backoff(&mut self) -> Duration {
        self.attempts += 1;
        match self.attempts {
            1 => Duration::ZERO,
            more => Duration::from_secs(1 << more.min(5).saturating_sub(2)),
        }
    }

    /// A stream was asked for and may not have been had.
    fn failed(&mut self) {
        if !std::mem::take(&mut self.link.lock().failed) || self.has_stream() {
            return;
        }
        if self.greeted {
            let wait = self.backoff();
            // Without work nobody has dialled, so that it may be there all the same.
            let at_work = if self.dialled { wait } else { Duration::ZERO };
            self.reopen = Reopen::after(at_work, wait);
        } else {
            self.link.close(Some(Refusal::Unreachable), "no connection to it could be made");
        }
    }

    /// Asks for a new stream when it is time. Without one, a session that the peer has begun waits for it, or for work.
    fn reopen(&mut self) {
        let Some(reopen) = &self.reopen else { return };
        let idle = self.link.is_idle();
        let at = if idle { reopen.idle } else { reopen.at_work };
        if (self.link.ours || !idle) && at <= Instant::now() && !self.has_stream() {
            self.reopen = None;
            self.dialled = !idle;
            self.note(Note::Open { link: self.link.clone(), dial: !idle });
        }
    }

    fn tick(&mut self) {
        let now = self.link.now();
        self.link.lock().session.tick(now);
        if self.link.outlet().take_if(|outlet| outlet.wire.is_stalled()).is_some() {
            // Nobody reads the bye that would say so and be counted.
            self.shared.turned_away(self.link.peer, Refusal::Stalled);
            self.link.close(Some(Refusal::Stalled), "nothing could be written for 30 seconds");
        } else if self.link.outlet().as_ref().is_some_and(|outlet| outlet.wire.is_overdue()) {
            self.link.close(Some(Refusal::Stalled), "a frame was begun and did not end in 30 seconds");
        }
        if let Some(outlet) = self.link.outlet().as_mut() {
            outlet.wire.rest();
        }
        self.reopen();
        let idle = self.link.is_idle();
        let stays = || self.shared.table.preferred(self.link.peer).is_none_or(|link| Arc::ptr_eq(&link, &self.link));
        if self.link.ours && idle && self.greeted && self.has_stream() && !stays() {
            self.link.close(None, "another session of this pair stays");
        }
    }

    async fn end(mut self) {
        let refusal = self.link.lock().over.flatten();
        let flushed = async {
            loop {
                self.pump();
                let flushed = self.link.outlet().as_ref().is_none_or(|outlet| outlet.wire.is_flushed());
                if flushed && !(self.has_stream() && self.link.lock().session.has_frames()) {
                    return;
                }
                if step(&self.link).await.is_err() {
                    return;
                }
            }
        };
        let _in_time = tokio::time::timeout(FINISH, flushed).await;
        self.link.deliver();
        self.shared.table.remove(&self.link);
        let outlet = self.link.outlet().take();
        if let Some(outlet) = outlet {
            outlet.give_up(&mut self.link.lock().session);
            outlet.wire.finish(FINISH).await;
        }
        if self.greeted {
            self.shared.metrics.sessions.dec();
            let (peer, session) = (self.link.peer, self.link.id);
            let _listening = self.shared.events.send(Event::Closed { peer, session, refusal }).await;
        }
        let peer = self.link.peer;
        self.note(Note::Over { peer });
    }

    fn has_stream(&self) -> bool {
        self.link.outlet().is_some()
    }

    fn wall(&self) -> Timestamp {
        (self.shared.wall)()
    }

    /// Tells the driver. It reads notes before anything else; one that finds no room is told again by the next tick or stream.
    fn note(&self, note: Note) {
        let _told = self.shared.notes.try_send(note);
    }
}
