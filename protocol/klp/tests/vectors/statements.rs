use ed25519_dalek::{Signature, VerifyingKey};
use klp::codec::{Value, decode, encode};
use klp::forward::{Errand, Exchange};
use klp::hello::Hello;
use klp::statement::card::{Card, NodeRecord, RelayOffer};
use klp::statement::certificate::{Acceptance, Certificate};
use klp::statement::grant::Grant;
use klp::statement::receipt::{Acknowledgement, Order, Outcome};
use klp::statement::revocation::{Revocation, RevocationHead};
use klp::statement::ticket::Ticket;
use klp::{Cbor, Did, Digest, SecretKey, Signed, Statement, Verified, VerifyError, limits};
use serde_json::{Value as Json, json};

use super::{bytes, hold, text};
use crate::cast::*;

/// What somebody who verified a statement knows.
#[derive(Debug)]
pub struct Reading {
    pub signer: Did,
    pub id: Digest,
    pub payload: Vec<u8>,
}

/// One type of statement: how it is read, and how its payload is decoded and encoded again.
pub struct Type {
    pub name: &'static str,
    pub domain: &'static str,
    pub read: fn(&[u8]) -> Result<Reading, VerifyError>,
    pub again: fn(&[u8]) -> Option<Vec<u8>>,
}

fn read<T: Statement>(bytes: &[u8]) -> Result<Reading, VerifyError> {
    let made = Signed::<T>::from_bytes(bytes.to_vec()).verify()?;
    assert_eq!(made.signed().as_bytes(), bytes, "the bytes are kept as they came");
    Ok(Reading { signer: made.signer(), id: made.id(), payload: made.to_bytes() })
}

pub fn again<T: Cbor>(bytes: &[u8]) -> Option<Vec<u8>> {
    T::from_bytes(bytes, limits::MESSAGE).ok().map(|value| value.to_bytes())
}

const fn kind<T: Statement>(name: &'static str) -> Type {
    Type { name, domain: T::DOMAIN, read: read::<T>, again: again::<T> }
}

/// Every type of statement of the protocol.
pub const TYPES: &[Type] = &[
    kind::<Certificate>("Certificate"),
    kind::<Acceptance>("Acceptance"),
    kind::<Ticket>("Ticket"),
    kind::<NodeRecord>("NodeRecord"),
    kind::<RelayOffer>("RelayOffer"),
    kind::<Card>("Card"),
    kind::<Grant>("Grant"),
    kind::<Revocation>("Revocation"),
    kind::<RevocationHead>("RevocationHead"),
    kind::<Order>("Order"),
    kind::<Outcome>("Outcome"),
    kind::<Acknowledgement>("Acknowledgement"),
    kind::<Hello>("Hello"),
    kind::<Errand>("Errand"),
    kind::<Exchange>("Exchange"),
];

pub fn type_of(name: &str) -> &'static Type {
    TYPES.iter().find(|kind| kind.name == name).unwrap_or_else(|| panic!("{name} is not in the table"))
}

/// An example of every type: its name, the signer's seed byte, the bytes.
pub fn examples() -> Vec<(&'static str, u8, Vec<u8>)> {
    fn signed<T: Statement>(name: &'static str, statement: T, seed: u8) -> (&'static str, u8, Vec<u8>) {
        (name, seed, Verified::sign(statement, &key(seed)).signed().as_bytes().to_vec())
    }
    let given = first_grant();
    let mut delegated = grant(ALICE, Some(CAROL), Some(&given));
    delegated.arguments = Some([("text".to_owned(), "*".to_owned())].into());
    delegated.budget.calls = Some(2);
    vec![
        signed("Certificate", certificate(BOB, BOB_NODE, BOB_NEXT), BOB),
        signed("Certificate", agent_certificate(), BOB),
        ("Acceptance", BOB_NODE, bob_node().acceptance.as_bytes().to_vec()),
        signed("Ticket", ticket(), BOB_NODE),
        signed("NodeRecord", record(), BOB_NODE),
        signed("RelayOffer", relay_offer(), BOB_NODE),
        signed("Card", card(), BOB_AGENT),
        signed("Grant", grant(BOB, Some(ALICE), None), BOB),
        signed("Grant", delegated, ALICE),
        signed("Grant", grant(BOB, None, None), BOB),
        signed("Revocation", revocation(), BOB),
        signed("RevocationHead", revocation_head(), BOB),
        signed("Order", order(), ALICE_NODE),
        signed("Outcome", outcome(), BOB_AGENT),
        signed("Acknowledgement", acknowledgement(), ALICE_NODE),
        ("Hello", ALICE_NODE, dialling(ALICE_NODE, BOB_NODE)),
        signed("Errand", errand(b"a request"), ALICE_NODE),
        signed("Exchange", exchange_said(), BOB_NODE),
    ]
}

/// The four parts of a `COSE_Sign1`, taken apart without the code under test.
pub fn parts(statement: &[u8]) -> [Value; 4] {
    let value = decode(statement, limits::STATEMENT).expect("strict");
    value.into_array().expect("an array").try_into().expect("four parts")
}

/// What is signed: `["Signature1", protected, domain, payload]`.
pub fn sig_structure(domain: &str, protected: &Value, payload: &Value) -> Vec<u8> {
    let parts = ["Signature1".into(), protected.clone(), Value::Bytes(domain.into()), payload.clone()];
    encode(&Value::Array(parts.to_vec()))
}

fn case(name: &str, seed: u8, statement: &[u8]) -> Json {
    let kind = type_of(name);
    let [protected, _, payload, signature] = parts(statement);
    let signed = sig_structure(kind.domain, &protected, &payload);
    let reading = (kind.read)(statement).expect("verifies");
    let part = |value: &Value| value.as_bytes().expect("bytes").clone();
    json!({
        "type": name,
        "domain": kind.domain,
        "seed": hex(&[seed; 32]),
        "signer": reading.signer.to_string(),
        "fields": diagnostic(&decode(&reading.payload, limits::STATEMENT).expect("strict")),
        "payload": hex(&part(&payload)),
        "protected": hex(&part(&protected)),
        "sig_structure": hex(&signed),
        "signature": hex(&part(&signature)),
        "statement": hex(statement),
        "id": reading.id.to_string(),
    })
}

#[test]
fn statement_vectors() {
    let examples = examples();
    for kind in TYPES {
        assert!(examples.iter().any(|(name, ..)| *name == kind.name), "no example of {}", kind.name);
    }
    let cases = examples.iter().map(|(name, seed, bytes)| case(name, *seed, bytes)).collect();
    let about =
        "One or more statements of every type; the key's seed, what is signed, the signature, the bytes and the id.";
    for case in hold("statements", "specs/02-envelope.md, section 3", about, cases) {
        let reading = (type_of(text(&case, "type")).read)(&bytes(&case, "statement")).expect("verifies");
        assert_eq!(reading.payload, bytes(&case, "payload"));
        assert_eq!(reading.signer.to_string(), text(&case, "signer"));
        let signed = bytes(&case, "sig_structure");
        assert_eq!(Digest::of(&[&signed]).to_string(), text(&case, "id"));
        // The same with a plain Ed25519 library, as another client would do it.
        let key = VerifyingKey::from_bytes(reading.signer.key()).expect("a key");
        let signature = Signature::from_slice(&bytes(&case, "signature")).expect("64 bytes");
        key.verify_strict(&signed, &signature).expect("the signature holds");
        let seed: [u8; 32] = bytes(&case, "seed").try_into().expect("32 bytes");
        assert_eq!(SecretKey::from_seed(&seed).did(), reading.signer);
    }
}
