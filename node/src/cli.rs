//! The `kos` command: a client of the node's socket, and the door through which a node starts.
//!
//! A verb reads its arguments, asks the local API, and shows the answer: short text for people, or with `--json` exactly one JSON
//! value (one a line for `events tail`). Progress and logs go to standard error. Nothing is decided here.
//!
//! # Layout
//! - `client`, `stream`: the local API from outside; `terminal`: what is shown; `passphrase`: what is never shown.
//! - `up`: starting and stopping; then one file a noun.

mod agent;
mod ask;
mod audit;
mod client;
mod config;
mod contact;
mod demo;
mod doctor;
mod events;
mod find;
mod grant;
mod node;
mod pair;
mod passphrase;
mod queue;
mod reach;
mod receipt;
mod serve;
mod sim;
mod stream;
mod terminal;
mod up;
mod vault;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use klp::Refusal;

use crate::fault::Fault;
use terminal::{Answer, Failure, Terminal};

/// Your own node: ask other people's agents, let them ask yours.
#[derive(Debug, Parser)]
#[command(name = "kos", version, propagate_version = true, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    /// Folder in which the node keeps its files [env: KOS_HOME] [default: the platform's data folder]
    #[arg(long, global = true, value_name = "DIR")]
    home: Option<String>,
    /// Print exactly one JSON value, errors too
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start the node; the first start makes your identity
    Up(Box<up::Up>),
    /// Drain and stop the node
    Down(up::Down),
    /// One look at everything
    Status(node::Status),
    /// Who am I
    Whoami(node::Whoami),
    /// Pair with another person: make a code, or type theirs
    Pair(pair::Pair),
    /// People I know
    Contact(contact::Contact),
    /// Turn a folder into an agent that searches and quotes it
    Serve(serve::Serve),
    /// Agents on this node
    Agent(agent::Agent),
    /// Find agents and services
    Find(find::Find),
    /// Ask an agent, here or elsewhere
    Ask(ask::Ask),
    /// Questions that wait until somebody's node is there
    Queue(queue::Queue),
    /// What others may do here, and I elsewhere
    Grant(grant::Grant),
    /// Co-signed proof of calls
    Receipt(receipt::Receipt),
    /// The signed log
    Audit(audit::Audit),
    /// Secrets
    Vault(vault::Vault),
    /// Is somebody's node there, and by which path
    Ping(reach::Ping),
    /// By which path somebody's node is reached, and why
    Path(reach::Path),
    /// How others reach this node, and what to do about it
    Netcheck(reach::Netcheck),
    /// What is wrong here, why, and what to do; needs no node
    Doctor(Box<doctor::Doctor>),
    /// The event bus as it runs
    Events(events::Events),
    /// Settings
    Config(config::Config),
    /// The principal job on this machine, offline: one PASS line a step
    Demo(demo::Demo),
    /// Play scenarios: seeded worlds, and real programs behind routers of every kind; one PASS or FAIL line each
    Sim(sim::Sim),
    /// The demo's own bootstrap peer
    #[command(name = "__bootstrap", hide = true)]
    Bootstrap(demo::Bootstrap),
}

/// Runs the command line `args`, program name first, and says how it went.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, args.iter().any(|arg| arg == "--json")),
    };
    let json = cli.json;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = match runtime {
        // A blocking read of a terminal must not hold the end up.
        Ok(runtime) => {
            let result = runtime.block_on(cli.run(args));
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(Fault::internal(error).into()),
    };
    match result {
        Ok(answer) => answer.print(),
        Err(failure) => failure.print(json),
    }
}

impl Cli {
    async fn run(self, args: Vec<OsString>) -> Result<Answer, Failure> {
        let home =
            self.home.or_else(|| std::env::var("KOS_HOME").ok()).filter(|home| !home.is_empty()).map(PathBuf::from);
        let home = match home {
            Some(home) => home,
            None => host::home::default_folder("kos", |name| std::env::var_os(name))
                .map_err(|error| Fault::new(Refusal::Invalid, error.to_string()))?,
        };
        let terminal = Terminal::new(home, self.json);
        self.verb.run(&terminal, args).await
    }
}

impl Verb {
    async fn run(self, terminal: &Terminal, args: Vec<OsString>) -> Result<Answer, Failure> {
        match self {
            Self::Up(verb) => verb.run(terminal, args).await,
            Self::Down(verb) => verb.run(terminal).await,
            Self::Status(verb) => verb.run(terminal).await,
            Self::Whoami(verb) => verb.run(terminal).await,
            Self::Pair(verb) => verb.run(terminal).await,
            Self::Contact(verb) => verb.run(terminal).await,
            Self::Serve(verb) => verb.run(terminal).await,
            Self::Agent(verb) => verb.run(terminal).await,
            Self::Find(verb) => verb.run(terminal).await,
            Self::Ask(verb) => verb.run(terminal).await,
            Self::Queue(verb) => verb.run(terminal).await,
            Self::Grant(verb) => verb.run(terminal).await,
            Self::Receipt(verb) => verb.run(terminal).await,
            Self::Audit(verb) => verb.run(terminal).await,
            Self::Vault(verb) => verb.run(terminal).await,
            Self::Ping(verb) => verb.run(terminal).await,
            Self::Path(verb) => verb.run(terminal).await,
            Self::Netcheck(verb) => verb.run(terminal).await,
            Self::Doctor(verb) => verb.run(terminal).await,
            Self::Events(verb) => verb.run(terminal).await,
            Self::Config(verb) => verb.run(terminal).await,
            Self::Demo(verb) => verb.run(terminal).await,
            Self::Sim(verb) => verb.run(terminal).await,
            Self::Bootstrap(verb) => verb.run(terminal).await,
        }
    }
}

/// Exit code of a command line that cannot be read.
const USAGE: u8 = 2;

fn usage(error: &clap::Error, json: bool) -> ExitCode {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if json && !asked {
        let text = error.render().to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        return terminal::print_usage(message, USAGE);
    }
    // Nobody is left to tell when even this cannot be printed.
    let _ = error.print();
    if asked { ExitCode::SUCCESS } else { ExitCode::from(USAGE) }
}

#[cfg(test)]
mod tests;
