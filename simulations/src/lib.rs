//! Seeded worlds: two session machines with a network between them that delays, breaks and forgets, and a crowd of nodes that look for
//! each other's agents.
//!
//! Nothing here sleeps or opens a socket. A seed fixes everything that happens, so a failing one can be run again, step by step:
//! `cargo run --release -p kos-simulations -- cuts 4711`.
//!
//! # Layout
//! - `dice`: numbers from a seed.
//! - Sessions: `scenario`: how bad the weather is. `host`: one node's side. `world`: time, streams, and what must hold.
//! - [`crowd`]: many nodes, the directory between them, and searches in it.

pub mod crowd;
mod dice;
mod host;
mod scenario;
mod world;

pub use scenario::Scenario;
pub use world::{Outcome, run};
