//! Many asks between two nodes: no error, memory flat, every receipt whole. `ASKS=10000 cargo test --release --workspace --test stories
//! endurance` asks as often as it says; without the variable it is a short run.

use std::sync::Arc;
use std::time::Instant;

use kos_tests::{Person, Shell, memory, until};
use node::services::receipts::verify;

const QUESTION: &str = "where is the key of the shed?";
/// Asks in a row when nobody says how many.
const SHORT: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn asks_in_a_row_and_at_once_leave_no_error_and_no_memory_behind() {
    let asks: usize = std::env::var("ASKS").ok().map_or(SHORT, |asks| asks.parse().unwrap());
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
    let mut warm = 0;
    for number in 0..asks {
        let (_, asked) = alice.ask("bob/house", QUESTION).await.unwrap();
        assert!(asked.verified && asked.answer.contains("under the pot"), "{asked:?}");
        if number == (asks / 10).max(100) {
            warm = memory(pid);
        }
    }
    let (took, grown) = (begun.elapsed(), memory(pid).saturating_sub(warm));
    println!(
        "{asks} asks in a row: {took:?}, {:.0} a second, Bob grew by {grown} kB from {warm} kB",
        asks as f64 / took.as_secs_f64()
    );
    assert!(grown < 16 * 1024 + asks as u64, "Bob grew by {grown} kB");

    // A thousand at once: 64 in flight, the rest in the caller's own queue.
    let at_once = asks.min(1000);
    let begun = Instant::now();
    let running: Vec<_> = (0..at_once)
        .map(|_| {
            let alice = Arc::clone(&alice);
            tokio::spawn(async move { alice.ask("bob/house", QUESTION).await.unwrap().1.receipt })
        })
        .collect();
    let mut receipts = Vec::new();
    for one in running {
        receipts.push(one.await.unwrap());
    }
    println!("{at_once} at once: {:?}", begun.elapsed());
    for id in &receipts {
        let check = verify(&alice.node.receipts.export(id).await.unwrap()).unwrap();
        assert!(check.valid && check.state == "acknowledged", "{check:?}");
    }
    assert!(alice.node.audit.verify().await.unwrap().valid);
    tokio::task::spawn_blocking(move || {
        assert_eq!(bob.ok(&["audit", "verify"])["valid"], true);
        bob.ok(&["down"]);
    })
    .await
    .unwrap();
    alice.stop().await;
}
