//! How many, and how bad it is.

/// One kind of crowd. Chances and shares are so many in a thousand, spans are milliseconds, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name on the command line.
    pub name: &'static str,
    /// Nodes, beside the one bootstrap peer.
    pub nodes: usize,
    /// Nodes that answer lookups; the others only ask.
    pub servers: u64,
    /// Way of a message from one node to another.
    pub latency: (u64, u64),
    /// Messages that are lost.
    pub loss: u64,
    /// Nodes that leave while the others go on; half of them come back.
    pub leave: u64,
    /// Nodes that join only then.
    pub late: u64,
    /// From which minute to which one half of the nodes does not hear the other half.
    pub split: Option<(u64, u64)>,
    /// Nodes that lie.
    pub liars: u64,
}

impl Setting {
    /// All of them.
    pub const ALL: [Self; 6] = [QUIET, LOSSY, RESTLESS, SPLIT, LYING, THOUSAND];

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|setting| setting.name == name)
    }
}

const QUIET: Setting = Setting {
    name: "quiet",
    nodes: 60,
    servers: 1000,
    latency: (5, 150),
    loss: 0,
    leave: 0,
    late: 0,
    split: None,
    liars: 0,
};

/// Messages are lost, and most nodes are behind routers: they ask, and nobody asks them.
const LOSSY: Setting = Setting { name: "lossy", servers: 400, loss: 50, ..QUIET };

/// Nodes come and go.
const RESTLESS: Setting = Setting { name: "restless", loss: 20, leave: 300, late: 200, ..QUIET };

/// Two halves that do not hear each other for a while.
const SPLIT: Setting = Setting { name: "split", loss: 20, split: Some((35, 65)), ..QUIET };

/// Peers that answer with what is forged, old or foreign.
const LYING: Setting = Setting { name: "lying", nodes: 80, liars: 100, ..RESTLESS };

/// All of it at once, and many.
const THOUSAND: Setting = Setting {
    name: "thousand",
    nodes: 1000,
    servers: 600,
    loss: 30,
    leave: 250,
    late: 150,
    split: Some((35, 50)),
    liars: 15,
    ..QUIET
};
