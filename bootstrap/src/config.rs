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
        Self { basics: Basics { listen, ..Basics::default() }, connections: 2048, reach: Reach::default() }
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
                "reach.trust_cidr",
                Kind::Texts,
                "cidr",
                "Range of addresses that counts as public, for laboratories; can be repeated",
            ),
        ]);
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_and_the_struct_agree() {
        assert_eq!(host::config::drift::<Config>(), Vec::<String>::new());
    }
}
