//! Every decoder, on bytes that nobody meant: it never panics, and what it accepts encodes to the same bytes again.

use klp::blob::Message;
use klp::codec::{Map, Value, encode};
use klp::frame::Frame;
use klp::hello::{Greeting, ReplayWindow};
use klp::sealed::Sealed;
use klp::statement::ticket::{from_line, to_line};
use klp::{Cbor as _, Signed, Verified, limits};
use proptest::prelude::*;

use crate::cast::*;
use crate::vectors::messages::{self, BODIES};
use crate::vectors::sealed::letter;
use crate::vectors::statements::{self, TYPES, parts};
use crate::vectors::tickets::line;

/// Valid bytes of everything that is decoded: statements, their payloads, messages, a receipt, a sealed body.
fn seeds() -> Vec<Vec<u8>> {
    let statements = statements::examples().into_iter().map(|(_, _, bytes)| bytes);
    let payloads = statements.clone().map(|bytes| parts(&bytes)[2].as_bytes().expect("bytes").clone());
    let messages = messages::examples().into_iter().flat_map(|messages::Example { request, response, .. }| {
        let body = klp::message::Request::from_bytes(&request, limits::MESSAGE).expect("a request").body.to_bytes();
        [request, body, response]
    });
    let sealed = Sealed::seal(&letter(ALICE), &exchange(ALICE_EXCHANGE).public(), [1; 32]).expect("seals").to_bytes();
    statements.chain(payloads).chain(messages).chain([receipt().to_bytes(), card_entry().to_bytes(), sealed]).collect()
}

/// Runs every decoder; returns how many accept.
fn run_all(bytes: &[u8]) -> usize {
    let mut accepted = 0;
    for (name, again) in BODIES.iter().copied().chain(TYPES.iter().map(|kind| (kind.name, kind.again))) {
        if let Some(again) = again(bytes) {
            assert_eq!(again, bytes, "{name} has a second form");
            accepted += 1;
        }
    }
    for kind in TYPES {
        if let Ok(reading) = (kind.read)(bytes) {
            assert_eq!(parts(bytes)[2], Value::Bytes(reading.payload), "{} has a second form", kind.name);
            accepted += 1;
        }
    }
    accepted
}

/// One thing that goes wrong on the way.
#[derive(Clone, Debug)]
enum Damage {
    Flip(usize, u8),
    Set(usize, u8),
    Cut(usize),
    Insert(usize, u8),
    Remove(usize),
    Double(usize, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<usize>;
    prop_oneof![
        (at(), 0u8..8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        at().prop_map(Damage::Cut),
        (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        at().prop_map(Damage::Remove),
        (at(), 1usize..40).prop_map(|(at, length)| Damage::Double(at, length)),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.is_empty() {
        return;
    }
    let length = bytes.len();
    match *damage {
        Damage::Flip(at, bit) => bytes[at % length] ^= 1 << bit,
        Damage::Set(at, byte) => bytes[at % length] = byte,
        Damage::Cut(at) => bytes.truncate(at % length),
        Damage::Insert(at, byte) => bytes.insert(at % length, byte),
        Damage::Remove(at) => {
            let _gone = bytes.remove(at % length);
        }
        Damage::Double(at, part) => {
            let start = at % length;
            let copy = bytes[start..(start + part).min(length)].to_vec();
            let _old = bytes.splice(start..start, copy);
        }
    }
}

/// A value that is canonical but means nothing: maps of small keys, nested a little.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<u64>().prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
        Just(Value::Bytes(key(BOB).did().key().to_vec())),
        "[a-z/.*]{0,12}".prop_map(Value::Text),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Null),
    ];
    leaf.prop_recursive(3, 24, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::btree_map(1i64..12, inner, 0..8)
                .prop_map(|fields| fields.iter().fold(Map::new(), |map, (key, value)| map.with(*key, value)).build()),
        ]
    })
}

#[test]
fn every_example_is_accepted_somewhere() {
    for bytes in seeds() {
        assert!(run_all(&bytes) > 0, "{}", hex(&bytes));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_have_one_form_or_none(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _accepted = run_all(&bytes);
    }

    #[test]
    fn damaged_bytes_have_one_form_or_none(
        pick in any::<prop::sample::Index>(),
        damages in prop::collection::vec(damage(), 1..4),
    ) {
        let seeds = seeds();
        let mut bytes = pick.get(&seeds).clone();
        damages.iter().for_each(|damage| apply(&mut bytes, damage));
        let _accepted = run_all(&bytes);
    }

    #[test]
    fn canonical_nonsense_has_one_form_or_none(value in value()) {
        let _accepted = run_all(&encode(&value));
    }

    #[test]
    fn a_damaged_statement_never_verifies(
        pick in any::<prop::sample::Index>(),
        damages in prop::collection::vec(damage(), 1..4),
    ) {
        let examples = statements::examples();
        let (name, _, good) = pick.get(&examples);
        let mut bytes = good.clone();
        damages.iter().for_each(|damage| apply(&mut bytes, damage));
        prop_assume!(bytes != *good);
        prop_assert!((statements::type_of(name).read)(&bytes).is_err());
    }

    #[test]
    fn a_damaged_sealed_body_never_opens(damages in prop::collection::vec(damage(), 1..4)) {
        let secret = exchange(ALICE_EXCHANGE);
        let good = Sealed::seal(&letter(ALICE), &secret.public(), [1; 32]).expect("seals").to_bytes();
        let mut bytes = good.clone();
        damages.iter().for_each(|damage| apply(&mut bytes, damage));
        prop_assume!(bytes != good);
        if let Ok(sealed) = Sealed::from_bytes(&bytes, limits::MESSAGE) {
            prop_assert!(sealed.open::<crate::vectors::sealed::Letter>(&secret, &owner(ALICE)).is_err());
        }
    }

    #[test]
    fn a_damaged_ticket_is_refused_or_the_same(damages in prop::collection::vec(damage(), 1..4)) {
        let good = line(|_| (), BOB_NODE);
        let mut bytes = good.clone().into_bytes();
        damages.iter().for_each(|damage| apply(&mut bytes, damage));
        let text = String::from_utf8_lossy(&bytes);
        if let Ok((ticket, _)) = from_line(&text, NOW) {
            prop_assert_eq!(to_line(&ticket), text.trim());
            prop_assert_eq!(text.trim(), good);
        }
    }

    #[test]
    fn frames_have_one_form_or_none(mut bytes in prop::collection::vec(any::<u8>(), 16..80), plain in any::<bool>()) {
        if plain {
            // A header that may hold, so that both outcomes are met.
            let length = bytes.len() - 16;
            bytes[..4].copy_from_slice(&u32::try_from(length).expect("short").to_be_bytes());
            bytes[4] %= 11;
            bytes[5] %= 5;
            bytes[6..8].fill(0);
        }
        let mut rest = bytes::BytesMut::from(&bytes[..]);
        if let Ok(Some(frame)) = Frame::read(&mut rest) {
            let mut again = Vec::new();
            frame.write(&mut again);
            again.extend_from_slice(&rest);
            prop_assert_eq!(again, bytes);
            let _reason = frame.reason();
        }
    }

    #[test]
    fn blob_messages_have_one_form_or_none(mut bytes in prop::collection::vec(any::<u8>(), 4..80), plain in 0u8..5) {
        if plain > 0 {
            // A header that may hold, so that both outcomes are met.
            bytes.resize(4 + [0, 48, 8, 30, 2][usize::from(plain)], 7);
            let length = u16::try_from(bytes.len() - 4).expect("short").to_be_bytes();
            bytes[..4].copy_from_slice(&[1, plain.min(3), length[0], length[1]]);
        }
        let body = bytes.first_chunk().map(|header| Message::body(*header)).expect("a header");
        match Message::decode(&bytes) {
            // Numbers that are not known yet are all read as `failed`.
            Ok(Message::Refused(refusal, text)) => {
                let again = Message::Refused(refusal, text);
                prop_assert_eq!(&again.encode()[6..], &bytes[6..]);
                prop_assert_eq!(Message::decode(&again.encode()), Ok(again));
            }
            Ok(message) => prop_assert_eq!(message.encode(), bytes),
            Err(_) => prop_assert!(plain == 0 || plain > 2 || body.is_err()),
        }
    }

    #[test]
    fn any_blob_message_is_read_back(digest in any::<[u8; 32]>(), numbers in any::<(u64, u64)>(), text in "\\PC{0,300}") {
        let ask = Message::Ask { digest: klp::Digest(digest), offset: numbers.0, most: numbers.1 };
        for message in [ask, Message::Total(numbers.0), Message::Refused(klp::Refusal::Busy, text.chars().take(120).collect())] {
            let bytes = message.encode();
            prop_assert!(bytes.len() <= klp::blob::LONGEST);
            prop_assert_eq!(Message::decode(&bytes), Ok(message));
        }
    }

    #[test]
    fn a_damaged_hello_is_refused(damages in prop::collection::vec(damage(), 1..4)) {
        let good = dialling(ALICE_NODE, BOB_NODE);
        let mut bytes = good.clone();
        damages.iter().for_each(|damage| apply(&mut bytes, damage));
        prop_assume!(bytes != good);
        let mut window = ReplayWindow::new();
        prop_assert!(Greeting::check(&bytes, node(ALICE_NODE), node(BOB_NODE), None, NOW, &mut window).is_err());
    }

    #[test]
    fn any_text_is_refused_as_did_and_ticket_without_panic(text in "\\PC{0,80}") {
        let _did = text.parse::<klp::Did>();
        let _digest = text.parse::<klp::Digest>();
        prop_assert!(from_line(&text, NOW).is_err());
        let line = format!("kos1{text}");
        prop_assert!(from_line(&line, NOW).is_err());
    }
}

#[test]
fn what_is_signed_here_verifies_there() {
    let made = Verified::sign(grant(BOB, Some(ALICE), None), &key(BOB));
    let read = Signed::<klp::statement::grant::Grant>::from_bytes(made.signed().as_bytes().to_vec());
    assert_eq!(read.verify().expect("verifies").id(), made.id());
}
