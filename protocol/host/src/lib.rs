//! What the three programs of kOS (`kos`, `kos-relay`, `kos-bootstrap`) have in common: the ground they stand on.
//!
//! Nothing in here knows about peers, agents or grants. A program reads its settings, takes its home folder, starts its
//! components in order, says how they are, and stops when it is told to:
//!
//! ```no_run
//! # use kos_host as host;
//! use host::{Basics, Health, Home, Startup, Stop, config};
//!
//! # async fn door() -> Result<(), Box<dyn std::error::Error>> {
//! let command = config::flags(clap::Command::new("kos-relay"), &Basics::KEYS);
//! let layers = config::Layers::new("kos-relay", &command.get_matches(), &Basics::KEYS, std::env::vars_os());
//! let settings = layers.load::<Basics>()?.value;
//! host::log::open(settings.log, &settings.log_filter)?;
//! let home = Home::open(&settings.home)?;
//! let key = host::key_file::open(&home)?;
//! let stop = Stop::on_signals()?;
//! let health = Health::new();
//! let mut startup = Startup::new(&health);
//! startup.step("mesh", &[], async { Ok::<_, std::io::Error>(key) }).await?;
//! stop.requested().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//! - [`home`]: the data folder, its lock, and files that only its owner may read.
//! - [`key_file`]: the one key of a relay or bootstrap peer.
//! - [`config`]: default < file < `KOS_*` < flag, from one table of keys; [`basics`]: the keys that all three share.
//! - [`log`], [`health`], [`startup`], [`stop`]: what is going on in here.
//! - [`door`]: all of these in the order in which a relay or bootstrap peer needs them.
//! - [`status`]: how a server program is, told to its owner over a socket in its home.
//! - [`record`]: which records a program stores for others.
//! - [`metrics_server`]: `/metrics`, `/healthz` and `/readyz` for a machine that watches; `exposition`: the form of figures.

pub mod basics;
pub mod config;
pub mod door;
mod exposition;
pub mod health;
pub mod home;
pub mod key_file;
pub mod log;
pub mod metrics_server;
pub mod record;
pub mod startup;
pub mod status;
pub mod stop;

pub use basics::Basics;
pub use door::{Door, DoorError};
pub use health::{Component, Health, State};
pub use home::Home;
pub use startup::Startup;
pub use status::Status;
pub use stop::Stop;
