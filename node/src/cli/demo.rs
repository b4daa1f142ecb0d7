//! `kos demo`, and the bootstrap peer that it starts.

use clap::Args;
use klp::Refusal;

use super::terminal::{Answer, Failure, Terminal};
use crate::demo;
use crate::fault::Fault;

#[derive(Debug, Args)]
pub(super) struct Demo {}

#[derive(Debug, Args)]
pub(super) struct Bootstrap {
    /// Address to listen on
    #[arg(long)]
    listen: Vec<String>,
}

impl Demo {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<Answer, Failure> {
        let program = std::env::current_exe().map_err(Fault::internal)?;
        let report = demo::run(program, |step| {
            let word = if step.passed { "PASS" } else { "FAIL" };
            terminal.note(&format!("{word}  {} ({}, {} ms)", step.step, super::terminal::line(&step.detail), step.ms));
        })
        .await;
        let answer = terminal.answer(&report, |report| {
            let total = report.steps.iter().map(|step| step.ms).sum::<u64>();
            format!("{} passed, {} failed, {} s", report.passed, report.failed, total / 1000)
        })?;
        Ok(if report.failed == 0 { answer } else { answer.exit(Refusal::Failed.exit()) })
    }
}

impl Bootstrap {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<Answer, Failure> {
        demo::bootstrap(&self.listen, |listen| {
            let line = serde_json::json!({ "listen": listen });
            terminal.write(&format!("{line}\n")).map(drop).map_err(|failure| failure.fault)
        })
        .await?;
        Ok(Answer::silent())
    }
}
