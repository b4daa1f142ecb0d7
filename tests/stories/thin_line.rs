//! One person asks another person's agent: the story that everything else hangs on.

use klp::Refusal;
use kos_tests::Person;
use kos_tests::person::introduce;

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
