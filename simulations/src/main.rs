//! `kos-simulations [NAME|FILE]...`: runs scenarios and prints one line for each. A failure names its seed, and a seed can be run again.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use kos_simulations::scenario::Scenario;
use kos_simulations::worlds::{Seeds, World};
use kos_simulations::{Observer, Verdict, Weather};

/// Runs scenarios: seeded worlds, and real programs in a network of their own.
#[derive(Debug, Parser)]
#[command(name = "kos-simulations", version)]
struct Line {
    /// Names of built-in scenarios, or files; everything, when nothing is said
    #[arg(value_name = "NAME|FILE")]
    scenarios: Vec<String>,
    /// The first seed of each world
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds; one, when a seed is given
    #[arg(long)]
    count: Option<u64>,
    /// Break a rule on purpose: it must be noticed, and this ends with a failure
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    #[arg(action = clap::ArgAction::Set)]
    fault: bool,
    /// Play the scenarios in a mesh that is there already: a folder with the home of each node, `orders`, and `house`
    #[arg(long, value_name = "FOLDER", requires = "scenarios")]
    mesh: Option<PathBuf>,
    /// One JSON object for everything
    #[arg(long)]
    json: bool,
}

/// What is run, by name.
enum Run {
    World(String, World),
    Mesh(Scenario, PathBuf),
}

fn main() -> ExitCode {
    let line = Line::parse();
    let runs = match chosen(&line) {
        Ok(runs) => runs,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let seeds = Seeds { first: line.seed, count: line.count };
    let mut verdicts = Vec::new();
    for run in runs {
        let begun = Instant::now();
        let (name, result) = match run {
            Run::World(name, world) => (name, (if line.fault { world.broken() } else { world }).run(seeds)),
            Run::Mesh(scenario, mesh) => {
                let tell = |told: &_| if line.json { eprintln!("{told}") } else { println!("{told}") };
                let result = Observer::new(&scenario, &mesh).and_then(|observer| observer.run(line.fault, tell));
                (scenario.name, result)
            }
        };
        let verdict = Verdict::of(name, result, begun.elapsed());
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

/// What is meant by these words.
fn chosen(line: &Line) -> Result<Vec<Run>, String> {
    let mesh = line.mesh.as_deref();
    let sessions = || Weather::ALL.into_iter().map(|weather| (weather.name.to_owned(), World::Session(weather)));
    let mut runs = Vec::new();
    if line.scenarios.is_empty() {
        runs.extend(sessions().map(|(name, world)| Run::World(name, world)));
        Scenario::built_in().iter().for_each(|scenario| add(&mut runs, scenario, None));
    }
    for word in &line.scenarios {
        if word.ends_with(".toml") {
            let scenario = Scenario::read(Path::new(word)).map_err(|error| chain(&error))?;
            add(&mut runs, &scenario, mesh);
        } else if let Some((name, world)) = sessions().find(|(name, _)| name == word) {
            runs.push(Run::World(name, world));
        } else if let Some(scenario) = Scenario::named(word) {
            add(&mut runs, &scenario, mesh);
        } else {
            let built_in = Scenario::built_in().into_iter().map(|scenario| scenario.name);
            let names: Vec<_> = sessions().map(|(name, _)| name).chain(built_in).collect();
            return Err(format!("there is no scenario {word}; there are {}", names.join(", ")));
        }
    }
    Ok(runs)
}

fn add(runs: &mut Vec<Run>, scenario: &Scenario, mesh: Option<&Path>) {
    if let Some(mesh) = mesh {
        return runs.push(Run::Mesh(scenario.clone(), mesh.to_owned()));
    }
    runs.extend(World::of(scenario).map(|world| Run::World(scenario.name.clone(), world)));
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
