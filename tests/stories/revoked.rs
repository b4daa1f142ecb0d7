//! Revocation that holds: on the next call, on the open session, in the middle of an answer, after restarts, and when handed on.

use std::time::{Duration, Instant};

use klp::Refusal;
use kos_tests::person::{introduce, question};
use kos_tests::{Person, Speaker, until};
use node::services::calls::Part;
use node::services::grants::Limits;

const HOME: &str = "# House rules\n\nThe key of the garden shed lies under the third flower pot.\n";
const QUESTION: &str = "where is the key of the shed?";

/// Bob serves a house, and Alice holds a grant for it.
async fn bob_and_alice(flags: &[&str]) -> (Person, Person, node::view::Agent, node::view::Grant) {
    let (bob, alice) = (Person::new(flags).await, Person::new(&[]).await);
    let agent = bob.serve(&bob.documents("house", &[("rules.md", HOME)]), "house", "private").await;
    introduce((&bob, "bob"), (&alice, "alice")).await;
    let grant = bob.node.grants.add("alice", "house.ask", Limits::default()).await.unwrap();
    (bob, alice, agent, grant)
}

async fn refused(person: &Person, who: &str) -> Refusal {
    person.ask(who, QUESTION).await.unwrap_err().refusal
}

#[tokio::test(flavor = "multi_thread")]
async fn n4_a_revoked_grant_is_refused_on_the_open_session_after_restarts_and_when_delegated() {
    let (mut bob, mut alice, agent, grant) = bob_and_alice(&[]).await;
    let carol = Person::new(&[]).await;
    introduce((&alice, "alice"), (&carol, "carol")).await;
    introduce((&bob, "bob"), (&carol, "carol")).await;
    alice.ask("bob/house", QUESTION).await.unwrap();
    alice.node.grants.delegate(&grant.id, "carol", Limits::default()).await.unwrap();
    let hers = until("Carol holds the delegation", async || carol.ask(&agent.did, QUESTION).await.ok()).await.1;
    assert!(hers.verified);
    let sessions = || bob.node.status();
    assert_eq!(sessions().await.unwrap().peers, 2, "both have their session open");

    bob.node.grants.revoke(&grant.id).await.unwrap();
    assert_eq!(sessions().await.unwrap().peers, 2, "nobody was disconnected");
    assert_eq!(refused(&alice, "bob/house").await, Refusal::Revoked, "the next call, on the open session");
    assert_eq!(refused(&carol, &agent.did).await, Refusal::Revoked, "when delegated");

    alice.restart().await;
    assert_eq!(refused(&alice, "bob/house").await, Refusal::Revoked, "after her restart");
    // His address is another one now: a fresh ticket says where he is.
    bob.restart().await;
    bob.ready("house").await;
    for person in [&alice, &carol] {
        let ticket = bob.node.contacts.ticket().await.unwrap().ticket;
        person.node.contacts.add(&ticket, "bob").await.unwrap();
    }
    assert_eq!(refused(&alice, "bob/house").await, Refusal::Revoked, "after his restart");
    assert_eq!(refused(&carol, &agent.did).await, Refusal::Revoked, "delegated, after his restart");
    assert!(bob.node.grants.show(&grant.id).await.unwrap().revoked);

    // Another grant opens the same door again: only that one was taken back.
    bob.node.grants.add("alice", "house.ask", Limits::default()).await.unwrap();
    until("the new grant arrives", async || alice.ask("bob/house", QUESTION).await.ok()).await;
    for person in [&alice, &carol, &bob] {
        assert!(person.node.audit.verify().await.unwrap().valid);
        person.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n4_a_link_that_is_taken_back_while_the_host_is_away_ends_what_was_made_of_it() {
    let (mut bob, alice, agent, grant) = bob_and_alice(&[]).await;
    let carol = Person::new(&[]).await;
    introduce((&alice, "alice"), (&carol, "carol")).await;
    introduce((&bob, "bob"), (&carol, "carol")).await;
    let link = alice.node.grants.delegate(&grant.id, "carol", Limits::default()).await.unwrap();
    until("Carol holds the delegation", async || carol.ask(&agent.did, QUESTION).await.ok()).await;

    bob.stop().await;
    alice.node.grants.revoke(&link.id).await.unwrap();
    bob.start_with(&[], None).await.unwrap();
    bob.ready("house").await;
    let ticket = bob.node.contacts.ticket().await.unwrap().ticket;
    carol.node.contacts.add(&ticket, "bob").await.unwrap();
    // Bob asks Alice what she has taken back before he serves the first call under a grant of hers.
    assert_eq!(refused(&carol, &agent.did).await, Refusal::Revoked);
    alice.node.contacts.add(&ticket, "bob").await.unwrap();
    alice.ask("bob/house", QUESTION).await.unwrap();
    for person in [alice, carol, bob] {
        person.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s21_work_that_runs_under_a_revoked_grant_stops_within_a_second() {
    let (bob, alice, _, grant) = bob_and_alice(&[]).await;
    let mut house = Speaker::of(&bob, "house");
    let mut parts = alice.node.calls.ask(question("bob/house", QUESTION)).await.unwrap();
    let work = house.call().await;
    work.send("Under ".to_owned()).await.unwrap();
    assert!(matches!(parts.recv().await, Some(Part::Chunk(text)) if text == "Under "));

    let begun = Instant::now();
    bob.node.grants.revoke(&grant.id).await.unwrap();
    work.closed().await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let Some(Part::Done(asked)) = parts.recv().await else { panic!("no outcome") };
    assert_eq!((asked.status.as_str(), asked.answer.as_str(), asked.verified), ("stopped", "Under ", true));
    alice.stop().await;
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s21_what_was_said_before_a_revocation_arrives_and_its_end_is_proven() {
    let (bob, alice, _, grant) = bob_and_alice(&[]).await;
    let mut house = Speaker::of(&bob, "house");
    let mut parts = alice.node.calls.ask(question("bob/house", QUESTION)).await.unwrap();
    let work = house.call().await;
    // She does not read, so that Bob may send no more, and has said a little more than that.
    for _ in 0..klp::limits::UNREAD / (klp::frame::HEADER + 1) + 3 {
        work.send("a".to_owned()).await.unwrap();
    }
    bob.node.grants.revoke(&grant.id).await.unwrap();
    let mut heard = String::new();
    let asked = loop {
        match parts.recv().await {
            Some(Part::Chunk(text)) => heard.push_str(&text),
            Some(Part::Done(asked)) => break asked,
            Some(Part::Failed(fault)) => panic!("{fault:?}"),
            Some(Part::Queued(_)) | None => panic!("no outcome"),
        }
    };
    assert_eq!((asked.status.as_str(), asked.answer == heard, asked.verified), ("stopped", true, true));
    alice.stop().await;
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s01_a_locked_owner_revokes_at_once_and_signs_when_unlocked() {
    let (bob, alice) = (Person::new(&[]).await, Person::new(&[]).await);
    bob.serve(&bob.documents("house", &[("rules.md", HOME)]), "house", "private").await;
    introduce((&bob, "bob"), (&alice, "alice")).await;
    let grant = bob.node.grants.add("alice", "house.ask", Limits::default()).await.unwrap();
    let secret = || node::services::vaults::Secret::new("correct horse".to_owned());
    bob.node.vaults.passwd("main", None, secret()).await.unwrap();
    bob.node.vaults.lock("main").await.unwrap();

    alice.ask("bob/house", QUESTION).await.unwrap();
    let locked = bob.node.grants.add("alice", "house.ask", Limits::default()).await.unwrap_err();
    assert_eq!(locked.refusal, Refusal::Locked, "no new grant");
    bob.node.grants.revoke(&grant.id).await.unwrap();
    assert_eq!(refused(&alice, "bob/house").await, Refusal::Revoked, "but none is honoured any longer");
    assert!(!alice.node.grants.show(&grant.id).await.unwrap().revoked, "nothing is signed yet");

    bob.node.vaults.unlock("main", Some(secret())).await.unwrap();
    until("the signed revocation arrives", async || {
        alice.node.grants.show(&grant.id).await.unwrap().revoked.then_some(())
    })
    .await;
    alice.stop().await;
    bob.stop().await;
}
