//! How bad the weather is.

/// One kind of world. Spans are milliseconds, both ends included; chances are so many in a thousand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Its name on the command line.
    pub name: &'static str,
    /// Requests of each side.
    pub requests: u64,
    /// Time between two of them.
    pub pause: (u64, u64),
    /// Chunks of one answer.
    pub chunks: (u64, u64),
    /// Bytes of one chunk.
    pub chunk: (u64, u64),
    /// Way of a frame from one side to the other.
    pub latency: (u64, u64),
    /// Work before each chunk.
    pub work: (u64, u64),
    /// Time that a reader needs for each chunk.
    pub read: (u64, u64),
    /// Time from one breaking of the stream to the next; `None` for never.
    pub cut: Option<(u64, u64)>,
    /// Time until a side notices, and again until the dialler has a new stream.
    pub notice: (u64, u64),
    /// Chance that a request is cancelled by its asker.
    pub cancel: u64,
    /// Chance that the listener has forgotten the session when a new stream comes.
    pub forget: u64,
}

impl Weather {
    /// All of them.
    pub const ALL: [Self; 5] = [CALM, CUTS, SLOW, FICKLE, FORGETFUL];

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|weather| weather.name == name)
    }
}

const CALM: Weather = Weather {
    name: "calm",
    requests: 150,
    pause: (0, 40),
    chunks: (0, 12),
    chunk: (1, 9000),
    latency: (5, 60),
    work: (0, 30),
    read: (0, 20),
    cut: None,
    notice: (1, 500),
    cancel: 0,
    forget: 0,
};

/// The stream breaks every few seconds.
const CUTS: Weather = Weather { name: "cuts", cut: Some((50, 3000)), ..CALM };

/// Large chunks and readers that cannot keep up.
const SLOW: Weather =
    Weather { name: "slow", requests: 20, chunks: (10, 60), chunk: (10_000, 60_000), read: (50, 400), ..CUTS };

/// Askers that change their mind.
const FICKLE: Weather = Weather { name: "fickle", cancel: 300, ..CUTS };

/// A listener that restarts.
const FORGETFUL: Weather = Weather { name: "forgetful", forget: 400, ..CUTS };
