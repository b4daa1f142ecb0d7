//! KLP, the Kind Link Protocol: the words that two kOS nodes exchange.
//!
//! This crate is pure. It opens no socket and no file, reads no clock and draws no randomness: time and entropy are arguments,
//! so that every run can be repeated exactly.

pub mod blob;
pub mod codec;
pub mod forward;
pub mod frame;
pub mod hello;
pub mod identity;
pub mod limits;
pub mod message;
pub mod pairing;
pub mod refusal;
pub mod rule;
pub mod sealed;
pub mod session;
pub mod signed;
pub mod statement;
pub mod time;

pub use codec::{Cbor, CodecError, Digest};
pub use identity::{AgentId, Did, KeyError, NodeId, OwnerId, SecretKey};
pub use refusal::Refusal;
pub use signed::{Signed, Statement, Verified, VerifyError};
pub use time::Timestamp;
