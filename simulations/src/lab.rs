//! Real programs in a network of their own: routers, homes, servers, each in a network namespace, driven as a user drives them.
//!
//! All of it lives in a world of its own: network, mounts, processes. The system takes it down when its first process ends, however that
//! ends, and nothing of this machine's own network is touched. Addresses are of 11.0.0.0/8, which counts as public, and nobody there
//! hears of them.
//!
//! # Layout
//! - `enter`: into that world. `command`: other programs that are called. `trouble`: why something did not hold.
//! - `net`, `router`, `gateway`, `delay`, `names`: the network. `program`, `person`: who is in it.
//! - `stage`: a scenario set up. `play`: its steps. `capture`: what passes a server's network. `matrix`: every router with every other.

mod capture;
mod command;
mod delay;
mod enter;
mod gateway;
mod matrix;
mod names;
mod net;
mod person;
mod play;
mod program;
mod router;
mod stage;
mod trouble;

pub use capture::{CAPTURE, capture};
pub use delay::{SHUTTLE, shuttle};
pub use enter::{INSIDE, arrive, enter, lacks};
pub use matrix::{Matrix, Pair};
pub use names::{NAMES, names};
pub use play::play;
pub use stage::Options;
pub use trouble::Trouble;
