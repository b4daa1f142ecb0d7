//! An answer on its way: seen as it comes, and stopped when nobody wants it any more.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use kos_tests::person::introduce;
use kos_tests::{Api, Person, Speaker, until};
use node::services::grants::Limits;
use serde_json::{Value, json};

/// `kos ask` at Alice's terminal, with one line for each piece.
fn asking(alice: &Person) -> (Child, BufReader<ChildStdout>) {
    let mut command = Command::new(kos_tests::path("kos"));
    command.args(["ask", "bob/house", "tell me", "--json", "--stream", "--home"]).arg(alice.home());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

fn next(lines: &mut BufReader<ChildStdout>) -> Value {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_on_the_terminal_before_its_end_is_known_and_going_away_stops_the_work() {
    let (bob, alice) = (Person::new(&[]).await, Person::new(&[]).await);
    bob.serve(&bob.documents("house", &[("a.md", "a house")]), "house", "private").await;
    introduce((&bob, "bob"), (&alice, "alice")).await;
    bob.node.grants.add("alice", "house.ask", Limits::default()).await.unwrap();
    let mut house = Speaker::of(&bob, "house");
    let api = Api::open(&alice).await;

    let (mut child, mut lines) = asking(&alice);
    let work = house.call().await;
    work.send("The first passage. ".to_owned()).await.unwrap();
    let first = tokio::task::block_in_place(|| next(&mut lines));
    assert_eq!(first, json!({"chunk": "The first passage. "}), "it is here, and nobody has said the second yet");
    work.send("The last one.".to_owned()).await.unwrap();
    drop(work);
    let (last, done) = tokio::task::block_in_place(|| (next(&mut lines), next(&mut lines)));
    assert_eq!(last["chunk"], "The last one.");
    assert_eq!((&done["answer"], &done["verified"]), (&json!("The first passage. The last one."), &json!(true)));
    assert!(tokio::task::block_in_place(|| child.wait()).unwrap().success());

    // Ctrl-C, and a program that is killed: the work on the other side stops, signed as cancelled.
    for signal in ["INT", "KILL"] {
        let (mut child, mut lines) = asking(&alice);
        let work = house.call().await;
        work.send("A beginning.".to_owned()).await.unwrap();
        tokio::task::block_in_place(|| next(&mut lines));
        let begun = Instant::now();
        let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        work.closed().await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{signal}: {:?}", begun.elapsed());
        tokio::task::block_in_place(|| child.wait()).unwrap();
        let cancelled = async || {
            let newest = bob.node.receipts.list(1).await.unwrap().remove(0);
            (newest.status == "cancelled" && newest.bytes == 12).then_some(())
        };
        until("the outcome is signed as cancelled", cancelled).await;
    }
    until("nothing runs any more", async || (bob.node.status().await.unwrap().queue.running == 0).then_some(())).await;
    api.close().await;
    alice.stop().await;
    bob.stop().await;
}
