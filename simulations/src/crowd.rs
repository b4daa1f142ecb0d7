//! A crowd of nodes around one bootstrap peer, in a pure world: they join, walk through the directory, list agents, look for one of
//! them, come and go, do not hear each other, and some of them lie.
//!
//! The network is a model: Kademlia's buckets and walks, and gossip. What decides is not: which records are stored and believed, which of
//! two counts, which cards are believed, whom a search asks, what it shows and until when are the rules of `klp` that the product calls,
//! and every signature is made and checked.
//!
//! What must hold: everybody finds the given agent; when its node has left, nobody shows it after its announced lifetime; nobody ever
//! believes what is forged, or shows a card that is older than one it has seen.
//!
//! # Layout
//! - `setting`: how many, and how bad it is. `world`: time, messages, who comes and goes. `rules`: what decides. `truth`: what must hold.
//! - `node`, `person`: one node, and the keys behind it. `table`, `lookup`, `shelf`: the parts of a directory. `walk`, `search`, `lie`:
//!   what nodes do.

mod lie;
mod lookup;
mod node;
mod person;
mod rules;
mod search;
mod setting;
mod shelf;
mod table;
mod truth;
mod walk;
mod world;

pub use setting::{Fault, Setting};
pub use world::{Outcome, run};

#[cfg(test)]
mod tests;
