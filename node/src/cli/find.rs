//! Finding agents and services.

use clap::Args;

use super::client::{Call, query};
use super::terminal::{Answer, Failure, Terminal, table};
use crate::view;

#[derive(Debug, Args)]
pub(super) struct Find {
    /// Words of the name, tags or description, or a DID
    #[arg(required_unless_present_any = ["capability", "kind"])]
    words: Vec<String>,
    /// Only agents with this capability
    #[arg(long, value_name = "C")]
    capability: Option<String>,
    /// Only agents of this kind, such as librarian
    #[arg(long, value_name = "K")]
    kind: Option<String>,
}

impl Find {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<Answer, Failure> {
        let words = Some(self.words.join(" "));
        let path = query("/v1/find", &[("q", words), ("capability", self.capability), ("kind", self.kind)]);
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
                    agent.via.clone().unwrap_or_else(|| "-".to_owned()),
                    agent.description.clone(),
                ]
            });
            table(["NAME", "CAPABILITIES", "HEALTH", "FOUND", "PATH", "ABOUT"], rows.collect(), "nothing found")
        })
    }
}
