//! The settings of a bootstrap peer. Meaning, unit and bound of each stand in its keys; `kos-bootstrap --help` prints them.

use host::Basics;
use host::config::{Key, Kind, Settings};
use serde::{Deserialize, Serialize};

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    #[serde(flatten)]
    pub(crate) basics: Basics,
    pub(crate) connections: u32,
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
        let listen = vec!["/ip4/0.0.0.0/udp/4712/quic-v1".into(), "/ip4/0.0.0.0/tcp/4712".into()];
        Self {
            basics: Basics { listen, ..Basics::default() },
            connections: 2048,
            memory: mesh::Limits::default().memory,
            rates: true,
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
        let mut keys = Basics::KEYS.to_vec();
        keys.extend([
            Key::new(
                "connections",
                Kind::Integer { min: 1, max: 1 << 20 },
                "connections",
                "Connections that others may have open to this peer",
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
    pub(crate) fn limits(&self) -> mesh::Limits {
        mesh::Limits {
            incoming: self.connections,
            memory: self.memory,
            gate: mesh::GateLimits { on: self.rates, loopback: true, ..mesh::GateLimits::default() },
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

    /// The values that the example gives for the defaults are the defaults, and no setting is missing in it.
    #[test]
    fn x2_the_example_holds_every_setting() {
        let text = include_str!("../deploy/kos-bootstrap.toml");
        let command = host::config::flags(clap::Command::new("kos-bootstrap"), &Config::keys());
        let flags = command.try_get_matches_from(["kos-bootstrap", "--home", "/var/lib/kos-bootstrap"]).unwrap();
        let layers = host::config::Layers::new("kos-bootstrap", &flags, &Config::keys(), []);
        let file = std::path::Path::new("kos-bootstrap.toml");
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
