use klp::codec::Bytes;
use klp::statement::receipt::Receipt;
use klp::{Cbor as _, Refusal, Verified, limits};
use serde_json::{Value as Json, json};

use super::{bytes, hold, text};
use crate::cast::*;

/// What `receipt verify` finds in a file.
fn verdict(file: &[u8]) -> Json {
    let verified = Receipt::from_bytes(file, 2 * limits::MESSAGE)
        .map_err(|_| Refusal::Malformed)
        .and_then(|receipt| receipt.verify());
    match verified {
        Err(refusal) => json!({ "refused": refusal.code() }),
        Ok(receipt) => {
            let signers = receipt.signers.iter();
            let signers = signers
                .map(|(role, key, owner)| json!({ "role": role, "key": key.to_string(), "owner": owner.to_string() }));
            json!({ "state": receipt.state.as_str(), "signers": signers.collect::<Vec<_>>() })
        }
    }
}

fn case(what: &str, change: impl FnOnce(&mut Receipt)) -> Json {
    let mut receipt = receipt();
    change(&mut receipt);
    let file = receipt.to_bytes();
    json!({ "what": what, "file": hex(&file), "verdict": verdict(&file) })
}

fn forget_answer(receipt: &mut Receipt) {
    receipt.outcome = None;
    receipt.agent = None;
    receipt.acknowledgement = None;
    receipt.answer = None;
}

#[test]
fn s23_receipt_vectors() {
    let carols_order = Verified::sign(order(), &key(CAROL)).signed().clone();
    let other_outcome = {
        let mut outcome = outcome();
        outcome.order = klp::Digest([1; 32]);
        Verified::sign(outcome, &key(BOB_AGENT)).signed().clone()
    };
    let cases = vec![
        case("acknowledged", |_| ()),
        case("answered", |receipt| receipt.acknowledgement = None),
        case("answered, kept without the answer", |receipt| receipt.answer = None),
        case("ordered", forget_answer),
        case("an answer without an outcome", |receipt| {
            forget_answer(receipt);
            receipt.answer = Some(Bytes(ANSWER.to_vec()));
        }),
        case("another answer", |receipt| receipt.answer = Some(Bytes(b"2. other.md:1-1\n".to_vec()))),
        case("another question", |receipt| {
            let _old = receipt.arguments.insert("text".into(), "how do I part?".into());
        }),
        case("another salt", |receipt| receipt.salt = [1; 16]),
        case("version 2", |receipt| receipt.version = 2),
        case("an acknowledgement without an outcome", |receipt| {
            receipt.outcome = None;
            receipt.agent = None;
        }),
        case("an outcome without the agent's certificate", |receipt| receipt.agent = None),
        case("an outcome of another order", |receipt| receipt.outcome = Some(other_outcome)),
        case("an order signed by somebody else", |receipt| receipt.order = carols_order),
        case("the caller's certificate in place of the agent's", |receipt| receipt.agent = Some(alice_node())),
        case("the agent's certificate in place of the caller's", |receipt| receipt.caller = bob_agent()),
    ];
    assert_eq!(cases.iter().filter(|case| case["verdict"]["state"].is_string()).count(), 4, "only the first four hold");
    let about = "Receipt files, and what somebody without a node finds in them.";
    for case in hold("receipts", "specs/06-receipts.md, section 5", about, cases) {
        assert_eq!(verdict(&bytes(&case, "file")), case["verdict"], "{}", text(&case, "what"));
    }
}
