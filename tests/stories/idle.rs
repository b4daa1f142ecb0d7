//! Two nodes with a session between them and nothing to say: no growth, no busy wait, hardly a packet. For an hour:
//! `IDLE=3600 cargo test --release --workspace --test stories idle -- --nocapture`; without the variable it is a short look.

use std::thread;
use std::time::Duration;

use kos_tests::{Lan, Shell, cpu, eventually, is_root, memory};

/// Seconds when nobody says how many.
const SHORT: u64 = 15;
/// What the pair may send in an hour, both ways together.
const TRAFFIC: u64 = 1_000_000;

#[test]
fn an_idle_pair_neither_grows_nor_spins_nor_talks() {
    if !is_root("an_idle_pair_neither_grows_nor_spins_nor_talks") {
        return;
    }
    let seconds = std::env::var("IDLE").map_or(SHORT, |seconds| seconds.parse().unwrap());
    let lan = Lan::new();
    let (alice, bob) = (lan.shell(0), lan.shell(1));
    let up = |person: &Shell| person.ok(&["up", "--detach", "--api", "127.0.0.1:0"])["pid"].as_u64().unwrap();
    let pids = [&alice, &bob].map(up);
    let house = bob.documents("house", &[("rules.md", b"# Rules\n\nThe key of the shed lies under the pot.\n")]);
    bob.ok(&["serve", house.to_str().unwrap(), "--as", "house"]);
    alice.ok(&["contact", "add", &bob.ticket(), "--as", "bob"]);
    bob.ok(&["contact", "add", &alice.ticket(), "--as", "alice"]);
    bob.ok(&["grant", "add", "alice", "house.ask"]);
    eventually("Alice holds the grant", || {
        (alice.json(&["ask", "bob/house", "where is the key of the shed?"]).1 == 0).then_some(())
    });
    // What the first minute's work leaves behind settles in a moment.
    thread::sleep(Duration::from_secs(if seconds > SHORT { 60 } else { 2 }));

    let (sent, held, used) = (lan.carried(), pids.map(memory), pids.map(cpu));
    thread::sleep(Duration::from_secs(seconds));
    let sent = lan.carried() - sent;
    for (number, name) in ["Alice", "Bob"].into_iter().enumerate() {
        let grown = memory(pids[number]).saturating_sub(held[number]);
        let used = cpu(pids[number]) - used[number];
        println!("{name}: {seconds} s idle, {grown} kB more than {} kB, {used:?} of CPU", held[number]);
        assert!(grown < 2048, "{name} grew by {grown} kB");
        assert!(used < Duration::from_millis(200) + Duration::from_secs(seconds) / 200, "{name} used {used:?}");
    }
    println!("{sent} bytes between them, headers of Ethernet and all");
    // A ping every fifteen seconds and a look around come in full measure already in a short while.
    assert!(sent < TRAFFIC * seconds / 3600 + 20_000, "{sent} bytes in {seconds} s");
    let asked = alice.ok(&["ask", "bob/house", "where is the key of the shed?"]);
    assert_eq!(asked["verified"], true, "it still works: {asked}");
    for person in [&alice, &bob] {
        person.ok(&["down"]);
    }
}
