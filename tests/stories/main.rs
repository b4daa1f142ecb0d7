//! Stories with real programs: each starts what it needs in homes of its own and leaves nothing running.
#![allow(clippy::unwrap_used, reason = "a story may end at what it did not expect")]

mod abroad;
mod bad_input;
mod carried;
mod carriers;
mod command_line;
mod crowd;
mod described;
mod directory;
mod doctor;
mod doorstep;
mod endurance;
mod finding;
mod flooded;
mod forged;
mod forwarded;
mod frugal;
mod full;
mod idle;
mod interop;
mod killed;
mod later;
mod local_api;
mod lost;
mod observed;
mod offered;
mod operators;
mod paired;
mod pairing;
mod path;
mod peers;
mod permission;
mod power;
mod quiet;
mod readme;
mod revoked;
mod round_trips;
mod secret;
mod servers;
mod shown;
mod siege;
mod streaming;
mod thin_line;
mod watched;
#[cfg(feature = "webrtc")]
mod webrtc;
