//! A receipt as a file, read by somebody who has nothing else.

use std::collections::BTreeMap;

use klp::statement::receipt::{Acknowledgement, Order, Outcome, Receipt, State, request_digest};
use klp::{Cbor, Digest, Statement, Verified, limits};

use super::cast::{self, ALICE_NODE, BOB_AGENT, key};
use super::input::Input;
use super::{envelope, record, vectors};

const SALT: [u8; 16] = [9; 16];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    [
        vectors::led(vectors::RECEIPTS, "file", &[0]),
        vectors::payloads("Order", &[1]),
        vectors::payloads("Outcome", &[2]),
        vectors::payloads("Acknowledgement", &[3]),
        vec![[vec![4], arguments().to_bytes()].concat()],
    ]
    .concat()
}

fn arguments() -> BTreeMap<String, String> {
    BTreeMap::from([("limit".to_owned(), "1".to_owned()), ("text".to_owned(), "how do I pair?".to_owned())])
}

/// The way, and a receipt, the payload of one of its statements, or its arguments.
pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match (input.byte() % 5, input.rest()) {
        (0, file) => {
            if let Ok(receipt) = Receipt::from_bytes(file, 2 * limits::MESSAGE) {
                assert_eq!(receipt.to_bytes(), file, "a receipt has one encoding");
                check(&receipt);
            }
        }
        (1, payload) => {
            let order = cast::sign::<Order>(payload, ALICE_NODE);
            check(&Receipt { order, ..ordered() });
        }
        (2, payload) => {
            let outcome = Some(cast::sign::<Outcome>(payload, BOB_AGENT));
            check(&Receipt { outcome, agent: Some(cast::bob_agent()), ..ordered() });
        }
        (3, payload) => {
            let acknowledgement = Some(cast::sign::<Acknowledgement>(payload, ALICE_NODE));
            let whole = vectors::led(vectors::RECEIPTS, "file", &[]).first().cloned().unwrap_or_default();
            let whole = Receipt::from_bytes(&whole, 2 * limits::MESSAGE).expect("the first one is whole");
            check(&Receipt { acknowledgement, ..whole });
        }
        (_, texts) => {
            let Ok(arguments) = BTreeMap::from_bytes(texts, limits::MESSAGE) else { return };
            let order: Order = first("Order");
            let request = request_digest(&SALT, &order.capability, &arguments);
            let order = Verified::sign(Order { request, ..order }, &key(ALICE_NODE)).signed().clone();
            let receipt = Receipt { order, arguments, ..ordered() };
            assert!(receipt.verify().is_ok(), "order and arguments belong together");
            check(&receipt);
        }
    }
}

fn first<T: Statement>(kind: &str) -> T {
    let payload = vectors::payloads(kind, &[]).first().cloned().unwrap_or_default();
    T::from_bytes(&payload, limits::STATEMENT).expect("an example")
}

/// The receipt of the vectors, as far as the caller alone can make it.
fn ordered() -> Receipt {
    Receipt {
        version: 1,
        order: Verified::sign(first::<Order>("Order"), &key(ALICE_NODE)).signed().clone(),
        caller: cast::alice_node(),
        outcome: None,
        agent: None,
        acknowledgement: None,
        salt: SALT,
        arguments: arguments(),
        answer: None,
    }
}

fn check(receipt: &Receipt) {
    let Ok(verified) = receipt.verify() else { return };
    let order = &verified.order;
    envelope::holds(order, receipt.order.as_bytes());
    record::introduction(&receipt.caller, order.issued);
    assert_eq!(order.request, request_digest(&receipt.salt, &order.capability, &receipt.arguments));
    let caller = verified.signers.first().expect("somebody ordered");
    assert_eq!((caller.1, caller.2), (order.signer(), order.caller), "whose order it is");

    let expected = match (&receipt.outcome, &receipt.acknowledgement) {
        (None, _) => State::Ordered,
        (Some(_), None) => State::Answered,
        (Some(_), Some(_)) => State::Acknowledged,
    };
    assert_eq!(verified.state, expected);
    assert!(receipt.answer.is_none() || verified.outcome.is_some(), "nobody is shown an answer that nobody signed");
    if let Some(outcome) = &verified.outcome {
        assert_eq!(
            (outcome.order, outcome.signer()),
            (order.id(), order.agent.0),
            "the agent that was asked has answered"
        );
        if let Some(answer) = &receipt.answer {
            assert_eq!((Digest::of(&[&answer.0]), answer.0.len() as u64), (outcome.answer, outcome.bytes));
        }
        // Without its end a receipt is worth less, and still true.
        let answered = Receipt { acknowledgement: None, ..receipt.clone() };
        assert_eq!(answered.verify().expect("answered").state, State::Answered);
        let ordered = Receipt { outcome: None, agent: None, acknowledgement: None, answer: None, ..receipt.clone() };
        assert_eq!(ordered.verify().expect("ordered").state, State::Ordered);
    }
    let salt = receipt.salt.map(|byte| byte ^ 1);
    assert!(Receipt { salt, ..receipt.clone() }.verify().is_err(), "another salt opens nothing");
}
