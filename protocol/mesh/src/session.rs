//! Sessions on the wire: `klp::session` decides, this folder moves the bytes.
//!
//! - `behaviour` and `handler` know every connection of a peer and open streams on the best one.
//! - `wire` reads and writes frames on one stream.
//! - `link` is one session, shared by those who ask and answer; `task` is the loop that moves its frames.
//! - `table` finds the link of a peer; `greet` hears the Hello of a stream that a peer has opened.

mod behaviour;
mod greet;
mod link;
mod streams;
mod table;
mod task;
mod wire;

pub(crate) use behaviour::{Behaviour, Event};
pub(crate) use greet::greet;
pub(crate) use link::{Job, Link, Took};
pub(crate) use table::Table;
pub(crate) use task::{Attached, From, Note, Shared, run};
pub(crate) use wire::Wire;

use libp2p::StreamProtocol;

/// The protocol of the session stream.
pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/kos/klp/1");

#[cfg(test)]
mod tests;
