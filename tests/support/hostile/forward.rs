//! Forwarded requests: where they may go, what opens, and an answer that a carrier has had in its hands.

use klp::codec::Bytes;
use klp::forward::{End, Errand, Forward, Question, Reader, SealedQuestion, Step, Writer};
use klp::sealed::ExchangeSecret;
use klp::{Cbor, Digest, Verified, limits};

use super::cast::{self, ALICE, ALICE_NODE, BOB_NODE, CAROL_NODE, NOW};
use super::input::{Input, part};
use super::vectors;

const BOB_EXCHANGE: u8 = 0x05;
const ANSWER_EXCHANGE: u8 = 0x16;
const REQUEST: &[u8] = b"a request";

fn secret(seed: u8) -> ExchangeSecret {
    ExchangeSecret::from_seed([seed; 32])
}

fn asked() -> (SealedQuestion, Reader, Writer) {
    let errand = Errand {
        caller: cast::owner(ALICE),
        node: cast::node(BOB_NODE),
        request: Digest::of(&[REQUEST]),
        answer: secret(ANSWER_EXCHANGE).public(),
        issued: NOW,
        expires: NOW.after(limits::ORDER_LIFE),
        nonce: [5; 16],
    };
    let errand = Verified::sign(errand, &cast::key(ALICE_NODE)).signed().clone();
    let question = Question { errand, caller: cast::alice_node(), request: Bytes(REQUEST.to_vec()) };
    let sealed = question.seal(&secret(BOB_EXCHANGE).public(), secret(ANSWER_EXCHANGE), [0x66; 32]);
    let (sealed, reader) = sealed.expect("seals");
    let (_, export) = sealed.open(&secret(BOB_EXCHANGE)).expect("opens");
    let writer = Writer::new(&export, &secret(ANSWER_EXCHANGE).public(), [0x67; 32]).expect("a key");
    (sealed, reader, writer)
}

/// What Bob's node answers: two pieces and the end.
fn honest() -> Vec<Vec<u8>> {
    let (_, _, mut writer) = asked();
    let end = End { answer: Some(Bytes(vec![1])), refusal: None, message: String::new(), path: Vec::new() };
    let mut pieces: Vec<_> = [&b"first"[..], b"second"].map(|text| writer.chunk(text).expect("seals")).into();
    pieces.push(writer.end(&end).expect("seals"));
    pieces
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let bodies = vectors::cases(vectors::MESSAGES).into_iter().filter(|case| case["kind"] == "forward");
    let requests = bodies.filter_map(|case| vectors::bytes(&case, "request"));
    let forwards = requests.filter_map(|bytes| {
        let request = klp::message::Request::from_bytes(&bytes, limits::MESSAGE).ok()?;
        Some([&[0][..], &request.body.to_bytes()].concat())
    });
    let sealed = vectors::led(vectors::FORWARD, "sealed_question", &[1]);
    let questions = vectors::led(vectors::FORWARD, "question", &[2]);
    let pieces = [&[3][..], &honest().iter().map(|piece| part(piece)).collect::<Vec<_>>().concat()].concat();
    forwards.chain(sealed).chain(questions).chain([pieces]).collect()
}

/// The way: a forward, a sealed question, a question that whoever has Bob's public key can seal, or the pieces of an answer.
pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.byte() & 3 {
        0 => goes(input.rest()),
        1 => {
            let Ok(sealed) = SealedQuestion::from_bytes(input.rest(), limits::MESSAGE) else { return };
            assert_eq!(sealed.to_bytes(), input.rest(), "a sealed question has one encoding");
            let Ok((question, _)) = sealed.open(&secret(BOB_EXCHANGE)) else { return };
            assert!(sealed.open(&secret(ANSWER_EXCHANGE)).is_err(), "nobody else opens it");
            counts(&question);
        }
        2 => {
            let Ok(question) = Question::from_bytes(input.rest(), limits::MESSAGE) else { return };
            let sealed = question.seal(&secret(BOB_EXCHANGE).public(), secret(ANSWER_EXCHANGE), [1; 32]);
            let (sealed, _) = sealed.expect("seals");
            let (opened, _) = sealed.open(&secret(BOB_EXCHANGE)).expect("opens");
            assert_eq!(opened, question, "what was sealed comes out");
            counts(&question);
        }
        _ => answers(input),
    }
}

/// Where it goes from Carol's node.
fn goes(bytes: &[u8]) {
    let Ok(forward) = Forward::from_bytes(bytes, limits::MESSAGE) else { return };
    assert_eq!(forward.to_bytes(), bytes, "a forward has one encoding");
    let (me, from) = (cast::node(CAROL_NODE), cast::node(ALICE_NODE));
    match forward.step(&me, &from) {
        Ok(Step::Here) => assert_eq!(forward.to, me),
        Ok(Step::Onward) => {
            assert!(forward.ttl > 0 && forward.to != me && !forward.knows(&me));
            let next = forward.onward(me, Vec::new());
            assert!(next.ttl < forward.ttl && next.knows(&me) && next.path.len() <= limits::HOPS_MAX);
            assert!(next.step(&me, &me).is_err(), "it does not come back");
        }
        Err(_) => {}
    }
}

/// A question counts only for the node that it names and the owner who certified its signer.
fn counts(question: &Question) {
    if let Ok((errand, caller)) = question.verify(&cast::node(BOB_NODE), NOW) {
        assert_eq!(errand.node, cast::node(BOB_NODE));
        assert_eq!((errand.signer(), errand.caller), (caller.subject(), caller.owner()));
        assert_eq!(errand.request, Digest::of(&[&question.request.0]));
        assert!(question.verify(&cast::node(CAROL_NODE), NOW).is_err());
    }
}

/// Whatever a carrier makes of the pieces: what is read is what was sent, and the end comes only after all of it.
fn answers(mut input: Input<'_>) {
    let honest = honest();
    let (_, mut reader, _) = asked();
    for at in 0..8 {
        if input.is_empty() {
            return;
        }
        let piece = input.part();
        if input.is_empty() {
            if reader.end(piece).is_ok() {
                assert_eq!((at + 1, piece), (honest.len(), &honest[at][..]), "an end that nobody said");
            }
            return;
        }
        match reader.chunk(piece) {
            Ok(_) => assert_eq!(honest.get(at).map(Vec::as_slice), Some(piece), "a piece that nobody said"),
            Err(_) => return,
        }
    }
}
