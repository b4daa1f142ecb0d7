//! The network, and who is in it.

use serde::Deserialize;

/// A name, with its place in the file.
pub type Name = toml::Spanned<String>;

/// The program that answers for names, where they are wanted.
pub(crate) const NAMES: &str = "names";

/// What lies between any two places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Internet {
    /// Milliseconds of a way, from one place to another.
    pub delay_ms: u64,
    /// Packets in a hundred that are lost.
    pub loss_percent: u64,
    /// Whether servers are known by names only, which the program `names` answers.
    pub names: bool,
}

/// A server of ours on a network of its own, with a public address.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// What it is called here.
    pub name: Name,
    /// Its settings, as in its settings file.
    #[serde(default)]
    pub settings: toml::Table,
}

/// A router with one public address, and the private network behind it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Home {
    /// What it is called here.
    pub name: Name,
    /// What its router does.
    pub nat: Nat,
    /// What a second router does, that of the provider, which gives one public address to many homes.
    pub carrier: Option<Nat>,
    /// Whether its router opens ports for who asks inside, with UPnP: by the program `miniupnpd`.
    #[serde(default)]
    pub upnp: bool,
}

/// What a router does with packets. RFC 4787 has the words: a mapping depends on the far end or not, and so does the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nat {
    /// Nothing: the machines behind it have public addresses.
    Open,
    /// One address for all, the ports stay, and whoever sends to one of them is let in.
    FullCone,
    /// One address for all, the ports stay, and only those are let in to whom something was sent: most homes.
    PortRestricted,
    /// The same, but the outside port is another one than the inside port.
    PortRemapping,
    /// Each far end sees another port.
    Symmetric,
    /// As port-restricted, and no UDP gets out: some offices.
    UdpBlocked,
}

impl Nat {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Open, Self::FullCone, Self::PortRestricted, Self::PortRemapping, Self::Symmetric, Self::UdpBlocked];

    /// As it is written in a file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::FullCone => "full-cone",
            Self::PortRestricted => "port-restricted",
            Self::PortRemapping => "port-remapping",
            Self::Symmetric => "symmetric",
            Self::UdpBlocked => "udp-blocked",
        }
    }

    /// Whether two nodes behind such routers can have a path without a relay. It can be had when one of them can be reached from
    /// everywhere, or when both can tell in advance under which port the other will see them.
    pub fn meets(self, other: Self) -> bool {
        self.lets_all_in() || other.lets_all_in() || (self != Self::Symmetric && other != Self::Symmetric)
    }

    /// Whether what is behind it can be reached from everywhere.
    pub(crate) fn lets_all_in(self) -> bool {
        matches!(self, Self::Open | Self::FullCone)
    }
}

/// The node of a person.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// What it is called here, and by those who know it.
    pub name: Name,
    /// So many of them, called `NAME-1`, `NAME-2` and so on; one of just this name, when nothing is said.
    pub many: Option<u8>,
    /// Where it is.
    pub home: Name,
    /// The agent that answers from its folder. Whom it knows may ask it, and strangers may find it.
    pub serves: Option<String>,
    /// Its contacts; they have it as one too.
    #[serde(default)]
    pub knows: Vec<Name>,
    /// The relays that it is told; all of them, when nothing is said.
    pub relays: Option<Vec<Name>>,
    /// Its settings, as in its settings file.
    #[serde(default)]
    pub settings: toml::Table,
}

impl Node {
    /// Each of those that this stands for.
    pub(super) fn each(self) -> Vec<Self> {
        let Some(many) = self.many else { return vec![self] };
        let called = |number| Name::new(self.name.span(), format!("{}-{number}", self.name.as_ref()));
        (1..=many).map(|number| Self { name: called(number), many: None, ..self.clone() }).collect()
    }
}
