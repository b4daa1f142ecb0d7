//! Pure worlds by name, each for some seeds, and what came of them in a line.

use klp::Digest;

use crate::crowd::{self, Fault};
use crate::scenario::Scenario;
use crate::weather::Weather;
use crate::world;

/// Seeds of a session world, unless somebody says which.
const SESSIONS: u64 = 100;

/// One kind of pure world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// Two session machines.
    Session(Weather),
    /// Many nodes.
    Crowd(crowd::Setting),
}

/// Numbers with their names.
type Figures = Vec<(&'static str, u64)>;

/// Which seeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seeds {
    /// The first one.
    pub first: Option<u64>,
    /// How many.
    pub count: Option<u64>,
}

impl World {
    /// The world of a scenario file.
    pub fn of(scenario: &Scenario) -> Option<Self> {
        scenario.crowd.map(Self::Crowd)
    }

    /// With a rule broken on purpose, where it has one that can be.
    #[must_use]
    pub fn broken(self) -> Self {
        match self {
            Self::Crowd(setting) => Self::Crowd(crowd::Setting { fault: Some(Fault::Forever), ..setting }),
            Self::Session(_) => self,
        }
    }

    /// Runs it for these seeds, and says what came of it.
    ///
    /// # Errors
    /// The first seed for which something did not hold, and what.
    pub fn run(self, seeds: Seeds) -> Result<String, String> {
        let usual = match self {
            Self::Session(_) => SESSIONS,
            Self::Crowd(setting) => setting.seeds,
        };
        let count = seeds.count.unwrap_or(if seeds.first.is_some() { 1 } else { usual }).max(1);
        let first = seeds.first.unwrap_or(0);
        let (mut sums, mut traces) = (Figures::new(), Vec::new());
        for seed in first..first.saturating_add(count) {
            let (figures, trace) = self.once(seed).map_err(|broken| format!("seed {seed}: {broken}"))?;
            traces.extend(trace.0);
            match sums.is_empty() {
                true => sums = figures,
                false => sums.iter_mut().zip(figures).for_each(|(sum, (_, more))| sum.1 += more),
            }
        }
        let sums: Vec<_> = sums.iter().map(|(name, value)| format!("{value} {name}")).collect();
        let seeds = match count {
            1 => format!("seed {first}"),
            _ => format!("seeds {first} to {}", first.saturating_add(count - 1)),
        };
        Ok(format!("{}, {seeds}, trace {}", sums.join(", "), Digest::of(&[&traces]).short()))
    }

    fn once(self, seed: u64) -> Result<(Figures, Digest), String> {
        match self {
            Self::Session(weather) => world::run(weather, seed).map(|outcome| {
                let figures = vec![
                    ("answered", outcome.answered),
                    ("cancelled", outcome.cancelled),
                    ("unknown", outcome.unknown),
                    ("streams", outcome.streams),
                ];
                (figures, outcome.trace)
            }),
            Self::Crowd(setting) => crowd::run(setting, seed).map(|outcome| {
                let figures = vec![
                    ("messages", outcome.messages),
                    ("lost", outcome.lost),
                    ("searches", outcome.searches),
                    ("found it", outcome.found as u64),
                ];
                (figures, outcome.trace)
            }),
        }
    }
}
