//! How fast we are beside others on this machine, as ratios: `cargo bench -p kos-tests --features peers`.
//!
//! Every case is two processes on loopback, all cases in turn inside a round and shuffled. Absolute figures say more about the machine
//! and about who else uses it; the ratios and whether they hold are at the end.
//!
//! ```text
//! cargo bench -p kos-tests --features peers --bench peers -- --rounds 12 --seconds 2 --only messages
//! ```
//!
//! Parts: `messages`, `far`, `idle`, `bulk`, `directory`, `fanout`, `relayed`, `librarian`. NATS takes part where `nats-server` is in the path, or where `NATS_SERVER` says it is.
#![allow(clippy::unwrap_used, reason = "a benchmark may end at what it did not expect")]

mod bulk;
mod case;
mod directory;
mod door;
mod fanout;
mod idle;
mod librarian;
mod load;
mod nats;
mod proof;
mod quic;
mod relayed;
mod request_response;
mod role;
mod round;
mod session;
mod side;
mod stream;
mod table;

use std::time::Duration;

use case::{Case, Peer};
use kos_tests::{Line, round_trips};
use side::Side;
use table::{CPU, P50, RATE, Target, Verdicts, cases, figure, ratio};

/// Each way of the long line.
const DELAY: Duration = Duration::from_millis(50);

/// What is run, and how long.
struct Plan {
    rounds: u64,
    time: Duration,
    only: Option<String>,
}

impl Plan {
    fn of(arguments: &[&str]) -> Self {
        let of = |flag: &str| arguments.iter().position(|word| *word == flag).map(|at| arguments[at + 1]);
        let number = |flag: &str, otherwise: f64| of(flag).map_or(otherwise, |text| text.parse().unwrap());
        Self {
            rounds: number("--rounds", 6.0) as u64,
            time: Duration::from_secs_f64(number("--seconds", 1.0)),
            only: of("--only").map(str::to_owned),
        }
    }

    fn has(&self, part: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only.split(',').any(|one| one == part))
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["serve", case, broker] => role::run(role::serve(Case::named(case), broker.to_owned())),
        ["ask", case, address, time] => {
            let time = Duration::from_millis(time.parse().unwrap());
            role::run(role::ask(Case::named(case), address.to_owned(), time));
        }
        ["give", kind] => role::run(bulk::give(kind.to_owned())),
        ["take", kind, address] => role::run(bulk::take(kind.to_owned(), address.to_owned())),
        ["host", listen] => role::run(idle::host(listen.to_owned())),
        ["crowd", address, what] => role::run(idle::crowd(address.to_owned(), what.to_owned())),
        ["directory"] => role::run_here(directory::measure()),
        ["spread", kind, time] => {
            role::run(fanout::spread(kind.to_owned(), Duration::from_millis(time.parse().unwrap())));
        }
        ["carry"] => role::run(relayed::carry()),
        ["behind", relay] => role::run(relayed::behind(relay.to_owned())),
        ["callers", relay, there] => role::run(relayed::callers(relay.to_owned(), there.to_owned())),
        ["librarian"] => role::run_here(librarian::measure()),
        _ => compare(&Plan::of(&words)),
    }
}

fn compare(plan: &Plan) {
    let mut verdicts = Verdicts::default();
    if plan.has("messages") {
        messages(plan, &mut verdicts);
    }
    if plan.has("far") {
        far(&mut verdicts);
    }
    if plan.has("idle") {
        for (name, listen, most) in
            [("TCP", "/ip4/127.0.0.1/tcp/0", 32.0), ("QUIC", "/ip4/127.0.0.1/udp/0/quic-v1", 80.0)]
        {
            let idle = idle::measure(listen);
            let detail = format!("{:.1} KiB with an open session", idle.session);
            verdicts.add(&format!("idle connection over {name}, KiB"), idle.connection, Target::AtMost(most), &detail);
        }
    }
    if plan.has("bulk") {
        bulks(plan, &mut verdicts);
    }
    if plan.has("directory") {
        directory::rows(&mut verdicts);
    }
    if plan.has("fanout") {
        fanout::rows(plan, &mut verdicts);
    }
    if plan.has("relayed") {
        relayed::rows(plan, &mut verdicts);
    }
    if plan.has("librarian") {
        let said = Side::start(&["librarian"]).line();
        let found: Vec<f64> = said.split(' ').map(|text| text.parse().unwrap()).collect();
        let [ask, index, commit, signature, trip] = found[..] else { panic!("{said}") };
        let whole = (ask - trip) / (index + 2.0 * commit + 2.0 * signature);
        let parts = librarian::PARTS.iter().zip(&found).map(|(name, us)| format!("{name} {us} us"));
        let detail = parts.collect::<Vec<_>>().join(", ");
        verdicts.add(
            "ask of a librarian, without its round trip: its parts alone",
            whole,
            Target::AtMost(1.5),
            &detail,
        );
    }
    verdicts.print();
}

fn messages(plan: &Plan, verdicts: &mut Verdicts) {
    let with_nats = nats::server().is_some();
    let rounds = round::run(&Case::all(with_nats), plan.rounds, plan.time);
    cases(&rounds, |in_flight| Case::plain(Peer::Tcp, in_flight));
    let session = |many| Case::plain(Peer::Session, many);
    let mut beside = |what: &str, one, other, pick, more, target| {
        let (found, detail) = ratio(&rounds, one, other, pick, more);
        verdicts.add(what, found, target, &detail);
    };
    let many = [(Peer::RequestResponse, 8.0), (Peer::Quinn, 0.8), (Peer::Nats, 1.0)];
    for ours in [Peer::Session, Peer::Door] {
        for (peer, least) in many.into_iter().filter(|(peer, _)| with_nats || *peer != Peer::Nats) {
            let what = format!("64 in flight, answers a second: {} / {}", ours.name(), peer.name());
            beside(&what, Case::plain(ours, 64), Case::plain(peer, 64), RATE, true, Target::AtLeast(least));
        }
    }
    for (peer, most) in [(Peer::Quinn, 1.0), (Peer::Tcp, 2.5)] {
        let what = format!("one in flight, p50: session / {}", peer.name());
        beside(&what, session(1), Case::plain(peer, 1), P50, false, Target::AtMost(most));
    }
    let (one, other) = (|many| Case::signed(Peer::Session, many), |many| Case::signed(Peer::RequestResponse, many));
    beside(
        "signed, one in flight, p50: request-response / session",
        other(1),
        one(1),
        P50,
        false,
        Target::AtLeast(2.0),
    );
    beside(
        "signed, 64 in flight, a second: session / request-response",
        one(64),
        other(64),
        RATE,
        true,
        Target::AtLeast(2.0),
    );
    beside(
        "signed, 64 in flight, CPU: session / request-response",
        one(64),
        other(64),
        CPU,
        false,
        Target::AtMost(0.55),
    );
    for ours in [Peer::Session, Peer::Door] {
        let cpu = figure(&rounds, Case::plain(ours, 64), CPU, false);
        let what = format!("64 in flight, CPU us for a {} request and its answer, both sides", ours.name());
        verdicts.add(&what, cpu, Target::AtMost(8.0), "the best round");
    }
}

fn far(verdicts: &mut Verdicts) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (line, most) in [(Line::Tcp, 3.4), (Line::Quic, 2.3)] {
        let tries: Vec<_> = (0..3).map(|_| runtime.block_on(round_trips(line, DELAY))).collect();
        let least = |pick: fn(&kos_tests::RoundTrips) -> f64| tries.iter().map(pick).fold(f64::MAX, f64::min);
        let detail = format!("the best of three, on a line of {DELAY:?} each way");
        let (first, connect) = (least(|one| one.first), least(|one| one.connect));
        verdicts.add(&format!("round trips of the first request over {line:?}"), first, Target::AtMost(1.15), &detail);
        verdicts.add(&format!("round trips from nothing over {line:?}"), connect, Target::AtMost(most), &detail);
    }
}

fn bulks(plan: &Plan, verdicts: &mut Verdicts) {
    let rounds: Vec<_> = (0..plan.rounds).map(|_| bulk::KINDS.map(bulk::once)).collect();
    let best = |at: usize| rounds.iter().map(|round| round[at].rate).fold(f64::MIN, f64::max);
    let cpu = |at: usize| rounds.iter().map(|round| round[at].cpu).fold(f64::MAX, f64::min);
    let mut inside: Vec<f64> = rounds.iter().map(|[blob, stream]| blob.rate / stream.rate).collect();
    inside.sort_unstable_by(f64::total_cmp);
    let detail = format!(
        "{:.0} and {:.0} MiB a second, {:.2} and {:.2} CPU seconds a GiB; inside the rounds {:.2} to {:.2}, in the middle {:.2}",
        best(0),
        best(1),
        cpu(0),
        cpu(1),
        inside[0],
        inside[inside.len() - 1],
        inside[inside.len() / 2]
    );
    verdicts.add("bulk: blob / libp2p stream over TCP", best(0) / best(1), Target::AtLeast(1.0), &detail);
}
