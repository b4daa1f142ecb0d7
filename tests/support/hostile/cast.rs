//! The cast of `specs/vectors`, as far as the entries sign in somebody's name. A key is one byte, repeated 32 times.

use std::marker::PhantomData;

use klp::codec::{CodecError, Value};
use klp::statement::certificate::{Certificate, Introduction, Kind, Right};
use klp::{AgentId, Cbor, Digest, NodeId, OwnerId, SecretKey, Signed, Statement, Timestamp, Verified, limits};

/// 2027-01-15T08:00:00Z, the moment of all vectors.
pub(super) const NOW: Timestamp = Timestamp(1_800_000_000_000);

pub(super) const BOB: u8 = 0x01;
pub(super) const BOB_NODE: u8 = 0x02;
pub(super) const BOB_AGENT: u8 = 0x03;
pub(super) const BOB_NEXT: u8 = 0x04;
pub(super) const ALICE: u8 = 0x11;
pub(super) const ALICE_NODE: u8 = 0x12;
pub(super) const ALICE_NEXT: u8 = 0x14;
pub(super) const ALICE_EXCHANGE: u8 = 0x15;
pub(super) const CAROL: u8 = 0x21;
pub(super) const CAROL_NODE: u8 = 0x22;

pub(super) fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

pub(super) fn owner(seed: u8) -> OwnerId {
    OwnerId(key(seed).did())
}

pub(super) fn node(seed: u8) -> NodeId {
    NodeId(key(seed).did())
}

pub(super) fn agent(seed: u8) -> AgentId {
    AgentId(key(seed).did())
}

/// The certificate of a device, as in the vectors.
pub(super) fn certificate(owner_seed: u8, subject: u8, next: u8) -> Certificate {
    Certificate {
        subject: key(subject).did(),
        kind: Kind::Node,
        owner: owner(owner_seed),
        node: None,
        rights: vec![Right::Grant, Right::Call, Right::Serve],
        issued: NOW,
        expires: NOW.after(limits::ROOT_CERTIFICATE_LIFE),
        seq: NOW.0,
        next_key: Digest::of(&[key(next).did().key()]),
    }
}

pub(super) fn bob_agent() -> Introduction {
    let certificate = Certificate {
        kind: Kind::Agent,
        node: Some(node(BOB_NODE)),
        rights: vec![Right::Serve],
        ..certificate(BOB, BOB_AGENT, BOB_NEXT)
    };
    Introduction::make(certificate, &key(BOB), &key(BOB_AGENT), NOW)
}

pub(super) fn bob_node() -> Introduction {
    Introduction::make(certificate(BOB, BOB_NODE, BOB_NEXT), &key(BOB), &key(BOB_NODE), NOW)
}

pub(super) fn alice_node() -> Introduction {
    Introduction::make(certificate(ALICE, ALICE_NODE, ALICE_NEXT), &key(ALICE), &key(ALICE_NODE), NOW)
}

/// A payload that was never a value: these very bytes, signed under the domain of `T`.
struct Raw<T>(Vec<u8>, PhantomData<fn() -> T>);

impl<T> Cbor for Raw<T> {
    fn to_value(&self) -> Value {
        Value::Bytes(self.0.clone())
    }

    fn from_value(_: Value) -> Result<Self, CodecError> {
        Err(CodecError::Malformed("raw bytes are only written".to_owned()))
    }

    fn to_bytes(&self) -> Vec<u8> {
        self.0.clone()
    }
}

impl<T: Statement> Statement for Raw<T> {
    const DOMAIN: &'static str = T::DOMAIN;
}

/// What the holder of this key can make of these bytes: a well-signed statement with any payload.
pub(super) fn sign<T: Statement>(payload: &[u8], seed: u8) -> Signed<T> {
    let raw = Verified::sign(Raw::<T>(payload.to_vec(), PhantomData), &key(seed));
    Signed::from_bytes(raw.signed().as_bytes().to_vec())
}
