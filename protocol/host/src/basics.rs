//! The settings that all three programs share.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::{Key, Kind, Settings};
use crate::log;

/// Where it lives, whom it listens to, whom it greets first, how it is watched. A program's own settings hold it flattened.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Basics {
    /// Home folder. Default: the platform's data folder for this program.
    pub home: PathBuf,
    /// Multiaddrs to listen on; port 0 is any free one.
    pub listen: Vec<String>,
    /// Multiaddrs under which others can certainly reach this machine.
    pub external: Vec<String>,
    /// Multiaddrs of peers to greet first, each ending in `/p2p/…`.
    pub bootstrap: Vec<String>,
    /// Where `/metrics`, `/healthz` and `/readyz` are served; nowhere by default.
    pub metrics: Option<SocketAddr>,
    /// Form of the log on standard error.
    pub log: log::Format,
    /// What the log lets through, in the notation of `tracing_subscriber::EnvFilter`. Default: `info`.
    pub log_filter: String,
}

impl Basics {
    /// Their rows of the table.
    pub const KEYS: [Key; 7] = [
        Key::new("home", Kind::Path, "dir", "Folder in which this program keeps its files"),
        Key::new("listen", Kind::Texts, "multiaddr", "Address to listen on, port 0 for any free one; can be repeated"),
        Key::new(
            "external",
            Kind::Texts,
            "multiaddr",
            "Address under which others can certainly reach this machine; can be repeated",
        ),
        Key::new("bootstrap", Kind::Texts, "multiaddr", "Peer to greet first, ending in /p2p/PEERID; can be repeated"),
        Key::new("metrics", Kind::Socket, "addr", "Serve /metrics, /healthz and /readyz here; port 0 for any free one"),
        Key::new("log", Kind::Choice(log::Format::WORDS), "format", "Form of the log on standard error: text or json"),
        Key::new(
            "log_filter",
            Kind::Text,
            "filter",
            "What the log lets through: a level, or target=level parted by commas",
        ),
    ];
}

impl Default for Basics {
    fn default() -> Self {
        Self {
            home: PathBuf::new(),
            listen: Vec::new(),
            external: Vec::new(),
            bootstrap: Vec::new(),
            metrics: None,
            log: log::Format::Text,
            log_filter: "info".into(),
        }
    }
}

impl Settings for Basics {
    fn keys() -> Vec<Key> {
        Self::KEYS.to_vec()
    }
}

impl AsRef<Self> for Basics {
    fn as_ref(&self) -> &Self {
        self
    }
}
