//! What must be true of a session, whatever happens: a request runs at most once and ends exactly once, chunks come in order and without a gap,
//! and nobody makes the other side keep more than its limits say.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use klp::session::Delivery;
use klp::{Refusal, limits};

use super::world::{Side, World};

/// Asking side, its life, and the request.
type Name = (usize, u8, u64);

/// One request, as both owners know it.
struct Call {
    body: Bytes,
    ran: bool,
    /// Sent and not yet seen by the asker.
    chunks: VecDeque<Bytes>,
    answer: Option<Bytes>,
    /// The asker hears no more of it.
    over: bool,
}

#[derive(Default)]
pub(super) struct Laws {
    calls: BTreeMap<Name, Call>,
}

/// Fragments of a message.
pub(super) fn frames_of(body: &Bytes) -> usize {
    body.len() / limits::FRAME + 1
}

impl Laws {
    pub(super) fn asked(&mut self, side: usize, life: u8, id: u64, body: Bytes) {
        let new = self
            .calls
            .insert((side, life, id), Call { body, ran: false, chunks: VecDeque::new(), answer: None, over: false });
        assert!(new.is_none_or(|old| old.over), "an id is given once");
    }

    pub(super) fn sent(&mut self, asker: usize, life: u8, id: u64, chunk: Bytes) {
        // A stranger's request is in nobody's book.
        if let Some(call) = self.calls.get_mut(&(asker, life, id)) {
            call.chunks.push_back(chunk);
        }
    }

    pub(super) fn answered(&mut self, asker: usize, life: u8, id: u64, body: Bytes) {
        if let Some(call) = self.calls.get_mut(&(asker, life, id)) {
            call.answer = Some(body);
        }
    }

    pub(super) fn cancelled(&mut self, side: usize, life: u8, id: u64) {
        self.calls.get_mut(&(side, life, id)).expect("asked").over = true;
    }

    /// A side has restarted: its own requests are gone with it.
    pub(super) fn forgotten(&mut self, side: usize, life: u8) {
        let own = self.calls.iter_mut().filter(|((of, in_life, _), _)| (*of, *in_life) == (side, life));
        own.for_each(|(_, call)| call.over = true);
    }

    /// A side's requests that have no end yet.
    pub(super) fn open(&self, side: usize, life: u8) -> impl Iterator<Item = u64> + '_ {
        let open =
            self.calls.iter().filter(move |((of, in_life, _), call)| (*of, *in_life) == (side, life) && !call.over);
        open.map(|((.., id), _)| *id)
    }

    /// Between honest sides, and after both have finished, nothing is left without an end.
    pub(super) fn all_ended(&self, sides: &[Side; 2]) {
        for (name, call) in &self.calls {
            assert!(call.over, "request {name:?} has no end");
        }
        for side in sides {
            assert!(side.session.is_closed() || side.session.is_idle());
        }
    }

    /// What waits in a machine is what its owner made, and an answer to each of the few requests that a peer may have open.
    pub(super) fn bounded(&self, sides: &mut [Side; 2]) {
        for side in sides {
            let waiting = std::iter::from_fn(|| side.session.next_frame()).count();
            let most = side.made + 2 * limits::IN_FLIGHT + 2 * usize::try_from(limits::STRIKES).unwrap_or_default() + 8;
            assert!(waiting <= most, "{waiting} frames wait, {most} at most");
        }
    }

    /// A request has come. Between honest sides it is what was asked, and has not run before.
    fn runs(&mut self, name: Name, body: &Bytes, honest: bool) {
        if honest {
            let call = self.calls.get_mut(&name).expect("only what was asked comes");
            assert!(!std::mem::replace(&mut call.ran, true), "{name:?} runs twice");
            assert_eq!(call.body, body, "what comes is what was asked");
        }
    }

    fn comes(&mut self, name: Name, chunk: &Bytes, honest: bool) {
        let call = self.calls.get_mut(&name).expect("asked");
        assert!(!call.over, "a chunk of {name:?} after its end");
        if honest {
            assert_eq!(call.chunks.pop_front().as_ref(), Some(chunk), "chunks come in order, without a gap");
        }
    }

    fn ends(&mut self, name: Name, end: Result<Bytes, Refusal>, honest: bool) {
        let call = self.calls.get_mut(&name).expect("asked");
        assert!(!std::mem::replace(&mut call.over, true), "{name:?} ends twice");
        if !honest {
            return;
        }
        match end {
            // A ping is answered by the session itself.
            Ok(body) if call.body.is_empty() => assert!(body.is_empty()),
            Ok(body) => {
                assert_eq!(call.answer.as_ref(), Some(&body), "the answer is the one that was given");
                assert!(call.chunks.is_empty(), "it comes after the last chunk");
            }
            Err(refusal) => assert!(is_honest(refusal), "{name:?} ends with {refusal}"),
        }
    }
}

/// What one honest side may have to say to another.
fn is_honest(refusal: Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Denied
            | Refusal::Timeout
            | Refusal::Unreachable
            | Refusal::UnknownOutcome
            | Refusal::Stalled
            | Refusal::State
            | Refusal::TooLarge
    )
}

impl World {
    /// Acts on everything that both machines have to deliver, and holds it to the laws.
    pub(super) fn settle(&mut self) {
        for side in [0, 1] {
            while let Some(delivery) = self.sides[side].session.next_delivery() {
                self.deliver(side, delivery);
            }
            let side = &self.sides[side];
            assert!(side.running.len() <= limits::IN_FLIGHT, "no more run than may");
            assert!(!side.session.is_closed() || side.running.is_empty(), "a session that is over runs nothing");
        }
    }

    fn deliver(&mut self, at: usize, delivery: Delivery) {
        let honest = self.sides.iter().all(|side| !side.fooled);
        let (mine, theirs) = (self.sides[at].life, self.sides[1 - at].life);
        assert!(!self.sides[at].closed, "{delivery:?} after the end");
        match delivery {
            Delivery::Hello(_) => self.greeted(at),
            Delivery::Request { id, body } => {
                self.laws.runs((1 - at, theirs, id), &body, honest);
                let running = self.sides[at].running.insert(id, theirs);
                assert!(running.is_none(), "request {id} runs already");
            }
            Delivery::Cancelled { id } => {
                assert!(self.sides[at].running.remove(&id).is_some(), "request {id} does not run")
            }
            Delivery::Room { id } => assert!(self.sides[at].running.contains_key(&id), "request {id} does not run"),
            Delivery::Chunk { id, bytes } => {
                assert!((1..=limits::FRAME).contains(&bytes.len()));
                self.laws.comes((at, mine, id), &bytes, honest);
                self.sides[at].untaken.push_back((id, bytes));
                let unread: usize =
                    self.sides[at].untaken.iter().filter(|(of, _)| *of == id).map(|(_, c)| c.len()).sum();
                assert!(unread <= limits::UNREAD, "unread chunks are bounded");
            }
            Delivery::Response { id, body } => self.laws.ends((at, mine, id), Ok(body), honest),
            Delivery::Refused { id, refusal, .. } => self.laws.ends((at, mine, id), Err(refusal), honest),
            Delivery::Event(body) => assert!(body.len() <= limits::FRAME),
            Delivery::Closed { refusal, .. } => {
                let fault = refusal.filter(|refusal| !is_honest(*refusal) || *refusal == Refusal::TooLarge);
                assert!(!honest || fault.is_none(), "two honest sides end with {fault:?}");
                self.sides[at].closed = true;
            }
        }
    }
}
