//! `kos-simulations [NAME|FILE]...`: runs scenarios and prints one line for each. A failure names its seed, and a seed can be run again.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use kos_simulations::lab::{self, Matrix, Options, Pair};
use kos_simulations::scenario::Scenario;
use kos_simulations::worlds::{Seeds, World};
use kos_simulations::{Observer, Verdict, Weather};

/// The matrix of routers, which is no file.
const NAT: &str = "nat";

/// Runs scenarios: seeded worlds, and real programs in a network of their own.
///
/// Names are calm, cuts, slow, fickle, forgetful, those of simulations/scenarios, and nat: every router with every other. A scenario with
/// real programs needs Linux, iproute2, nftables and the right to make network namespaces; nothing of this machine's network is touched.
#[derive(Debug, Parser)]
#[command(name = "kos-simulations", version)]
struct Line {
    /// Names of built-in scenarios, or files; everything but nat and sleep, when nothing is said
    #[arg(value_name = "NAME|FILE")]
    scenarios: Vec<String>,
    /// The first seed of each world
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds; one, when a seed is given
    #[arg(long)]
    count: Option<u64>,
    /// Break something on purpose: it must be noticed, and this ends with a failure
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    #[arg(action = clap::ArgAction::Set)]
    fault: bool,
    /// Play the scenarios in a mesh that is there already: a folder with the home of each node, `orders`, and `house`
    #[arg(long, value_name = "FOLDER", requires = "scenarios")]
    mesh: Option<PathBuf>,
    /// One JSON object for everything
    #[arg(long)]
    json: bool,
    /// Of nat, only these pairs, as who asks:who answers
    #[arg(long, value_delimiter = ',', value_name = "ROUTER:ROUTER", value_parser = pair)]
    pairs: Vec<Pair>,
    /// Of nat, the milliseconds of each way
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=2000))]
    delay_ms: u64,
    /// Put the logs of all programs into this folder
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// What the programs log, as in their own settings
    #[arg(long, value_name = "FILTER", requires = "logs")]
    log_filter: Option<String>,
}

/// What is run.
enum Run {
    World(String, World),
    Mesh(Box<Scenario>, PathBuf),
    Places(Box<Scenario>),
    Nat(Matrix),
}

fn pair(text: &str) -> Result<Pair, String> {
    let kinds = kos_simulations::scenario::Nat::ALL.map(|nat| nat.as_str()).join(", ");
    Pair::parse(text).ok_or_else(|| format!("write it as ROUTER:ROUTER, each of them one of {kinds}"))
}

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().collect();
    let is_inside = match words.get(1).map(String::as_str) {
        Some(lab::SHUTTLE | lab::CAPTURE | lab::NAMES) => return serve(&words[1..]),
        Some(lab::INSIDE) => {
            words.remove(1);
            true
        }
        _ => false,
    };
    let line = Line::parse_from(&words);
    let mut runs = match chosen(&line) {
        Ok(runs) => runs,
        Err(error) => return failed(&error, 2),
    };
    let wants_lab = runs.iter().any(|run| matches!(run, Run::Places(_) | Run::Nat(_)));
    if is_inside {
        if let Err(trouble) = lab::arrive() {
            return failed(&trouble.line(), 1);
        }
    } else if wants_lab {
        match lab::lacks() {
            None => {
                return lab::enter(&words[1..]).unwrap_or_else(|trouble| failed(&trouble.line(), 1));
            }
            // Who has named nothing gets what there can be.
            Some(trouble) if line.scenarios.is_empty() => {
                eprintln!("SKIPPED everything with real programs: {}", trouble.line());
                runs.retain(|run| matches!(run, Run::World(..)));
            }
            Some(trouble) => return failed(&trouble.line(), 1),
        }
    }
    tell(&line, &runs)
}

/// Runs everything, and says what came of it.
fn tell(line: &Line, runs: &[Run]) -> ExitCode {
    let seeds = Seeds { first: line.seed, count: line.count };
    let options = Options { fault: line.fault, logs: line.logs.clone(), log_filter: line.log_filter.clone() };
    let mut verdicts = Vec::new();
    for run in runs {
        let begun = Instant::now();
        let verdict = match run {
            Run::World(name, world) => {
                let world = if line.fault { world.broken() } else { *world };
                Verdict::of(name.clone(), world.run(seeds), begun.elapsed())
            }
            Run::Mesh(scenario, mesh) => {
                let tell = |told: &_| if line.json { eprintln!("{told}") } else { println!("{told}") };
                let result = Observer::new(scenario, mesh).and_then(|observer| observer.run(line.fault, tell));
                Verdict::of(scenario.name.clone(), result, begun.elapsed())
            }
            Run::Places(scenario) => lab::play(scenario, &options),
            Run::Nat(matrix) => matrix.run(&options, |row| {
                if !line.json {
                    println!("{row}");
                }
            }),
        };
        if !line.json {
            println!("{verdict}");
        }
        verdicts.push(verdict);
    }
    if line.json {
        println!("{}", Verdict::report(&verdicts));
    }
    if verdicts.iter().all(|verdict| verdict.passed) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What this program does for the lab, in a process of its own inside a network namespace.
fn serve(words: &[String]) -> ExitCode {
    let done = match words {
        [word, delay] if word == lab::SHUTTLE => {
            let delay = delay.parse().unwrap_or_default();
            lab::shuttle(std::time::Duration::from_millis(delay))
        }
        [word, book, ..] if word == lab::NAMES => lab::names(Path::new(book)),
        [_, file] => lab::capture(Path::new(file)),
        _ => return ExitCode::from(2),
    };
    done.map_or_else(|error| failed(&error.to_string(), 1), |()| ExitCode::SUCCESS)
}

fn failed(error: &str, code: u8) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(code)
}

/// What is meant by the words of this line.
fn chosen(line: &Line) -> Result<Vec<Run>, String> {
    let sessions = || Weather::ALL.into_iter().map(|weather| (weather.name.to_owned(), World::Session(weather)));
    let (mut runs, mesh) = (Vec::new(), line.mesh.as_deref());
    if line.scenarios.is_empty() {
        runs.extend(sessions().map(|(name, world)| Run::World(name, world)));
        let short = Scenario::built_in().into_iter().filter(|scenario| !scenario.is_long());
        short.for_each(|scenario| add(&mut runs, scenario, None));
    }
    for word in &line.scenarios {
        if word.ends_with(".toml") {
            add(&mut runs, Scenario::read(Path::new(word)).map_err(|error| chain(&error))?, mesh);
        } else if word == NAT {
            let pairs = if line.pairs.is_empty() { Pair::all() } else { line.pairs.clone() };
            runs.push(Run::Nat(Matrix { pairs, delay_ms: line.delay_ms }));
        } else if let Some((name, world)) = sessions().find(|(name, _)| name == word) {
            runs.push(Run::World(name, world));
        } else if let Some(scenario) = Scenario::named(word) {
            add(&mut runs, scenario, mesh);
        } else {
            let built_in = Scenario::built_in().into_iter().map(|scenario| scenario.name);
            let names: Vec<_> = sessions().map(|(name, _)| name).chain(built_in).chain([NAT.to_owned()]).collect();
            return Err(format!("there is no scenario {word}; there are {}", names.join(", ")));
        }
    }
    Ok(runs)
}

fn add(runs: &mut Vec<Run>, scenario: Scenario, mesh: Option<&Path>) {
    if let Some(mesh) = mesh {
        return runs.push(Run::Mesh(Box::new(scenario), mesh.to_owned()));
    }
    runs.extend(World::of(&scenario).map(|world| Run::World(scenario.name.clone(), world)));
    if scenario.has_places() {
        runs.push(Run::Places(Box::new(scenario)));
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
