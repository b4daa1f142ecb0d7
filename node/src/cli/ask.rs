//! Asking an agent. The answer is shown as it comes; going away cancels the call on the other side too.

use std::collections::BTreeMap;

use clap::Args;
use klp::Refusal;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::client::Call;
use super::stream::Events;
use super::terminal::{Answer, Failure, Terminal, line, lines, short};
use crate::fault::Fault;
use crate::view;
use crate::web::ErrorBody;

#[derive(Debug, Args)]
pub(super) struct Ask {
    /// PETNAME/AGENT, DID/AGENT, self/AGENT, kos:DID/AGENT, or `any` or any/AGENT: whoever offers it
    #[arg(value_name = "WHO/AGENT")]
    who: String,
    /// The question
    #[arg(required = true)]
    text: Vec<String>,
    /// Another argument; can be repeated
    #[arg(long = "arg", value_name = "NAME=VALUE", value_parser = pair)]
    args: Vec<(String, String)>,
    /// Seconds to wait for the whole answer
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: Option<u64>,
    /// The capability to use
    #[arg(long, default_value = "ask")]
    capability: String,
    /// If the contact's node is not there: keep the question, and ask by itself when it is
    #[arg(long)]
    later: bool,
    /// Among questions that wait: low, normal or urgent, which goes first
    #[arg(long, requires = "later", value_parser = ["low", "normal", "urgent"])]
    priority: Option<String>,
    /// Seconds until a question that waits is given up; a week when absent, which is the most
    #[arg(long, value_name = "S", requires = "later", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    deadline: Option<u64>,
    /// With --json: one line for each piece of the answer before the last
    #[arg(long, requires = "json")]
    stream: bool,
}

/// Reads `NAME=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE".into()),
    }
}

#[derive(Deserialize)]
struct Piece {
    text: String,
}

impl Ask {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<Answer, Failure> {
        let args: BTreeMap<_, _> = self.args.into_iter().collect();
        let mut question =
            json!({ "who": self.who, "text": self.text.join(" "), "args": args, "capability": self.capability });
        if let Some(seconds) = self.timeout {
            question["timeout_s"] = seconds.into();
        }
        if self.later {
            question["later"] = true.into();
            question["priority"] = self.priority.into();
            question["deadline_s"] = self.deadline.into();
        }
        let call = Call::post("/v1/ask").json(&question)?;
        let asking = async { show(terminal.client.events(call).await?, terminal, self.stream).await };
        tokio::select! {
            answer = asking => answer,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.map_err(Fault::internal)?;
                Err(Fault::from(Refusal::Cancelled).into())
            }
        }
    }
}

async fn show(mut events: Events, terminal: &Terminal, stream: bool) -> Result<Answer, Failure> {
    let mut at_line_start = true;
    while let Some(event) = events.next().await? {
        match event.name.as_str() {
            "chunk" if stream => {
                let piece = json!({ "chunk": read::<Piece>(&event.data)?.text });
                if !terminal.write(&format!("{piece}\n"))? {
                    return Err(Fault::from(Refusal::Cancelled).into());
                }
            }
            "chunk" if !terminal.json => {
                let text = lines(&read::<Piece>(&event.data)?.text);
                at_line_start = text.ends_with('\n') || (text.is_empty() && at_line_start);
                if !terminal.write(&text)? {
                    return Err(Fault::from(Refusal::Cancelled).into());
                }
            }
            "done" => {
                let asked: view::Asked = read(&event.data)?;
                // The outcome is signed and its receipt kept, also when it is that the work did not come to its end.
                let exit = if asked.status == "answered" { 0 } else { Refusal::Failed.exit() };
                if terminal.json {
                    return Ok(terminal.answer(&asked, |_| String::new())?.exit(exit));
                }
                if !at_line_start {
                    terminal.write("\n")?;
                }
                let proof = if asked.verified { "verified" } else { "NOT VERIFIED" };
                let receipt = short(&asked.receipt);
                let ended = if exit == 0 { String::new() } else { format!("{}, ", line(&asked.status)) };
                terminal.note(&format!("-- {ended}{proof}, {}, {} ms, receipt {receipt}", asked.path, asked.rtt_ms));
                return Ok(Answer::silent().exit(exit));
            }
            "queued" => {
                let queued: view::Queued = read(&event.data)?;
                return terminal.answer(&queued, |queued| {
                    let (id, who) = (short(&queued.id), line(&queued.who));
                    format!(
                        "queued {id}: {who} is asked when its node is there, until {}\nsee `kos queue show {id}`",
                        queued.expires
                    )
                });
            }
            "error" => {
                if !at_line_start {
                    terminal.write("\n")?;
                }
                return Err(Fault::from(read::<ErrorBody>(&event.data)?).into());
            }
            _ => {}
        }
    }
    Err(Fault::from(Refusal::Interrupted).into())
}

fn read<T: DeserializeOwned>(data: &str) -> Result<T, Fault> {
    serde_json::from_str(data).map_err(|error| Fault::internal(format_args!("the node's answer: {error}")))
}
