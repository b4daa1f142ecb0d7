//! `kos sim`: scenarios, played by `kos-simulations`, the program beside this one.

use std::path::PathBuf;
use std::process::Stdio;

use clap::Args;
use klp::Refusal;
use serde_json::Value;
use tokio::process::Command;

use super::terminal::{Answer, Failure, Terminal};
use crate::fault::Fault;

/// The program that plays them. It needs no node and no home, and a node needs nothing of it.
const PROGRAM: &str = "kos-simulations";
/// Its exit code for a line that it cannot read.
const USAGE: i32 = 2;

#[derive(Debug, Args)]
pub(super) struct Sim {
    /// Names of built-in scenarios, or files; `nat` is every router with every other; everything but nat and sleep, when nothing is said
    #[arg(value_name = "NAME|FILE")]
    scenarios: Vec<String>,
    /// The first seed of each world
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds; one, when a seed is given
    #[arg(long)]
    count: Option<u64>,
    /// Break something on purpose: it must be noticed, and this ends with a failure
    #[arg(long)]
    fault: bool,
    /// Of nat, only these pairs, as who asks:who answers; with commas
    #[arg(long, value_name = "ROUTER:ROUTER")]
    pairs: Option<String>,
    /// Put the logs of all programs into this folder
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
}

impl Sim {
    fn words(&self) -> Vec<String> {
        let mut words = self.scenarios.clone();
        let numbers = [("--seed", self.seed), ("--count", self.count)];
        for (flag, value) in numbers.map(|(flag, number)| (flag, number.map(|number| number.to_string()))) {
            words.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value]));
        }
        let logs = self.logs.as_ref().map(|folder| folder.display().to_string());
        for (flag, value) in [("--pairs", self.pairs.clone()), ("--logs", logs)] {
            words.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value]));
        }
        words.extend(self.fault.then(|| "--fault".to_owned()));
        words
    }

    pub(super) async fn run(self, terminal: &Terminal) -> Result<Answer, Failure> {
        let here = std::env::current_exe().map_err(Fault::internal)?;
        let program = here.with_file_name(PROGRAM).with_extension(std::env::consts::EXE_EXTENSION);
        if !program.exists() {
            let fault = Fault::new(Refusal::NotFound, format!("{} is not there", program.display()));
            return Err(fault.hint("`cargo build --release --workspace` makes every program").into());
        }
        let mut command = Command::new(program);
        command.args(self.words()).stdin(Stdio::null()).kill_on_drop(true);
        if !terminal.json {
            let status = command.status().await.map_err(Fault::internal)?;
            return Ok(Answer::silent().exit(exit(status.code())));
        }
        let output = command.arg("--json").stderr(Stdio::piped()).output().await.map_err(Fault::internal)?;
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().find_map(|line| line.strip_prefix("error: "));
        match (serde_json::from_slice::<Value>(&output.stdout), said) {
            (Ok(report), _) => Ok(terminal.answer(&report, |_| String::new())?.exit(exit(output.status.code()))),
            (Err(_), said) => {
                let refusal = if output.status.code() == Some(USAGE) { Refusal::Invalid } else { Refusal::Failed };
                let fault = Fault::new(refusal, said.unwrap_or("the simulation ended without a verdict"));
                Err(fault.hint("see `kos sim --help`").into())
            }
        }
    }
}

/// Everything held, a line that cannot be read, or something did not hold.
fn exit(code: Option<i32>) -> u8 {
    match code {
        Some(0) => 0,
        Some(USAGE) => Refusal::Invalid.exit(),
        _ => Refusal::Failed.exit(),
    }
}
