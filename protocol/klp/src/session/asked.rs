//! The half of a session that asks: our requests, from the queue to their final answers.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use super::Delivery;
use super::outbox::Outbox;
use crate::frame::{Frame, HEADER, Kind};
use crate::hello::{Limits, Memory, NO_MEMORY};
use crate::limits;
use crate::refusal::Refusal;

/// What leads a request that is sent again: how much of its answer has arrived, and whom it was first sent to.
pub(super) const AGAIN: usize = 16;

/// What one chunk takes of the credit: its bytes and its header, so that tiny chunks cannot fill memory for free.
pub(super) fn cost(chunk: &Bytes) -> u64 {
    (chunk.len() + HEADER) as u64
}

/// One request that was sent and has no final answer yet.
#[derive(Debug)]
struct Call {
    body: Bytes,
    /// Cost of the chunks that have arrived, that were taken by the reader, and that the peer was told are taken.
    received: u64,
    taken: u64,
    told: u64,
    cancelled: bool,
    /// The stream on which it was first sent, and the memory that the peer had there, as soon as that is known.
    stream: u64,
    memory: Option<Memory>,
}

/// Our requests. Ids rise by one and are never used twice in a session.
#[derive(Debug, Default)]
pub(super) struct Asked {
    last: u64,
    waiting: VecDeque<(u64, Bytes)>,
    open: BTreeMap<u64, Call>,
    partial: Option<(u64, BytesMut)>,
    stream: u64,
    /// The peer's memory on this stream.
    memory: Option<Memory>,
}

impl Asked {
    pub(super) fn request(&mut self, body: Bytes) -> Result<u64, Refusal> {
        if body.len() > limits::MESSAGE {
            return Err(Refusal::TooLarge);
        }
        if self.waiting.len() >= limits::CALLER_QUEUE {
            return Err(Refusal::Busy);
        }
        self.last += 1;
        self.waiting.push_back((self.last, body));
        Ok(self.last)
    }

    /// Sends what the limits let through.
    pub(super) fn send_waiting(&mut self, limits: &Limits, frames: &mut Outbox, out: &mut VecDeque<Delivery>) {
        while (self.open.len() as u64) < limits.in_flight {
            let Some((id, body)) = self.waiting.pop_front() else { return };
            if body.len() as u64 > limits.message {
                let message = "the other side takes no message of this size".to_owned();
                out.push_back(Delivery::Refused { id, refusal: Refusal::TooLarge, message });
                continue;
            }
            frames.extend(Frame::fragments(Kind::Request, id, false, body.clone()));
            let (stream, memory) = (self.stream, self.memory);
            self.open.insert(id, Call { body, received: 0, taken: 0, told: 0, cancelled: false, stream, memory });
        }
    }

    /// A new stream, on which the peer has not said what it remembers.
    pub(super) fn change_stream(&mut self) {
        self.stream += 1;
        self.memory = None;
    }

    /// The peer on this stream has this memory, and what was first sent here was sent to it.
    pub(super) fn agree(&mut self, memory: Memory) {
        self.memory = Some(memory);
        let stream = self.stream;
        for call in self.open.values_mut().filter(|call| call.stream == stream) {
            call.memory.get_or_insert(memory);
        }
    }

    /// Sends every open request once more, each led by how much of its answer has arrived and whom it was first sent to.
    pub(super) fn send_again(&mut self, frames: &mut Outbox) {
        self.partial = None;
        for (id, call) in &mut self.open {
            let memory = call.memory.unwrap_or(NO_MEMORY);
            let body = [&call.received.to_be_bytes()[..], &memory, &call.body].concat();
            frames.extend(Frame::fragments(Kind::Request, *id, true, body.into()));
            if call.taken > 0 {
                call.told = call.taken;
                frames.push(Frame::credit(*id, call.taken));
            }
            if call.cancelled {
                frames.push(Frame::new(Kind::Cancel, *id, Bytes::new()));
            }
        }
    }

    pub(super) fn cancel(&mut self, id: u64, frames: &mut Outbox) {
        self.waiting.retain(|(waiting, _)| *waiting != id);
        if let Some(call) = self.open.get_mut(&id).filter(|call| !call.cancelled) {
            call.cancelled = true;
            frames.push(Frame::new(Kind::Cancel, id, Bytes::new()));
        }
    }

    /// The reader took this chunk; a quarter of the window at a time, the peer is told.
    pub(super) fn taken(&mut self, id: u64, chunk: &Bytes, frames: &mut Outbox) {
        let Some(call) = self.open.get_mut(&id) else { return };
        call.taken += cost(chunk);
        if call.taken - call.told >= limits::UNREAD as u64 / 4 {
            call.told = call.taken;
            frames.push(Frame::credit(id, call.taken));
        }
    }

    pub(super) fn chunk(&mut self, id: u64, bytes: Bytes, out: &mut VecDeque<Delivery>) -> Result<(), Refusal> {
        let call = self.open.get_mut(&id).ok_or(Refusal::Malformed)?;
        call.received += cost(&bytes);
        if call.cancelled {
            // Nobody reads it any more; the credit that it used is not given back.
            return Ok(());
        }
        if call.received - call.taken > limits::UNREAD as u64 {
            return Err(Refusal::TooLarge);
        }
        out.push_back(Delivery::Chunk { id, bytes });
        Ok(())
    }

    pub(super) fn response(&mut self, frame: Frame, out: &mut VecDeque<Delivery>) -> Result<(), Refusal> {
        let id = frame.id;
        if !self.open.contains_key(&id) {
            return Err(Refusal::Malformed);
        }
        if let Some(body) = join(&mut self.partial, frame, limits::MESSAGE)? {
            self.end(id, Delivery::Response { id, body }, out);
        }
        Ok(())
    }

    pub(super) fn refused(&mut self, frame: &Frame, out: &mut VecDeque<Delivery>) -> Result<(), Refusal> {
        let id = frame.id;
        let (refusal, message) = frame.reason()?;
        let refusal = refusal.ok_or(Refusal::Malformed)?;
        if !self.open.contains_key(&id) {
            return Err(Refusal::Malformed);
        }
        if self.partial.as_ref().is_some_and(|(partial, _)| *partial == id) {
            return Err(Refusal::Malformed);
        }
        self.end(id, Delivery::Refused { id, refusal, message }, out);
        Ok(())
    }

    fn end(&mut self, id: u64, end: Delivery, out: &mut VecDeque<Delivery>) {
        if self.open.remove(&id).is_some_and(|call| !call.cancelled) {
            out.push_back(end);
        }
    }

    /// The session is over. A request that was sent may have run; one that was not certainly has not.
    pub(super) fn fail(&mut self, sent: Refusal, unsent: Refusal, message: &str, out: &mut VecDeque<Delivery>) {
        self.partial = None;
        let open = std::mem::take(&mut self.open).into_iter().filter(|(_, call)| !call.cancelled);
        let open = open.map(|(id, _)| (id, sent));
        let waiting = std::mem::take(&mut self.waiting).into_iter().map(|(id, _)| (id, unsent));
        for (id, refusal) in open.chain(waiting) {
            out.push_back(Delivery::Refused { id, refusal, message: message.to_owned() });
        }
    }

    /// Whether a message has begun to arrive and has not ended.
    pub(super) fn is_receiving(&self) -> bool {
        self.partial.is_some()
    }

    /// Whether nothing is waiting, sent or being cancelled.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty() && self.waiting.is_empty()
    }
}

/// Joins fragments: one message of a kind at a time, and no other of that kind in between.
pub(super) fn join(partial: &mut Option<(u64, BytesMut)>, frame: Frame, most: usize) -> Result<Option<Bytes>, Refusal> {
    let (id, mut body) = match partial.take() {
        Some((id, _)) if id != frame.id => return Err(Refusal::Malformed),
        Some(begun) => begun,
        None if !frame.more && frame.body.len() <= most => return Ok(Some(frame.body)),
        None => (frame.id, BytesMut::new()),
    };
    // A fragment without bytes could be sent for ever.
    if frame.more && frame.body.is_empty() {
        return Err(Refusal::Malformed);
    }
    if body.len() + frame.body.len() > most {
        return Err(Refusal::TooLarge);
    }
    body.extend_from_slice(&frame.body);
    if frame.more {
        *partial = Some((id, body));
        return Ok(None);
    }
    Ok(Some(body.freeze()))
}
