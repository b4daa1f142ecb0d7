//! Starting a node, in front or behind, and stopping it.

mod detach;

use std::path::Path;
use std::time::{Duration, Instant};

use clap::{ArgMatches, Args, FromArgMatches};
use host::Stop;
use host::config::{ConfigError, Key, Layers, Loaded, Settings as _};
use klp::Refusal;
use serde_json::json;

use super::client::Call;
use super::passphrase::{self, Passphrase};
use super::terminal::{Answer, Failure, Terminal};
use crate::config::{Config, Seal};
use crate::fault::Fault;
use crate::node::{Node, Start};
use crate::services::vaults::Secret;
use crate::{view, web};

/// How long a node that was told to stop may take.
const STOP_WAIT: Duration = Duration::from_secs(60);
/// Between two looks whether it has stopped.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug, Args)]
pub(super) struct Up {
    /// Run behind, and return as soon as the node answers
    #[arg(long)]
    detach: bool,
    /// This is the node behind: the passphrase, if any, is the first line of standard input
    #[arg(long, hide = true, conflicts_with = "detach")]
    detached: bool,
    #[command(flatten)]
    passphrase: Passphrase,
    #[command(flatten)]
    settings: Flags,
}

#[derive(Debug, Args)]
pub(super) struct Down {}

/// One flag for each setting; the table of settings says which.
#[derive(Debug)]
pub(super) struct Flags(pub(super) Layers);

/// `--home` is a flag of every verb.
fn keys() -> Vec<Key> {
    Config::keys().into_iter().filter(|key| key.name != "home").collect()
}

impl Args for Flags {
    fn augment_args(command: clap::Command) -> clap::Command {
        host::config::flags(command, &keys()).mut_arg("reach.trust_cidr", |arg| arg.visible_alias("trust-cidr")).arg(
            clap::Arg::new("no_mdns")
                .long("no-mdns")
                .action(clap::ArgAction::SetTrue)
                .conflicts_with("mdns")
                .help("The same as --mdns=false"),
        )
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let quiet = matches.get_flag("no_mdns").then(|| ("KOS_MDNS".into(), "false".into()));
        let variables = std::env::vars_os().chain(quiet);
        Ok(Self(Layers::new("kos", matches, &Config::keys(), variables)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Settings that do not hold, with all their causes.
pub(super) fn unfit(error: &ConfigError) -> Fault {
    Fault::new(Refusal::Invalid, chain(error)).hint("`kos config schema` shows every setting")
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

impl Up {
    pub(super) async fn run(self, terminal: &Terminal, args: Vec<std::ffi::OsString>) -> Result<Answer, Failure> {
        if terminal.client.is_alive().await {
            match running(terminal).await {
                // One that was just killed may still take a call, and answers none.
                Err(failure) if matches!(failure.fault.refusal, Refusal::Interrupted | Refusal::NoNode) => {}
                other => return other,
            }
        }
        let loaded = self.settings.0.load::<Config>().map_err(|error| unfit(&error))?;
        let fresh = !terminal.home.join(web::SOCKET).exists() && is_empty(&terminal.home);
        let mut secret = if self.detached { detach::handed_over()? } else { self.passphrase.given()? };
        if secret.is_none() && fresh && loaded.value.seal == Seal::Passphrase && !self.detached {
            secret = Some(self.passphrase.chosen("New passphrase for this node")?);
        }
        let behind = self.detach;
        let once = |secret: Option<Secret>| async {
            if behind {
                detach::start(terminal, &args, secret).await
            } else {
                self.start(terminal, &loaded, secret).await
            }
        };
        let unasked = secret.is_none() && !self.detached && passphrase::is_asked();
        match once(secret).await {
            // Only now it is known that this home wants a passphrase.
            Err(failure) if unasked && failure.fault.refusal == Refusal::Locked => {
                once(Some(passphrase::ask("Passphrase of this node")?)).await
            }
            other => other,
        }
    }

    /// Starts the node in this process, and returns when it has stopped.
    async fn start(
        &self,
        terminal: &Terminal,
        loaded: &Loaded<Config>,
        secret: Option<Secret>,
    ) -> Result<Answer, Failure> {
        let config = &loaded.value;
        // A second try in the same process finds the log open.
        if let Err(error @ host::log::LogError::Filter { .. }) =
            host::log::open(config.basics.log, &config.basics.log_filter)
        {
            return Err(Fault::new(Refusal::Invalid, chain(&error)).into());
        }
        let signals = Stop::on_signals().map_err(Fault::internal)?;
        let start =
            Start { loaded: loaded.clone(), layers: self.settings.0.clone(), passphrase: secret, stop: Stop::new() };
        let node = Node::start(start).await.map_err(|failed| {
            tracing::error!(component = failed.component, "did not start");
            failed.fault
        })?;
        let (closing, home) = (Stop::new(), config.basics.home.clone());
        let api = web::Config { home, api: config.api, public: config.api_public };
        let opened = match web::open(node.clone(), api, closing.clone()).await {
            Ok(opened) => opened,
            Err(fault) => {
                node.stop();
                node.stopped().await;
                return Err(fault.into());
            }
        };
        let serving = tokio::spawn(opened.serving);
        node.api_is_at(&opened.url);
        let greeted = greet(terminal, &node).await;
        if greeted.is_ok() {
            tokio::select! {
                () = signals.requested() => {}
                () = node.stopping() => {}
            }
        }
        // Opened last, closed first: whoever can connect finds a node that works.
        closing.request();
        node.stop();
        node.stopped().await;
        serving.await.map_err(Fault::internal)?;
        greeted?;
        terminal.note("stopped");
        Ok(Answer::silent())
    }
}

/// Says that the node is up.
async fn greet(terminal: &Terminal, node: &Node) -> Result<(), Failure> {
    let up = summary(node.status().await?);
    if terminal.json {
        terminal.write(&format!("{}\n", serde_json::to_string(&up).map_err(Fault::internal)?))?;
    }
    welcome(terminal, &up);
    Ok(())
}

fn is_empty(home: &Path) -> bool {
    std::fs::read_dir(home).map_or(true, |mut entries| entries.next().is_none())
}

fn summary(status: view::Status) -> view::Up {
    let view::Status { did, node, peer_id, listen, api, ui, pid, .. } = status;
    view::Up { did, node, peer_id, listen, api, ui, pid }
}

/// What a node that runs already says about itself.
async fn running(terminal: &Terminal) -> Result<Answer, Failure> {
    let up = summary(terminal.client.call(Call::get("/v1/status")).await?);
    welcome(terminal, &up);
    terminal.answer(&up, |_| String::new())
}

fn welcome(terminal: &Terminal, up: &view::Up) {
    terminal.note(&format!("kOS node of {}", up.did));
    for address in &up.listen {
        terminal.note(&format!("  listening on {address}"));
    }
    terminal.note(&format!("  local API {} and {}", up.api, terminal.home.join(web::SOCKET).display()));
    terminal.note("  `kos ask self/guide \"how do I begin?\"` asks this node; `kos contact ticket` is for a friend");
}

impl Down {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<Answer, Failure> {
        let _stopping: serde_json::Value = terminal.client.call(Call::post("/v1/down")).await?;
        let begun = Instant::now();
        // Without the lock everything is on disk, and without the socket nobody takes the old node for a new one.
        while host::home::holder(&terminal.home).map_err(Fault::internal)?.is_some() || terminal.client.is_alive().await
        {
            if begun.elapsed() > STOP_WAIT {
                return Err(Fault::new(Refusal::Timeout, "the node is still draining").hint("see `kos status`").into());
            }
            tokio::time::sleep(LOOK).await;
        }
        terminal.answer(&json!({ "stopped": true }), |_| "stopped".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_a_flag_of_up() {
        let command = Flags::augment_args(clap::Command::new("up"));
        for key in keys() {
            let arg = command.get_arguments().find(|arg| arg.get_id() == key.name).expect(key.name);
            assert_eq!(arg.get_long().map(str::to_owned), Some(key.flag()));
        }
    }

    #[test]
    fn flags_are_read_with_their_short_forms() {
        let home = tempfile::tempdir().expect("folder");
        let load = |args: &[&str]| {
            let command = Flags::augment_args(clap::Command::new("up")).arg(clap::Arg::new("home").long("home"));
            let args = [&["up", "--home", home.path().to_str().expect("path")], args].concat();
            let matches = command.try_get_matches_from(args).expect("flags");
            Flags::from_arg_matches(&matches).expect("flags").0.load::<Config>().expect("settings").value
        };
        let config = load(&["--no-mdns", "--trust-cidr", "10.0.0.0/8", "--api", "127.0.0.1:0", "--seal", "passphrase"]);
        assert!(!config.mdns);
        assert_eq!(config.reach.trust_cidr, ["10.0.0.0/8"]);
        assert_eq!(config.api.port(), 0);
        assert_eq!(config.seal, Seal::Passphrase);
        assert_eq!(config.basics.home, home.path());
        assert!(load(&[]).mdns);
    }
}
