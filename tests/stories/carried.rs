//! What a relay costs: many circuits through one `kos-relay`, and what it holds for each of them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use klp::blob::Held;
use klp::{Digest, NodeId, SecretKey, limits};
use kos_tests::{Program, cpu, memory, until};
use mesh::{Config, Mesh, Multiaddr, Registry, Role, Source};

const MIB: u64 = 1 << 20;
/// Listeners and callers; each caller has a circuit to each listener.
const SHORT: usize = 4;
/// What each circuit carries in the short run.
const EACH: u64 = 2 * MIB;

struct Lab {
    relay: Program,
    at: Multiaddr,
}

impl Lab {
    fn new(home: &std::path::Path) -> Self {
        let flags = ["--json", "--listen", "/ip4/127.0.0.1/tcp/0", "--rates=false", "--circuit-bytes", "0"];
        let more = ["--circuits", "4096", "--circuits-per-peer", "1024", "--circuits-per-network", "4096"];
        let rates = std::env::var("RATE").unwrap_or_else(|_| (50 * MIB).to_string());
        let rates =
            ["--bytes-per-second", &rates, "--peer-bytes-per-second", "0", "--reservations-per-network", "4096"];
        let mut relay = Program::start("kos-relay", home, flags.iter().chain(&more).chain(&rates));
        let at = relay.json()["listen"][0].as_str().unwrap().parse().unwrap();
        Self { relay, at }
    }

    fn pid(&self) -> u64 {
        self.relay.pid().into()
    }
}

/// A node as small as it can be.
fn small(seed: u16, change: impl FnOnce(&mut Config)) -> Mesh {
    let mut bytes = [9; 32];
    bytes[..2].copy_from_slice(&seed.to_be_bytes());
    let mut config = Config::new(SecretKey::from_seed(&bytes), Role::Node);
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    change(&mut config);
    let (mesh, events, driver) = mesh::open(config, &mut Registry::default()).unwrap();
    drop(events);
    tokio::spawn(driver);
    mesh
}

async fn behind(seed: u16, relay: &Multiaddr) -> Mesh {
    let at = relay.clone();
    let mesh = small(seed, |config| config.relays = vec![at]);
    let state = mesh.state();
    until("a place", async || (!state.borrow().reservations.is_empty()).then_some(())).await;
    mesh
}

async fn call(caller: &Mesh, relay: &Multiaddr, to: NodeId) {
    let there = format!("{relay}/p2p-circuit").parse().unwrap();
    caller.dial(to, vec![mesh::with_node(there, to)]).await.unwrap();
    caller.ping(to, Duration::from_secs(60)).await.unwrap();
}

async fn fetch(mesh: Mesh, from: NodeId, digest: Digest) -> u64 {
    let mut fetch = mesh.fetch(from, digest, Held::default(), u64::MAX).await.unwrap();
    let mut buffer = vec![0; limits::FRAME];
    while fetch.read(&mut buffer).await.unwrap() > 0 {}
    assert!(fetch.is_proven());
    fetch.total()
}

fn per(grown: u64, count: usize) -> u64 {
    grown / count.max(1) as u64
}

/// `SIDE=16 EACH=16 cargo test … carried -- --nocapture`: 256 circuits, 4 GiB in all; `RATE` bounds the relay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x2_many_circuits_through_one_relay_cost_little() {
    let side: usize = std::env::var("SIDE").map_or(SHORT, |side| side.parse().unwrap());
    let each = std::env::var("EACH").map_or(EACH, |each| each.parse::<u64>().unwrap() * MIB);
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::new(&folder.path().join("home"));
    let pid = lab.pid();
    let idle = memory(pid);

    let mut listeners = Vec::new();
    for seed in 0..side {
        listeners.push(behind(u16::try_from(seed).unwrap(), &lab.at).await);
    }
    let reserved = memory(pid);
    let mut callers = Vec::new();
    for seed in 0..side {
        let caller = small(1000 + u16::try_from(seed).unwrap(), |config| config.listen.clear());
        caller.dial(mesh::node_in(&lab.at).unwrap(), vec![lab.at.clone()]).await.unwrap();
        callers.push(caller);
    }
    let connected = memory(pid);
    for caller in &callers {
        for listener in &listeners {
            call(caller, &lab.at, listener.node()).await;
        }
    }
    let joined = memory(pid);

    let later = tokio::time::Instant::now() + Duration::from_secs(3600);
    let mut work = Vec::new();
    let content = Bytes::from(vec![7; usize::try_from(each).unwrap()]);
    for caller in &callers {
        for listener in &listeners {
            let digest = listener.offer(caller.node(), Source::from(content.clone()), later).await.unwrap();
            work.push((caller.clone(), listener.node(), digest));
        }
    }
    let (used, begun) = (cpu(pid), Instant::now());
    let count = work.len();
    let work: Vec<_> =
        work.into_iter().map(|(caller, from, digest)| tokio::spawn(fetch(caller, from, digest))).collect();
    let mut carried = 0;
    for done in work {
        carried += done.await.unwrap();
    }
    let (used, took, busy) = (cpu(pid) - used, begun.elapsed(), memory(pid));
    let mib = carried as f64 / MIB as f64;
    let per_gib = used.as_secs_f64() / mib * 1024.0;
    println!("{count} circuits, {mib:.0} MiB in {took:.1?}: {:.1} MiB/s", mib / took.as_secs_f64());
    println!(
        "CPU of the relay {used:.2?}: {per_gib:.2} s a GiB, {:.2} of a core",
        used.as_secs_f64() / took.as_secs_f64()
    );
    println!(
        "idle {idle} kB, a node that waits {} kB, one that is only connected {} kB",
        per(reserved.saturating_sub(idle), side),
        per(connected.saturating_sub(reserved), side)
    );
    println!(
        "a circuit {} kB, and while it carries {} kB",
        per(joined.saturating_sub(connected), count),
        per(busy.saturating_sub(joined), count)
    );
    assert_eq!(carried, count as u64 * each);
    // Half a core at 50 MiB/s is 10.24 s a GiB; a busy machine counts a little more for the same work.
    assert!(per_gib < 2.0 * 10.24, "{per_gib} s of CPU a GiB");
    assert!(per(busy.saturating_sub(reserved), count) < 1024, "kB of a circuit");
    assert_eq!(lab.relay.stop().code, Some(0));
}
