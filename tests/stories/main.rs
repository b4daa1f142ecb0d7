//! Stories with real programs: each starts what it needs in homes of its own and leaves nothing running.
#![allow(clippy::unwrap_used, reason = "a story may end at what it did not expect")]

mod command_line;
mod finding;
mod local_api;
mod peers;
mod revoked;
mod servers;
mod shown;
mod thin_line;
