//! Many asks between two nodes: no error, memory flat, every receipt whole. In full measure:
//! `ASKS=10000 cargo test --release --workspace --test stories endurance -- --nocapture`; without the variable it is a short run.

use std::sync::Arc;
use std::time::Instant;

use kos_tests::{Person, Shell, memory, until};
use node::services::receipts::verify;

const QUESTION: &str = "where is the key of the shed?";
/// Asks in a row when nobody says how many.
const SHORT: usize = 300;
/// Kilobytes that a node may grow by after the first asks, and by many at once: its cache and its events fill, and are bounded.
const GROWTH: u64 = 16 * 1024;
/// Asks after which they are full.
const FULL: usize = 1000;
/// Kilobytes that it may grow by afterwards, in nine times as many: less than half of one for each. The list of receipts here is a part of it.
const FLAT: u64 = 4 * 1024;
/// Kilobytes that whoever asks many at once may grow by: what is in flight and in its queue, and what the allocator keeps of it.
const AT_ONCE: u64 = 48 * 1024;
/// How often many ask at once.
const BURSTS: usize = 3;
/// So many asks are many.
const MANY: usize = 5000;

#[tokio::test(flavor = "multi_thread")]
async fn asks_in_a_row_and_at_once_leave_no_error_and_no_memory_behind() {
    let said = std::env::var("ASKS").ok();
    let alone = said.is_some();
    let asks: usize = said.map_or(SHORT, |asks| asks.parse().unwrap());
    let alice = Arc::new(Person::new(&[]).await);
    let ticket = alice.node.contacts.ticket().await.unwrap().ticket;
    let (bob, pid, his) = tokio::task::spawn_blocking(move || {
        let bob = Shell::new();
        let pid = bob.up(&[])["pid"].as_u64().unwrap();
        let house = bob.documents("house", &[("rules.md", b"# Rules\n\nThe key of the shed lies under the pot.\n")]);
        bob.ok(&["serve", house.to_str().unwrap(), "--as", "house"]);
        bob.ok(&["contact", "add", &ticket, "--as", "alice"]);
        bob.ok(&["grant", "add", "alice", "house.ask"]);
        let his = bob.ticket();
        (bob, pid, his)
    })
    .await
    .unwrap();
    alice.node.contacts.add(&his, "bob").await.unwrap();
    until("Alice holds the grant", async || alice.ask("bob/house", QUESTION).await.ok()).await;

    let begun = Instant::now();
    let mut receipts = Vec::with_capacity(asks + BURSTS * asks.min(1000));
    let (both, mut held) = ([u64::from(std::process::id()), pid], Vec::new());
    // After the first hundred at least, and then after each tenth.
    let tenth = (asks / 10).max(asks.min(100));
    for number in 1..=asks {
        let (_, asked) = alice.ask("bob/house", QUESTION).await.unwrap();
        assert!(asked.verified && asked.answer.contains("under the pot"), "{asked:?}");
        receipts.push(asked.receipt);
        if number % tenth == 0 {
            held.push(both.map(memory));
        }
    }
    let took = begun.elapsed();
    println!("{asks} asks in a row: {took:?}, {:.0} a second", asks as f64 / took.as_secs_f64());
    for (number, name) in ["Alice", "Bob"].into_iter().enumerate() {
        let held: Vec<u64> = held.iter().map(|both| both[number]).collect();
        let (from, to) = (held[0], held[held.len() - 1]);
        println!("{name} held, in kB, after each {tenth}: {held:?}");
        // Other stories run in Alice's process, unless this one runs alone.
        let counts = name == "Bob" || alone;
        assert!(!counts || to < from + GROWTH, "{name} grew from {from} to {to} kB");
        let full = held[FULL.div_ceil(tenth).min(held.len()) - 1];
        assert!(
            !counts || asks < MANY || to < full + FLAT,
            "{name} grew from {full} to {to} kB after the first thousand"
        );
    }

    // A thousand at once: 64 in flight, the rest in the caller's own queue. One right behind the other: nothing of the last may be in the way.
    let at_once = asks.min(1000);
    for burst in 0..BURSTS {
        let begun = Instant::now();
        let running: Vec<_> = (0..at_once)
            .map(|_| {
                let alice = Arc::clone(&alice);
                tokio::spawn(async move { alice.ask("bob/house", QUESTION).await.unwrap().1.receipt })
            })
            .collect();
        for one in running {
            receipts.push(one.await.unwrap());
        }
        println!("{at_once} at once: {:?}, and then {:?} kB", begun.elapsed(), both.map(memory));
        // The first one; each of the others brings as many receipts.
        let (from, to) = (held[0][1], memory(pid));
        assert!(burst > 0 || to < from + GROWTH, "Bob grew from {from} to {to} kB");
    }
    let (from, to) = (held[held.len() - 1][0], memory(std::process::id().into()));
    assert!(!alone || to < from + AT_ONCE, "Alice grew from {from} to {to} kB by asking many at once");
    for id in &receipts {
        let check = verify(&alice.node.receipts.export(id).await.unwrap()).unwrap();
        assert!(check.valid && check.state == "acknowledged", "{check:?}");
    }
    assert!(alice.node.audit.verify().await.unwrap().valid);
    let bob = Arc::new(bob);
    until("Bob has heard that each of the newest answers has arrived", async || {
        let bob = Arc::clone(&bob);
        let newest = move || bob.ok(&["receipt", "list", "--limit", "1000"]);
        let newest = tokio::task::spawn_blocking(newest).await.unwrap();
        let newest = newest.as_array().unwrap();
        assert!(newest.len() >= at_once, "{} receipts", newest.len());
        newest.iter().all(|receipt| receipt["state"] == "acknowledged").then_some(())
    })
    .await;
    tokio::task::spawn_blocking(move || {
        assert_eq!(bob.ok(&["audit", "verify"])["valid"], true);
        bob.ok(&["down"]);
    })
    .await
    .unwrap();
    alice.stop().await;
}
