//! `kos-simulations [SCENARIO [SEED [COUNT]]] [--seed SEED]`: runs seeded worlds and prints one line for each scenario. It ends with the
//! digest of everything that happened; a failure names its seed.

use std::process::ExitCode;

use klp::Digest;
use kos_simulations::{Scenario, crowd, run};

/// One kind of world: its name, how many seeds are run unless somebody says so, and how one is run.
struct Kind {
    name: &'static str,
    count: u64,
    run: Box<dyn Fn(u64) -> Result<Told, String>>,
}

/// What is told of one world.
struct Told {
    figures: Vec<(&'static str, u64)>,
    trace: Digest,
}

fn kinds() -> Vec<Kind> {
    let sessions = Scenario::ALL.into_iter().map(|scenario| Kind {
        name: scenario.name,
        count: 100,
        run: Box::new(move |seed| {
            run(scenario, seed).map(|outcome| Told {
                figures: vec![
                    ("answered", outcome.answered),
                    ("cancelled", outcome.cancelled),
                    ("unknown", outcome.unknown),
                    ("streams", outcome.streams),
                ],
                trace: outcome.trace,
            })
        }),
    });
    let crowds = crowd::Setting::ALL.into_iter().map(|setting| Kind {
        name: setting.name,
        count: if setting.nodes < 1000 { 5 } else { 1 },
        run: Box::new(move |seed| {
            crowd::run(setting, seed).map(|outcome| Told {
                figures: vec![
                    ("messages", outcome.messages),
                    ("lost", outcome.lost),
                    ("searches", outcome.searches),
                    ("found it", outcome.found as u64),
                ],
                trace: outcome.trace,
            })
        }),
    });
    sessions.chain(crowds).collect()
}

/// Runs one kind and says what came of it.
fn tell(kind: &Kind, first: u64, count: u64) -> Result<String, String> {
    let mut figures: Vec<(&str, u64)> = Vec::new();
    let mut traces = Vec::new();
    for seed in first..first.saturating_add(count) {
        let told = (kind.run)(seed).map_err(|broken| format!("seed {seed}: {broken}"))?;
        traces.extend(told.trace.0);
        match figures.is_empty() {
            true => figures = told.figures,
            false => figures.iter_mut().zip(told.figures).for_each(|(sum, (_, more))| sum.1 += more),
        }
    }
    let figures: Vec<_> = figures.iter().map(|(name, value)| format!("{value} {name}")).collect();
    let seeds = if count == 1 { format!("seed {first}") } else { format!("seeds {first} to {}", first + count - 1) };
    Ok(format!("{}, {seeds}, trace {}", figures.join(", "), Digest::of(&[&traces]).short()))
}

fn main() -> ExitCode {
    let kinds = kinds();
    let (mut words, mut numbers) = (Vec::new(), Vec::new());
    for word in std::env::args().skip(1).filter(|word| word != "--seed") {
        match word.parse::<u64>() {
            Ok(number) => numbers.push(number),
            Err(_) => words.push(word),
        }
    }
    let (first, count) = (numbers.first().copied(), numbers.get(1).copied());
    let wanted = words.first().map_or("all", String::as_str);
    let chosen: Vec<_> = kinds.iter().filter(|kind| wanted == "all" || kind.name == wanted).collect();
    if chosen.is_empty() || words.len() > 1 || numbers.len() > 2 {
        let names: Vec<_> = kinds.iter().map(|kind| kind.name).collect();
        eprintln!("kos-simulations [SCENARIO [SEED [COUNT]]] [--seed SEED]; scenarios: all, {}", names.join(", "));
        return ExitCode::from(2);
    }
    let mut failed = false;
    for kind in chosen {
        let told = tell(kind, first.unwrap_or(0), count.unwrap_or(if first.is_some() { 1 } else { kind.count }).max(1));
        failed |= told.is_err();
        let verdict = if told.is_ok() { "PASS" } else { "FAIL" };
        println!("{verdict} {:<10} {}", kind.name, told.unwrap_or_else(|broken| broken));
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
