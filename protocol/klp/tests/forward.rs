//! Forwarding as far as it is decided in KLP: what a carrier may do to a question or an answer, each noticed by name.

use klp::codec::Bytes;
use klp::forward::{End, Exchange, Forward, Question, Step, Writer};
use klp::message::kind;
use klp::sealed::SealError;
use klp::statement::certificate::{Introduction, Right};
use klp::{Cbor as _, Digest, NodeId, Refusal, Verified, forward, limits};
use proptest::prelude::*;

use crate::cast::*;
use crate::vectors::forward::{REQUEST, answer, asked, read};

#[test]
fn k15_only_kinds_that_an_errand_makes_authentic_are_carried() {
    assert!(forward::KINDS.iter().all(|one| kind::ALL.contains(one)));
    for of_a_session in [kind::INTRODUCE, kind::FORWARD, kind::DELIVER_GRANT, kind::DELIVER_REVOCATION, kind::MISSING] {
        assert!(!forward::KINDS.contains(&of_a_session), "{of_a_session}");
    }
}

#[test]
fn k15_a_question_opens_for_one_node_only_and_only_unchanged() {
    let (sealed, ..) = asked();
    let (inside, _) = sealed.open(&exchange(BOB_EXCHANGE)).expect("opens");
    assert_eq!(inside, question(REQUEST));
    assert_eq!(sealed.open(&exchange(ALICE_EXCHANGE)).expect_err("another key"), SealError::Key);
    let bytes = sealed.to_bytes();
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        if let Ok(changed) = forward::SealedQuestion::from_bytes(&bytes, limits::MESSAGE) {
            assert!(changed.open(&exchange(BOB_EXCHANGE)).is_err(), "byte {at}");
        }
    }
    for word in [
        REQUEST,
        owner(ALICE).0.key().as_slice(),
        node(ALICE_NODE).0.key().as_slice(),
        node(BOB_NODE).0.key().as_slice(),
    ] {
        assert!(!bytes.windows(word.len()).any(|part| part == word), "what lies inside is not to be seen");
    }
}

#[test]
fn k15_an_errand_counts_for_one_node_one_request_and_ten_minutes_and_for_its_signers_owner() {
    let of = |question: &Question| question.verify(&node(BOB_NODE), NOW).err();
    let signed = |change: fn(&mut forward::Errand), by: u8| {
        let mut errand = errand(REQUEST);
        change(&mut errand);
        Question { errand: Verified::sign(errand, &key(by)).signed().clone(), ..question(REQUEST) }
    };
    let good = signed(|_| {}, ALICE_NODE);
    let (errand, caller) = good.verify(&node(BOB_NODE), NOW).expect("counts");
    assert_eq!((errand.signer(), caller.owner()), (node(ALICE_NODE).0, owner(ALICE)));
    assert_eq!(good.verify(&node(CAROL_NODE), NOW).err(), Some(Refusal::NotForMe), "a swapped recipient");
    assert_eq!(good.verify(&node(BOB_NODE), errand.expires).err(), None);
    assert_eq!(good.verify(&node(BOB_NODE), klp::Timestamp(errand.expires.0 + 1)).err(), Some(Refusal::Expired));
    assert_eq!(good.verify(&node(BOB_NODE), klp::Timestamp(NOW.0 - 300_001)).err(), Some(Refusal::Clock));
    assert_eq!(of(&signed(|it| it.expires = klp::Timestamp(it.expires.0 + 1), ALICE_NODE)), Some(Refusal::Malformed));
    assert_eq!(of(&Question { request: Bytes(b"another".to_vec()), ..good.clone() }), Some(Refusal::Malformed));
    // Security rule 9: nobody speaks for another's owner.
    assert_eq!(of(&signed(|_| {}, CAROL_NODE)), Some(Refusal::Signature));
    assert_eq!(of(&signed(|it| it.caller = owner(CAROL), ALICE_NODE)), Some(Refusal::Signature));
    assert_eq!(of(&Question { caller: bob_node(), ..good.clone() }), Some(Refusal::Signature));
    let mut serving = certificate(ALICE, ALICE_NODE, ALICE_NEXT);
    serving.rights = vec![Right::Serve];
    let serving = Introduction::make(serving, &key(ALICE), &key(ALICE_NODE), NOW);
    assert_eq!(of(&Question { caller: serving, ..good }), Some(Refusal::Signature));
}

#[test]
fn k15_a_node_says_its_own_key_and_nobody_elses() {
    let said = |change: fn(&mut Exchange), by: u8| {
        let mut said = exchange_said();
        change(&mut said);
        Exchange::check(Verified::sign(said, &key(by)).signed(), &node(BOB_NODE), NOW)
    };
    assert_eq!(said(|_| {}, BOB_NODE), Ok(exchange(BOB_EXCHANGE).public()));
    assert_eq!(said(|_| {}, CAROL_NODE), Err(Refusal::NotForMe));
    assert_eq!(said(|it| it.node = node(CAROL_NODE), CAROL_NODE), Err(Refusal::NotForMe));
    assert_eq!(said(|it| it.expires = klp::Timestamp(it.expires.0 + 1), BOB_NODE), Err(Refusal::Expired));
    let old = |it: &mut Exchange| {
        (it.issued, it.expires) = (klp::Timestamp(NOW.0 - 900_001), klp::Timestamp(NOW.0 - 300_001));
    };
    assert_eq!(said(old, BOB_NODE), Err(Refusal::Expired));
    assert_eq!(said(|it| it.issued = klp::Timestamp(NOW.0 + 300_001), BOB_NODE), Err(Refusal::Clock));
}

#[test]
fn k15_nobody_else_answers_in_the_nodes_place() {
    // Carol has the errand's public key, from a question that was sealed to her by mistake, but not what Bob's opening gave.
    let (other, _) =
        question(REQUEST).seal(&exchange(CAROL).public(), exchange(ANSWER_EXCHANGE), [0x70; 32]).expect("seals");
    let (_, export) = other.open(&exchange(CAROL)).expect("opens");
    let writer = Writer::new(&export, &exchange(ANSWER_EXCHANGE).public(), [0x71; 32]).expect("a key");
    let (_, reader, _) = asked();
    assert_eq!(read(reader, &answer(writer)).expect_err("another's"), SealError::Cipher);
}

#[test]
fn k15_handed_on_it_keeps_who_had_it_and_loses_one_hop() {
    let first = forward();
    assert_eq!(first.step(&node(CAROL_NODE), &node(ALICE_NODE)), Ok(Step::Onward));
    let second = first.onward(node(CAROL_NODE), vec![]);
    assert_eq!((second.ttl, second.path.len(), second.chain.len()), (first.ttl - 1, 2, 0));
    assert_eq!(second.question, first.question);
    assert_eq!(second.step(&node(BOB_NODE), &node(CAROL_NODE)), Ok(Step::Here));
    assert!(second.knows(&node(CAROL_NODE)) && second.knows(&node(BOB_NODE)) && !second.knows(&node(0x99)));
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn k15_an_answer_comes_whole_or_its_damage_is_noticed(
        chunks in prop::collection::vec(piece(), 0..6), last in piece(), refused: bool, damage in 0u8..5, at: usize, bit in 0u8..8,
    ) {
        let (_, reader, mut writer) = asked();
        let end = End {
            answer: (!refused).then(|| Bytes(last.clone())),
            refusal: refused.then_some(14),
            message: String::new(),
            path: vec![node(ALICE_NODE)],
        };
        let mut pieces: Vec<_> = chunks.iter().map(|chunk| writer.chunk(chunk).expect("seals")).collect();
        pieces.push(writer.end(&end).expect("seals"));
        prop_assert_eq!(read(reader, &pieces).expect("whole"), (chunks.concat(), end));

        let count = pieces.len();
        let place = at % count;
        let changed = match damage {
            0 => {
                let length = pieces[place].len();
                pieces[place][at % length] ^= 1 << bit;
                true
            }
            1 => {
                let length = pieces[place].len();
                pieces[place].truncate(at % length);
                true
            }
            2 => {
                pieces.remove(place);
                true
            }
            3 => {
                let again = pieces[place].clone();
                pieces.insert(place, again);
                true
            }
            _ => {
                pieces.swap(place, 0);
                place != 0
            }
        };
        if changed && !pieces.is_empty() {
            let (_, reader, _) = asked();
            prop_assert!(read(reader, &pieces).is_err());
        }
    }

    #[test]
    fn k15_every_way_ends_and_meets_nobody_twice(
        seeds in prop::collection::vec(1u8..40, 1..80), ttl in 0u64..40, to in 1u8..40,
    ) {
        let nodes: Vec<NodeId> = (0..40).map(node).collect();
        let first = nodes[usize::from(seeds[0])];
        let mut at = first;
        let mut on_its_way =
            Forward { to: nodes[usize::from(to)], ttl, path: vec![first], question: None, ..forward() };
        let mut met = vec![first];
        for seed in &seeds[1..] {
            let me = nodes[usize::from(*seed)];
            match on_its_way.step(&me, &at) {
                Ok(Step::Onward) => on_its_way = on_its_way.onward(me, vec![]),
                Ok(Step::Here) => {
                    prop_assert_eq!(me, on_its_way.to);
                    return Ok(());
                }
                Err(_) => return Ok(()),
            }
            prop_assert!(!met.contains(&me), "met twice");
            met.push(me);
            at = me;
            prop_assert!(met.len() as u64 <= ttl + 1 && met.len() <= limits::HOPS_MAX + 1);
        }
    }

    #[test]
    fn k15_a_request_is_bound_to_its_errand(request in piece(), other in piece()) {
        let question = Question { request: Bytes(other.clone()), ..question(&request) };
        let counts = question.verify(&node(BOB_NODE), NOW).is_ok();
        prop_assert_eq!(counts, Digest::of(&[&request]) == Digest::of(&[&other]));
    }
}
