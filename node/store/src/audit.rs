//! The audit log: an RFC 6962 tree whose leaves are written in the transaction of the change that they tell of.
//!
//! A leaf says when, what kind and who, and holds the hash of its salted body; salt and body lie apart, so that a body can be
//! erased and the log still verifies. Every 64 leaves, every minute and at stop a checkpoint is signed. Source:
//! `specs/07-audit.md`.

mod checkpoint;
mod denial;
mod entry;
mod export;
mod frontier;
mod list;
#[cfg(test)]
mod tamper;
mod verify;

pub use checkpoint::{Anchor, Checkpoint, last_seen};
pub(crate) use checkpoint::{anchor_of, checkpoint, checkpoint_if_due};
pub(crate) use denial::flush as flush_denials;
pub use denial::{DENIALS_A_MINUTE, STRANGER_DENIALS_A_DAY, Who};
pub use entry::{Entry, erase};
pub use export::{Format, export};
pub use list::{Filter, Listed, Page, list};
pub use verify::{Bad, Condition, Report, Why};
pub(crate) use verify::{condition, verify};
