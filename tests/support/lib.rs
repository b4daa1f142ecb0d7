//! What the tests share. Stories: real programs in homes of their own, and waiting for conditions. Hostile bytes: every way in, as a function.
#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

#[cfg(feature = "hostile")]
pub mod hostile;

#[cfg(feature = "stories")]
mod api;
#[cfg(feature = "stories")]
mod disk;
#[cfg(feature = "stories")]
mod distance;
#[cfg(feature = "stories")]
mod http;
#[cfg(feature = "stories")]
mod hub;
#[cfg(feature = "stories")]
mod lan;
#[cfg(feature = "stories")]
mod load;
#[cfg(feature = "stories")]
pub mod person;
#[cfg(feature = "stories")]
mod program;
#[cfg(feature = "stories")]
pub mod puppet;
#[cfg(feature = "stories")]
mod root;
#[cfg(feature = "stories")]
mod round_trip;
#[cfg(feature = "stories")]
pub mod shell;
#[cfg(feature = "stories")]
pub mod socket;
#[cfg(feature = "stories")]
mod speaker;
#[cfg(feature = "stories")]
mod wait;

#[cfg(feature = "stories")]
pub use {
    api::{Api, Event, Events, Reply, Request},
    disk::Disk,
    distance::Distance,
    http::{figure, get, get_with},
    hub::Hub,
    lan::Lan,
    load::{cpu, memory},
    person::Person,
    program::{Exit, Program, path},
    puppet::Puppet,
    root::{has, is_root, needs},
    round_trip::{Line, RoundTrips, round_trips},
    shell::Shell,
    speaker::Speaker,
    wait::{PATIENCE, eventually, until},
};
