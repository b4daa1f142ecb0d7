//! The local API: HTTP and JSON for the owner's own programs, on a socket in the home folder and on a loopback port.
//!
//! On the socket the system says who calls (same user, or refused). On the port a bearer token does, and `Host` and `Origin` must
//! be ours, so that no web page can speak for the user. There are no cookies and no tokens in addresses (`security.md` rule 28).
//!
//! # Layout
//! - [`ROUTES`]: every route; [`openapi`]: the same for programs.
//! - `door`: who is let in at the port; `gate`: what happens to a request before any route sees it.
//! - `server`: sockets, connections, limits; `guests`: who makes room when there is none; `token`: the bearer token's file.
//! - `reply`: inputs and answers; `routes/`: one file a noun, each a few lines over a service.

mod door;
mod gate;
mod guests;
mod reply;
mod routes;
mod server;
mod token;

pub use reply::{ErrorBody, ErrorObject};
pub use routes::{ROUTES, openapi};
pub use server::{Config, Opened, SOCKET, open};
