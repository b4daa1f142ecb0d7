//! Seeded worlds: two session machines with a network between them that delays, breaks and forgets, and a crowd of nodes that look for
//! each other's agents.
//!
//! No world sleeps or opens a socket. A seed fixes everything that happens, so a failing one can be run again, step by step:
//! `cargo run --release -p kos-simulations -- cuts --seed 4711`.
//!
//! # Layout
//! - `dice`: numbers from a seed.
//! - [`scenario`]: scenario files. `worlds`, `verdict`: pure worlds by name, and what came of one.
//! - Sessions: `weather`: how bad it is. `host`: one node's side. `world`: time, streams, and what must hold.
//! - [`lab`]: real programs in a network of their own, and a scenario played with them.
//! - [`observer`]: real programs that somebody else has started, and a scenario played with them.
//! - [`crowd`]: many nodes, the directory between them, and searches in it.

pub mod crowd;
mod dice;
mod host;
pub mod lab;
pub mod observer;
pub mod scenario;
mod verdict;
mod weather;
mod world;
pub mod worlds;

pub use observer::Observer;
pub use scenario::Scenario;
pub use verdict::Verdict;
pub use weather::Weather;
pub use world::{Outcome, run};
