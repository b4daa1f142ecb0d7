//! What was found, as a page.

use crate::case::Case;
use crate::round::{Rounds, Shown};

/// Whether more or less is better, and where the target is.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    fn holds(self, found: f64) -> bool {
        match self {
            Self::AtLeast(least) => found >= least,
            Self::AtMost(most) => found <= most,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(least) => format!("at least {least}"),
            Self::AtMost(most) => format!("at most {most}"),
        }
    }
}

/// Rows of targets.
#[derive(Default)]
pub(crate) struct Verdicts(Vec<String>);

impl Verdicts {
    /// A figure and its target; `detail` says what it was made of.
    pub(crate) fn add(&mut self, what: &str, found: f64, target: Target, detail: &str) {
        let holds = if target.holds(found) { "holds" } else { "**missed**" };
        self.0.push(format!("| {what} | {found:.2} | {} | {holds} | {detail} |", target.text()));
    }

    pub(crate) fn print(&self) {
        println!("\n| what | found | target | | made of |\n| --- | ---: | ---: | --- | --- |");
        self.0.iter().for_each(|row| println!("{row}"));
    }
}

/// Something that one case showed in one round.
type Pick = fn(&Shown) -> f64;

pub(crate) const P50: Pick = |shown| shown.figures.p50;
pub(crate) const RATE: Pick = Shown::rate;
pub(crate) const CPU: Pick = |shown| shown.cpu;

/// The best of all rounds: other people's load only adds.
fn best(shown: &[Shown], pick: Pick, more_is_better: bool) -> f64 {
    let found = shown.iter().map(pick);
    if more_is_better { found.fold(f64::MIN, f64::max) } else { found.fold(f64::MAX, f64::min) }
}

/// The best figure of a case.
pub(crate) fn figure(rounds: &Rounds, case: Case, pick: Pick, more_is_better: bool) -> f64 {
    best(&rounds[&case], pick, more_is_better)
}

/// One figure as a multiple of another: of the best of each, and the ratios inside each round.
pub(crate) fn ratio(rounds: &Rounds, one: Case, other: Case, pick: Pick, more_is_better: bool) -> (f64, String) {
    let of_best = figure(rounds, one, pick, more_is_better) / figure(rounds, other, pick, more_is_better);
    let mut inside: Vec<f64> =
        rounds[&one].iter().zip(&rounds[&other]).map(|(one, other)| pick(one) / pick(other)).collect();
    inside.sort_unstable_by(f64::total_cmp);
    let (least, middle, most) = (inside[0], inside[inside.len() / 2], inside[inside.len() - 1]);
    (of_best, format!("inside the rounds {least:.2} to {most:.2}, in the middle {middle:.2}"))
}

/// All cases, each beside a first one.
pub(crate) fn cases(rounds: &Rounds, first: fn(usize) -> Case) {
    println!("\n| case | p50 us | x | p99 us | a second | x | CPU us | x |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (case, shown) in rounds {
        let beside = &rounds[&first(case.in_flight)];
        let row = |pick, more| {
            let (found, first) = (best(shown, pick, more), best(beside, pick, more));
            (found, found / first)
        };
        let ((p50, p50_x), (rate, rate_x), (cpu, cpu_x)) = (row(P50, false), row(RATE, true), row(CPU, false));
        let p99 = best(shown, |shown| shown.figures.p99, false);
        println!(
            "| {} | {p50:.1} | {p50_x:.2} | {p99:.1} | {rate:.0} | {rate_x:.2} | {cpu:.2} | {cpu_x:.2} |",
            case.name()
        );
    }
}
