//! The half of a session that answers: the peer's requests, their streams of chunks, and the answers kept in case they are asked again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::asked::AGAIN;
use super::asked::{cost, join};
use super::outbox::Outbox;
use super::{ChunkError, Delivery};
use crate::frame::{Frame, Kind};
use crate::hello::Memory;
use crate::limits;
use crate::refusal::Refusal;

/// How a request ended.
#[derive(Clone, Debug)]
enum End {
    Response(Bytes),
    Refused(Refusal, String),
}

/// One request of the peer.
#[derive(Debug, Default)]
struct Job {
    /// Cost of all chunks so far, and of those that the peer's reader has taken.
    sent: u64,
    taken: u64,
    /// The chunks in between, in case they must be sent again.
    untaken: VecDeque<Bytes>,
    /// The stream was changed and the peer has not asked again: nothing is sent until it says what it has.
    paused: bool,
    /// Since when a chunk waits for credit.
    blocked: Option<Duration>,
    end: Option<End>,
}

impl Job {
    fn weight(&self) -> usize {
        let end = match &self.end {
            Some(End::Response(body)) => body.len(),
            Some(End::Refused(_, message)) => message.len(),
            None => 0,
        };
        end + usize::try_from(self.sent - self.taken).unwrap_or(usize::MAX)
    }

    fn send_end(&self, id: u64, frames: &mut Outbox) {
        match &self.end {
            Some(End::Response(body)) => frames.extend(Frame::fragments(Kind::Response, id, false, body.clone())),
            Some(End::Refused(refusal, message)) => {
                frames.push(Frame::refusal(Kind::Error, id, Some(*refusal), message));
            }
            None => {}
        }
    }

    /// The peer's reader has taken this much in all.
    fn credit(&mut self, taken: u64) -> Result<(), Refusal> {
        if taken > self.sent {
            return Err(Refusal::Malformed);
        }
        while let Some(chunk) = self.untaken.front().filter(|chunk| self.taken + cost(chunk) <= taken) {
            self.taken += cost(chunk);
            self.untaken.pop_front();
        }
        Ok(())
    }

    /// Sends everything after the first `received` once more; on one stream that may be wanted once.
    fn resume(&mut self, id: u64, received: u64, frames: &mut Outbox) -> Result<(), Refusal> {
        if !self.paused {
            return Err(Refusal::Malformed);
        }
        let mut at = self.taken;
        let mut left = self.untaken.iter();
        while at < received {
            at += cost(left.next().ok_or(Refusal::Malformed)?);
        }
        if at != received {
            return Err(Refusal::Malformed);
        }
        self.paused = false;
        frames.extend(left.map(|chunk| Frame::new(Kind::Chunk, id, chunk.clone())));
        self.send_end(id, frames);
        Ok(())
    }
}

/// The peer's requests, running or finished and kept.
///
/// The peer has at most [`limits::IN_FLIGHT`] requests open and sees answers in the order in which they were finished. So the answers
/// that it may have missed are among the last so many, and those are kept.
#[derive(Debug, Default)]
pub(super) struct Answering {
    highest: u64,
    jobs: BTreeMap<u64, Job>,
    finished: VecDeque<u64>,
    kept: usize,
    strikes: u64,
    partial: Option<(u64, BytesMut)>,
}

impl Answering {
    /// A new stream: nothing is sent for a request until the peer has said how much of its answer it has.
    pub(super) fn change_stream(&mut self) {
        self.partial = None;
        self.jobs.values_mut().for_each(|job| job.paused = true);
    }

    /// The peer remembers nothing of what it asked: it begins anew, and so do we.
    pub(super) fn forget(&mut self, out: &mut VecDeque<Delivery>) {
        self.fail(out);
        self.highest = 0;
        self.strikes = 0;
    }

    pub(super) fn request(
        &mut self,
        frame: Frame,
        memory: Memory,
        frames: &mut Outbox,
        out: &mut VecDeque<Delivery>,
    ) -> Result<(), Refusal> {
        let (id, again) = (frame.id, frame.again);
        let prefix = if again { AGAIN } else { 0 };
        let Some(mut body) = join(&mut self.partial, frame, limits::MESSAGE + prefix)? else { return Ok(()) };
        let mut forgotten = false;
        if again {
            if body.len() < prefix {
                return Err(Refusal::Malformed);
            }
            let prefix = body.split_to(prefix);
            let (received, asked_of) = prefix.split_first_chunk::<8>().ok_or(Refusal::Malformed)?;
            let received = u64::from_be_bytes(*received);
            if let Some(job) = self.jobs.get_mut(&id) {
                return job.resume(id, received, frames);
            }
            // It was first sent to somebody who remembers all that has come since: then what has not come has not run.
            forgotten = *asked_of != memory || id <= self.highest;
        } else if id <= self.highest {
            return Err(Refusal::Malformed);
        }
        self.highest = self.highest.max(id);
        // Whoever keeps to the limit waits for an answer before it asks more, and cannot have one that is not written yet.
        if self.running() + frames.answers() >= limits::IN_FLIGHT {
            self.strikes += 1;
            if self.strikes > limits::STRIKES {
                return Err(Refusal::Busy);
            }
            let message = "64 requests of yours are open already";
            frames.push(Frame::refusal(Kind::Error, id, Some(Refusal::Busy), message));
            return Ok(());
        }
        if forgotten {
            let message = "this request was begun, and what became of it is forgotten";
            frames.push(Frame::refusal(Kind::Error, id, Some(Refusal::UnknownOutcome), message));
            return Ok(());
        }
        if body.is_empty() {
            // An empty request is a ping: it is answered here, with as little.
            self.jobs.insert(id, Job::default());
            self.end(id, End::Response(Bytes::new()), frames);
            return Ok(());
        }
        self.jobs.insert(id, Job::default());
        out.push_back(Delivery::Request { id, body });
        Ok(())
    }

    pub(super) fn credit(&mut self, id: u64, body: &Bytes, out: &mut VecDeque<Delivery>) -> Result<(), Refusal> {
        let taken = u64::from_be_bytes(body.as_ref().try_into().map_err(|_| Refusal::Malformed)?);
        // For a request that is finished and no longer kept there is nothing to do.
        let Some(job) = self.jobs.get_mut(&id) else { return Ok(()) };
        let before = job.weight();
        job.credit(taken)?;
        if job.end.is_some() {
            self.kept -= before - job.weight();
        } else if job.blocked.take().is_some() {
            out.push_back(Delivery::Room { id });
        }
        Ok(())
    }

    /// The peer does not want the answer any more. One that is finished is on its way already.
    pub(super) fn cancel(&mut self, id: u64, frames: &mut Outbox, out: &mut VecDeque<Delivery>) {
        if self.is_running(id) {
            self.end(id, End::Refused(Refusal::Cancelled, String::new()), frames);
            out.push_back(Delivery::Cancelled { id });
        }
    }

    pub(super) fn chunk(
        &mut self,
        id: u64,
        chunk: Bytes,
        window: u64,
        now: Duration,
        frames: &mut Outbox,
    ) -> Result<(), ChunkError> {
        if chunk.len() > limits::FRAME {
            return Err(ChunkError::TooLarge);
        }
        let job = self.jobs.get_mut(&id).filter(|job| job.end.is_none()).ok_or(ChunkError::Ended)?;
        if chunk.is_empty() {
            return Ok(());
        }
        let sent = job.sent + cost(&chunk);
        if sent - job.taken > window {
            job.blocked.get_or_insert(now);
            return Err(ChunkError::Full(chunk));
        }
        job.sent = sent;
        job.untaken.push_back(chunk.clone());
        if !job.paused {
            frames.push(Frame::new(Kind::Chunk, id, chunk));
        }
        Ok(())
    }

    pub(super) fn respond(&mut self, id: u64, body: Bytes, most: u64, frames: &mut Outbox) {
        if body.len() as u64 > most {
            let message = format!("the answer has {} bytes, but {most} are allowed", body.len());
            self.refuse(id, Refusal::TooLarge, message, frames);
        } else if self.is_running(id) {
            self.end(id, End::Response(body), frames);
        }
    }

    pub(super) fn refuse(&mut self, id: u64, refusal: Refusal, message: String, frames: &mut Outbox) {
        if self.is_running(id) {
            self.end(id, End::Refused(refusal, message), frames);
        }
    }

    /// Requests that have no end yet.
    fn running(&self) -> usize {
        self.jobs.len() - self.finished.len()
    }

    fn is_running(&self, id: u64) -> bool {
        self.jobs.get(&id).is_some_and(|job| job.end.is_none())
    }

    fn end(&mut self, id: u64, end: End, frames: &mut Outbox) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.end = Some(end);
        job.blocked = None;
        if !job.paused {
            job.send_end(id, frames);
        }
        self.kept += job.weight();
        self.finished.push_back(id);
        // The newest one stays even when it alone is over the limit: it may be on its way.
        while self.finished.len() > limits::IN_FLIGHT || (self.kept > limits::KEPT && self.finished.len() > 1) {
            let Some(oldest) = self.finished.pop_front() else { return };
            self.kept -= self.jobs.remove(&oldest).map_or(0, |job| job.weight());
        }
    }

    /// Refuses what has waited too long for credit.
    pub(super) fn tick(&mut self, now: Duration, frames: &mut Outbox, out: &mut VecDeque<Delivery>) {
        let is_stalled = |job: &Job| job.blocked.is_some_and(|since| now.saturating_sub(since) > limits::STALL);
        let stalled: Vec<u64> = self.jobs.iter().filter(|(_, job)| is_stalled(job)).map(|(id, _)| *id).collect();
        for id in stalled {
            let message = "no chunk was taken for 30 seconds".to_owned();
            self.end(id, End::Refused(Refusal::Stalled, message), frames);
            out.push_back(Delivery::Cancelled { id });
        }
    }

    /// The session is over.
    pub(super) fn fail(&mut self, out: &mut VecDeque<Delivery>) {
        self.partial = None;
        let jobs = std::mem::take(&mut self.jobs);
        out.extend(jobs.into_iter().filter(|(_, job)| job.end.is_none()).map(|(id, _)| Delivery::Cancelled { id }));
        self.finished.clear();
        self.kept = 0;
    }

    /// Whether a message has begun to arrive and has not ended.
    pub(super) fn is_receiving(&self) -> bool {
        self.partial.is_some()
    }

    /// Whether nothing is running.
    pub(super) fn is_idle(&self) -> bool {
        self.running() == 0
    }
}
