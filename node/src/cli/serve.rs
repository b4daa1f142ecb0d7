//! Turning a folder into an agent, with a look at the indexing.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use klp::Refusal;
use serde_json::json;

use super::client::{Call, part};
use super::terminal::{Answer, Failure, Terminal, line};
use crate::fault::Fault;
use crate::view;

/// Between two looks at the progress.
const LOOK: Duration = Duration::from_millis(150);

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The folder
    path: PathBuf,
    /// Name of the agent
    #[arg(long = "as", value_name = "NAME")]
    name: String,
    /// Let others find it; they still need a grant
    #[arg(long, conflicts_with = "public")]
    listed: bool,
    /// Let others find it, and let anybody ask it up to 20 times a day
    #[arg(long)]
    public: bool,
    /// A word it is found by, besides its name; can be repeated
    #[arg(long = "tag", value_name = "WORD")]
    tags: Vec<String>,
    /// Do not wait until all documents are read
    #[arg(long)]
    no_wait: bool,
}

impl Serve {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<Answer, Failure> {
        let path = std::fs::canonicalize(&self.path).map_err(|error| {
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            let refusal = if missing { Refusal::NotFound } else { Refusal::Invalid };
            Fault::new(refusal, format!("cannot serve {}: {error}", self.path.display())).hint("check the path")
        })?;
        let Some(path) = path.to_str() else {
            return Err(Fault::new(Refusal::Invalid, "the folder's path is not UTF-8")
                .hint("rename the folder")
                .into());
        };
        let visibility = match (self.listed, self.public) {
            (_, true) => "public",
            (true, _) => "listed",
            _ => "private",
        };
        let body = json!({ "path": path, "name": self.name, "visibility": visibility, "tags": self.tags });
        let mut served: view::Served = terminal.client.call(Call::post("/v1/agents/serve").json(&body)?).await?;
        if !self.no_wait {
            let agent = indexed(terminal, &served.agent).await?;
            (served.documents, served.state) = (agent.documents, agent.state);
        }
        terminal.answer(&served, |served| {
            let next = if visibility == "public" {
                format!("anybody may ask it; try `kos ask self/{}`", served.agent)
            } else {
                format!("let somebody use it: `kos grant add NAME {}.ask --calls 20`", served.agent)
            };
            format!("{} answers from {} documents ({})\n{next}", served.agent, served.documents, served.state)
        })
    }
}

/// Waits until the agent is ready, and shows how far it is.
async fn indexed(terminal: &Terminal, name: &str) -> Result<view::Agent, Failure> {
    let path = format!("/v1/agents/{}", part(name));
    let bar = bar();
    let mut told = 0;
    loop {
        let agent: view::Agent = terminal.client.call(Call::get(path.as_str())).await?;
        if let Some(progress) = &agent.progress {
            bar.set_length(progress.total);
            bar.set_position(progress.done);
            bar.set_message(format!("{} left out", progress.skipped));
            let tenth = progress.done * 10 / progress.total.max(1);
            if bar.is_hidden() && tenth > told {
                told = tenth;
                eprintln!("indexing: {} of {} files, {} left out", progress.done, progress.total, progress.skipped);
            }
        }
        match agent.state.as_str() {
            "starting" | "indexing" => tokio::time::sleep(LOOK).await,
            "failed" => {
                bar.finish_and_clear();
                let why = agent.failure.unwrap_or_else(|| "no reason given".into());
                return Err(Fault::new(Refusal::Failed, format!("{name} failed: {}", line(&why))).into());
            }
            _ => {
                bar.finish_and_clear();
                return Ok(agent);
            }
        }
    }
}

/// A bar on a terminal; elsewhere plain lines are printed instead.
fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("indexing {wide_bar} {pos}/{len} {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
