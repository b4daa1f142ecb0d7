//! The settings of a relay. Meaning, unit and bound of each stand in its keys; `kos-relay --help` prints them.

use std::path::PathBuf;
use std::time::Duration;

use host::Basics;
use host::config::{Key, Kind, Settings, duration};
use serde::{Deserialize, Serialize};

/// Who may wait behind a relay.
pub(crate) const ACCESS: &[&str] = &["open", "allow_list", "contacts", "token"];

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    #[serde(flatten)]
    pub(crate) basics: Basics,
    pub(crate) connections: u32,
    pub(crate) reservations: usize,
    pub(crate) reservations_per_network: usize,
    #[serde(with = "duration")]
    pub(crate) reservation_time: Duration,
    pub(crate) circuits: usize,
    pub(crate) circuits_per_peer: usize,
    pub(crate) circuits_per_network: usize,
    #[serde(with = "duration")]
    pub(crate) circuit_time: Duration,
    pub(crate) circuit_bytes: u64,
    pub(crate) bytes_per_second: u64,
    pub(crate) peer_bytes_per_second: u64,
    pub(crate) access: String,
    pub(crate) allow: Vec<String>,
    pub(crate) contacts_file: PathBuf,
    pub(crate) token_file: PathBuf,
    pub(crate) memory: usize,
    pub(crate) rates: bool,
    pub(crate) reach: Reach,
}

/// Being reached.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Reach {
    pub(crate) trust_cidr: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        let listen = vec!["/ip4/0.0.0.0/udp/4711/quic-v1".into(), "/ip4/0.0.0.0/tcp/4711".into()];
        let limits = mesh::RelayLimits::default();
        Self {
            basics: Basics { listen, ..Basics::default() },
            connections: 4096,
            reservations: limits.reservations,
            reservations_per_network: limits.reservations_per_network,
            reservation_time: limits.reservation_time,
            circuits: limits.circuits,
            circuits_per_peer: limits.circuits_per_peer,
            circuits_per_network: limits.circuits_per_network,
            circuit_time: limits.circuit_time,
            circuit_bytes: limits.circuit_bytes,
            bytes_per_second: 64 << 20,
            peer_bytes_per_second: 16 << 20,
            access: ACCESS[0].to_owned(),
            allow: Vec::new(),
            contacts_file: PathBuf::new(),
            token_file: PathBuf::new(),
            memory: mesh::Limits::default().memory,
            rates: limits.rates,
            reach: Reach::default(),
        }
    }
}

impl AsRef<Basics> for Config {
    fn as_ref(&self) -> &Basics {
        &self.basics
    }
}

impl Settings for Config {
    fn keys() -> Vec<Key> {
        let (minute, day) = (Duration::from_secs(60), Duration::from_secs(24 * 3600));
        let many = Kind::Integer { min: 1, max: 1 << 20 };
        let mut keys = Basics::KEYS.to_vec();
        keys.extend([
            Key::new("connections", many, "connections", "Connections that others may have open to this relay"),
            Key::new(
                "reservations",
                many,
                "nodes",
                "Nodes that may wait behind this relay; newcomers are refused above nine tenths",
            ),
            Key::new(
                "reservations_per_network",
                many,
                "nodes",
                "Nodes of one network, a /24 or an IPv6 /48, that may wait behind this relay",
            ),
            Key::new(
                "reservation_time",
                Kind::Span { min: minute, max: day },
                "time",
                "Life of a place behind this relay, unless it is renewed",
            ),
            Key::new("circuits", many, "circuits", "Circuits at once"),
            Key::new("circuits_per_peer", many, "circuits", "Circuits at once of one node"),
            Key::new(
                "circuits_per_network",
                many,
                "circuits",
                "Circuits at once that the nodes of one network may have asked for",
            ),
            Key::new("circuit_time", Kind::Span { min: minute, max: day }, "time", "Life of a circuit"),
            Key::new(
                "circuit_bytes",
                Kind::Integer { min: 0, max: 1 << 50 },
                "bytes",
                "Bytes that a circuit may carry, both directions together; 0 is without limit",
            ),
            Key::new(
                "bytes_per_second",
                Kind::Integer { min: 0, max: 1 << 50 },
                "bytes",
                "Bytes a second that all may send through this relay, shared fairly; 0 is without limit",
            ),
            Key::new(
                "peer_bytes_per_second",
                Kind::Integer { min: 0, max: 1 << 50 },
                "bytes",
                "Bytes a second that one node may send through this relay; 0 is without limit",
            ),
            Key::new(
                "access",
                Kind::Choice(ACCESS),
                "who",
                "Who may wait behind this relay: open, allow_list, contacts or token; whoever waits may be called by everybody",
            ),
            Key::new(
                "allow",
                Kind::Texts,
                "node",
                "Node that may wait here with access = allow_list or contacts, as did:key; can be repeated",
            ),
            Key::new(
                "contacts_file",
                Kind::Path,
                "file",
                "File with what `kos contact list --json` prints, for access = contacts; read again when it changes",
            ),
            Key::new(
                "token_file",
                Kind::Path,
                "file",
                "File with the token of this relay's guests for access = token, at least 16 characters",
            ),
            Key::new(
                "memory",
                Kind::Integer { min: 32 << 20, max: 1 << 50 },
                "bytes",
                "New connections are refused while this process uses more memory",
            ),
            Key::new(
                "rates",
                Kind::Switch,
                "",
                "Limit how often and how many times one node and one IP address may come; false in a laboratory where all share one",
            ),
            Key::new(
                "reach.trust_cidr",
                Kind::Texts,
                "cidr",
                "Range of addresses that counts as public, for laboratories; can be repeated",
            ),
        ]);
        keys
    }
}

impl Config {
    pub(crate) fn limits(&self, access: mesh::Access) -> mesh::Limits {
        mesh::Limits {
            incoming: self.connections,
            memory: self.memory,
            gate: mesh::GateLimits { on: self.rates, loopback: true, ..mesh::GateLimits::default() },
            relay: mesh::RelayLimits {
                reservations: self.reservations,
                reservations_per_network: self.reservations_per_network,
                access,
                reservation_time: self.reservation_time,
                circuits: self.circuits,
                circuits_per_peer: self.circuits_per_peer,
                circuits_per_network: self.circuits_per_network,
                circuit_time: self.circuit_time,
                circuit_bytes: self.circuit_bytes,
                bytes_per_second: self.bytes_per_second,
                peer_bytes_per_second: self.peer_bytes_per_second,
                rates: self.rates,
            },
            ..mesh::Limits::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_and_the_struct_agree() {
        assert_eq!(host::config::drift::<Config>(), Vec::<String>::new());
    }

    #[test]
    fn what_is_set_is_what_the_mesh_gets() {
        let config = Config { circuit_bytes: 7, rates: false, connections: 9, ..Config::default() };
        let limits = config.limits(mesh::Access::Open);
        assert_eq!((limits.relay.circuit_bytes, limits.relay.rates, limits.incoming), (7, false, 9));
    }

    /// The values that the example gives for the defaults are the defaults, and no setting is missing in it.
    #[test]
    fn x2_the_example_holds_every_setting() {
        let text = include_str!("../deploy/kos-relay.toml");
        let command = host::config::flags(clap::Command::new("kos-relay"), &Config::keys());
        let flags = command.try_get_matches_from(["kos-relay", "--home", "/var/lib/kos-relay"]).unwrap();
        let layers = host::config::Layers::new("kos-relay", &flags, &Config::keys(), []);
        let file = std::path::Path::new("kos-relay.toml");
        let loaded = layers.lay::<Config>(Some((file, text))).unwrap_or_else(|error| panic!("{error}"));
        let defaults = layers.lay::<Config>(None).unwrap();
        for (here, default) in loaded.settings.iter().zip(&defaults.settings) {
            let given = here.origin == host::config::Origin::File(file.to_owned());
            assert!(given || here.key == "home", "{} is missing in the example", here.key);
            let own = ["external", "metrics", "memory"].contains(&here.key);
            assert!(own || here.value == default.value, "{}: {} is not {}", here.key, here.value, default.value);
        }
    }
}
