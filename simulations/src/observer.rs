//! Looks at a mesh of real programs that somebody else has laid out, such as `docker-compose.yml`, and plays a scenario in it.
//!
//! Nodes are spoken to as their owners do, by the program `kos` and the socket in each home. What must break is ordered through files:
//! the observer needs no right over what runs the programs, and no network.
//!
//! # Layout
//! - `client`: a node. `orders`: whoever can break something. `stage`: who knows whom before the first step. `play`: the steps.

mod client;
mod orders;
mod play;
mod stage;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use client::Client;
use orders::Orders;

use crate::scenario::Scenario;

/// Between two looks at something that must become so.
const LOOK: Duration = Duration::from_millis(200);
/// How long a node may take for what needs no other node.
const LOCAL: Duration = Duration::from_secs(30);

/// A mesh, its folder, and what is known of it.
#[derive(Debug)]
pub struct Observer<'s> {
    scenario: &'s Scenario,
    /// What every agent answers from; it is at this place for the nodes too.
    documents: PathBuf,
    nodes: BTreeMap<&'s str, Client>,
    orders: Orders,
    /// The agents by their node.
    agents: BTreeMap<&'s str, Agent>,
}

/// The agent of a node.
#[derive(Debug)]
struct Agent {
    name: String,
    did: String,
}

impl<'s> Observer<'s> {
    /// Looks at the mesh in this folder: a home for each node, `orders`, and `house` with documents.
    ///
    /// # Errors
    /// What the scenario needs and this mesh has not.
    pub fn new(scenario: &'s Scenario, mesh: &Path) -> Result<Self, String> {
        let orders = Orders::new(mesh.join("orders"));
        let nodes = scenario.nodes.iter().map(|node| (&**node.name.as_ref(), mesh.join(node.name.as_ref())));
        let nodes = nodes.map(|(name, home)| (name, Client::new(home))).collect();
        let documents = mesh.join("house");
        let observer = Self { scenario, documents, nodes, orders, agents: BTreeMap::new() };
        observer.fits()?;
        Ok(observer)
    }

    /// Sets the stage and plays all steps; `tell` hears of each as it ends. With `fault` all relays are killed before the first step.
    ///
    /// # Errors
    /// The first step that does not hold.
    pub fn run(mut self, fault: bool, mut tell: impl FnMut(&Told)) -> Result<String, String> {
        let begun = Instant::now();
        self.set()?;
        tell(&Told {
            what: "everybody is there, and knows whom the scenario says".into(),
            result: Ok(String::new()),
            took: begun.elapsed(),
        });
        if fault {
            for relay in &self.scenario.relays {
                self.orders.give(relay.name.as_ref(), "kill")?;
            }
        }
        for step in &self.scenario.steps {
            let begun = Instant::now();
            let (what, result) = self.step(step.as_ref());
            let broken = result.as_ref().err().map(|why| format!("{what}: {why}"));
            tell(&Told { what, result, took: begun.elapsed() });
            if let Some(broken) = broken {
                return Err(broken);
            }
        }
        Ok(format!("{} steps held", self.scenario.steps.len()))
    }

    fn node(&self, name: &str) -> Result<&Client, String> {
        self.nodes.get(name).ok_or_else(|| format!("there is no node {name}"))
    }
}

/// What is told of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What was done or looked at.
    pub what: String,
    /// What was seen, or why it does not hold.
    pub result: Result<String, String>,
    /// How long it took.
    pub took: Duration,
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (word, seen) = match &self.result {
            Ok(seen) => ("ok", seen),
            Err(why) => ("FAIL", why),
        };
        let colon = if seen.is_empty() { "" } else { ": " };
        write!(f, "{word:<4} {:>6.1} s  {}{colon}{seen}", self.took.as_secs_f64(), self.what)
    }
}
