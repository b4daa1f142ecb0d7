//! The strict `COSE_Sign1`, around every type of statement.

use std::fmt::Debug;

use klp::codec::{CodecError, Value, decode, encode};
use klp::forward::{Errand, Exchange};
use klp::statement::card::{Card, NodeRecord, RelayOffer};
use klp::statement::certificate::{Acceptance, Certificate};
use klp::statement::grant::Grant;
use klp::statement::receipt::{Acknowledgement, Order, Outcome};
use klp::statement::revocation::{Revocation, RevocationHead};
use klp::statement::ticket::Ticket;
use klp::{Cbor, Digest, Signed, Statement, Verified, VerifyError, limits};

use super::input::Input;
use super::{cast, vectors};

type Check = fn(u8, &[u8]);

/// Every type, by its name in the vectors.
const TYPES: [(&str, Check); 15] = [
    ("Certificate", check::<Certificate>),
    ("Acceptance", check::<Acceptance>),
    ("Ticket", check::<Ticket>),
    ("NodeRecord", check::<NodeRecord>),
    ("RelayOffer", check::<RelayOffer>),
    ("Card", check::<Card>),
    ("Grant", check::<Grant>),
    ("Revocation", check::<Revocation>),
    ("RevocationHead", check::<RevocationHead>),
    ("Order", check::<Order>),
    ("Outcome", check::<Outcome>),
    ("Acknowledgement", check::<Acknowledgement>),
    ("Hello", check::<klp::hello::Hello>),
    ("Errand", check::<Errand>),
    ("Exchange", check::<Exchange>),
];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let of_type = |(index, (name, _)): (usize, &(&str, Check))| {
        let index = u8::try_from(index).unwrap_or_default();
        [vectors::statements(name, &[index, 0]), vectors::payloads(name, &[index, cast::BOB_NODE])].concat()
    };
    TYPES.iter().enumerate().flat_map(of_type).collect()
}

/// Type, key (0: the bytes travel as they are), and the statement or its payload.
pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (_, check) = TYPES[usize::from(input.byte()) % TYPES.len()];
    check(input.byte(), input.rest());
}

fn check<T: Statement + PartialEq + Debug>(way: u8, bytes: &[u8]) {
    if way == 0 {
        let signed = Signed::<T>::from_bytes(bytes.to_vec());
        if let Ok(verified) = signed.verify() {
            holds(&verified, bytes);
        }
    } else {
        signed::<T>(bytes, way);
    }
}

/// A statement with these bytes as payload, well signed: it verifies exactly if the payload is the one encoding of a `T`.
pub(super) fn signed<T: Statement + PartialEq + Debug>(payload: &[u8], seed: u8) -> Option<Verified<T>> {
    let made = cast::sign::<T>(payload, seed);
    match made.verify() {
        Ok(verified) => {
            assert_eq!(verified.signer(), cast::key(seed).did(), "the signer is who signed");
            assert_eq!(verified.to_bytes(), payload, "a payload has one encoding");
            holds(&verified, made.as_bytes());
            Some(verified)
        }
        Err(VerifyError::Form(_)) => {
            assert!(T::from_bytes(payload, limits::STATEMENT).is_err(), "only the payload can be wrong");
            None
        }
        Err(other) => panic!("an honest signature is refused: {other}"),
    }
}

/// Nothing is ever signed under this domain.
struct Nothing;

impl Cbor for Nothing {
    fn to_value(&self) -> Value {
        Value::Null
    }

    fn from_value(_: Value) -> Result<Self, CodecError> {
        Ok(Self)
    }
}

impl Statement for Nothing {
    const DOMAIN: &'static str = "kos/nothing/1";
}

/// What is true of everything that verifies.
pub(super) fn holds<T: Statement + PartialEq + Debug>(verified: &Verified<T>, bytes: &[u8]) {
    let statement: &T = verified;
    assert_eq!(verified.signed().as_bytes(), bytes, "the bytes are kept as they came");
    let Ok(Value::Array(parts)) = decode(bytes, limits::STATEMENT) else { panic!("it is strict CBOR") };
    let header = Value::Map(vec![(1.into(), (-19).into()), (4.into(), Value::Bytes(verified.signer().key().to_vec()))]);
    let (protected, payload) = (Value::Bytes(encode(&header)), Value::Bytes(statement.to_bytes()));
    let Some(Value::Bytes(signature)) = parts.last() else { panic!("a signature is bytes") };
    assert_eq!(signature.len(), 64);
    let whole = [protected.clone(), Value::Map(vec![]), payload.clone(), Value::Bytes(signature.clone())];
    assert_eq!(parts, whole, "nothing lies in it besides header, payload and signature");

    let domain = Value::Bytes(T::DOMAIN.as_bytes().to_vec());
    let signed = Value::Array(vec!["Signature1".into(), protected, domain, payload]);
    assert_eq!(verified.id(), Digest::of(&[&encode(&signed)]), "the id is that of the Sig_structure");

    let again = verified.signed().verify().expect("what verified once verifies again");
    assert!((again.id(), again.signer()) == (verified.id(), verified.signer()) && *again == *statement);
    let moved = Signed::<Nothing>::from_bytes(bytes.to_vec()).verify();
    assert!(matches!(moved, Err(VerifyError::Signature)), "under another domain it means nothing");
}
