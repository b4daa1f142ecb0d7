//! The settings of a relay. Meaning, unit and bound of each stand in its keys; `kos-relay --help` prints them.

use std::time::Duration;

use host::Basics;
use host::config::{Key, Kind, Settings, duration};
use serde::{Deserialize, Serialize};

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    #[serde(flatten)]
    pub(crate) basics: Basics,
    pub(crate) connections: u32,
    pub(crate) reservations: usize,
    #[serde(with = "duration")]
    pub(crate) reservation_time: Duration,
    pub(crate) circuits: usize,
    pub(crate) circuits_per_peer: usize,
    #[serde(with = "duration")]
    pub(crate) circuit_time: Duration,
    pub(crate) circuit_bytes: u64,
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
            reservation_time: limits.reservation_time,
            circuits: limits.circuits,
            circuits_per_peer: limits.circuits_per_peer,
            circuit_time: limits.circuit_time,
            circuit_bytes: limits.circuit_bytes,
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
            Key::new("reservations", many, "nodes", "Nodes that may wait behind this relay"),
            Key::new(
                "reservation_time",
                Kind::Span { min: minute, max: day },
                "time",
                "Life of a place behind this relay, unless it is renewed",
            ),
            Key::new("circuits", many, "circuits", "Circuits at once"),
            Key::new("circuits_per_peer", many, "circuits", "Circuits at once of one node"),
            Key::new("circuit_time", Kind::Span { min: minute, max: day }, "time", "Life of a circuit"),
            Key::new(
                "circuit_bytes",
                Kind::Integer { min: 0, max: 1 << 50 },
                "bytes",
                "Bytes that a circuit may carry, both directions together; 0 is without limit",
            ),
            Key::new(
                "rates",
                Kind::Switch,
                "",
                "Limit how often one node and one IP address may ask; false in a laboratory where all share one",
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
    pub(crate) fn limits(&self) -> mesh::Limits {
        mesh::Limits {
            incoming: self.connections,
            relay: mesh::RelayLimits {
                reservations: self.reservations,
                reservation_time: self.reservation_time,
                circuits: self.circuits,
                circuits_per_peer: self.circuits_per_peer,
                circuit_time: self.circuit_time,
                circuit_bytes: self.circuit_bytes,
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
        let limits = config.limits();
        assert_eq!((limits.relay.circuit_bytes, limits.relay.rates, limits.incoming), (7, false, 9));
    }
}
