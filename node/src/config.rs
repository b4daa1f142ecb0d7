//! The settings of a node. Meaning, unit and bound of each stand in [`Config::keys`]; `kos config schema` prints them.

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use host::Basics;
use host::config::{Key, Kind, Settings};
use klp::Refusal;
use serde::{Deserialize, Serialize};

use crate::fault::Fault;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// What all three programs share.
    #[serde(flatten)]
    pub basics: Basics,
    /// Relays to reserve a place at.
    pub relay: Vec<String>,
    /// The file with the token of the relays that ask for one.
    pub relay_token_file: Option<PathBuf>,
    /// Where the local API listens besides the socket in the home.
    pub api: SocketAddr,
    /// Whether the local API may listen where other machines reach it.
    pub api_public: bool,
    /// Whether to look for contacts on the local network.
    pub mdns: bool,
    /// The file that unlocks this home.
    pub unlock_file: Option<PathBuf>,
    /// How a new home is sealed.
    pub seal: Seal,
    /// Reaching others.
    pub reach: Reach,
    /// Being found.
    pub directory: Directory,
    /// The vault.
    pub vault: Vault,
    /// Pairing.
    pub pair: Pair,
    /// Events.
    pub events: Events,
}

/// How a new home is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seal {
    /// By a file outside the home folder.
    Machine,
    /// By a passphrase, asked for at each start.
    Passphrase,
}

/// Reaching others.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Reach {
    /// Ranges that count as public: for laboratories.
    pub trust_cidr: Vec<String>,
    /// Whether to ask the router in front of us to open our ports.
    pub upnp: bool,
    /// Whether contacts who granted it may carry requests to nodes that are not to be reached.
    pub forward: bool,
    /// Relays behind which contacts are welcome.
    pub offer_relay: Vec<String>,
    /// Whether to wait behind relays that contacts offer.
    pub contact_relays: bool,
}

impl Default for Reach {
    fn default() -> Self {
        Self { trust_cidr: Vec::new(), upnp: true, forward: true, offer_relay: Vec::new(), contact_relays: true }
    }
}

/// Being found.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Directory {
    /// Seconds that a card and a node record hold.
    pub life_s: u64,
}

impl Default for Directory {
    fn default() -> Self {
        Self { life_s: 3600 }
    }
}

/// Events.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Events {
    /// Names of events that connected contacts are told, with `*` for anything; none by default.
    pub share: Vec<String>,
}

/// The vault.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Vault {
    /// Seconds of idleness after which a vault with a passphrase locks itself.
    pub lock_after_s: u64,
}

impl Default for Vault {
    fn default() -> Self {
        Self { lock_after_s: 900 }
    }
}

/// Pairing.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Pair {
    /// Seconds that a code holds.
    pub life_s: u64,
}

impl Default for Pair {
    fn default() -> Self {
        Self { life_s: klp::limits::PAIR_LIFE.as_secs() }
    }
}

impl Default for Config {
    fn default() -> Self {
        let basics = Basics {
            listen: vec!["/ip4/0.0.0.0/udp/0/quic-v1".into(), "/ip4/0.0.0.0/tcp/0".into()],
            ..Basics::default()
        };
        Self {
            basics,
            relay: Vec::new(),
            relay_token_file: None,
            api: SocketAddr::from((Ipv4Addr::LOCALHOST, 4780)),
            api_public: false,
            mdns: true,
            unlock_file: None,
            seal: Seal::Machine,
            reach: Reach::default(),
            directory: Directory::default(),
            vault: Vault::default(),
            pair: Pair::default(),
            events: Events::default(),
        }
    }
}

impl Config {
    /// What the files of TLS mean.
    ///
    /// # Errors
    /// `invalid`, with the setting
    pub(crate) fn tls(&self) -> Result<mesh::Tls, Fault> {
        let wrong = |setting: &str, why: &dyn Display| Fault::new(Refusal::Invalid, format!("{setting}: {why}"));
        let files = self.basics.tls_files().map_err(|(setting, why)| wrong(setting, &why))?;
        mesh::Tls::from_pem(&files.certificate, &files.key, &files.roots)
            .map_err(|why| wrong("tls_cert_file, tls_key_file, tls_roots_file", &why))
    }
}

impl Settings for Config {
    fn keys() -> Vec<Key> {
        let mut keys = Basics::KEYS.to_vec();
        keys.extend([
            Key::new(
                "relay",
                Kind::Texts,
                "multiaddr",
                "Relay to reserve a place at, ending in /p2p/PEERID; can be repeated",
            ),
            Key::new(
                "relay_token_file",
                Kind::Path,
                "file",
                "File with the token that your relays ask their guests for",
            ),
            Key::new(
                "api",
                Kind::Socket,
                "addr",
                "Serve the local API here too; when the port is taken, at any free one",
            ),
            Key::new(
                "api_public",
                Kind::Switch,
                "",
                "Let other machines reach the local API; whoever has the token then owns this node",
            ),
            Key::new(
                "mdns",
                Kind::Switch,
                "",
                "Look for contacts on the local network, once there is a contact or a listed agent, or while somebody pairs",
            ),
            Key::new("unlock_file", Kind::Path, "file", "File outside the home that unlocks it"),
            Key::new(
                "seal",
                Kind::Choice(&["machine", "passphrase"]),
                "",
                "How a new home is sealed: by a file on this machine, or by a passphrase",
            ),
            Key::new(
                "reach.trust_cidr",
                Kind::Texts,
                "cidr",
                "Range of addresses that counts as public, for laboratories; can be repeated",
            ),
            Key::new(
                "reach.upnp",
                Kind::Switch,
                "",
                "Ask the router to open a port for this node (UPnP), once there is a contact or a listed agent",
            ),
            Key::new(
                "reach.forward",
                Kind::Switch,
                "",
                "Let contacts who granted it carry sealed requests to nodes that are not to be reached",
            ),
            Key::new(
                "reach.offer_relay",
                Kind::Texts,
                "multiaddr",
                "Relay that your contacts, and nobody else, are told they may wait behind; ends in /p2p/PEERID; up to four",
            ),
            Key::new(
                "reach.contact_relays",
                Kind::Switch,
                "",
                "Wait behind relays that your contacts offer, while nobody can reach this node directly",
            ),
            Key::new(
                "directory.life_s",
                Kind::Integer { min: 10, max: 3600 },
                "seconds",
                "How long others believe that this node and its agents are there; it says so again at half of it",
            ),
            Key::new(
                "events.share",
                Kind::Texts,
                "glob",
                "Events that connected contacts are told, such as agent.*; none by default; can be repeated",
            ),
            Key::new(
                "vault.lock_after_s",
                Kind::Integer { min: 10, max: 7 * 24 * 3600 },
                "seconds",
                "Idle time after which a vault with a passphrase locks itself",
            ),
            Key::new(
                "pair.life_s",
                Kind::Integer { min: 1, max: 600 },
                "seconds",
                "How long a pairing code holds",
            ),
        ]);
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_key_and_every_key_a_setting() {
        assert_eq!(host::config::drift::<Config>(), Vec::<String>::new());
    }
}
