//! Seeded worlds: two session machines, and between them a network that delays, breaks and forgets.
//!
//! Nothing here sleeps or opens a socket. A seed fixes everything that happens, so a failing one can be run again, step by step:
//! `cargo run --release -p kos-simulations -- cuts 4711`.
//!
//! # Layout
//! - `dice`: numbers from a seed. `scenario`: how bad the weather is. `host`: one node's side. `world`: time, streams, and what must hold.

mod dice;
mod host;
mod scenario;
mod world;

pub use scenario::Scenario;
pub use world::{Outcome, run};
