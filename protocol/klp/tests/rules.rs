//! The rules of trust as far as they are decided in KLP, each test after its number; checklist rows likewise.

use std::collections::BTreeSet;

use klp::codec::{Bytes, CodecError, Value, decode};
use klp::sealed::{SealError, Sealed};
use klp::statement::card::{Card, CardEntry};
use klp::statement::certificate::{Certificate, Introduction, Kind, Right};
use klp::statement::receipt::{Order, Receipt, State};
use klp::statement::ticket::from_line;
use klp::{Cbor, Digest, Refusal, Signed, Timestamp, Verified, VerifyError, limits};

use crate::cast::*;
use crate::vectors::refused::Forged;
use crate::vectors::sealed::{Letter, letter};
use crate::vectors::statements::{TYPES, examples, parts};
use crate::vectors::tickets::line;

fn introduce(change: impl FnOnce(&mut Certificate)) -> Introduction {
    let mut certificate = certificate(BOB, BOB_NODE, BOB_NEXT);
    change(&mut certificate);
    Introduction::make(certificate, &key(BOB), &key(BOB_NODE), NOW)
}

#[test]
fn s02_a_certificate_counts_only_with_its_subjects_acceptance_and_in_its_time() {
    let good = bob_node();
    let credential = good.verify(NOW).expect("holds");
    assert!(credential.is_node(&node(BOB_NODE)) && credential.may(Right::Grant));
    assert_eq!(credential.owner(), owner(BOB));
    let refused = |introduction: &Introduction, now: Timestamp| introduction.verify(now).err();
    // The owner accepts for the node; another certificate's acceptance; the node certifies itself.
    let by_owner = Introduction::make(certificate(BOB, BOB_NODE, BOB_NEXT), &key(BOB), &key(BOB), NOW);
    let moved = Introduction { acceptance: bob_agent().acceptance, ..good.clone() };
    let by_itself = Introduction::make(certificate(BOB, BOB_NODE, BOB_NEXT), &key(BOB_NODE), &key(BOB_NODE), NOW);
    for introduction in [by_owner, moved, by_itself] {
        assert_eq!(refused(&introduction, NOW), Some(Refusal::Signature));
    }
    let end = NOW.after(limits::ROOT_CERTIFICATE_LIFE);
    assert_eq!(refused(&good, end), None);
    assert_eq!(refused(&good, Timestamp(end.0 + 1)), Some(Refusal::Expired));
    assert_eq!(refused(&introduce(|it| it.expires = Timestamp(end.0 + 1)), NOW), Some(Refusal::Expired));
    let early = NOW.before(limits::SKEW);
    assert_eq!(refused(&good, early), None);
    assert_eq!(refused(&good, Timestamp(early.0 - 1)), Some(Refusal::Clock));
    // A device has no node, an agent has one.
    assert_eq!(refused(&introduce(|it| it.kind = Kind::Agent), NOW), Some(Refusal::Signature));
    assert_eq!(refused(&introduce(|it| it.node = Some(node(BOB_NODE))), NOW), Some(Refusal::Signature));
}

#[test]
fn s03_certificates_and_tickets_carry_the_next_keys_hash() {
    let hash = Digest::of(&[key(BOB_NEXT).did().key()]);
    let (ticket, credential) = from_line(&line(|_| (), BOB_NODE), NOW).expect("a ticket");
    assert_eq!(credential.certificate().next_key, hash);
    assert_eq!(ticket.introduction.verify(NOW).expect("holds").certificate().next_key, hash);
    // It is signed: a certificate with another hash is another statement.
    let other = introduce(|it| it.next_key = next_key(ALICE_NEXT)).certificate.verify().expect("verifies");
    assert_ne!(other.id(), credential.certificate().id());
    let mut forged = Forged::acceptance();
    let changed = certificate(BOB, BOB_NODE, ALICE_NEXT).to_bytes();
    let [protected, _, _, signature] = parts(bob_node().certificate.as_bytes());
    forged.protected = protected.into_bytes().expect("bytes");
    let swapped =
        Value::Array(vec![Value::Bytes(forged.protected), Value::Map(vec![]), Value::Bytes(changed), signature]);
    let swapped = Signed::<Certificate>::from_bytes(klp::codec::encode(&swapped));
    assert_eq!(swapped.verify().err(), Some(VerifyError::Signature));
    let without = decode(&certificate(BOB, BOB_NODE, BOB_NEXT).to_bytes(), limits::STATEMENT).expect("strict");
    let without =
        Value::Map(without.into_map().expect("a map").into_iter().filter(|(key, _)| *key != 9.into()).collect());
    assert_eq!(Certificate::from_value(without), Err(CodecError::Missing(9)));
}

#[test]
fn s05_every_type_has_its_own_domain_and_none_verifies_as_another() {
    let domains: BTreeSet<&str> = TYPES.iter().map(|kind| kind.domain).collect();
    assert_eq!(domains.len(), TYPES.len());
    for domain in &domains {
        let name = domain.strip_prefix("kos/").and_then(|rest| rest.strip_suffix("/1")).expect("kos/<name>/1");
        assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{domain}");
    }
    for (name, _, bytes) in examples() {
        for kind in TYPES {
            let result = (kind.read)(&bytes);
            assert_eq!(result.is_ok(), kind.name == name, "a {name} read as {}", kind.name);
            assert!(kind.name == name || result.err() == Some(VerifyError::Signature));
        }
    }
}

#[test]
fn s09_a_statement_speaks_for_its_signers_owner_and_for_nobody_else() {
    // An order in Alice's name, signed by a node that somebody else certified.
    let carol = Introduction::make(certificate(CAROL, 0x22, 0x24), &key(CAROL), &key(0x22), NOW);
    let order = Verified::sign(order(), &key(0x22));
    let receipt = |caller: Introduction| Receipt {
        order: order.signed().clone(),
        caller,
        outcome: None,
        agent: None,
        acknowledgement: None,
        answer: None,
        ..receipt()
    };
    assert_eq!(receipt(carol).verify().err(), Some(Refusal::Signature));
    assert_eq!(receipt(alice_node()).verify().err(), Some(Refusal::Signature));
    // A node that may host but not call.
    let mut serving = certificate(ALICE, ALICE_NODE, ALICE_NEXT);
    serving.rights = vec![Right::Serve];
    let serving = Introduction::make(serving, &key(ALICE), &key(ALICE_NODE), NOW);
    let mut whole = crate::cast::receipt();
    whole.caller = serving;
    assert_eq!(whole.verify().err(), Some(Refusal::Signature));
}

#[test]
fn s09_an_agent_counts_only_on_the_node_it_was_certified_for() {
    assert!(card_entry().verify(NOW).is_ok());
    let entry = |change: fn(&mut Card), signer: u8, introduction: Introduction| {
        let mut card = card();
        change(&mut card);
        CardEntry { card: Verified::sign(card, &key(signer)).signed().clone(), introduction }
    };
    for (what, entry) in [
        ("another node", entry(|card| card.node = node(ALICE_NODE), BOB_AGENT, bob_agent())),
        ("another owner", entry(|card| card.owner = owner(ALICE), BOB_AGENT, bob_agent())),
        ("signed by its node", entry(|_| (), BOB_NODE, bob_agent())),
        ("with its node's certificate", entry(|_| (), BOB_AGENT, bob_node())),
        ("a node's card with the node's certificate", entry(|card| card.agent = agent(BOB_NODE), BOB_NODE, bob_node())),
    ] {
        assert_eq!(entry.verify(NOW).err(), Some(Refusal::Signature), "{what}");
    }
    let late = NOW.after(hours(24) + std::time::Duration::from_millis(1));
    assert_eq!(card_entry().verify(late).err(), Some(Refusal::Expired));
    let tags = |card: &mut Card| card.tags = (0..9).map(|tag| format!("tag{tag}")).collect();
    assert_eq!(entry(tags, BOB_AGENT, bob_agent()).verify(NOW).err(), Some(Refusal::TooLarge));
}

/// Changes each byte of each part in turn; the receipt must fail every time.
fn every_byte(what: &str, length: usize, change: impl Fn(&mut Receipt, usize)) {
    assert!(length > 0);
    for at in 0..length {
        let mut changed = receipt();
        change(&mut changed, at);
        assert!(changed.verify().is_err(), "{what}: byte {at}");
    }
}

fn flip<T: klp::Statement>(signed: &Signed<T>, at: usize) -> Signed<T> {
    let mut bytes = signed.as_bytes().to_vec();
    bytes[at] ^= 0x10;
    Signed::from_bytes(bytes)
}

#[test]
fn s23_no_byte_of_a_receipt_can_be_changed() {
    let good = receipt();
    let order = good.order.as_bytes().len();
    every_byte("order", order, |receipt, at| receipt.order = flip(&receipt.order, at));
    let outcome = good.outcome.as_ref().expect("an outcome").clone();
    every_byte("outcome", outcome.as_bytes().len(), |receipt, at| receipt.outcome = Some(flip(&outcome, at)));
    let seen = good.acknowledgement.as_ref().expect("an acknowledgement").clone();
    every_byte("acknowledgement", seen.as_bytes().len(), |receipt, at| receipt.acknowledgement = Some(flip(&seen, at)));
    every_byte("salt", 16, |receipt, at| receipt.salt[at] ^= 1);
    let certificate = good.caller.certificate.as_bytes().len();
    every_byte("caller's certificate", certificate, |receipt, at| {
        receipt.caller.certificate = flip(&receipt.caller.certificate, at);
    });
    let acceptance = good.caller.acceptance.as_bytes().len();
    every_byte("caller's acceptance", acceptance, |receipt, at| {
        receipt.caller.acceptance = flip(&receipt.caller.acceptance, at);
    });
}

#[test]
fn l0_6_an_edited_answer_or_question_does_not_verify() {
    every_byte("answer", ANSWER.len(), |receipt, at| {
        let mut answer = ANSWER.to_vec();
        answer[at] ^= 1;
        receipt.answer = Some(Bytes(answer));
    });
    let longer = [ANSWER, b"!"].concat();
    for answer in [b"".to_vec(), ANSWER[1..].to_vec(), longer] {
        let mut edited = receipt();
        edited.answer = Some(Bytes(answer));
        assert_eq!(edited.verify().err(), Some(Refusal::Signature));
    }
    for (name, value) in [("text", "how do I pair!"), ("limit", "2"), ("more", "")] {
        let mut edited = receipt();
        let _old = edited.arguments.insert(name.into(), value.into());
        assert_eq!(edited.verify().err(), Some(Refusal::Signature), "{name}");
    }
    let mut edited = receipt();
    let _gone = edited.arguments.remove("limit");
    assert_eq!(edited.verify().err(), Some(Refusal::Signature));
}

#[test]
fn s23_a_receipt_says_how_far_it_has_come_and_who_signed() {
    let mut receipt = receipt();
    let whole = receipt.verify().expect("holds");
    assert_eq!(whole.state, State::Acknowledged);
    let roles: Vec<_> = whole.signers.iter().map(|(role, key, owner)| (*role, *key, *owner)).collect();
    let (alice, bob) = (key(ALICE_NODE).did(), key(BOB_AGENT).did());
    let expected =
        [("caller", alice, owner(ALICE)), ("agent", bob, owner(BOB)), ("acknowledgement", alice, owner(ALICE))];
    assert_eq!(roles, expected);
    receipt.acknowledgement = None;
    assert_eq!(receipt.verify().expect("holds").state, State::Answered);
    receipt.outcome = None;
    assert_eq!(receipt.verify().err(), Some(Refusal::Signature), "a certificate without its outcome");
    receipt.agent = None;
    assert_eq!(receipt.verify().err(), Some(Refusal::Signature), "an answer that nobody has signed");
    receipt.answer = None;
    assert_eq!(receipt.verify().expect("holds").state, State::Ordered);
    let again = Receipt::from_bytes(&receipt.to_bytes(), limits::MESSAGE).expect("decodes");
    assert_eq!(again, receipt);
}

#[test]
fn s20_an_order_is_for_one_node_one_request_and_ten_minutes() {
    let check = |change: fn(&mut Order), now: Timestamp| {
        let mut order = order();
        change(&mut order);
        order.check(&node(BOB_NODE), &[9; 16], &arguments(), now).err()
    };
    let end = order().expires;
    assert_eq!(check(|_| (), NOW), None);
    assert_eq!(check(|_| (), end), None);
    assert_eq!(check(|_| (), Timestamp(end.0 + 1)), Some(Refusal::Expired));
    assert_eq!(check(|_| (), NOW.before(limits::SKEW)), None);
    assert_eq!(check(|_| (), Timestamp(NOW.before(limits::SKEW).0 - 1)), Some(Refusal::Clock));
    assert_eq!(check(|order| order.node = node(ALICE_NODE), NOW), Some(Refusal::NotForMe));
    assert_eq!(check(|order| order.expires.0 += 1, NOW), Some(Refusal::Malformed));
    assert_eq!(check(|order| order.capability = "as".into(), NOW), Some(Refusal::Malformed));
    assert_eq!(order().check(&node(BOB_NODE), &[8; 16], &arguments(), NOW), Err(Refusal::Malformed));
}

#[test]
fn s26_a_ticket_authorises_nothing_and_carries_no_name() {
    let (ticket, _) = from_line(&line(|_| (), BOB_NODE), NOW).expect("a ticket");
    // Whole keys, digests, times and addresses; the only texts in it are addresses.
    fn texts(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Text(text) => found.push(text.clone()),
            Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
            Value::Map(entries) => entries.iter().for_each(|(_, item)| texts(item, found)),
            Value::Bytes(bytes) => {
                if let Ok(inner) = decode(bytes, limits::STATEMENT) {
                    texts(&inner, found);
                }
            }
            _ => (),
        }
    }
    let mut found = Vec::new();
    texts(&decode(ticket.signed().as_bytes(), limits::STATEMENT).expect("strict"), &mut found);
    assert_eq!(found, ticket.addresses);
    // It is no grant and no order: its bytes verify as a ticket only.
    let bytes = ticket.signed().as_bytes();
    assert_eq!(
        TYPES.iter().filter(|kind| (kind.read)(bytes).is_ok()).map(|kind| kind.name).collect::<Vec<_>>(),
        ["Ticket"]
    );
}

#[test]
fn s33_a_statement_has_at_most_64_kib() {
    let sized = |length: usize| {
        let mut forged = Forged::acceptance();
        forged.payload = vec![0x40; length];
        forged.sign()
    };
    // Everything around the payload has the same length near the limit.
    let around = sized(limits::STATEMENT / 2).len() - limits::STATEMENT / 2;
    let acceptance = &TYPES[1];
    let at_limit = sized(limits::STATEMENT - around);
    assert!(at_limit.len() <= limits::STATEMENT);
    let refusal = |bytes: &[u8]| (acceptance.read)(bytes).err().map(|error| Refusal::from(&error));
    assert_eq!(refusal(&at_limit), Some(Refusal::Malformed), "read, and found to be no acceptance");
    let over = sized(limits::STATEMENT + 1 - around.min(limits::STATEMENT));
    let over = if over.len() > limits::STATEMENT { over } else { sized(limits::STATEMENT) };
    assert_eq!(refusal(&over), Some(Refusal::TooLarge));
    let inside = Value::Bytes(vec![0; limits::STATEMENT + 1]);
    assert!(matches!(Signed::<Card>::from_value(inside), Err(CodecError::TooLarge { .. })));
}

#[test]
fn s33_a_sealed_body_shows_only_version_key_id_and_ciphertext() {
    let secret = exchange(ALICE_EXCHANGE);
    let letter = letter(ALICE);
    let sealed = Sealed::seal(&letter, &secret.public(), [7; 32]).expect("seals");
    let bytes = sealed.to_bytes();
    let outside = decode(&bytes, limits::MESSAGE).expect("strict").into_map().expect("a map");
    assert_eq!(outside.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), [1, 2, 3, 4].map(Value::from));
    assert_eq!(outside[1].1, Value::Bytes(secret.public().id().to_vec()));
    let shows = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    assert!(!shows(b"come at eight") && !shows(owner(ALICE).0.key()) && !shows(owner(BOB).0.key()));
    assert!(!shows(letter.id().0.as_slice()) && !shows(&letter.signed().as_bytes()[..16]));
    let again = Sealed::seal(&letter, &secret.public(), [8; 32]).expect("seals");
    assert_ne!(again.to_bytes(), bytes, "fresh entropy, another ciphertext");
}

#[test]
fn s33_only_the_audience_may_open() {
    let secret = exchange(ALICE_EXCHANGE);
    let seal = |audience: u8| Sealed::seal(&letter(audience), &secret.public(), [7; 32]).expect("seals");
    let open =
        |sealed: &Sealed, opener: u8| sealed.open::<Letter>(&secret, &owner(opener)).map(|letter| letter.signer());
    assert_eq!(open(&seal(ALICE), ALICE), Ok(key(BOB).did()));
    assert_eq!(open(&seal(ALICE), CAROL), Err(SealError::Audience));
    assert_eq!(open(&seal(CAROL), ALICE), Err(SealError::Audience));
    let other = seal(ALICE).open::<Letter>(&exchange(BOB_EXCHANGE), &owner(ALICE)).err();
    assert_eq!(other, Some(SealError::Key));
}

#[test]
fn s34_statement_sealed_and_session_message_are_three_things() {
    let statement = letter(ALICE).signed().as_bytes().to_vec();
    let sealed = Sealed::seal(&letter(ALICE), &exchange(ALICE_EXCHANGE).public(), [7; 32]).expect("seals").to_bytes();
    let message = klp::message::Request::new(klp::message::kind::PING, &klp::message::Empty).to_bytes();
    for (what, bytes, expected) in [
        ("statement", &statement, [true, false, false]),
        ("sealed", &sealed, [false, true, false]),
        ("message", &message, [false, false, true]),
    ] {
        let read = [
            Signed::<Letter>::from_bytes(bytes.clone()).verify().is_ok(),
            Sealed::from_bytes(bytes, limits::MESSAGE).is_ok(),
            klp::message::Request::from_bytes(bytes, limits::MESSAGE).is_ok(),
        ];
        assert_eq!(read, expected, "{what}");
    }
}
