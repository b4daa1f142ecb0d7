//! One who makes hundreds of peers with keys of his choice, around the key at which an agent is found: the programs they come to keep
//! their size and have few of them in their tables, whoever asks a contact is answered, and his address is sent away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use klp::NodeId;
use klp::statement::card::tag_key;
use kos_tests::{Lan, Shell, eventually, is_root, memory};
use mesh::Multiaddr;
use mesh::raw::{Sybil, keys_around};

/// What a program may grow by, in kilobytes.
const GROWTH: u64 = 64 * 1024;
/// The slowest answer meanwhile, by a new process of the command line each time, on a busy machine.
const SLOW: Duration = Duration::from_secs(10);
/// Keys that are tried for one that is used.
const TRIES: u64 = 64;
/// Connections that one address may have.
const OPEN: u64 = 256;
/// Until when most of them have ended, which takes a minute of silence.
const DROPPED: Duration = Duration::from_secs(240);
/// The addresses here count as public.
const LAB: [&str; 2] = ["--reach-trust-cidr", "10.76.0.0/14"];
const AGENT: &str = "bees";

/// `SYBILS=1000` runs it in full.
/// The attack does not outlive what looks at it.
struct Ends(Arc<AtomicBool>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn x3_sybils_around_a_key_cost_little_contacts_are_answered_and_their_address_is_sent_away() {
    let story = "x3_sybils_around_a_key_cost_little_contacts_are_answered_and_their_address_is_sent_away";
    if !is_root(story) {
        return;
    }
    let count: usize = std::env::var("SYBILS").map_or(400, |said| said.parse().unwrap());
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let lan = Lan::new();
    let folder = tempfile::tempdir().unwrap();
    let server = |program: &str, name: &str, port: u16, more: &[&str]| {
        let listen = format!("/ip4/10.77.0.1/tcp/{port}");
        let line = ["--json", "--listen", &listen, "--metrics", "127.0.0.1:0"];
        let mut started = lan.program(0, program, &folder.path().join(name), &[&line[..], &LAB, more].concat());
        let said = started.json();
        (started, said)
    };
    let (hub, said) = server("kos-bootstrap", "hub", 4001, &[]);
    let at = said["listen"][0].as_str().unwrap().to_owned();
    let join = ["--bootstrap", at.as_str()];
    let relays: Vec<_> = (4002..4005).map(|port| server("kos-relay", &port.to_string(), port, &join)).collect();
    let (bob, alice) = (lan.shell(0), lan.shell(0));
    let up = |person: &Shell, listen: &str| {
        let line =
            ["up", "--detach", "--api", "127.0.0.1:0", "--no-mdns", "--metrics", "127.0.0.1:0", "--listen", listen];
        person.ok(&[&line[..], &LAB, &join].concat())
    };
    let his = up(&bob, "/ip4/10.77.0.1/tcp/4711");
    up(&alice, "/ip4/10.77.0.1/tcp/0");
    let hive = bob.documents(AGENT, &[("hive.md", b"# Bees\n\nA hive needs a second queen in spring.\n")]);
    bob.ok(&["serve", hive.to_str().unwrap(), "--as", AGENT, "--listed"]);
    bob.ok(&["contact", "add", &alice.ticket(), "--as", "alice"]);
    bob.ok(&["grant", "add", "alice", "bees.ask", "--calls", "100000"]);
    alice.ok(&["contact", "add", &bob.ticket(), "--as", "bob"]);
    let ask = || alice.ok(&["ask", "bob/bees", "what does a hive need?"]);
    eventually("an answer", || (alice.json(&["ask", "bob/bees", "what does a hive need?"]).1 == 0).then_some(()));
    let whoami = bob.ok(&["whoami"])["node"].clone();
    let stranger = |name: &str| {
        let begun = Instant::now();
        let person = lan.shell(0);
        up(&person, "/ip4/10.77.0.1/tcp/0");
        let found = eventually("a stranger finds the agent", || {
            person.ok(&["find", AGENT]).as_array().unwrap().first().cloned()
        });
        assert_eq!(found["node"], whoami, "{found}");
        println!("{name} finds the agent {:?} after the start", begun.elapsed());
        person.ok(&["down"]);
    };
    stranger("before, somebody");

    let programs = [("the bootstrap peer", u64::from(hub.pid())), ("Bob", his["pid"].as_u64().unwrap())];
    let before = programs.map(|(_, pid)| memory(pid));
    let over = Arc::new(AtomicBool::new(false));
    let place = tag_key(AGENT);
    lan.renumber(1, "10.78.0.1");
    let mut victims: Vec<Multiaddr> = vec![at.parse().unwrap(), his["listen"][0].as_str().unwrap().parse().unwrap()];
    victims.extend(relays.iter().map(|(_, said)| said["listen"][0].as_str().unwrap().parse::<Multiaddr>().unwrap()));
    let (ended, _when_it_fails_too) = (Arc::clone(&over), Ends(Arc::clone(&over)));
    let attack = lan.thread(1, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let keys = keys_around(&place, TRIES * count as u64, count);
        let at = |number: usize| format!("/ip4/10.78.0.1/tcp/{}", 20_000 + number).parse::<Multiaddr>().unwrap();
        let like: Vec<_> = keys.iter().enumerate().map(|(number, key)| (NodeId(key.did()), at(number))).collect();
        runtime.block_on(async {
            for (number, key) in keys.iter().enumerate() {
                let (sybil, victims) = (Sybil::new(key, &at(number), &place, &like).unwrap(), victims.clone());
                tokio::spawn(async move { sybil.stay_with(&victims).await });
                // Never so many at once that they would be noticed by that.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            while !ended.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    });
    let metrics = said["metrics"].as_str().unwrap().to_owned();
    // Several lines may begin so.
    let figure = |line: &str| {
        let page = lan.metrics(0, &metrics);
        let shown = page.lines().filter(|shown| shown.starts_with(line)).filter_map(|shown| shown.rsplit(' ').next());
        shown.map(|count| count.parse::<u64>().unwrap()).sum::<u64>()
    };
    let refused =
        |what: &str, reason: &str| figure(&format!("kos_door_refusals_total{{what=\"{what}\",reason=\"{reason}\"}}"));
    let ended = || figure("libp2p_swarm_connections_duration_seconds_count");
    let ended_before = ended();
    let (mut times, mut held) = (Vec::new(), before);
    let mut asked = || {
        let begun = Instant::now();
        let answer = ask();
        times.push(begun.elapsed());
        assert_eq!(answer["verified"], true, "{answer}");
        for (held, (_, pid)) in held.iter_mut().zip(programs) {
            *held = memory(pid).max(*held);
        }
    };
    let begun = Instant::now();
    eventually("their address is sent away", || {
        asked();
        (refused("connection", "banned_address") > 0).then_some(())
    });
    let kept_out = refused("routing", "network");
    println!("sent away after {:?}; kept out of the table {kept_out}", begun.elapsed());
    assert!(kept_out > 0, "each of them is in the table");
    stranger("meanwhile, somebody");
    // Those that were let in before are nobody's contacts and in few tables: what is idle ends, and does not come back.
    let mut gone = 0;
    while gone < OPEN * 3 / 4 {
        asked();
        gone = ended() - ended_before;
        assert!(begun.elapsed() < DROPPED, "only {gone} of them are gone");
        thread::sleep(Duration::from_millis(200));
    }
    println!("{gone} of their connections have ended after {:?}", begun.elapsed());
    let slowest = times.iter().max().unwrap();
    println!("{} asks take {slowest:?} at most", times.len());
    assert!(*slowest < SLOW, "{slowest:?}");
    for ((who, _), (before, held)) in programs.iter().zip(before.iter().zip(held)) {
        println!("{who}: {before} kB before, {held} kB at most");
        assert!(held - before < GROWTH, "{who} grew from {before} to {held} kB");
    }
    bob.ok(&["down"]);
    up(&bob, "/ip4/10.77.0.1/tcp/4711");
    eventually("Bob is back", || (alice.json(&["ask", "bob/bees", "what does a hive need?"]).1 == 0).then_some(()));
    stranger("when Bob was away in between, somebody");
    over.store(true, Ordering::Relaxed);
    attack.join().unwrap();
    for person in [&alice, &bob] {
        person.ok(&["down"]);
    }
}
