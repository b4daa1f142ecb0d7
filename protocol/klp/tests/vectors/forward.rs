use klp::forward::{End, Forward, Question, Reader, SealedQuestion, Step, Writer};
use klp::sealed::{ExchangeSecret, SealError};
use klp::{Cbor as _, NodeId, limits};
use serde_json::{Value as Json, json};

use super::{bytes, hold, text};
use crate::cast::*;

pub const REQUEST: &[u8] = b"a request";

/// A question on its way, what Alice reads the answer with, and what Bob writes it with.
pub fn asked() -> (SealedQuestion, Reader, Writer) {
    let (sealed, reader) =
        question(REQUEST).seal(&exchange(BOB_EXCHANGE).public(), exchange(ANSWER_EXCHANGE), [0x66; 32]).expect("seals");
    let (question, export) = sealed.open(&exchange(BOB_EXCHANGE)).expect("opens");
    let (errand, _) = question.verify(&node(BOB_NODE), NOW).expect("an errand for Bob's node");
    let writer = Writer::new(&export, &errand.answer, [0x67; 32]).expect("a key");
    (sealed, reader, writer)
}

pub fn end() -> End {
    let path = vec![node(ALICE_NODE), node(CAROL_NODE)];
    End { answer: Some(klp::codec::Bytes(b"the end".to_vec())), refusal: None, message: String::new(), path }
}

/// A whole answer: pieces, then the end.
pub fn answer(mut writer: Writer) -> Vec<Vec<u8>> {
    let mut pieces: Vec<_> =
        [&b"first "[..], b"second"].iter().map(|text| writer.chunk(text).expect("seals")).collect();
    pieces.push(writer.end(&end()).expect("seals"));
    pieces
}

/// What a reader makes of these pieces, the last being the end.
pub fn read(mut reader: Reader, pieces: &[Vec<u8>]) -> Result<(Vec<u8>, End), SealError> {
    let (last, chunks) = pieces.split_last().expect("an end");
    let mut whole = Vec::new();
    for chunk in chunks {
        whole.extend(reader.chunk(chunk)?);
    }
    Ok((whole, reader.end(last)?))
}

fn step(what: &str, me: u8, from: u8, change: impl FnOnce(&mut Forward)) -> Json {
    let mut forward = Forward { chain: vec![], question: None, ..forward() };
    change(&mut forward);
    let verdict = match forward.step(&node(me), &node(from)) {
        Ok(Step::Here) => "here",
        Ok(Step::Onward) => "onward",
        Err(refusal) => refusal.code(),
    };
    let seeds = |nodes: &[NodeId]| nodes.iter().map(ToString::to_string).collect::<Vec<_>>();
    json!({
        "what": what, "me": node(me).to_string(), "from": node(from).to_string(), "to": forward.to.to_string(),
        "ttl": forward.ttl, "path": seeds(&forward.path), "verdict": verdict,
    })
}

fn steps() -> Vec<Json> {
    let chain = |count: u8| (0x80..0x80 + count).map(node).collect::<Vec<_>>();
    vec![
        step("Carol's node hands it on", CAROL_NODE, ALICE_NODE, |_| {}),
        step("Bob's node is there", BOB_NODE, CAROL_NODE, |it| it.path.push(node(CAROL_NODE))),
        step("nobody may hand it on any more, and it is there", BOB_NODE, ALICE_NODE, |it| it.ttl = 0),
        step("nobody may hand it on any more", CAROL_NODE, ALICE_NODE, |it| it.ttl = 0),
        step("one more node may", CAROL_NODE, ALICE_NODE, |it| it.ttl = 1),
        step("more than ever may", CAROL_NODE, ALICE_NODE, |it| it.ttl = 33),
        step("as many as ever may", CAROL_NODE, ALICE_NODE, |it| it.ttl = 32),
        step("it came by as many as ever may", CAROL_NODE, 0x9f, |it| it.path = chain(32)),
        step("it came by one less", CAROL_NODE, 0x9e, |it| it.path = chain(31)),
        step("no path", CAROL_NODE, ALICE_NODE, |it| it.path.clear()),
        step("a path that ends with somebody else", CAROL_NODE, BOB_NODE, |_| {}),
        step("it was here before", CAROL_NODE, 0x80, |it| it.path = vec![node(CAROL_NODE), node(0x80)]),
        step("it was where it goes", CAROL_NODE, BOB_NODE, |it| it.path.push(node(BOB_NODE))),
        step("somebody had it twice", CAROL_NODE, 0x80, |it| it.path = vec![node(0x80), node(0x81), node(0x80)]),
    ]
}

fn errors(pieces: &[Vec<u8>]) -> bool {
    let (_, reader, _) = asked();
    read(reader, pieces).is_err()
}

#[test]
fn forward_vectors() {
    let (sealed, reader, writer) = asked();
    let pieces = answer(writer);
    assert_eq!(read(reader, &pieces).expect("opens"), (b"first second".to_vec(), end()));
    let hexes = |pieces: &[Vec<u8>]| pieces.iter().map(|piece| hex(piece)).collect::<Vec<_>>();
    let question = question(REQUEST);
    let mut cases = steps();
    cases.push(json!({
        "what": "a question and its whole answer",
        "question": hex(&question.to_bytes()), "exchange_seed": hex(&[BOB_EXCHANGE; 32]), "entropy": hex(&[0x66; 32]),
        "sealed_question": hex(&sealed.to_bytes()), "answer_seed": hex(&[ANSWER_EXCHANGE; 32]), "answer_entropy": hex(&[0x67; 32]),
        "chunks": [hex(b"first "), hex(b"second")], "end": hex(&end().to_bytes()), "pieces": hexes(&pieces),
    }));
    let flipped = |at: usize, byte: usize| {
        let mut pieces = pieces.clone();
        pieces[at][byte] ^= 1;
        pieces
    };
    for (what, damaged) in [
        ("a bit of the encapsulated key", flipped(0, 3)),
        ("a bit of the first piece", flipped(0, 33)),
        ("a bit of the end", flipped(2, 0)),
        ("the first piece is gone", pieces[1..].to_vec()),
        ("the second piece is gone", vec![pieces[0].clone(), pieces[2].clone()]),
        ("the end is gone", pieces[..2].to_vec()),
        ("a piece comes twice", vec![pieces[0].clone(), pieces[1].clone(), pieces[1].clone(), pieces[2].clone()]),
        ("two pieces change places", vec![pieces[0].clone(), pieces[2].clone(), pieces[1].clone()]),
    ] {
        assert!(errors(&damaged), "{what}");
        cases.push(json!({ "what": what, "pieces": hexes(&damaged), "error": "tampered" }));
    }
    let about =
        "What a node does with a forwarded request; a sealed question and the pieces of its answer, whole and damaged.";
    for case in hold("forward", "specs/11-forwarding.md", about, cases) {
        if let Some(pieces) = case["pieces"].as_array() {
            let pieces: Vec<_> = pieces.iter().map(|piece| unhex(piece.as_str().expect("hex"))).collect();
            assert_eq!(errors(&pieces), case.get("error").is_some());
        }
        if case.get("sealed_question").is_some() {
            let sealed = SealedQuestion::from_bytes(&bytes(&case, "sealed_question"), limits::MESSAGE).expect("a form");
            let seed = bytes(&case, "exchange_seed").try_into().expect("32 bytes");
            let (inside, _) = sealed.open(&ExchangeSecret::from_seed(seed)).expect("opens");
            assert_eq!(inside, Question::from_bytes(&bytes(&case, "question"), limits::MESSAGE).expect("a question"));
        }
        if case.get("verdict").is_some() {
            assert!(["here", "onward", "loop", "hops", "malformed"].contains(&text(&case, "verdict")));
        }
    }
}
