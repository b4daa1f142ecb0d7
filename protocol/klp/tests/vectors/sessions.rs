use std::time::Duration;

use bytes::{Bytes, BytesMut};
use klp::Cbor as _;
use klp::frame::Frame;
use klp::hello::{Limits, SessionId, Terms};
use klp::message::{Answered, Empty, Request, kind};
use klp::session::{Delivery, Session};
use serde_json::{Value as Json, json};

use super::{bytes, hold, text};
use crate::cast::*;

const ID: SessionId = [6; 16];

fn start() -> Duration {
    Duration::from_secs(1)
}

fn terms(node: u8) -> Terms {
    Terms { limits: Limits::OURS, memory: [node; 8], packs: true }
}

/// Two machines that write down what they send.
struct Talk {
    alice: Session,
    bob: Session,
    lines: Vec<Json>,
}

impl Talk {
    /// Carries everything that waits, both ways, and returns what came of it at the far ends.
    fn carry(&mut self, note: &str) -> Vec<(&'static str, Delivery)> {
        let mut seen = Vec::new();
        let (alice, bob) = (&mut self.alice, &mut self.bob);
        for from_alice in [true, false] {
            let (from, to) = if from_alice { ("alice", "bob") } else { ("bob", "alice") };
            let (sender, receiver) = if from_alice { (&mut *alice, &mut *bob) } else { (&mut *bob, &mut *alice) };
            let mut wire = Vec::new();
            while let Some(frame) = sender.next_frame() {
                frame.write(&mut wire);
                receiver.receive(frame, start());
            }
            if !wire.is_empty() {
                self.lines.push(json!({ "from": from, "note": note, "bytes": hex(&wire) }));
            }
            while let Some(delivery) = receiver.next_delivery() {
                seen.push((to, delivery));
            }
        }
        seen
    }
}

/// Alice dials with two requests, reads a streamed answer, cancels the second request, and both say goodbye.
fn talk() -> Vec<Json> {
    let hello = dialling(ALICE_NODE, BOB_NODE);
    let mut talk = Talk {
        alice: Session::new(ID, [ALICE_NODE; 8], start()),
        bob: Session::new(ID, [BOB_NODE; 8], start()),
        lines: Vec::new(),
    };
    let call = Request::new(kind::CALL, &crate::vectors::messages::call()).to_bytes();
    let first = talk.alice.request(call.into()).expect("room");
    let ping = Request::new(kind::PING, &Empty).to_bytes();
    let second = talk.alice.request(ping.into()).expect("room");
    talk.alice.dial(Bytes::from(hello.clone()), start());
    let sent: Vec<Frame> = std::iter::from_fn(|| talk.alice.next_frame()).collect();
    let answer = answering(BOB_NODE, ALICE_NODE, &hello);
    talk.bob.accept(Bytes::from(answer), &terms(ALICE_NODE), start());
    let mut wire = Vec::new();
    sent.iter().for_each(|frame| frame.write(&mut wire));
    talk.lines
        .push(json!({ "from": "alice", "note": "Hello, and two requests that ride with it", "bytes": hex(&wire) }));
    sent.into_iter().skip(1).for_each(|frame| talk.bob.receive(frame, start()));
    let asked: Vec<Delivery> = std::iter::from_fn(|| talk.bob.next_delivery()).collect();
    assert!(matches!(&asked[..], [Delivery::Request { id: 1, .. }, Delivery::Request { id: 2, .. }]), "{asked:?}");
    let seen = talk.carry("the listener's Hello");
    assert!(matches!(&seen[..], [("alice", Delivery::Hello(_))]), "{seen:?}");
    talk.alice.greeted(&terms(BOB_NODE));
    talk.bob.chunk(first, Bytes::copy_from_slice(&ANSWER[..18]), start()).expect("credit");
    talk.bob.chunk(first, Bytes::copy_from_slice(&ANSWER[18..]), start()).expect("credit");
    let answered = Answered { outcome: signed_outcome().signed().clone(), agent: bob_agent() }.to_bytes();
    talk.bob.respond(first, answered.into());
    let seen = talk.carry("two chunks and the final answer of request 1");
    assert!(matches!(
        &seen[..],
        [(_, Delivery::Chunk { .. }), (_, Delivery::Chunk { .. }), (_, Delivery::Response { .. })]
    ));
    talk.alice.cancel(second);
    let seen = talk.carry("request 2 is cancelled, and ends as refused");
    assert!(matches!(&seen[..], [("bob", Delivery::Cancelled { id: 2 })]), "{seen:?}");
    talk.alice.close(None, "");
    let seen = talk.carry("goodbye");
    assert!(
        matches!(&seen[..], [("bob", Delivery::Closed { refusal: None, .. }), ("alice", Delivery::Closed { .. })]),
        "{seen:?}"
    );
    talk.lines
}

#[test]
fn session_vectors() {
    let about = "One conversation, byte by byte: what each side writes on the stream, in this order.";
    for line in hold("sessions", "specs/03-session.md, sections 2 to 4", about, talk()) {
        let mut rest = BytesMut::from(&bytes(&line, "bytes")[..]);
        let mut count = 0;
        while let Some(frame) = Frame::read(&mut rest).expect("frames") {
            assert!(!frame.body.is_empty() || frame.id > 0);
            count += 1;
        }
        assert!(rest.is_empty() && count > 0, "{}", text(&line, "note"));
    }
}
