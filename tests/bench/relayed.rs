//! What a relay costs: bytes through it beside bytes without it, and the memory that it holds for a circuit nobody uses.

use std::time::Duration;

use klp::SecretKey;
use mesh::{Config, Multiaddr, Role};

use crate::Plan;
use crate::bulk::{self, Bulk};
use crate::session::{self, LONG};
use crate::side::{Side, hear, say};
use crate::table::{Target, Verdicts};

/// Circuits before the first measure: what is set up once is paid by then.
const FIRST: usize = 16;
/// Circuits that are measured.
const COUNT: usize = 128;
/// More than anybody here needs.
const MANY: usize = 4096;
/// What is said by itself on a new connection has been said after so long.
const REST: Duration = Duration::from_secs(3);
const LOOPBACK: &str = "/ip4/127.0.0.1/tcp/0";

/// Measures both.
pub(crate) fn rows(plan: &Plan, verdicts: &mut Verdicts) {
    let rounds: Vec<[Bulk; 2]> = (0..plan.rounds).map(|_| [through(), bulk::once("blob")]).collect();
    let best = |at: usize| rounds.iter().map(|round| round[at].rate).fold(f64::MIN, f64::max);
    let cpu = |at: usize| rounds.iter().map(|round| round[at].cpu).fold(f64::MAX, f64::min);
    let mut inside: Vec<f64> = rounds.iter().map(|[relayed, direct]| relayed.rate / direct.rate).collect();
    inside.sort_unstable_by(f64::total_cmp);
    let detail = format!(
        "{:.0} and {:.0} MiB a second, {:.2} and {:.2} CPU seconds a GiB, the relay's too; inside the rounds {:.2} to {:.2}, in the middle {:.2}",
        best(0),
        best(1),
        cpu(0),
        cpu(1),
        inside[0],
        inside[inside.len() - 1],
        inside[inside.len() / 2]
    );
    // On two cores three processes share what two have, and every byte is encrypted twice.
    verdicts.add("blob: through a relay / direct", best(0) / best(1), Target::AtLeast(0.25), &detail);
    let detail = format!("of {COUNT} idle circuits, beside their connections");
    verdicts.add("memory of a relay for a circuit, KiB", circuit(), Target::AtMost(64.0), &detail);
}

/// A relay, and somebody who waits behind it.
fn lab() -> (Side, String, Side, String) {
    let mut relay = Side::start(&["carry"]);
    let at = relay.line();
    let mut waits = Side::start(&["behind", &at]);
    let there = waits.line();
    (relay, at, waits, there)
}

/// One transfer through a relay.
fn through() -> Bulk {
    let (relay, _, waits, there) = lab();
    bulk::between(&[&relay, &waits], Side::start(&["take", "blob", &there]))
}

/// KiB of the relay for each circuit.
fn circuit() -> f64 {
    let (relay, at, _waits, there) = lab();
    let mut callers = Side::start(&["callers", &at, &there]);
    assert_eq!(callers.line(), "ready");
    std::thread::sleep(REST);
    let before = relay.memory();
    callers.tell("go");
    assert_eq!(callers.line(), "ready");
    std::thread::sleep(REST);
    relay.memory().saturating_sub(before) as f64 / 1024.0 / COUNT as f64
}

/// The relay: it carries whatever comes, as fast as it can.
pub(crate) async fn carry() {
    let mut config = Config::new(SecretKey::from_seed(&[41; 32]), Role::Relay);
    let relay = &mut config.limits.relay;
    (relay.circuits, relay.circuits_per_peer, relay.circuits_per_network) = (MANY, MANY, MANY);
    (relay.circuit_bytes, relay.rates) = (0, false);
    let (mesh, _events) = session::open_config(config, &[LOOPBACK]).await;
    say(&session::address(&mesh).to_string());
    hear().await;
}

/// Waits behind a relay, and gives blobs to whoever asks.
pub(crate) async fn behind(relay: String) {
    let mut config = Config::new(SecretKey::from_seed(&[42; 32]), Role::Node);
    config.relays = vec![relay.parse().unwrap()];
    let (mesh, events) = session::open_config(config, &[LOOPBACK]).await;
    mesh.state().wait_for(|state| !state.reservations.is_empty()).await.unwrap();
    let there: Multiaddr = format!("{relay}/p2p-circuit").parse().unwrap();
    say(&mesh::with_node(there, mesh.node()).to_string());
    bulk::give_blob(mesh, events).await;
}

/// Everybody who calls through the relay, each a node of their own that is connected to the relay first.
pub(crate) async fn callers(relay: String, there: String) {
    let (relay, there): (Multiaddr, Multiaddr) = (relay.parse().unwrap(), there.parse().unwrap());
    let (carries, waits) = (mesh::node_in(&relay).unwrap(), mesh::node_in(&there).unwrap());
    let mut callers = Vec::new();
    for number in 0..FIRST + COUNT {
        let mut seed = [43; 32];
        seed[..8].copy_from_slice(&(number as u64).to_be_bytes());
        let (caller, events) = session::open_as(SecretKey::from_seed(&seed), &[]).await;
        caller.dial(carries, vec![relay.clone()]).await.unwrap();
        callers.push((caller, events));
    }
    for some in [&callers[..FIRST], &callers[FIRST..]] {
        for (caller, _) in some {
            caller.dial(waits, vec![there.clone()]).await.unwrap();
            caller.ping(waits, LONG).await.unwrap();
            assert!(caller.path(waits).unwrap().is_relayed());
        }
        say("ready");
        hear().await;
    }
}
