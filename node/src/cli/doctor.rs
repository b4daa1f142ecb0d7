//! The doctor: what is wrong, why, and what to do, whether a node runs or not.

use std::time::Duration;

use clap::Args;
use host::config::Loaded;
use klp::Refusal;

use super::client::Call;
use super::terminal::{Answer, Failure, Terminal, line};
use super::up::{Flags, unfit};
use crate::clock::Clock;
use crate::config::Config;
use crate::doctor::{Patient, examine};
use crate::view;

/// A node that has not examined itself by then is examined from outside.
const PATIENCE: Duration = Duration::from_secs(45);

/// Without a node the settings are those that `kos up` would start with; a node that runs goes by its own.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    settings: Flags,
}

impl Doctor {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<Answer, Failure> {
        terminal.note("looking at the home and asking the network; this takes some seconds");
        let by_itself = terminal.client.call::<view::Doctor>(Call::get("/v1/doctor"));
        let found = match tokio::time::timeout(PATIENCE, by_itself).await {
            Ok(Ok(found)) => found,
            // No node, one that is about to end, or one that is an older version: it is looked at from outside.
            Ok(Err(fault)) if matches!(fault.refusal, Refusal::NoNode | Refusal::Interrupted | Refusal::NotFound) => {
                self.look_from_outside(terminal).await
            }
            Ok(Err(fault)) => return Err(fault.into()),
            Err(_) => self.look_from_outside(terminal).await,
        };
        let exit = if found.well { 0 } else { Refusal::Failed.exit() };
        Ok(terminal.answer(&found, show)?.exit(exit))
    }

    async fn look_from_outside(&self, terminal: &Terminal) -> view::Doctor {
        let loaded = self.settings.0.load::<Config>();
        let settings = loaded.map(|Loaded { value, .. }| value).map_err(|error| unfit(&error));
        examine(Patient { home: terminal.home.clone(), settings, living: None, clock: Clock::default() }).await
    }
}

fn show(found: &view::Doctor) -> String {
    let width = found.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for check in &found.checks {
        let state = if check.state == "failed" { "FAILED" } else { check.state.as_str() };
        text.push_str(&format!("{state:<7}  {:<width$}  {}\n", check.name, line(&check.cause)));
        if !check.fix.is_empty() {
            text.push_str(&format!("{:<7}  {:<width$}  -> {}\n", "", "", line(&check.fix)));
        }
    }
    text.push_str(if found.well {
        "all is well\n"
    } else {
        "something is wrong: see what FAILED, and what to do below it\n"
    });
    text
}
