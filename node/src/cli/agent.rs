//! Agents on this node.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use klp::Refusal;
use serde_json::json;

use super::client::{Call, part, query};
use super::terminal::{Answer, Failure, Terminal, fields, table};
use crate::fault::Fault;
use crate::view;

#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Agent {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// All agents here
    List {
        /// Only agents of this role
        #[arg(long)]
        role: Option<String>,
    },
    /// One agent
    Show(Named),
    /// Register an agent from a manifest
    Add {
        /// Manifest file, TOML or JSON
        manifest: PathBuf,
    },
    /// Pause an agent
    Pause(Named),
    /// Resume an agent
    Resume(Named),
    /// Remove an agent; its receipts and audit entries stay
    Remove(Named),
}

#[derive(Debug, Args)]
struct Named {
    /// Name or DID
    name: String,
}

impl Named {
    fn path(&self, end: &str) -> String {
        format!("/v1/agents/{}{end}", part(&self.name))
    }
}

impl Agent {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<Answer, Failure> {
        let (said, call) = match self.verb {
            Verb::List { role } => {
                let agents: Vec<view::Agent> =
                    terminal.client.call(Call::get(query("/v1/agents", &[("role", role)]))).await?;
                return terminal.answer(&agents, |agents| {
                    let rows = agents.iter().map(|agent| {
                        let documents = agent.documents.to_string();
                        [
                            agent.name.clone(),
                            agent.kind.clone(),
                            agent.state.clone(),
                            agent.visibility.clone(),
                            documents,
                        ]
                    });
                    table(["NAME", "KIND", "STATE", "VISIBILITY", "DOCUMENTS"], rows.collect(), "no agents")
                });
            }
            Verb::Show(named) => {
                let agent: view::Agent = terminal.client.call(Call::get(named.path(""))).await?;
                return terminal.answer(&agent, show);
            }
            Verb::Add { manifest } => {
                let text = std::fs::read_to_string(&manifest).map_err(|error| {
                    let missing = error.kind() == std::io::ErrorKind::NotFound;
                    let refusal = if missing { Refusal::NotFound } else { Refusal::Invalid };
                    Fault::new(refusal, format!("cannot read {}: {error}", manifest.display())).hint("check the path")
                })?;
                ("added", Call::post("/v1/agents").json(&json!({ "manifest": text }))?)
            }
            Verb::Pause(named) => ("paused", Call::post(named.path("/pause"))),
            Verb::Resume(named) => ("resumed", Call::post(named.path("/resume"))),
            Verb::Remove(named) => ("removed", Call::delete(named.path(""))),
        };
        let agent: view::Agent = terminal.client.call(call).await?;
        terminal.answer(&agent, |agent| format!("{said} {} ({})", agent.name, agent.did))
    }
}

fn show(agent: &view::Agent) -> String {
    let progress = agent.progress.as_ref().map_or_else(String::new, |progress| {
        format!("{} of {} files, {} left out", progress.done, progress.total, progress.skipped)
    });
    let mut text = fields(&[
        ("name", agent.name.clone()),
        ("did", agent.did.clone()),
        ("kind", format!("{}, {}", agent.kind, agent.role)),
        ("state", agent.state.clone()),
        ("failure", agent.failure.clone().unwrap_or_default()),
        ("about", agent.description.clone()),
        ("capabilities", agent.capabilities.join(", ")),
        ("tags", agent.tags.join(", ")),
        ("visibility", agent.visibility.clone()),
        ("path", agent.path.clone().unwrap_or_default()),
        ("documents", agent.documents.to_string()),
        ("indexing", progress),
    ]);
    let skipped = agent.skipped.iter().map(|skipped| [skipped.path.clone(), skipped.reason.clone()]);
    text.push_str(&table(["LEFT OUT", "WHY"], skipped.collect(), ""));
    text
}
