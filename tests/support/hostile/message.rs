//! Requests and answers of every kind, as a session hands them over.

use klp::codec::{Value, decode, encode};
use klp::forward::{End, Forward, Forwarded, Question};
use klp::message::{
    Acknowledge, Acknowledgements, Answered, Call, Cards, Empty, Grants, Missing, Negotiated, PairFinish, PairFinished,
    PairIdentity, PairOpen, PairOpened, PairProve, PairProved, Pong, Query, Request, Revocations, Since, Wants,
};
use klp::statement::certificate::Introduction;
use klp::{Cbor, limits};

use super::input::Input;
use super::vectors;

type Check = fn(&Value) -> bool;

/// Every body that a request or an answer may have.
const BODIES: [Check; 26] = [
    body::<Empty>,
    body::<Pong>,
    body::<Introduction>,
    body::<Query>,
    body::<Cards>,
    body::<Wants>,
    body::<Negotiated>,
    body::<Call>,
    body::<Answered>,
    body::<Grants>,
    body::<Since>,
    body::<Revocations>,
    body::<Acknowledge>,
    body::<Acknowledgements>,
    body::<Missing>,
    body::<PairOpen>,
    body::<PairOpened>,
    body::<PairProve>,
    body::<PairProved>,
    body::<PairFinish>,
    body::<PairFinished>,
    body::<PairIdentity>,
    body::<Forward>,
    body::<Forwarded>,
    body::<Question>,
    body::<End>,
];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let requests = vectors::led(vectors::MESSAGES, "request", &[0]);
    [requests, vectors::led(vectors::MESSAGES, "response", &[1])].concat()
}

/// Request or answer, and its bytes.
pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    if input.byte() & 1 == 0 {
        let Ok(request) = Request::from_bytes(input.rest(), limits::MESSAGE) else { return };
        assert_eq!(request.to_bytes(), input.rest(), "a request has one encoding");
        assert!(request.kind.len() <= limits::NAME);
        BODIES.iter().for_each(|check| {
            let _is = check(&request.body);
        });
    } else {
        let Ok(value) = decode(input.rest(), limits::MESSAGE) else { return };
        assert_eq!(encode(&value), input.rest(), "an answer has one encoding");
        BODIES.iter().for_each(|check| {
            let _is = check(&value);
        });
    }
}

/// Whether this is such a body; then it is written as it was read.
fn body<T: Cbor>(value: &Value) -> bool {
    let Ok(read) = T::from_value(value.clone()) else { return false };
    assert_eq!(encode(value), read.to_bytes(), "what was read is written as it came");
    true
}
