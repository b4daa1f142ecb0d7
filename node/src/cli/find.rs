//! Finding agents and services.

use clap::Args;

use super::client::{Call, query};
use super::terminal::{Answer, Failure, Terminal, table};
use crate::view;

#[derive(Debug, Args)]
pub(super) struct Find {
    /// Words of the name, tags or description
    #[arg(required = true)]
    words: Vec<String>,
    /// Only agents with this capability
    #[arg(long, value_name = "C")]
    capability: Option<String>,
}

impl Find {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<Answer, Failure> {
        let path = query("/v1/find", &[("q", Some(self.words.join(" "))), ("capability", self.capability)]);
        let found: Vec<view::Found> = terminal.client.call(Call::get(path)).await?;
        terminal.answer(&found, |found| {
            let rows = found.iter().map(|agent| {
                let mine = (agent.path == "here").then(|| "self".to_owned());
                let owner = mine.or_else(|| agent.contact.clone()).unwrap_or_else(|| agent.owner.clone());
                let name = format!("{owner}/{}", agent.name);
                [
                    name,
                    agent.capabilities.join(","),
                    agent.health.clone(),
                    agent.path.clone(),
                    agent.description.clone(),
                ]
            });
            table(["NAME", "CAPABILITIES", "HEALTH", "FOUND", "ABOUT"], rows.collect(), "nothing found")
        })
    }
}
