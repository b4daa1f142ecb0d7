//! How many, and how bad it is.

use serde::Deserialize;

use super::rules::Rules;
use crate::scenario::{What, within};

/// One kind of crowd, as `[crowd]` in a scenario file. Chances and shares are so many in a thousand; spans have both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Setting {
    /// Nodes, beside the one bootstrap peer.
    pub nodes: usize,
    /// Nodes that answer lookups; the others only ask.
    pub servers: u64,
    /// Way of a message from one node to another.
    #[serde(rename = "latency_ms")]
    pub latency: (u64, u64),
    /// Messages that are lost.
    pub loss: u64,
    /// Nodes that leave while the others go on; half of them come back.
    pub leave: u64,
    /// Nodes that join only then.
    pub late: u64,
    /// From which minute to which one half of the nodes does not hear the other half.
    #[serde(rename = "split_min")]
    pub split: Option<(u64, u64)>,
    /// Nodes that lie.
    pub liars: u64,
    /// How many seeds are run, unless somebody says which.
    pub seeds: u64,
    /// What all nodes do wrong, so that the world must notice.
    pub fault: Option<Fault>,
}

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Nodes show what is past its lifetime.
    Forever,
    /// Nodes believe whoever signs.
    Gullible,
    /// Nodes take whatever comes last.
    LastWins,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            nodes: 60,
            servers: 1000,
            latency: (5, 150),
            loss: 0,
            leave: 0,
            late: 0,
            split: None,
            liars: 0,
            seeds: 5,
            fault: None,
        }
    }
}

impl Setting {
    /// Whether all numbers are within their bounds.
    pub(crate) fn check(&self) -> Result<(), What> {
        within("nodes", self.nodes as u64, 5, 10_000)?;
        within("seeds", self.seeds, 1, 1 << 32)?;
        for (key, share) in [
            ("servers", self.servers),
            ("loss", self.loss),
            ("leave", self.leave),
            ("late", self.late),
            ("liars", self.liars),
        ] {
            within(key, share, 0, 1000)?;
        }
        within("latency_ms", self.latency.1, self.latency.0, 10_000)?;
        self.split.map_or(Ok(()), |(from, to)| within("split_min", to, from, 170))
    }

    /// What decides.
    pub(super) fn rules(&self) -> Rules {
        match self.fault {
            None => Rules::OURS,
            Some(Fault::Forever) => Rules { has_expired: |_, _| false, ..Rules::OURS },
            Some(Fault::Gullible) => Rules { believes: |entry, _, _| entry.card.verify().ok(), ..Rules::OURS },
            Some(Fault::LastWins) => Rules { put: |_, _, _| klp::rule::record::Put::Kept, ..Rules::OURS },
        }
    }
}
