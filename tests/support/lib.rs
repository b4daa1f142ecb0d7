//! What the stories share: real programs in homes of their own, and waiting for conditions.
#![cfg(feature = "stories")]
#![allow(clippy::unwrap_used, reason = "a story may end at what it did not expect")]

mod api;
mod http;
mod hub;
mod lan;
pub mod person;
mod program;
pub mod puppet;
mod root;
pub mod shell;
mod speaker;
mod wait;

pub use api::{Api, Event, Events, Reply, Request};
pub use http::{get, get_with};
pub use hub::Hub;
pub use lan::Lan;
pub use person::Person;
pub use program::{Exit, Program, path};
pub use puppet::Puppet;
pub use root::is_root;
pub use shell::Shell;
pub use speaker::Speaker;
pub use wait::{PATIENCE, eventually, until};
