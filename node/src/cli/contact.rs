//! People I know.

use clap::{Args, Subcommand};
use serde_json::json;

use super::client::{Call, part, query};
use super::terminal::{Answer, Failure, Terminal, count, fields, table};
use crate::view;

#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Contact {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// My own ticket, to hand to others
    Ticket,
    /// Add the person of a ticket
    Add {
        /// Their ticket: one line that begins with kos1
        ticket: String,
        /// The name that you give them
        #[arg(long = "as", value_name = "NAME")]
        name: String,
    },
    /// Everybody
    List,
    /// One person, their agents and what I may use of them
    Show {
        /// Petname or DID
        name: String,
        /// Only this, as AGENT.CAPABILITY; can be repeated
        #[arg(long, value_name = "AGENT.CAPABILITY")]
        wants: Vec<String>,
    },
    /// Give somebody another name
    Rename {
        /// The name now
        name: String,
        /// The new name
        new: String,
    },
    /// Forget somebody, and revoke what I granted them
    Remove {
        /// Petname
        name: String,
    },
}

impl Contact {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<Answer, Failure> {
        let client = &terminal.client;
        let (said, call) = match self.verb {
            Verb::Ticket => {
                let ticket: view::Ticket = client.call(Call::post("/v1/contacts/ticket")).await?;
                terminal
                    .note(&format!("Hand this to somebody; it authorises nothing and holds until {}.", ticket.expires));
                return terminal.answer(&ticket, |ticket| ticket.ticket.clone());
            }
            Verb::List => {
                let contacts: Vec<view::Contact> = client.call(Call::get("/v1/contacts")).await?;
                return terminal.answer(&contacts, |contacts| {
                    let rows = contacts.iter().map(|contact| {
                        let path = contact.path.clone().unwrap_or_else(|| "-".into());
                        [contact.name.clone(), path, contact.did.clone()]
                    });
                    table(["NAME", "PATH", "DID"], rows.collect(), "nobody yet: hand over `kos contact ticket`")
                });
            }
            Verb::Show { name, wants } => {
                let wants = (!wants.is_empty()).then(|| wants.join(","));
                let path = query(&format!("/v1/contacts/{}", part(&name)), &[("wants", wants)]);
                let contact: view::Contact = client.call(Call::get(path)).await?;
                return terminal.answer(&contact, show);
            }
            Verb::Add { ticket, name } => {
                ("added", Call::post("/v1/contacts").json(&json!({ "ticket": ticket, "name": name }))?)
            }
            Verb::Rename { name, new } => {
                ("renamed", Call::patch(format!("/v1/contacts/{}", part(&name))).json(&json!({ "name": new }))?)
            }
            Verb::Remove { name } => ("removed", Call::delete(format!("/v1/contacts/{}", part(&name)))),
        };
        let contact: view::Contact = client.call(call).await?;
        terminal.answer(&contact, |contact| {
            let compare = if said == "added" { "\ncompare these words with them by voice" } else { "" };
            format!("{said} {} ({}){compare}", contact.name, contact.fingerprint.join(" "))
        })
    }
}

fn show(contact: &view::Contact) -> String {
    let agents = contact.agents.iter().map(|agent| agent.name.as_str()).collect::<Vec<_>>().join(", ");
    let mut text = fields(&[
        ("name", contact.name.clone()),
        ("owner", contact.did.clone()),
        ("node", contact.node.clone()),
        ("fingerprint", contact.fingerprint.join(" ")),
        ("added", contact.added.clone()),
        ("path", contact.path.clone().unwrap_or_else(|| "not connected".into())),
        ("agents", agents),
    ]);
    let rows = contact.capabilities.iter().map(|capability| {
        let expires = capability.expires.clone().unwrap_or_else(|| "-".into());
        let left = count(capability.calls_left);
        [capability.name.clone(), capability.outcome.clone(), left, expires, capability.reason.clone()]
    });
    text.push_str(&table(["CAPABILITY", "OUTCOME", "CALLS LEFT", "EXPIRES", "WHY"], rows.collect(), ""));
    text
}
