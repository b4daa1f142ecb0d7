//! Questions that wait for somebody's node.

use clap::{Args, Subcommand};

use super::client::{Call, part};
use super::terminal::{Answer, Failure, Terminal, fields, lines, short, table};
use crate::view;

#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Queue {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// What waits, and what became of what did; the oldest first
    List,
    /// One question, with its answer when that is here
    Show {
        /// The question's id or its beginning
        id: String,
    },
    /// Do not send one any more; or forget one that has ended
    Drop {
        /// The question's id or its beginning
        id: String,
    },
}

impl Queue {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<Answer, Failure> {
        let at = |id: &str| format!("/v1/queue/{}", part(id));
        match self.verb {
            Verb::List => {
                let all: Vec<view::Queued> = terminal.client.call(Call::get("/v1/queue")).await?;
                terminal.answer(&all, |all| list(all))
            }
            Verb::Show { id } => {
                let queued: view::Queued = terminal.client.call(Call::get(at(&id))).await?;
                terminal.answer(&queued, show)
            }
            Verb::Drop { id } => {
                let queued: view::Queued = terminal.client.call(Call::delete(at(&id))).await?;
                terminal.answer(&queued, |queued| match queued.state.as_str() {
                    "dropped" => format!("{} is not sent any more", short(&queued.id)),
                    _ => format!("{} is forgotten", short(&queued.id)),
                })
            }
        }
    }
}

fn list(all: &[view::Queued]) -> String {
    let rows = all.iter().map(|queued| {
        let state = match &queued.error {
            Some(why) => format!("{} ({})", queued.state, why.code),
            None => queued.state.clone(),
        };
        let text: String = queued.text.chars().take(40).collect();
        [short(&queued.id), queued.queued.clone(), state, queued.priority.clone(), queued.who.clone(), text]
    });
    table(["ID", "QUEUED", "STATE", "PRIORITY", "FOR", "QUESTION"], rows.collect(), "nothing waits")
}

fn show(queued: &view::Queued) -> String {
    let mut text = fields(&[
        ("id", queued.id.clone()),
        ("state", queued.state.clone()),
        ("for", queued.who.clone()),
        ("owner", queued.owner.clone()),
        ("capability", queued.capability.clone()),
        ("priority", queued.priority.clone()),
        ("queued", queued.queued.clone()),
        ("expires", queued.expires.clone()),
        ("changed", queued.changed.clone()),
        ("receipt", queued.receipt.clone().unwrap_or_default()),
        ("error", queued.error.as_ref().map(|why| format!("{}: {}", why.code, why.message)).unwrap_or_default()),
        ("hint", queued.error.as_ref().map(|why| why.hint.clone()).unwrap_or_default()),
    ]);
    text.push_str(&format!("question:\n{}\n", lines(&queued.text)));
    if let Some(answer) = &queued.answer {
        text.push_str(&format!("answer:\n{}\n", lines(answer)));
    }
    text
}
