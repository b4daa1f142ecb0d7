//! Every router with every other: who asks, who answers, how soon, and by which path.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::person::Person;
use super::stage::{Options, Stage};
use super::{Trouble, play};
use crate::Verdict;
use crate::scenario::{Nat, Route, Scenario};

/// How long an answer may take, on a machine that has other things to do.
const ANSWER: Duration = Duration::from_secs(20);
/// How long it is waited for a direct path.
const DIRECT: Duration = Duration::from_secs(30);

/// One who asks, and one who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The router of the one who asks.
    pub dialler: Nat,
    /// The router of the one who answers.
    pub listener: Nat,
}

/// What is to be tried.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// These pairs.
    pub pairs: Vec<Pair>,
    /// Milliseconds of a way.
    pub delay_ms: u64,
}

/// What came of a pair.
#[derive(Clone, Debug)]
struct Row {
    pair: Pair,
    first: Result<(Duration, String), String>,
    direct: Option<Duration>,
    last: String,
}

impl Pair {
    /// All thirty-six.
    pub fn all() -> Vec<Self> {
        Nat::ALL.into_iter().flat_map(|dialler| Nat::ALL.map(|listener| Self { dialler, listener })).collect()
    }

    /// Reads `dialler:listener`.
    pub fn parse(text: &str) -> Option<Self> {
        let nat = |word: &str| Nat::ALL.into_iter().find(|nat| nat.as_str() == word);
        let (dialler, listener) = text.split_once(':')?;
        Some(Self { dialler: nat(dialler)?, listener: nat(listener)? })
    }

    /// Whether a direct path needs a hole for TCP.
    fn punches_tcp(self) -> bool {
        let either = |nat| self.dialler == nat || self.listener == nat;
        either(Nat::UdpBlocked)
            && self.dialler.meets(self.listener)
            && !self.dialler.lets_all_in()
            && !self.listener.lets_all_in()
    }

    fn expected(self) -> Route {
        if self.dialler.meets(self.listener) { Route::Direct } else { Route::Relayed }
    }
}

impl Matrix {
    /// Tries every pair, those side by side that have nobody in common.
    pub fn run(&self, options: &Options, mut tell: impl FnMut(&str)) -> Verdict {
        let begun = Instant::now();
        let rows = self.rows(options, &mut tell);
        let took = begun.elapsed();
        match rows {
            Err(trouble) => Verdict::of("nat".into(), Err(trouble.line()), took),
            Ok(rows) => {
                let bad: Vec<_> = rows.iter().filter(|row| !row.holds()).map(|row| row.pair.to_string()).collect();
                let direct = rows.iter().filter(|row| row.direct.is_some()).count();
                let said = format!("{} pairs, {direct} direct, all answered as they should", rows.len());
                let result =
                    if bad.is_empty() { Ok(said) } else { Err(format!("not as it should be: {}", bad.join(", "))) };
                Verdict { figures: rows.iter().map(Row::json).collect(), ..Verdict::of("nat".into(), result, took) }
            }
        }
    }

    fn rows(&self, options: &Options, tell: &mut dyn FnMut(&str)) -> Result<Vec<Row>, Trouble> {
        let scenario = self.scenario()?;
        let mut stage = Stage::set(&scenario, options)?;
        let askers: BTreeSet<_> =
            self.pairs.iter().filter(|pair| pair.punches_tcp()).map(|pair| name("d", pair.dialler)).collect();
        stage.rest(&askers.into_iter().collect::<Vec<_>>())?;
        if options.fault {
            let served = scenario.nodes.iter().filter(|node| node.serves.is_some());
            served.map(|node| node.name.as_ref()).try_for_each(|name| stage.signal(name, "KILL"))?;
        }
        tell(&format!(
            "{:<17} {:<17} {:<9} {:<9} {:>13} {:<9} {:>14}",
            "ASKS", "ANSWERS", "EXPECTED", "GOT", "FIRST ANSWER", "BY", "DIRECT AFTER"
        ));
        let (mut left, mut rows) = (self.pairs.clone(), Vec::new());
        while !left.is_empty() {
            let mut round = Vec::<Pair>::new();
            left.retain(|pair| {
                let free = round.iter().all(|other| pair.dialler != other.dialler && pair.listener != other.listener);
                if free {
                    round.push(*pair);
                }
                !free
            });
            let person = |prefix: &str, nat| stage.people.get(&name(prefix, nat)).cloned();
            let side: Vec<_> = round
                .into_iter()
                .filter_map(|pair| Some((pair, person("d", pair.dialler)?, person("l", pair.listener)?)))
                .map(|(pair, dialler, listener)| std::thread::spawn(move || try_pair(pair, &dialler, &listener)))
                .collect();
            for one in side {
                let row = one.join().map_err(|_| Trouble::Not("a pair could not be tried".into()))?;
                tell(&row.to_string());
                rows.push(row);
            }
        }
        if rows.iter().any(|row| !row.holds()) && options.logs.is_none() {
            eprintln!("{}", stage.tails());
        }
        Ok(rows)
    }

    /// One home for each who asks and each who answers.
    fn scenario(&self) -> Result<Scenario, Trouble> {
        use std::fmt::Write as _;
        let mut text = format!(
            "about = \"every router with every other\"\n[internet]\ndelay_ms = {}\n[[bootstrap]]\nname = \"hub\"\n\
             [[relay]]\nname = \"ada\"\n[[relay]]\nname = \"byron\"\n[[step]]\nwait = 1\n",
            self.delay_ms
        );
        let mut seen = Vec::new();
        for pair in &self.pairs {
            for (prefix, nat) in [("l", pair.listener), ("d", pair.dialler)] {
                if seen.contains(&(prefix, nat)) {
                    continue;
                }
                seen.push((prefix, nat));
                let (name, nat_word) = (name(prefix, nat), nat.as_str());
                let _written = write!(
                    text,
                    "[[home]]\nname = \"{name}-home\"\nnat = \"{nat_word}\"\n[[node]]\nname = \"{name}\"\nhome = \"{name}-home\"\n"
                );
                if prefix == "l" {
                    let diallers = self.pairs.iter().filter(|pair| pair.listener == nat);
                    let knows: Vec<_> = diallers.map(|pair| format!("\"{}\"", self::name("d", pair.dialler))).collect();
                    let _written = write!(text, "serves = \"house\"\nknows = [{}]\n", knows.join(", "));
                }
            }
        }
        Scenario::parse("nat", &text).map_err(|mistake| Trouble::Not(format!("{mistake}\n{text}")))
    }
}

/// A name that fits: `d-` for who asks, `l-` for who answers, and the beginning of the router's kind.
fn name(prefix: &str, nat: Nat) -> String {
    let kind = match nat {
        Nat::Open => "open",
        Nat::FullCone => "cone",
        Nat::PortRestricted => "rest",
        Nat::PortRemapping => "remap",
        Nat::Symmetric => "sym",
        Nat::UdpBlocked => "noudp",
    };
    format!("{prefix}-{kind}")
}

fn try_pair(pair: Pair, dialler: &Person, listener: &Person) -> Row {
    let begun = Instant::now();
    let first = dialler.ask(listener, ANSWER).map(|asked| (asked.took, asked.path)).map_err(|trouble| trouble.line());
    let mut last = first.as_ref().map_or_else(|_| "none".to_owned(), |(_, path)| path.clone());
    // It is looked for everywhere equally long, so that what should not be there would be seen.
    let direct = play::until("a direct path", DIRECT, || {
        last = dialler.path(listener).unwrap_or_else(|_| "none".to_owned());
        if last == Route::Direct.as_str() { Ok(()) } else { Err(last.clone()) }
    });
    Row { pair, first, direct: direct.is_ok().then(|| begun.elapsed()), last }
}

impl Row {
    /// An answer came, and what physics allows has come too.
    fn holds(&self) -> bool {
        self.first.is_ok()
            && (self.direct.is_some() || (self.pair.expected() == Route::Relayed && self.last == "relayed"))
    }

    fn json(&self) -> Value {
        let seconds = |took: Duration| (took.as_secs_f64() * 100.0).round() / 100.0;
        let (first, path, trouble) = match &self.first {
            Ok((took, path)) => (json!(seconds(*took)), json!(path), Value::Null),
            Err(trouble) => (Value::Null, Value::Null, json!(trouble)),
        };
        json!({
            "asks": self.pair.dialler.as_str(), "answers": self.pair.listener.as_str(),
            "expected": self.pair.expected().as_str(), "got": self.last, "first_answer_s": first, "first_path": path,
            "direct_after_s": self.direct.map(seconds), "trouble": trouble, "holds": self.holds(),
        })
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.dialler.as_str(), self.listener.as_str())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dialler, listener) = (self.pair.dialler.as_str(), self.pair.listener.as_str());
        let expected = self.pair.expected().as_str();
        let (first, by) = match &self.first {
            Ok((took, path)) => (format!("{:.2} s", took.as_secs_f64()), path.as_str()),
            Err(_) => ("none".to_owned(), "-"),
        };
        let direct = self.direct.map_or("-".to_owned(), |took| format!("{:.2} s", took.as_secs_f64()));
        write!(f, "{dialler:<17} {listener:<17} {expected:<9} {:<9} {first:>13} {by:<9} {direct:>14}", self.last)?;
        if let Err(trouble) = &self.first {
            write!(f, "  {trouble}")?;
        }
        if self.holds() { Ok(()) } else { write!(f, "  FAIL") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_can_be_set_up() {
        let matrix = Matrix { pairs: Pair::all(), delay_ms: 20 };
        let scenario = matrix.scenario().expect("a scenario");
        assert_eq!((matrix.pairs.len(), scenario.homes.len(), scenario.nodes.len()), (36, 12, 12));
        assert_eq!(Pair::parse("open:udp-blocked").map(|pair| pair.to_string()).as_deref(), Some("open:udp-blocked"));
        assert_eq!(Pair::parse("open:closed"), None);
    }
}
