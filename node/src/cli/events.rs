//! The event bus as it runs.

use clap::{Args, Subcommand};

use super::client::{Call, query};
use super::terminal::{Answer, Failure, Terminal, line};
use crate::fault::Fault;
use crate::view;

#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Events {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Events as they happen, one a line, until interrupted or the node stops
    Tail {
        /// Only events whose name fits; `*` stands for anything
        #[arg(long, value_name = "GLOB")]
        filter: Option<String>,
        /// Go on after the event of this number
        #[arg(long, value_name = "ID")]
        after: Option<u64>,
    },
}

impl Events {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<Answer, Failure> {
        let Verb::Tail { filter, after } = self.verb;
        let mut call = Call::get(query("/v1/events", &[("filter", filter)]));
        if let Some(after) = after {
            call = call.header("last-event-id", after.to_string());
        }
        let mut events = terminal.client.events(call).await?;
        while let Some(event) = events.next().await? {
            let shown = match event.name.as_str() {
                // A filter never hides that something is missing.
                "gap" if event.id.is_empty() => {
                    if terminal.json {
                        format!("{{\"name\":\"gap\",\"data\":{}}}\n", event.data)
                    } else {
                        format!("-- events are missing here: {}\n", line(&event.data))
                    }
                }
                _ if terminal.json => format!("{}\n", event.data),
                _ => {
                    let event: view::Event = serde_json::from_str(&event.data).map_err(Fault::internal)?;
                    format!("{} {} {} {}\n", event.id, event.time, event.name, line(event.data.get()))
                }
            };
            if !terminal.write(&shown)? {
                break;
            }
        }
        Ok(Answer::silent())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l1_12_what_a_contact_shares_is_shown_however_deep_it_is() {
        let deepest = format!("{}{}", "[".repeat(127), "]".repeat(127));
        let line = format!(r#"{{"id":1,"time":"now","name":"contact.event","data":{{"data":{deepest}}}}}"#);
        let event: view::Event = serde_json::from_str(&line).expect("an event");
        assert_eq!(event.data.get(), format!(r#"{{"data":{deepest}}}"#));
    }
}
