//! The directory that stays true: what has gone vanishes, what is back is found, and whoever was away catches up.

use std::process::Command;
use std::time::{Duration, Instant};

use kos_tests::person::{introduce, question};
use kos_tests::{Hub, Person, Program, Shell, eventually, until};
use node::bus::Heard;
use node::services::calls::Part;
use node::services::directory::Wanted;
use node::services::grants::Limits;
use serde_json::{Value, json};

const TEXT: &str = "# Bees\n\nA hive needs a second queen in spring.\n";

fn rows(shell: &Shell, word: &str) -> Vec<Value> {
    shell.ok(&["find", word]).as_array().unwrap().clone()
}

#[test]
fn d4_a_killed_provider_vanishes_from_every_search_and_is_back_when_it_returns() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Program::start("kos-bootstrap", &folder.path().join("hub"), ["--listen", "/ip4/127.0.0.1/tcp/0"]);
    let address = hub.line();
    let join = ["--bootstrap", address.as_str()];
    let bob = Shell::new();
    let pid = bob.up(&join)["pid"].to_string();
    let hive = bob.documents("bees", &[("hive.md", TEXT.as_bytes())]);
    bob.ok(&["serve", hive.to_str().unwrap(), "--as", "bees", "--listed"]);
    let people: Vec<Shell> = (0..3).map(|_| Shell::new()).collect();
    for person in &people {
        person.up(&join);
        let row = eventually("the agent is found", || rows(person, "bees").first().cloned());
        assert_eq!(
            (&row["health"], &row["via"], &row["kind"]),
            (&json!("healthy"), &json!("lan"), &json!("librarian"))
        );
    }
    // Without a goodbye, and its card holds for an hour.
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    let killed = Instant::now();
    for person in &people {
        eventually("the killed provider to vanish", || {
            let left = rows(person, "bees");
            assert!(left.iter().all(|row| row["health"] == "unknown"), "{left:?}");
            left.is_empty().then_some(())
        });
    }
    println!("gone everywhere {:?} after the kill", killed.elapsed());
    assert!(killed.elapsed() < Duration::from_secs(90));
    bob.up(&join);
    let back = Instant::now();
    for person in &people {
        eventually("it is back", || rows(person, "bees").first().filter(|row| row["health"] == "healthy").cloned());
    }
    println!("back everywhere {:?} after the start", back.elapsed());
    hub.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn d4_an_agent_that_its_node_does_not_show_any_more_is_gone_at_once() {
    let (bob, alice) = (Person::new(&[]).await, Person::new(&[]).await);
    let folder = bob.documents("bees", &[("hive.md", TEXT)]);
    bob.serve(&folder, "bees", "listed").await;
    introduce((&bob, "bob"), (&alice, "alice")).await;
    until("the agent is found", async || {
        alice.node.directory.find("bees", None).await.ok().filter(|rows| !rows.is_empty())
    })
    .await;
    bob.node.agents.pause("bees").await.unwrap();
    assert_eq!(alice.node.directory.find("bees", None).await.unwrap().len(), 0);
    bob.node.agents.resume("bees").await.unwrap();
    bob.ready("bees").await;
    assert_eq!(alice.node.directory.find("bees", None).await.unwrap().len(), 1);

    // Who is lost and who is back is told on the bus.
    let mut events = alice.node.bus.listen("directory.*", None);
    bob.stop().await;
    alice.node.directory.find("bees", None).await.unwrap();
    let Some(Heard::Event(event)) = events.next().await else { panic!("a gap") };
    let data: Value = serde_json::from_str(event.data.get()).unwrap();
    assert_eq!((event.name, &data["node"]), ("directory.lost", &json!(bob.node.whoami().await.unwrap().node)));
    alice.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_agents_are_listed_by_capability_and_kind_across_the_mesh() {
    let (bob, alice) = (Person::new(&[]).await, Person::new(&[]).await);
    bob.serve(&bob.documents("bees", &[("hive.md", TEXT)]), "bees", "listed").await;
    introduce((&bob, "bob"), (&alice, "alice")).await;
    let names = async |capability: Option<&str>, kind: Option<&str>| {
        let [capability, kind] = [capability, kind].map(|word| word.map(str::to_owned));
        let found = alice.node.directory.search(&Wanted { text: String::new(), capability, kind }).await?;
        Ok::<_, node::Fault>(found.into_iter().map(|row| (row.name, row.path)).collect::<Vec<_>>())
    };
    let both = [("guide", "here"), ("bees", "contact")].map(|(name, path)| (name.to_owned(), path.to_owned()));
    until("bees by capability", async || (names(Some("ask"), None).await.unwrap() == both).then_some(())).await;
    assert_eq!(names(None, Some("librarian")).await.unwrap(), both[1..]);
    assert_eq!(names(Some("fly"), None).await.unwrap(), []);
    assert_eq!(names(Some("ask"), Some("pilot")).await.unwrap(), []);
    assert_eq!(names(None, None).await.unwrap_err().refusal, klp::Refusal::Invalid);
    for person in [alice, bob] {
        person.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn l1_9_who_was_away_while_others_published_has_caught_up_within_a_minute() {
    let hub = Hub::open(19, None).await;
    let flags = ["--bootstrap", hub.address.as_str()];
    let (bob, mut carol, dave) = (Person::new(&flags).await, Person::new(&flags).await, Person::new(&flags).await);
    introduce((&bob, "bob"), (&carol, "carol")).await;
    let folder = bob.documents("bees", &[("hive.md", TEXT)]);
    bob.serve(&folder, "bees", "listed").await;
    let grant = bob.node.grants.add("carol", "bees.ask", Limits::default()).await.unwrap();
    until("an answer", async || carol.ask("bob/bees", "what does a hive need?").await.ok()).await;

    carol.stop().await;
    // While she is away a friend lists another agent and takes a grant back, and a stranger lists one too.
    bob.serve(&folder, "bees-of-spring", "listed").await;
    bob.node.agents.remove("bees").await.unwrap();
    bob.node.grants.revoke(&grant.id).await.unwrap();
    dave.serve(&dave.documents("more", &[("hive.md", TEXT)]), "bees", "listed").await;
    carol.restart().await;
    let back = Instant::now();
    until("all that was missed", async || {
        let found = carol.node.directory.find("bees", None).await.unwrap();
        let mut names: Vec<(&str, Option<&str>)> = found
            .iter()
            .filter(|row| row.health == "healthy")
            .map(|row| (row.name.as_str(), row.contact.as_deref()))
            .collect();
        names.sort_unstable();
        (names == [("bees", None), ("bees-of-spring", Some("bob"))]).then_some(())
    })
    .await;
    until("the revocation", async || {
        let held = carol.node.grants.list().await.unwrap();
        held.iter().find(|one| one.id == grant.id).filter(|one| one.revoked).map(drop)
    })
    .await;
    assert!(back.elapsed() < Duration::from_secs(60), "{:?}", back.elapsed());
    for person in [bob, carol, dave] {
        person.stop().await;
    }
    hub.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn k18_calls_to_any_of_three_equal_providers_are_spread_and_go_on_without_one_of_them() {
    let alice = Person::new(&[]).await;
    let mut providers = Vec::new();
    for name in ["bob", "carol", "dave"] {
        let one = Person::new(&[]).await;
        one.serve(&one.documents("bees", &[("hive.md", TEXT)]), "bees", "private").await;
        introduce((&one, name), (&alice, "alice")).await;
        one.node.grants.add("alice", "bees.ask", Limits::default()).await.unwrap();
        providers.push(one);
    }
    until("all three", async || {
        let found = alice.node.directory.find("bees", None).await.unwrap();
        (found.iter().filter(|row| row.health == "healthy").count() == 3).then_some(())
    })
    .await;
    let ask = async || {
        let mut parts = alice.node.calls.ask(question("any/bees", "what does a hive need?")).await.unwrap();
        loop {
            match parts.recv().await.unwrap() {
                Part::Chunk(_) => {}
                Part::Done(asked) => return asked.owner,
                Part::Queued(queued) => panic!("it waits: {queued:?}"),
                Part::Failed(fault) => panic!("{fault}: {}", fault.hint),
            }
        }
    };
    let mut got = std::collections::BTreeMap::<String, usize>::new();
    for _ in 0..15 {
        let four = futures::future::join_all((0..4).map(|_| ask())).await;
        four.into_iter().for_each(|owner| *got.entry(owner).or_default() += 1);
    }
    println!("{got:?}");
    assert!(got.len() == 3 && got.values().all(|calls| (5..=35).contains(calls)), "{got:?}");

    // One of them goes: no call is lost.
    let gone = providers.pop().unwrap();
    let owner = gone.node.whoami().await.unwrap().owner;
    gone.stop().await;
    for _ in 0..10 {
        assert_ne!(ask().await, owner);
    }
    let nobody = alice.node.calls.ask(question("any/wasps", "why?")).await.unwrap_err();
    assert_eq!(nobody.refusal, klp::Refusal::NotFound);
    alice.stop().await;
    for person in providers {
        person.stop().await;
    }
}
