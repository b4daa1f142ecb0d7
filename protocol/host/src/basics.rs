//! The settings that all three programs share.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

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
    /// The certificate that listeners at `/wss` show, with those that vouch for it, in PEM; none by default.
    pub tls_cert_file: PathBuf,
    /// Its private key, in PEM.
    pub tls_key_file: PathBuf,
    /// Authorities, in PEM, that are believed at `/wss` beside those of the web.
    pub tls_roots_file: PathBuf,
    /// Where `/metrics`, `/healthz` and `/readyz` are served; nowhere by default.
    pub metrics: Option<SocketAddr>,
    /// Form of the log on standard error.
    pub log: log::Format,
    /// What the log lets through, in the notation of `tracing_subscriber::EnvFilter`. Default: `info`.
    pub log_filter: String,
}

impl Basics {
    /// Their rows of the table.
    pub const KEYS: [Key; 10] = [
        Key::new("home", Kind::Path, "dir", "Folder in which this program keeps its files"),
        Key::new("listen", Kind::Texts, "multiaddr", "Address to listen on, port 0 for any free one; can be repeated"),
        Key::new(
            "external",
            Kind::Texts,
            "multiaddr",
            "Address under which others can certainly reach this machine; can be repeated",
        ),
        Key::new("bootstrap", Kind::Texts, "multiaddr", "Peer to greet first, ending in /p2p/PEERID; can be repeated"),
        Key::new(
            "tls_cert_file",
            Kind::Path,
            "file",
            "PEM file with the certificate that listeners at /wss show, and those that vouch for it",
        ),
        Key::new("tls_key_file", Kind::Path, "file", "PEM file with the private key of tls_cert_file"),
        Key::new(
            "tls_roots_file",
            Kind::Path,
            "file",
            "PEM file with authorities that are believed at /wss beside those of the web",
        ),
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
            tls_cert_file: PathBuf::new(),
            tls_key_file: PathBuf::new(),
            tls_roots_file: PathBuf::new(),
            metrics: None,
            log: log::Format::Text,
            log_filter: "info".into(),
        }
    }
}

/// What is in the files of TLS; nothing where no file is set.
#[derive(Default)]
pub struct TlsFiles {
    /// Of `tls_cert_file`.
    pub certificate: Vec<u8>,
    /// Of `tls_key_file`.
    pub key: Zeroizing<Vec<u8>>,
    /// Of `tls_roots_file`.
    pub roots: Vec<u8>,
}

impl Basics {
    /// Reads them.
    ///
    /// # Errors
    /// Which setting, and why its file cannot be read.
    pub fn tls_files(&self) -> Result<TlsFiles, (&'static str, io::Error)> {
        let read = |setting, file: &Path| match file.as_os_str().is_empty() {
            true => Ok(Vec::new()),
            false => fs::read(file).map_err(|error| (setting, error)),
        };
        Ok(TlsFiles {
            certificate: read("tls_cert_file", &self.tls_cert_file)?,
            key: Zeroizing::new(read("tls_key_file", &self.tls_key_file)?),
            roots: read("tls_roots_file", &self.tls_roots_file)?,
        })
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
