//! Fifty nodes and one bootstrap peer, each a process of its own: all find an agent, and none finds it when its node has gone.

use std::thread;
use std::time::{Duration, Instant};

use kos_tests::{Program, Shell, eventually};
use serde_json::{Value, json};

/// Nodes, the publisher among them.
const NODES: usize = 50;
/// How long what the publisher says of itself holds.
const LIFE: Duration = Duration::from_secs(10);

/// What each of these finds under a word.
fn found(people: &[Shell], word: &str) -> Vec<Vec<Value>> {
    at_once(people, |person| person.ok(&["find", word]).as_array().unwrap().clone())
}

/// The same by each of them, a few at a time: two cores carry all of this.
fn at_once<T: Send>(people: &[Shell], work: impl Fn(&Shell) -> T + Sync) -> Vec<T> {
    let parts = people.chunks(people.len().div_ceil(8));
    thread::scope(|scope| {
        let running: Vec<_> = parts.map(|part| scope.spawn(|| part.iter().map(&work).collect::<Vec<T>>())).collect();
        running.into_iter().flat_map(|part| part.join().unwrap()).collect()
    })
}

#[test]
fn fifty_nodes_find_an_agent_through_the_dht_and_none_does_when_its_life_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Program::start(
        "kos-bootstrap",
        &folder.path().join("hub"),
        ["--listen", "/ip4/127.0.0.1/tcp/0", "--rates=false"],
    );
    let address = hub.line();
    let join = ["--bootstrap", address.as_str()];

    let bob = Shell::new();
    bob.up(&[&join[..], &["--directory-life-s", &LIFE.as_secs().to_string()]].concat());
    let hive = bob.documents("bees", &[("hive.md", b"# Bees\n\nA hive needs a second queen in spring.\n")]);
    bob.ok(&["serve", hive.to_str().unwrap(), "--as", "bees", "--listed"]);

    let people: Vec<Shell> = (1..NODES).map(|_| Shell::new()).collect();
    let begun = Instant::now();
    at_once(&people, |person| person.up(&join));
    println!("{} nodes up in {:?}", people.len(), begun.elapsed());

    let begun = Instant::now();
    let rows = at_once(&people, |person| {
        eventually("the agent is found", || person.ok(&["find", "bees"]).as_array().unwrap().first().cloned())
    });
    println!("found by all in {:?}", begun.elapsed());
    for row in &rows {
        assert_eq!((&row["name"], &row["path"], &row["health"]), (&json!("bees"), &json!("dht"), &json!("healthy")));
    }

    bob.ok(&["down"]);
    let gone = Instant::now();
    // Nobody who asks is told that it is there; until its life is over some remember that it was.
    let remembered = found(&people, "bees");
    assert!(remembered.iter().any(|rows| !rows.is_empty()) || gone.elapsed() > LIFE);
    for row in remembered.iter().flatten() {
        assert_eq!((&row["path"], &row["health"]), (&json!("cache"), &json!("unknown")), "{row}");
    }
    thread::sleep(LIFE.saturating_sub(gone.elapsed()));
    for rows in found(&people, "bees") {
        assert_eq!(rows, Vec::<Value>::new(), "its life is over");
    }
    at_once(&people, |person| person.ok(&["down"]));
    hub.stop();
}
