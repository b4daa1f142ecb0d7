//! Two machines and nothing between them but bytes in memory.

use super::*;
use crate::frame::HEADER;
use bytes::BytesMut;

mod greedy;
mod moves;
mod packing;

const START: Duration = Duration::from_secs(100);

const A: Memory = [1; 8];
const B: Memory = [2; 8];

fn terms(memory: Memory) -> Terms {
    Terms { limits: Limits::OURS, memory, packs: false }
}

/// A dialler, a listener, and what is on its way between them.
struct Pair {
    a: Session,
    b: Session,
    now: Duration,
    seen_a: Vec<Delivery>,
    seen_b: Vec<Delivery>,
    /// Frames seen on the wire, as (from a?, frame).
    wire: Vec<(bool, Frame)>,
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

impl Pair {
    fn new() -> Self {
        let mut pair = Self {
            a: Session::new([1; 16], A, START),
            b: Session::new([1; 16], B, START),
            now: START,
            seen_a: Vec::new(),
            seen_b: Vec::new(),
            wire: Vec::new(),
        };
        pair.connect();
        pair
    }

    /// A new stream from a to b. What was on its way is lost.
    fn connect(&mut self) {
        self.a.dial(bytes("hello"), self.now);
        let hello = self.a.next_frame().expect("hello first");
        assert_eq!(hello.kind, Kind::Hello);
        self.b.accept(bytes("hello too"), &terms(self.a.memory()), self.now);
    }

    /// Loses the stream and everything on it.
    fn cut(&mut self) {
        self.a.detach(self.now);
        self.b.detach(self.now);
    }

    fn step(from: &mut Session, to: &mut Session, now: Duration) -> Option<Frame> {
        let frame = from.next_frame()?;
        let mut wire = BytesMut::new();
        frame.write(&mut wire);
        let read = Frame::read(&mut wire).expect("valid").expect("whole");
        to.receive(read, now);
        Some(frame)
    }

    /// Everything that is on its way arrives, and what that causes too.
    fn run(&mut self) {
        loop {
            let to_b = Self::step(&mut self.a, &mut self.b, self.now);
            let to_a = Self::step(&mut self.b, &mut self.a, self.now);
            while let Some(delivery) = self.a.next_delivery() {
                if matches!(delivery, Delivery::Hello(_)) {
                    self.a.greeted(&terms(self.b.memory()));
                } else {
                    self.seen_a.push(delivery);
                }
            }
            while let Some(delivery) = self.b.next_delivery() {
                self.seen_b.push(delivery);
            }
            if to_b.is_none() && to_a.is_none() {
                return;
            }
            self.wire.extend(to_b.map(|frame| (true, frame)));
            self.wire.extend(to_a.map(|frame| (false, frame)));
        }
    }

    fn ask(&mut self, body: &str) -> u64 {
        self.a.request(bytes(body)).expect("room")
    }

    fn asked(&self) -> Vec<u64> {
        self.seen_b.iter().filter_map(|d| if let Delivery::Request { id, .. } = d { Some(*id) } else { None }).collect()
    }

    fn chunks(&self) -> Vec<Bytes> {
        let chunk = |d: &Delivery| if let Delivery::Chunk { bytes, .. } = d { Some(bytes.clone()) } else { None };
        self.seen_a.iter().filter_map(chunk).collect()
    }

    fn refusals(&self) -> Vec<Refusal> {
        let refusal = |d: &Delivery| if let Delivery::Refused { refusal, .. } = d { Some(*refusal) } else { None };
        self.seen_a.iter().filter_map(refusal).collect()
    }
}

#[test]
fn the_first_request_rides_with_hello() {
    let mut session = Session::new([1; 16], A, START);
    session.request(bytes("now")).expect("room");
    session.dial(bytes("hello"), START);
    let kinds: Vec<_> = std::iter::from_fn(|| session.next_frame()).map(|frame| frame.kind).collect();
    assert_eq!(kinds, [Kind::Hello, Kind::Request]);
}

#[test]
fn a_question_gets_its_answer_and_both_directions_are_apart() {
    let mut pair = Pair::new();
    pair.run();
    let id = pair.ask("a asks");
    let other = pair.b.request(bytes("b asks")).expect("room");
    pair.run();
    assert_eq!(pair.seen_b, [Delivery::Request { id, body: bytes("a asks") }]);
    assert_eq!(pair.seen_a, [Delivery::Request { id: other, body: bytes("b asks") }]);
    pair.b.respond(id, bytes("b answers"));
    pair.a.refuse(other, Refusal::Denied, "no".to_owned());
    pair.run();
    assert_eq!(pair.seen_a[1], Delivery::Response { id, body: bytes("b answers") });
    assert_eq!(pair.seen_b[1], Delivery::Refused { id: other, refusal: Refusal::Denied, message: "no".to_owned() });
    assert!(pair.a.is_idle() && pair.b.is_idle());
}

#[test]
fn an_empty_request_is_answered_by_the_session_itself() {
    let mut pair = Pair::new();
    let id = pair.ask("");
    pair.run();
    assert_eq!(pair.seen_a, [Delivery::Response { id, body: Bytes::new() }]);
    assert!(pair.seen_b.is_empty());
}

#[test]
fn messages_of_a_mebibyte_pass_and_larger_ones_are_refused() {
    let mut pair = Pair::new();
    let large = Bytes::from(vec![7; limits::MESSAGE]);
    let id = pair.a.request(large.clone()).expect("room");
    assert_eq!(pair.a.request(Bytes::from(vec![7; limits::MESSAGE + 1])), Err(Refusal::TooLarge));
    pair.run();
    assert_eq!(pair.seen_b, [Delivery::Request { id, body: large.clone() }]);
    pair.b.respond(id, large.clone());
    pair.run();
    assert_eq!(pair.seen_a, [Delivery::Response { id, body: large }]);
    let id = pair.ask("more?");
    pair.run();
    pair.b.respond(id, Bytes::from(vec![7; limits::MESSAGE + 1]));
    pair.run();
    assert_eq!(pair.refusals(), [Refusal::TooLarge]);
}

#[test]
fn s11_chunks_wait_for_their_reader() {
    let mut pair = Pair::new();
    let id = pair.ask("stream");
    pair.run();
    let chunk = Bytes::from(vec![1; limits::FRAME / 2]);
    let mut sent = 0;
    while pair.b.chunk(id, chunk.clone(), pair.now).is_ok() {
        sent += 1;
    }
    assert_eq!(sent, limits::UNREAD / (chunk.len() + HEADER), "no more than the window is on its way");
    pair.run();
    assert!(!pair.seen_b.contains(&Delivery::Room { id }));
    for seen in pair.chunks() {
        pair.a.taken(id, &seen);
    }
    pair.run();
    assert!(pair.seen_b.contains(&Delivery::Room { id }));
    assert_eq!(pair.b.chunk(id, chunk, pair.now), Ok(()));
}

#[test]
fn s11_tiny_chunks_use_credit_too() {
    let mut pair = Pair::new();
    let id = pair.ask("stream");
    pair.run();
    let sent = (0..).take_while(|_| pair.b.chunk(id, bytes("x"), pair.now).is_ok()).count();
    assert_eq!(sent, limits::UNREAD / (1 + HEADER));
}

#[test]
fn s11_an_answer_that_ignores_credit_ends_the_session() {
    let mut pair = Pair::new();
    let id = pair.ask("stream");
    pair.run();
    let chunk = Bytes::from(vec![1; limits::FRAME]);
    for _ in 0..limits::UNREAD / limits::FRAME {
        pair.a.receive(Frame::new(Kind::Chunk, id, chunk.clone()), pair.now);
    }
    assert_eq!(pair.a.next_frame().expect("a bye").reason().expect("reads").0, Some(Refusal::TooLarge));
    assert!(pair.a.is_closed());
}

#[test]
fn s11_sixty_four_run_the_rest_waits_with_the_caller_and_then_it_is_busy() {
    let mut pair = Pair::new();
    pair.run();
    for n in 0..limits::IN_FLIGHT + limits::CALLER_QUEUE {
        assert!(pair.a.request(bytes("work")).is_ok(), "request {n}");
    }
    assert_eq!(pair.a.request(bytes("work")), Err(Refusal::Busy));
    pair.run();
    assert_eq!(pair.asked().len(), limits::IN_FLIGHT);
    for turn in 1..=10 {
        pair.b.respond(pair.asked()[turn], bytes("done"));
        pair.run();
        assert_eq!(pair.asked().len(), limits::IN_FLIGHT + turn);
    }
}

#[test]
fn s11_a_peer_that_opens_more_is_refused_and_closed_when_it_goes_on() {
    let mut pair = Pair::new();
    pair.run();
    let most = (limits::IN_FLIGHT as u64) + limits::STRIKES;
    for id in 1..=most {
        pair.b.receive(Frame::new(Kind::Request, id, bytes("work")), pair.now);
    }
    let refused: Vec<_> = std::iter::from_fn(|| pair.b.next_frame()).collect();
    assert_eq!(refused.len() as u64, limits::STRIKES);
    assert!(refused.iter().all(|frame| frame.reason().is_ok_and(|(why, _)| why == Some(Refusal::Busy))));
    assert!(!pair.b.is_closed());
    pair.b.receive(Frame::new(Kind::Request, most + 1, bytes("work")), pair.now);
    let last = pair.b.next_frame().expect("a bye");
    assert_eq!((last.kind, last.reason().expect("reads").0), (Kind::Bye, Some(Refusal::Busy)));
    assert!(pair.b.is_closed());
}

#[test]
fn cancelling_reaches_the_other_side_and_nothing_more_is_delivered() {
    let mut pair = Pair::new();
    let id = pair.ask("stream");
    pair.run();
    pair.b.chunk(id, bytes("one"), pair.now).expect("room");
    pair.a.cancel(id);
    pair.run();
    assert!(pair.seen_b.contains(&Delivery::Cancelled { id }));
    assert!(pair.seen_a.is_empty(), "{:?}", pair.seen_a);
    assert_eq!(pair.b.chunk(id, bytes("two"), pair.now), Err(ChunkError::Ended));
    assert!(pair.a.is_idle() && pair.b.is_idle());
    // Cancelled before it was sent, it is never sent.
    let mut alone = Session::new([1; 16], A, START);
    let id = alone.request(bytes("never")).expect("room");
    alone.cancel(id);
    assert!(alone.is_idle());
}

#[test]
fn s07_each_broken_rule_has_its_refusal() {
    let request = |id, body: &str| Frame::new(Kind::Request, id, bytes(body));
    let more = |frame: Frame| Frame { more: true, ..frame };
    let again = |frame: Frame| Frame { again: true, ..frame };
    let big = Frame { more: true, ..Frame::new(Kind::Request, 1, Bytes::from(vec![0; limits::FRAME])) };
    for (what, frames, refusal) in [
        ("a second Hello", vec![Frame::new(Kind::Hello, 0, bytes("again"))], Refusal::Malformed),
        ("an id used twice", vec![request(1, "x"), request(1, "x")], Refusal::Malformed),
        ("an id that falls", vec![request(2, "x"), request(1, "x")], Refusal::Malformed),
        ("mixed fragments", vec![more(request(1, "x")), request(2, "x")], Refusal::Malformed),
        ("an empty fragment", vec![more(request(1, ""))], Refusal::Malformed),
        ("a message without end", vec![big; 17], Refusal::TooLarge),
        ("again without a count", vec![again(request(1, "short"))], Refusal::Malformed),
        ("a chunk nobody asked for", vec![Frame::new(Kind::Chunk, 1, bytes("x"))], Refusal::Malformed),
        ("an answer nobody asked for", vec![Frame::new(Kind::Response, 1, bytes("x"))], Refusal::Malformed),
        ("credit for what was not sent", vec![request(1, "x"), Frame::credit(1, 1)], Refusal::Malformed),
    ] {
        let mut pair = Pair::new();
        pair.run();
        frames.into_iter().for_each(|frame| pair.b.receive(frame, pair.now));
        let last = std::iter::from_fn(|| pair.b.next_frame()).last().expect("a bye");
        assert_eq!((last.kind, last.reason().expect("reads").0), (Kind::Bye, Some(refusal)), "{what}");
        assert!(pair.b.is_closed(), "{what}");
    }
    let mut alone = Session::new([1; 16], A, START);
    alone.dial(bytes("hello"), START);
    alone.receive(request(1, "too early"), START);
    assert!(alone.is_closed(), "nothing comes before Hello");
}

#[test]
fn s11_hello_within_ten_seconds_and_a_message_within_thirty() {
    let mut alone = Session::new([1; 16], A, START);
    let id = alone.request(bytes("x")).expect("room");
    alone.dial(bytes("hello"), START);
    alone.tick(START + limits::HELLO_WAIT);
    assert!(!alone.is_closed());
    alone.tick(START + limits::HELLO_WAIT + Duration::from_millis(1));
    assert!(alone.is_closed());
    let refused = alone.next_delivery();
    assert!(matches!(refused, Some(Delivery::Refused { id: it, refusal: Refusal::Timeout, .. }) if it == id));

    let mut pair = Pair::new();
    pair.run();
    let begun = Frame { more: true, ..Frame::new(Kind::Request, 1, bytes("begun")) };
    pair.b.receive(begun, pair.now);
    pair.b.tick(pair.now + limits::STALL);
    assert!(!pair.b.is_closed());
    pair.b.tick(pair.now + limits::STALL + Duration::from_millis(1));
    assert_eq!(pair.b.next_frame().expect("bye").reason().expect("reads").0, Some(Refusal::Stalled));
}

#[test]
fn s11_a_reader_that_takes_nothing_for_thirty_seconds_is_refused_and_the_session_goes_on() {
    let mut pair = Pair::new();
    let id = pair.ask("stream");
    pair.run();
    while pair.b.chunk(id, Bytes::from(vec![1; limits::FRAME / 2]), pair.now).is_ok() {}
    pair.run();
    pair.b.tick(pair.now + limits::STALL + Duration::from_millis(1));
    pair.run();
    assert_eq!(pair.refusals(), [Refusal::Stalled]);
    assert!(pair.seen_b.contains(&Delivery::Cancelled { id }));
    pair.ask("");
    pair.run();
    assert!(matches!(pair.seen_a.last(), Some(Delivery::Response { .. })));
}

#[test]
fn a_session_that_is_lost_says_what_may_have_run() {
    let mut pair = Pair::new();
    pair.run();
    let sent = pair.ask("sent");
    pair.run();
    pair.cut();
    let unsent = pair.ask("unsent");
    pair.a.tick(pair.now + limits::STALL + Duration::from_millis(1));
    pair.b.tick(pair.now + limits::STALL + Duration::from_millis(1));
    pair.run();
    let refused = |id, refusal| {
        pair.seen_a
            .iter()
            .any(|d| matches!(d, Delivery::Refused { id: it, refusal: why, .. } if (*it, *why) == (id, refusal)))
    };
    assert!(refused(sent, Refusal::UnknownOutcome) && refused(unsent, Refusal::Unreachable));
    assert!(pair.seen_b.contains(&Delivery::Cancelled { id: sent }));
    assert_eq!(pair.a.request(bytes("late")), Err(Refusal::Unreachable));
}

#[test]
fn a_refused_hello_is_the_answer_to_what_rode_with_it() {
    let mut alone = Session::new([1; 16], A, START);
    alone.request(bytes("x")).expect("room");
    alone.dial(bytes("hello"), START);
    alone.receive(Frame::refusal(Kind::Bye, 0, Some(Refusal::Clock), "set it"), START);
    assert!(matches!(alone.next_delivery(), Some(Delivery::Refused { refusal: Refusal::Clock, .. })));
}

proptest::proptest! {
    #[test]
    fn any_frames_leave_the_machine_standing_and_bounded(
        frames in proptest::collection::vec((2u8..10, 0u8..4, 0u64..6, 0usize..40), 0..200)
    ) {
        let mut pair = Pair::new();
        pair.run();
        for (kind, flags, id, length) in frames {
            let mut header = [0; HEADER];
            header[3] = u8::try_from(length).expect("small");
            (header[4], header[5], header[15]) = (kind, flags, u8::try_from(id).expect("small"));
            let mut wire = BytesMut::from(&header[..]);
            wire.extend_from_slice(&vec![0; length]);
            if let Ok(Some(frame)) = Frame::read(&mut wire) {
                pair.b.receive(frame, pair.now);
            }
        }
        let running = pair.b.answering.is_idle();
        proptest::prop_assert!(pair.b.is_closed() <= running);
    }
}
