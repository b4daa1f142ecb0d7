//! `kos demo`: the principal job on this machine, with real processes and homes of their own, on loopback.
//!
//! A bootstrap peer and three people. Bob serves the specifications that are built into this program; Alice, who is his contact,
//! asks; Carol, who is not, finds him through the DHT and asks by delegation. Each step is one line, PASS or FAIL with the reason.

mod actor;
mod bootstrap;
mod steps;

use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;

pub use actor::Trouble;
pub use bootstrap::bootstrap;

/// One step and how it went.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// What was to be seen.
    pub step: &'static str,
    /// Whether it was.
    pub passed: bool,
    /// Why not, or what was seen.
    pub detail: String,
    /// Milliseconds it took.
    pub ms: u64,
}

/// How the whole demo went.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Steps that passed.
    pub passed: usize,
    /// Steps that did not.
    pub failed: usize,
    /// All steps, in order. After the first failure the rest are not tried.
    pub steps: Vec<Step>,
}

/// Runs the demo with this program's own executable. `show` hears of each step as it ends. Every process that was started is
/// stopped again and every home removed, also after a failure.
pub async fn run(program: PathBuf, mut show: impl FnMut(&Step)) -> Report {
    let mut report = Report { passed: 0, failed: 0, steps: Vec::new() };
    let mut stage = match actor::Stage::set(program) {
        Ok(stage) => stage,
        Err(error) => {
            let step = Step { step: "a folder for the demo", passed: false, detail: error.to_string(), ms: 0 };
            show(&step);
            report.failed = 1;
            report.steps.push(step);
            return report;
        }
    };
    for (name, act) in steps::ALL {
        let begun = Instant::now();
        let outcome = act(&mut stage).await;
        let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let passed = outcome.is_ok();
        let detail = outcome.unwrap_or_else(|trouble| trouble.to_string());
        let step = Step { step: name, passed, detail, ms };
        show(&step);
        report.steps.push(step);
        if !passed {
            break;
        }
    }
    stage.clear().await;
    report.passed = report.steps.iter().filter(|step| step.passed).count();
    report.failed = report.steps.len() - report.passed;
    report
}
