//! Scenario files: who is where, what happens, and what must hold, in TOML.
//!
//! One file is one scenario. `about` says in a sentence what it shows; the file's name is its name. It describes a `[crowd]`, which is a
//! pure world of many nodes, or places and steps, which are real programs in a network. Both may stand in one file.
//!
//! ```toml
//! about = "Two homes behind ordinary routers: the first answer is relayed, then the path is direct"
//!
//! [internet]
//! delay_ms = 20              # each way, between any two places
//! loss_percent = 0
//! names = false              # true: servers are known by name, and the program `names` answers for that
//!
//! [[bootstrap]]              # kos-bootstrap, and kos-relay: each on a network of its own, with a public address
//! name = "hub"
//! [[relay]]
//! name = "ada"
//! settings = { circuit_time = "5min" }     # as in kos.toml; may be left out
//!
//! [[home]]                   # a router and a private network behind it
//! name = "north"
//! nat = "port-restricted"    # open, full-cone, port-restricted, port-remapping, symmetric, udp-blocked
//! [[home]]
//! name = "south"
//! nat = "full-cone"
//! upnp = false               # true: its router opens ports when it is asked; wants the program `miniupnpd`
//!
//! [[node]]
//! name = "alice"
//! home = "north"
//! [[node]]
//! name = "bob"
//! home = "south"
//! serves = "house"           # a folder becomes this agent; each whom he knows may ask it
//! knows = ["alice"]          # contacts, both ways
//! relays = ["ada"]           # of which relays it is told; all, when left out
//! [[node]]
//! name = "crowd"             # crowd-1 to crowd-20
//! many = 20
//! home = "south"
//!
//! [[step]]                   # in order; the first that does not hold ends the scenario
//! ask = { from = "alice", to = "bob", within_s = 10 }
//! [[step]]
//! path = { from = "alice", to = "bob", is = "direct", within_s = 30 }
//! ```
//!
//! Every step is one of [`Do`], written in small letters with hyphens. All times are seconds. What is not known, named twice, out of its
//! bounds or does not exist is an error with its line: [`Mistake`].
//!
//! # Layout
//! - `place`: the network and who is in it. `step`: what happens. `check`: what names must exist. `mistake`: what is wrong with a file.
//! - `shelf`: the files that are built in.

mod check;
mod mistake;
mod place;
mod shelf;
mod step;

use std::path::Path;

use serde::Deserialize;

pub(crate) use check::within;
pub use mistake::{FileError, Mistake, What};
pub(crate) use place::NAMES;
pub use place::{Home, Internet, Name, Nat, Node, Server};
pub use step::{
    Agree, Ask, Carries, Delegate, Do, Ends, Find, Goes, Halves, Learns, Netcheck, Reach, Revoke, Route, Slow, Stays,
};

use crate::crowd::Setting;

/// Seconds of waiting from which on a scenario is a long one.
const LONG: u64 = 60;

/// A whole file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The name of the file, without folder and ending.
    #[serde(skip)]
    pub name: String,
    /// What it shows, in a sentence.
    pub about: String,
    /// A pure world of many nodes.
    pub crowd: Option<Setting>,
    /// What lies between the places.
    #[serde(default)]
    pub internet: Internet,
    /// Bootstrap peers.
    #[serde(default, rename = "bootstrap")]
    pub bootstraps: Vec<Server>,
    /// Relays.
    #[serde(default, rename = "relay")]
    pub relays: Vec<Server>,
    /// Homes.
    #[serde(default, rename = "home")]
    pub homes: Vec<Home>,
    /// Nodes of people.
    #[serde(default, rename = "node")]
    pub nodes: Vec<Node>,
    /// What happens, in order.
    #[serde(default, rename = "step")]
    pub steps: Vec<toml::Spanned<Do>>,
}

impl Scenario {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// What is wrong with it, and in which line.
    pub fn parse(name: &str, text: &str) -> Result<Self, Mistake> {
        let at = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
        let parsed: Self = toml::from_str(text).map_err(|error| Mistake {
            line: at(error.span().map_or(0, |span| span.start)),
            what: What::Form(error.message().to_owned()),
        })?;
        let nodes = parsed.nodes.into_iter().flat_map(Node::each).collect();
        let scenario = Self { name: name.to_owned(), nodes, ..parsed };
        check::check(&scenario).map_err(|(offset, what)| Mistake { line: at(offset), what })?;
        Ok(scenario)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or something is wrong with it.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let file = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|source| FileError::Unreadable { file: file.clone(), source })?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::parse(&name, &text).map_err(|mistake| FileError::Mistaken { file, mistake })
    }

    /// All that are built in, in the order in which they are run.
    pub fn built_in() -> Vec<Self> {
        shelf::FILES.iter().filter_map(|(name, text)| Self::parse(name, text).ok()).collect()
    }

    /// The built-in one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::built_in().into_iter().find(|scenario| scenario.name == name)
    }

    /// Whether it mostly waits: it is run only by name.
    pub fn is_long(&self) -> bool {
        let waits = self.steps.iter().filter_map(|step| match step.as_ref() {
            Do::Wait(seconds) => Some(seconds),
            _ => None,
        });
        waits.sum::<u64>() >= LONG
    }

    /// Whether it needs real programs in a network.
    pub fn has_places(&self) -> bool {
        !self.steps.is_empty()
    }
}
