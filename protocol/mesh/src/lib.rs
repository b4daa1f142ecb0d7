//! The wire: how a node reaches others. One libp2p swarm, one loop, one handle.
//!
//! [`open`] gives a [`Mesh`] to ask with, a channel of [`Event`]s to act on, and a future to spawn that does the work. The future ends
//! when the last handle is dropped or [`Mesh::stop`] is called. Two meshes live in one process without knowing of each other.
//!
//! # Layout
//! - `behaviour` has one field for each protocol and no methods; `driver` is the loop around it; `mesh` is the handle.
//! - `session` carries requests: one long-lived stream for each pair of nodes, kept on the best connection. The words on it and all
//!   its rules are in `klp::session`.
//! - `blob` carries bulk bytes on streams of their own, each against an offer.
//! - `doorway` decides who is let in and how much of us they get: limits of connections, places behind a relay, room in the directory.
//! - `raw`, for tests only: a peer that writes what it likes.
//! - `pulse` asks whether a connection is alive, `ladder` counts how peers are reached, `tally` what goes through relays and what does not.
//! - `lookups` (Kademlia), `topics` (gossip), `reach` (addresses, relays), `lan` (mDNS) hold what waits on their protocol.
//!
//! ```no_run
//! # extern crate kos_mesh as mesh;
//! # async fn example(key: klp::SecretKey, friend: klp::NodeId) -> Result<(), Box<dyn std::error::Error>> {
//! let mut registry = mesh::Registry::default();
//! let config = mesh::Config::new(key, mesh::Role::Node);
//! let (mesh, mut events, driver) = mesh::open(config, &mut registry)?;
//! tokio::spawn(driver);
//! tokio::spawn(async move {
//!     while let Some(event) = events.recv().await {
//!         if let mesh::Event::Request(request) = event {
//!             request.reply.finish(request.body);
//!         }
//!     }
//! });
//! let address = "/ip4/127.0.0.1/tcp/4710".parse()?;
//! mesh.dial(friend, vec![address]).await?;
//! let answer = mesh.request(friend, "hello".into(), std::time::Duration::from_secs(5)).await;
//! assert_eq!(answer.finish().await?, "hello");
//! # Ok(())
//! # }
//! ```

mod answer;
mod behaviour;
mod blob;
mod candidates;
mod config;
mod dial;
mod doorway;
mod driven;
mod driver;
mod event;
mod from_port;
mod ladder;
mod lookups;
mod mesh;
mod metered;
mod metrics;
mod parting;
mod path;
mod patience;
mod peer;
mod pulse;
#[cfg(any(test, feature = "raw"))]
pub mod raw;
mod reach;
mod renewed;
mod scoped;
mod session;
mod state;
mod swarm;
mod tally;
mod tls;
mod topics;
mod weather;
#[cfg(feature = "webrtc")]
mod webrtc;

pub use answer::{Answer, Ended, Refused, Reply};
pub use blob::{Fetch, Source};
pub use config::{Config, Introduce, Limits, RecordCheck, RelayLimits, Role, Wall};
pub use dial::{Attempt, DialError, Dialled};
pub use doorway::{Access, GateLimits, Guests, PlacesInUse, Rate, RelayToken, Service};
pub use event::{Event, Gossip, PeerHello, Request, Topic, Verdict};
pub use klp::NodeId;
pub use libp2p::Multiaddr;
pub use lookups::LookupError;
pub use mesh::{Mesh, MeshError};
pub use path::{Kind, Path, RelayLimit, Transport};
pub use peer::{is_loopback, node_in, with_node};
pub use prometheus_client::registry::Registry;
pub use reach::shown::{
    Mapping, Mappings, Observed, OwnAddress, Probe, Punch, RelayPhase, RelaySource, RelayView, Upnp, Witness,
};
pub use state::{Peer, Reach, State};
pub use swarm::{OpenError, open};
pub use tally::{Carried, Traffic};
pub use tls::{Tls, TlsError};
pub use topics::PublishError;
pub use weather::Weather;
