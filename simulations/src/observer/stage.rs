//! Before the first step: whether this mesh is the one that the scenario means, and who knows whom.

use std::time::{Duration, Instant};

use super::client::text_of;
use super::{Agent, LOCAL, LOOK, Observer};
use crate::scenario::{Internet, Nat};

/// How long the mesh may take to form.
const FORMS: Duration = Duration::from_secs(60);

impl Observer<'_> {
    /// Whether this mesh is laid out as the scenario says.
    pub(super) fn fits(&self) -> Result<(), String> {
        let scenario = self.scenario;
        if scenario.internet != Internet::default() {
            return Err("here the internet has no delay and loses nothing: leave [internet] out".into());
        }
        let servers = || scenario.bootstraps.iter().chain(&scenario.relays);
        if servers().any(|server| !server.settings.is_empty())
            || scenario.nodes.iter().any(|node| !node.settings.is_empty() || node.relays.is_some())
        {
            return Err("here the programs have their settings already: leave `settings` and `relays` out".into());
        }
        for server in servers() {
            let name = server.name.as_ref();
            self.orders.note(name, "addresses").ok_or_else(|| format!("there is no server {name} here"))?;
        }
        for home in &scenario.homes {
            let name = home.name.as_ref();
            // In front of an open home there is no router.
            let kind = self.orders.note(name, "kind").unwrap_or_else(|| Nat::Open.as_str().into());
            if kind != home.nat.as_str() {
                return Err(format!("{name} is {kind} here, and the scenario wants {}", home.nat.as_str()));
            }
        }
        Ok(())
    }

    /// Waits until everybody can be reached, then makes contacts, agents and grants.
    pub(super) fn set(&mut self) -> Result<(), String> {
        let scenario = self.scenario;
        let end = Instant::now() + FORMS;
        for node in &scenario.nodes {
            let name = node.name.as_ref();
            loop {
                let state = self.state(name)?;
                if state == "relayed" || state == "public" {
                    break;
                }
                if Instant::now() > end {
                    return Err(format!("{name} cannot be reached by anybody after {} s: {state}", FORMS.as_secs()));
                }
                std::thread::sleep(LOOK);
            }
        }
        let documents = self.documents.to_string_lossy().into_owned();
        for node in &scenario.nodes {
            let (name, Some(agent)) = (&**node.name.as_ref(), &node.serves) else { continue };
            let served = self.local(name, &["serve", &documents, "--as", agent, "--listed"])?;
            self.agents.insert(name, Agent { name: agent.clone(), did: text_of(&served, "did") });
        }
        for node in &scenario.nodes {
            for other in &node.knows {
                let (one, other) = (&**node.name.as_ref(), &**other.as_ref());
                self.introduce(one, other)?;
                self.introduce(other, one)?;
                self.grant(one, other)?;
                self.grant(other, one)?;
            }
        }
        Ok(())
    }

    /// What needs no other node.
    pub(super) fn local(&self, name: &str, words: &[&str]) -> Result<serde_json::Value, String> {
        self.node(name)?.say(words, LOCAL).map_err(|refused| format!("{name}: {}: {refused}", words[0]))
    }

    /// How a node can be reached, as it says itself.
    pub(super) fn state(&self, name: &str) -> Result<String, String> {
        Ok(text_of(&self.local(name, &["status"])?["reach"], "state"))
    }

    /// `one` gets to know `other`.
    fn introduce(&self, one: &str, other: &str) -> Result<(), String> {
        let ticket = text_of(&self.local(other, &["contact", "ticket"])?, "ticket");
        self.local(one, &["contact", "add", &ticket, "--as", other]).map(drop)
    }

    /// `one` lets `other` ask its agent, if it has one.
    fn grant(&self, one: &str, other: &str) -> Result<(), String> {
        let Some(agent) = self.agents.get(one) else { return Ok(()) };
        self.local(one, &["grant", "add", other, &format!("{}.ask", agent.name)]).map(drop)
    }
}
