//! `kos-simulations [SCENARIO [SEED [COUNT]]]`: runs seeded worlds and prints one line for each scenario; a failure names its seed.

use std::process::ExitCode;

use kos_simulations::{Scenario, run};

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let scenarios = match words.next().as_deref() {
        None | Some("all") => Scenario::ALL.to_vec(),
        Some(name) => match Scenario::named(name) {
            Some(scenario) => vec![scenario],
            None => {
                let names = Scenario::ALL.map(|scenario| scenario.name).join(", ");
                eprintln!("no scenario {name}; there are: all, {names}");
                return ExitCode::from(2);
            }
        },
    };
    let first: u64 = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
    let count: u64 = words.next().and_then(|word| word.parse().ok()).unwrap_or(100);
    let mut failed = false;
    for scenario in scenarios {
        let (mut answered, mut cancelled, mut unknown, mut streams) = (0, 0, 0, 0);
        let mut broken = None;
        for seed in first..first.saturating_add(count) {
            match run(scenario, seed) {
                Ok(outcome) => {
                    answered += outcome.answered;
                    cancelled += outcome.cancelled;
                    unknown += outcome.unknown;
                    streams += outcome.streams;
                }
                Err(error) => {
                    broken = Some(format!("seed {seed}: {error}"));
                    break;
                }
            }
        }
        let verdict = if broken.is_some() { "FAIL" } else { "PASS" };
        let figures = format!("{answered} answered, {cancelled} cancelled, {unknown} unknown, {streams} streams");
        println!("{verdict} {:<10} {}", scenario.name, broken.as_deref().unwrap_or(&figures));
        failed |= broken.is_some();
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
