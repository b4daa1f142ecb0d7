//! One person asks another person's agent: the story that everything else hangs on.

use klp::Refusal;
use kos_tests::person::introduce;
use kos_tests::{Person, until};
use node::bus::Heard;
use node::services::grants::Limits;

const HOME: &str = "# House rules\n\nThe key of the garden shed lies under the third flower pot.\n";

#[tokio::test(flavor = "multi_thread")]
async fn k4_a_granted_question_gets_a_streamed_signed_answer_and_a_receipt() {
    let (bob, alice) = (Person::new(&[]).await, Person::new(&[]).await);
    let folder = bob.documents("house", &[("rules.md", HOME)]);
    bob.serve(&folder, "house", "private").await;
    introduce((&bob, "bob"), (&alice, "alice")).await;

    let refused = alice.ask("bob/house", "where is the key of the shed?").await.unwrap_err();
    assert_eq!(refused.refusal, Refusal::Denied);

    let grant = bob.node.grants.add("alice", "house.ask", Default::default()).await.unwrap();
    let (chunks, asked) = alice.ask("bob/house", "where is the key of the shed?").await.unwrap();
    assert!(asked.answer.contains("third flower pot"), "{}", asked.answer);
    assert_eq!(chunks.concat(), asked.answer);
    assert!(asked.verified);

    let bytes = alice.node.receipts.export(&asked.receipt).await.unwrap();
    let check = node::services::receipts::verify(&bytes).unwrap();
    assert_eq!((check.valid, check.state.as_str()), (true, "acknowledged"));
    assert_eq!(check.answer.as_deref(), Some(asked.answer.as_str()));

    bob.node.grants.revoke(&grant.id).await.unwrap();
    let refused = alice.ask("bob/house", "where is the key of the shed?").await.unwrap_err();
    assert_eq!(refused.refusal, Refusal::Revoked);
    alice.stop().await;
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k3_what_is_granted_in_part_or_not_at_all_is_shown_with_its_reason() {
    let (bob, alice) = (Person::new(&[]).await, Person::new(&[]).await);
    let folder = bob.documents("house", &[("rules.md", HOME)]);
    for name in ["house", "shed", "attic"] {
        bob.serve(&folder, name, "private").await;
    }
    introduce((&bob, "bob"), (&alice, "alice")).await;
    bob.node.grants.add("alice", "house.ask", Limits::default()).await.unwrap();
    bob.node.grants.add("alice", "shed.ask", Limits { calls: Some(2), ..Limits::default() }).await.unwrap();
    let wants = ["house.ask", "shed.ask", "attic.ask", "house.write"].map(str::to_owned);
    let shown = alice.node.contacts.show("bob", &wants).await.unwrap();
    let outcomes: Vec<_> = shown.capabilities.iter().map(|one| (one.name.as_str(), one.outcome.as_str())).collect();
    let expected =
        [("attic.ask", "denied"), ("house.ask", "granted"), ("house.write", "denied"), ("shed.ask", "partial")];
    assert_eq!(outcomes, expected);
    assert!(shown.capabilities.iter().all(|one| !one.reason.is_empty()));
    assert_eq!(shown.capabilities[3].calls_left, Some(2));
    // Without wants: everything of what they show.
    let names: Vec<String> =
        alice.node.contacts.show("bob", &[]).await.unwrap().agents.into_iter().map(|agent| agent.name).collect();
    assert_eq!(names, ["house", "shed"]);
    alice.stop().await;
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_the_events_of_one_call_come_in_order_on_both_sides() {
    let (bob, alice) = (Person::new(&[]).await, Person::new(&[]).await);
    let folder = bob.documents("house", &[("rules.md", HOME)]);
    bob.serve(&folder, "house", "private").await;
    introduce((&bob, "bob"), (&alice, "alice")).await;
    bob.node.grants.add("alice", "house.ask", Limits::default()).await.unwrap();
    let (mut his, mut hers) = (bob.node.bus.listen("*", None), alice.node.bus.listen("*", None));
    let (_, asked) = alice.ask("bob/house", "where is the key of the shed?").await.unwrap();
    for (listener, chain) in [
        (&mut his, &["call.started", "call.finished", "receipt.acknowledged"][..]),
        (&mut hers, &["call.answered"][..]),
    ] {
        for name in chain {
            let data = loop {
                let Some(Heard::Event(event)) = listener.next().await else { panic!("no {name}") };
                if event.name == *name {
                    break event.data.to_string();
                }
                assert!(!chain.contains(&event.name), "{} came before {name}", event.name);
            };
            assert!(data.contains(&asked.receipt), "{name} names its order: {data}");
            assert!(!data.contains("key of the shed"), "and never the question: {data}");
        }
    }
    alice.stop().await;
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_was_shown_is_asked_without_another_question_and_found_again_when_it_is_another() {
    let (bob, alice) = (Person::new(&["--metrics", "127.0.0.1:0"]).await, Person::new(&[]).await);
    let folder = bob.documents("house", &[("rules.md", HOME)]);
    let first = bob.serve(&folder, "house", "private").await;
    introduce((&bob, "bob"), (&alice, "alice")).await;
    bob.node.grants.add("alice", "house.ask", Limits::default()).await.unwrap();
    let question = "where is the key of the shed?";
    until("Alice holds the grant", async || alice.ask("bob/house", question).await.ok()).await;
    let acknowledged = async || {
        until("every receipt is acknowledged", async || {
            let all = bob.node.receipts.list(100).await.unwrap();
            all.iter().all(|receipt| receipt.state == "acknowledged").then_some(())
        })
        .await;
        bob.figure("kos_session_requests_total{way=\"theirs\"}").await
    };
    let before = acknowledged().await;
    alice.ask("bob/house", question).await.unwrap();
    assert_eq!(acknowledged().await - before, 2, "the call and its acknowledgement, and no question for the card");

    // Its name is that of another one now; the old card has an hour to live.
    bob.node.agents.remove("house").await.unwrap();
    let folder = bob.documents("new", &[("rules.md", "# New rules\n\nThe key of the shed hangs in the hall.\n")]);
    let second = bob.serve(&folder, "house", "private").await;
    assert_ne!(first.did, second.did);
    bob.node.grants.add("alice", "house.ask", Limits::default()).await.unwrap();
    let answer = until("the new one answers", async || {
        let (_, asked) = alice.ask("bob/house", question).await.ok()?;
        Some(asked.answer)
    })
    .await;
    assert!(answer.contains("in the hall"), "{answer}");
    alice.stop().await;
    bob.stop().await;
}
