//! What others may do here, and I elsewhere.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::ask::pair;
use super::client::{Call, part};
use super::terminal::{Answer, Failure, Terminal, count, fields, short, table};
use crate::view;

#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Grant {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Let somebody use a capability of one of my agents
    Add {
        /// Petname or DID
        who: String,
        /// What: a served folder has the capability `ask`
        #[arg(value_name = "AGENT.CAPABILITY")]
        what: String,
        #[command(flatten)]
        limits: Limits,
    },
    /// Hand a grant that I hold on to somebody else
    Delegate {
        /// The grant's id or its beginning
        id: String,
        /// Petname or DID
        #[arg(long, value_name = "WHO")]
        to: String,
        #[command(flatten)]
        limits: Limits,
    },
    /// Those that I gave and those that I hold
    List,
    /// One grant
    Show(Named),
    /// Take a grant back, at once
    Revoke(Named),
}

#[derive(Debug, Args)]
struct Named {
    /// The grant's id or its beginning
    id: String,
}

#[derive(Debug, Args)]
struct Limits {
    /// Calls; without bound when absent
    #[arg(long, value_name = "N")]
    calls: Option<u64>,
    /// Bytes of answers; without bound when absent
    #[arg(long, value_name = "N")]
    bytes: Option<u64>,
    /// Days; 30 when absent
    #[arg(long, value_name = "N")]
    days: Option<u64>,
    /// What an argument must be, `*` for anything; can be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    args: Vec<(String, String)>,
}

impl Limits {
    /// Those that were given.
    fn body(self) -> Value {
        let numbers = [("calls", self.calls), ("bytes", self.bytes), ("days", self.days)];
        let numbers = numbers.into_iter().filter_map(|(name, number)| Some((name.to_owned(), number?.into())));
        let mut limits: Map<String, Value> = numbers.collect();
        if !self.args.is_empty() {
            let args = self.args.into_iter().map(|(name, pattern)| (name, Value::String(pattern)));
            limits.insert("args".into(), Value::Object(args.collect()));
        }
        Value::Object(limits)
    }
}

impl Grant {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<Answer, Failure> {
        let (said, call) = match self.verb {
            Verb::List => {
                let grants: Vec<view::Grant> = terminal.client.call(Call::get("/v1/grants")).await?;
                return terminal.answer(&grants, |grants| list(grants));
            }
            Verb::Show(named) => {
                let grant: view::Grant =
                    terminal.client.call(Call::get(format!("/v1/grants/{}", part(&named.id)))).await?;
                return terminal.answer(&grant, show);
            }
            Verb::Add { who, what, limits } => {
                let body = json!({ "who": who, "what": what, "limits": limits.body() });
                ("granted", Call::post("/v1/grants").json(&body)?)
            }
            Verb::Delegate { id, to, limits } => {
                let body = json!({ "to": to, "limits": limits.body() });
                ("delegated", Call::post(format!("/v1/grants/{}/delegate", part(&id))).json(&body)?)
            }
            Verb::Revoke(named) => ("revoked", Call::post(format!("/v1/grants/{}/revoke", part(&named.id)))),
        };
        let grant: view::Grant = terminal.client.call(call).await?;
        terminal.answer(&grant, |grant| format!("{said}\n{}", show(grant)))
    }
}

fn other(grant: &view::Grant) -> String {
    let did = if grant.direction == "held" { &grant.from } else { &grant.to };
    grant.contact.clone().unwrap_or_else(|| did.clone())
}

fn list(grants: &[view::Grant]) -> String {
    let rows = grants.iter().map(|grant| {
        let way = if grant.direction == "held" { "from" } else { "to" };
        let who = format!("{way} {}", other(grant));
        let what = format!("{}.{}", grant.agent, grant.capability);
        let state = if grant.revoked { "revoked".to_owned() } else { format!("until {}", grant.expires) };
        [short(&grant.id), who, what, count(grant.calls_left), state]
    });
    table(["ID", "WHO", "WHAT", "CALLS LEFT", "STATE"], rows.collect(), "no grants: `kos grant add NAME AGENT.ask`")
}

fn show(grant: &view::Grant) -> String {
    let args = grant.args.iter().flatten().map(|(name, pattern)| format!("{name}={pattern}"));
    fields(&[
        ("id", grant.id.clone()),
        ("from", grant.from.clone()),
        ("to", grant.to.clone()),
        ("contact", grant.contact.clone().unwrap_or_default()),
        ("what", format!("{}.{}", grant.agent, grant.capability)),
        ("arguments", args.collect::<Vec<_>>().join(" ")),
        ("calls left", format!("{} of {}", count(grant.calls_left), count(grant.calls))),
        ("expires", grant.expires.clone()),
        ("revoked", if grant.revoked { "yes".into() } else { String::new() }),
        ("delegates", grant.parent.clone().unwrap_or_default()),
    ])
}
