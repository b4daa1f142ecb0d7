//! One round: every case once, in an order of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::case::{Case, Peer};
use crate::load::Figures;
use crate::nats;
use crate::side::Side;

/// What one case showed in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    /// What the asking side saw.
    pub(crate) figures: Figures,
    /// CPU time of all sides together for one request and its answer, in microseconds.
    pub(crate) cpu: f64,
}

impl Shown {
    /// Answers in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.figures.count as f64 / self.figures.seconds
    }
}

/// All rounds, by case.
pub(crate) type Rounds = BTreeMap<Case, Vec<Shown>>;

/// The order of a round: a shuffle that only its number decides, so that a run can be repeated.
fn shuffled(mut cases: Vec<Case>, round: u64) -> Vec<Case> {
    let mut dice = round.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for at in (1..cases.len()).rev() {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        cases.swap(at, usize::try_from(dice % (at as u64 + 1)).unwrap());
    }
    cases
}

/// Runs so many rounds of these cases.
pub(crate) fn run(cases: &[Case], rounds: u64, time: Duration) -> Rounds {
    let mut broker = nats::server().map(nats::start);
    let mut all = Rounds::new();
    for round in 1..=rounds {
        for case in shuffled(cases.to_vec(), round) {
            let shown = once(case, time, broker.as_mut());
            all.entry(case).or_default().push(shown);
            eprintln!(
                "round {round}: {:<26} p50 {:>8.1} us, {:>8.0} a second, {:>6.2} us CPU",
                case.name(),
                shown.figures.p50,
                shown.rate(),
                shown.cpu
            );
        }
    }
    all
}

fn once(case: Case, time: Duration, broker: Option<&mut (Side, String)>) -> Shown {
    let name = case.name();
    let (broker, address) = broker.map(|(side, address)| (&*side, address.as_str())).unzip();
    let broker = broker.filter(|_| case.peer == Peer::Nats);
    let mut server = Side::start(&["serve", &name, address.unwrap_or_default()]);
    let address = server.line();
    let mut client = Side::start(&["ask", &name, &address, &time.as_millis().to_string()]);
    assert_eq!(client.line(), "ready");
    let cpu = |client: &Side| {
        let broker = broker.map(Side::cpu).unwrap_or_default();
        broker + server.cpu() + client.cpu()
    };
    let before = cpu(&client);
    client.tell("go");
    assert_eq!(client.line(), "done");
    let used = cpu(&client) - before;
    client.tell("go on");
    let figures = Figures::from_json(&serde_json::from_str::<Value>(&client.line()).unwrap());
    Shown { figures, cpu: used.as_secs_f64() * 1e6 / figures.count as f64 }
}
