//! The rules of the house, each held by a test: who may lean on whom, how large a room may grow, what must not be there.
//!
//! `cargo test --release -p kos-tests --no-default-features` runs only these, without compiling the nodes.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod absence;
mod arrows;
mod licences;
mod machine;
mod modules;
mod names;
mod pages;
mod rooms;
mod source;
mod tree;
