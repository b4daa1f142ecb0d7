use ed25519_dalek::{Signer as _, SigningKey};
use klp::codec::{Map, Value, encode};
use klp::{Cbor, Refusal};
use serde_json::json;

use super::statements::{parts, sig_structure, type_of};
use super::{bytes, hold, text};
use crate::cast::*;

/// A statement put together by hand, so that it may be wrong in one way and right in all others.
pub struct Forged {
    pub protected: Vec<u8>,
    pub unprotected: Value,
    pub payload: Vec<u8>,
    pub domain: &'static str,
    pub seed: u8,
}

impl Forged {
    pub fn acceptance() -> Self {
        let [protected, unprotected, payload, _] = parts(bob_node().acceptance.as_bytes());
        let (protected, payload) = (protected.into_bytes().expect("bytes"), payload.into_bytes().expect("bytes"));
        Self { protected, unprotected, payload, domain: "kos/acceptance/1", seed: BOB_NODE }
    }

    fn signature(&self) -> Vec<u8> {
        let signed =
            sig_structure(self.domain, &Value::Bytes(self.protected.clone()), &Value::Bytes(self.payload.clone()));
        SigningKey::from_bytes(&[self.seed; 32]).sign(&signed).to_bytes().to_vec()
    }

    fn with_signature(&self, signature: Vec<u8>) -> Vec<u8> {
        let parts = [
            Value::Bytes(self.protected.clone()),
            self.unprotected.clone(),
            Value::Bytes(self.payload.clone()),
            Value::Bytes(signature),
        ];
        encode(&Value::Array(parts.to_vec()))
    }

    pub fn sign(&self) -> Vec<u8> {
        self.with_signature(self.signature())
    }
}

fn forged(change: impl FnOnce(&mut Forged)) -> Vec<u8> {
    let mut forged = Forged::acceptance();
    change(&mut forged);
    forged.sign()
}

/// A protected header with these entries, encoded in this order.
fn header(entries: Vec<(Value, Value)>) -> Vec<u8> {
    encode(&Value::Map(entries))
}

fn kid() -> (Value, Value) {
    (4.into(), Value::Bytes(key(BOB_NODE).did().key().to_vec()))
}

fn with_header(entries: Vec<(Value, Value)>) -> Vec<u8> {
    forged(|forged| forged.protected = header(entries))
}

fn alg(number: i64) -> (Value, Value) {
    (1.into(), number.into())
}

/// The order of the curve's main subgroup, little-endian: a signature's scalar plus this one verifies where it is not checked.
const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

fn malleated() -> Vec<u8> {
    let forged = Forged::acceptance();
    let mut signature = forged.signature();
    let mut carry = 0u16;
    for (byte, add) in signature[32..].iter_mut().zip(unhex(ORDER)) {
        carry += u16::from(*byte) + u16::from(add);
        *byte = carry.to_le_bytes()[0];
        carry >>= 8;
    }
    forged.with_signature(signature)
}

/// With the neutral point as key and as R, and s = 0, a lax verifier accepts any message.
fn small_order() -> Vec<u8> {
    let mut neutral = vec![0; 32];
    neutral[0] = 1;
    let mut forged = Forged::acceptance();
    forged.protected = header(vec![alg(-19), (4.into(), Value::Bytes(neutral.clone()))]);
    forged.with_signature([neutral, vec![0; 32]].concat())
}

fn countersignature() -> Value {
    Value::Array(vec![Value::Bytes(header(vec![alg(-19), kid()])), Value::Map(vec![]), Value::Bytes(vec![1; 64])])
}

fn headers() -> Vec<(&'static str, Vec<u8>)> {
    let lone = |key: i64, value: Value| Value::Map(vec![(key.into(), value)]);
    vec![
        ("an unprotected key id", forged(|forged| forged.unprotected = lone(4, Value::Bytes(vec![1])))),
        ("an unprotected private label", forged(|forged| forged.unprotected = lone(-70_001, 1.into()))),
        ("alg -8 (EdDSA)", with_header(vec![alg(-8), kid()])),
        ("alg -7 (ES256)", with_header(vec![alg(-7), kid()])),
        ("no alg", with_header(vec![kid()])),
        ("no key id", with_header(vec![alg(-19)])),
        ("a key id of 31 bytes", with_header(vec![alg(-19), (4.into(), Value::Bytes(vec![7; 31]))])),
        ("an extra header: content type", with_header(vec![alg(-19), (3.into(), 60.into()), kid()])),
        ("an extra header: crit", with_header(vec![alg(-19), (2.into(), Value::Array(vec![4.into()])), kid()])),
        ("an extra header: an empty IV", with_header(vec![alg(-19), kid(), (5.into(), Value::Bytes(vec![]))])),
        ("an extra header: an empty partial IV", with_header(vec![alg(-19), kid(), (6.into(), Value::Bytes(vec![]))])),
        ("an extra header: a countersignature", with_header(vec![alg(-19), kid(), (7.into(), countersignature())])),
        ("an extra header: private label", with_header(vec![alg(-19), kid(), ((-70_001).into(), 1.into())])),
        ("an extra header: text label", with_header(vec![alg(-19), kid(), ("aud".into(), 1.into())])),
        ("the protected header out of order", with_header(vec![kid(), alg(-19)])),
        ("an empty protected header", forged(|forged| forged.protected.clear())),
        ("a byte after the protected header", forged(|forged| forged.protected.push(0))),
        (
            "an indefinite protected header",
            forged(|forged| {
                forged.protected[0] = 0xbf;
                forged.protected.push(0xff);
            }),
        ),
        ("a key of small order and a signature that fits anything", small_order()),
    ]
}

fn payloads() -> Vec<(&'static str, Vec<u8>)> {
    let plain = || Map::new().with(1, &bob_node().certificate.verify().expect("verifies").id());
    let payload = |payload: Vec<u8>| forged(|forged| forged.payload = payload);
    let long_integer = {
        let mut payload = plain().with(2, &0u64).build().to_bytes();
        payload.truncate(payload.len() - 1);
        [payload, vec![0x18, 0x00]].concat()
    };
    vec![
        ("an unknown field", payload(plain().with(2, &NOW).with(3, &1u64).build().to_bytes())),
        ("a missing field", payload(plain().build().to_bytes())),
        ("null in place of a field", payload(plain().with(2, &Value::Null).build().to_bytes())),
        ("a field of another type", payload(plain().with(2, &"now".to_owned()).build().to_bytes())),
        ("an integer that is not the shortest", payload(long_integer)),
        ("an array in place of the map", payload(vec![0x80])),
        ("nothing as payload", payload(vec![])),
        ("a byte after the payload's item", forged(|forged| forged.payload.push(0))),
        (
            "fields out of order",
            forged(|forged| {
                let second = forged.payload.split_off(forged.payload.len() - 10);
                let first = forged.payload.split_off(1);
                forged.payload.extend([second, first].concat());
            }),
        ),
    ]
}

fn outsides() -> Vec<(&'static str, Vec<u8>)> {
    let good = Forged::acceptance().sign();
    let flip = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let mut detached = parts(&good);
    detached[2] = Value::Null;
    vec![
        ("a byte after the statement", [&good[..], &[0]].concat()),
        ("the tag 18 before it", [&[0xd2][..], &good].concat()),
        ("an indefinite outer array", [&[0x9f][..], &good[1..], &[0xff]].concat()),
        ("five parts", [&[0x85][..], &good[1..], &[0xf6]].concat()),
        ("a detached payload", encode(&Value::Array(detached.to_vec()))),
        ("cut short by one byte", good[..good.len() - 1].to_vec()),
        ("the last bit of the signature", flip(good.len() - 1)),
        ("a bit of R", flip(good.len() - 64)),
        ("a bit of the payload", flip(good.len() - 70)),
        ("a signature of 63 bytes", Forged::acceptance().with_signature(vec![1; 63])),
        ("the scalar plus the group order", malleated()),
        ("the domain of another type", forged(|forged| forged.domain = "kos/certificate/1")),
        ("no domain", forged(|forged| forged.domain = "")),
        ("signed by another key than it names", forged(|forged| forged.seed = BOB)),
    ]
}

#[test]
fn refused_statement_vectors() {
    let acceptance = type_of("Acceptance");
    assert!((acceptance.read)(&Forged::acceptance().sign()).is_ok(), "the pattern itself is good");
    let all = [headers(), payloads(), outsides()].concat();
    let cases = all
        .into_iter()
        .map(|(why, bytes)| {
            let error = (acceptance.read)(&bytes).expect_err(why);
            json!({ "type": "Acceptance", "why": why, "statement": hex(&bytes), "refusal": Refusal::from(&error).code() })
        })
        .collect();
    let about =
        "Statements that are wrong in exactly one way. All must be refused; the word is the refusal of this code.";
    for case in hold("refused_statements", "specs/02-envelope.md, section 3", about, cases) {
        let error = (type_of(text(&case, "type")).read)(&bytes(&case, "statement")).expect_err("refused");
        assert_eq!(Refusal::from(&error).code(), text(&case, "refusal"));
    }
}
