//! Asking somebody whose node is off: the question waits, goes by itself when they are back, and is done once, whatever happens.

use std::collections::VecDeque;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use klp::message::{Call, Cards, Empty, Grants, kind};
use klp::{Cbor as _, Refusal, SecretKey};
use kos_tests::person::question;
use kos_tests::shell::is_error;
use kos_tests::{Person, Puppet, Shell, Speaker, eventually, socket, until};
use node::services::calls::Part;
use node::services::grants::Limits;
use node::services::queue::{Later, Priority};
use node::services::receipts;
use node::view::Queued;
use serde_json::{Value, json};

const HOME: &str = "# House rules\n\nThe key of the garden shed lies under the third flower pot.\n";
const KEY: &str = "where is the key of the shed?";

/// Alice at her shell, and Bob, whose node is always at the same place and who serves a house that she may ask.
struct Two {
    alice: Shell,
    pid: u64,
    bob: Person,
    grant: String,
}

fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

impl Two {
    async fn new() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let bob = Person::new(&["--listen", &format!("/ip4/127.0.0.1/tcp/{port}")]).await;
        bob.serve(&bob.documents("house", &[("rules.md", HOME)]), "house", "private").await;
        let mut two = Self { alice: Shell::new(), pid: 0, bob, grant: String::new() };
        two.up();
        let ticket = two.bob.node.contacts.ticket().await.unwrap().ticket;
        two.ok(&["contact", "add", &ticket, "--as", "bob"]);
        let ticket = blocking(|| two.alice.ticket());
        two.bob.node.contacts.add(&ticket, "alice").await.unwrap();
        let limits = Limits { calls: Some(10), ..Limits::default() };
        two.grant = two.bob.node.grants.add("alice", "house.ask", limits).await.unwrap().id;
        two
    }

    fn up(&mut self) {
        self.pid = blocking(|| self.alice.up(&[]))["pid"].as_u64().unwrap();
    }

    fn kill(&self) {
        assert!(Command::new("kill").args(["-9", &self.pid.to_string()]).status().unwrap().success());
        let gone = || !std::path::Path::new(&format!("/proc/{}/exe", self.pid)).exists();
        blocking(|| eventually("the end of a node that was killed", || gone().then_some(())));
    }

    #[track_caller]
    fn ok(&self, line: &[&str]) -> Value {
        blocking(|| self.alice.ok(line))
    }

    /// Alice asks; the question must wait. Its id.
    #[track_caller]
    fn later(&self, text: &str, more: &[&str]) -> String {
        let queued = self.ok(&[&["ask", "bob/house", text, "--later"], more].concat());
        assert_eq!((&queued["state"], &queued["who"]), (&json!("queued"), &json!("bob/house")), "{queued}");
        queued["id"].as_str().unwrap().to_owned()
    }

    /// Waits until a question of hers has come as far as this.
    fn comes_to(&self, id: &str, state: &str) -> Value {
        blocking(|| {
            eventually(&format!("a question to be {state}"), || {
                let shown = self.alice.ok(&["queue", "show", id]);
                let is_open = ["queued", "dispatched"].contains(&shown["state"].as_str().unwrap());
                assert!(is_open || shown["state"] == state, "{shown}");
                (shown["state"] == state).then_some(shown)
            })
        })
    }

    /// The questions that Bob's agent was asked, in their order.
    async fn asked(&self) -> Vec<String> {
        let mut asked = Vec::new();
        for receipt in self.bob.node.receipts.list(1000).await.unwrap().into_iter().rev() {
            let file = self.bob.node.receipts.export(&receipt.id).await.unwrap();
            asked.push(receipts::verify(&file).unwrap().arguments.remove("text").unwrap());
        }
        asked
    }

    async fn end(self) {
        assert_eq!(self.ok(&["audit", "verify"])["valid"], true);
        assert!(self.bob.node.audit.verify().await.unwrap().valid);
        self.ok(&["down"]);
        self.bob.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn c9_questions_wait_for_bob_survive_a_kill_and_arrive_by_themselves_once_the_urgent_first() {
    let mut two = Two::new().await;
    // While he is there the answer comes as always, and nothing waits.
    let at_once = two.ok(&["ask", "bob/house", KEY, "--later", "--priority", "low"]);
    assert!(at_once["answer"].as_str().unwrap().contains("third flower pot") && at_once["verified"] == true);
    let mine = two.ok(&["ask", "self/guide", "how do I set a passphrase?", "--later"]);
    assert_eq!((&mine["path"], two.ok(&["queue", "list"])), (&json!("local"), json!([])));

    two.bob.stop().await;
    let low = two.later("low: where is the key?", &["--priority", "low"]);
    let normal = two.later("normal: where is the key?", &[]);
    let second = two.later("second: where is the key?", &[]);
    let urgent = two.later("urgent: where is the key?", &["--priority", "urgent"]);
    let unwanted = two.later("unwanted: where is the key?", &["--priority", "urgent"]);
    let short = two.later("late: where is the key?", &["--deadline", "1"]);
    assert_eq!(two.ok(&["queue", "drop", &unwanted])["state"], "dropped");
    let expired = two.comes_to(&short, "expired");
    assert_eq!(expired["error"]["code"], "expired", "{expired}");

    two.kill();
    two.up();
    let states = |list: Value| -> Vec<(String, String)> {
        let word = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
        list.as_array().unwrap().iter().map(|row| (word(row, "id"), word(row, "state"))).collect()
    };
    let expected = [&low, &normal, &second, &urgent].map(|id| (id.clone(), "queued".to_owned()));
    let listed = states(two.ok(&["queue", "list"]));
    assert_eq!(listed[..4], expected);
    assert_eq!(listed[4..].iter().map(|(_, state)| state.as_str()).collect::<Vec<_>>(), ["dropped", "expired"]);
    assert_eq!(two.ok(&["status"])["queue"]["later"], 4);

    two.bob.restart().await;
    for id in [&low, &normal, &second, &urgent] {
        let shown = two.comes_to(id, "answered");
        assert!(shown["answer"].as_str().unwrap().contains("third flower pot"), "{shown}");
        let receipt = two.ok(&["receipt", "show", shown["receipt"].as_str().unwrap()]);
        assert_eq!((&receipt["status"], &receipt["state"]), (&json!("answered"), &json!("acknowledged")), "{receipt}");
    }
    let words = ["urgent", "normal", "second", "low"].map(|word| format!("{word}: where is the key?"));
    assert_eq!(two.asked().await, [&[KEY.to_owned()], &words[..]].concat(), "each once, and the urgent one first");
    assert_eq!(two.ok(&["status"])["queue"]["later"], 0);
    let log = two.ok(&["audit", "list", "--limit", "1000"]);
    let kinds = |kind: &str| {
        let of_queue = |entry: &&Value| entry["component"] == "queue" && entry["kind"] == kind;
        log.as_array().unwrap().iter().filter(of_queue).count()
    };
    assert_eq!(["queued", "answered", "dropped", "expired"].map(kinds), [6, 4, 1, 1], "{log}");
    assert_eq!(two.ok(&["queue", "drop", &low])["state"], "answered");
    blocking(|| is_error(&two.alice.json(&["queue", "show", &low]), "not_found", 6));
    two.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn c9_a_question_whose_node_is_killed_while_it_is_answered_is_not_done_a_second_time() {
    let mut two = Two::new().await;
    two.ok(&["ask", "bob/house", KEY]);
    two.bob.stop().await;
    let id = two.later("slow: where is the key?", &[]);
    two.kill();
    two.bob.restart().await;
    two.bob.ready("house").await;
    let mut house = Speaker::of(&two.bob, "house");
    two.up();
    let _words = house.call().await;
    let shown = two.comes_to(&id, "dispatched");
    two.kill();
    two.up();
    let failed = two.comes_to(&id, "failed");
    assert_eq!(failed["error"]["code"], "unknown_outcome", "{failed}");
    assert_eq!(failed["receipt"], shown["receipt"], "the same order, and no other");
    assert_eq!(two.asked().await, [KEY, "slow: where is the key?"]);
    two.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn l1_11_what_fell_due_while_the_node_was_off_is_over_when_it_starts_and_is_not_done() {
    let mut two = Two::new().await;
    two.bob.stop().await;
    let late = two.later("late: where is the key?", &["--deadline", "3"]);
    let stays = two.later("still: where is the key?", &[]);
    two.kill();
    // Time passes, and nobody is there whom it could tell.
    tokio::time::sleep(Duration::from_secs(3)).await;
    two.bob.restart().await;
    two.bob.ready("house").await;
    two.up();
    two.comes_to(&stays, "answered");
    let over = two.comes_to(&late, "expired");
    assert_eq!(over["error"]["code"], "expired", "{over}");
    assert_eq!(two.asked().await, ["still: where is the key?"]);
    let log = two.ok(&["audit", "list", "--limit", "1000"]);
    let expired = |entry: &&Value| entry["component"] == "queue" && entry["kind"] == "expired";
    assert_eq!(log.as_array().unwrap().iter().filter(expired).count(), 1, "{log}");
    two.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn c9_a_grant_that_was_taken_back_meanwhile_is_a_failure_by_name() {
    let mut two = Two::new().await;
    two.ok(&["ask", "bob/house", KEY]);
    two.bob.stop().await;
    let revoked = two.later(KEY, &[]);
    let nowhere = two.ok(&["ask", "bob/attic", KEY, "--later"])["id"].as_str().unwrap().to_owned();
    two.kill();
    two.bob.restart().await;
    two.bob.node.grants.revoke(&two.grant).await.unwrap();
    two.up();
    for (id, code) in [(revoked, "revoked"), (nowhere, "denied")] {
        let failed = two.comes_to(&id, "failed");
        assert_eq!(failed["error"]["code"], code, "{failed}");
    }
    assert_eq!(two.asked().await, [KEY]);
    two.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn c9_the_queue_is_bounded_and_says_so_by_name() {
    let two = Two::new().await;
    two.bob.stop().await;
    let home = two.alice.home();
    let ask = async |who: &str, more: Value| {
        let mut body = json!({ "who": who, "text": KEY, "later": true });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, body) = socket::bytes(&home, "POST", "/v1/ask", Some(&body)).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        (status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
    };
    for number in 0..64 {
        let priority = ["low", "normal", "urgent"][number % 3];
        assert_eq!(ask("bob/house", json!({ "priority": priority })).await, (202, String::new()), "number {number}");
    }
    assert_eq!(ask("bob/house", json!({ "priority": "urgent" })).await, (429, "busy".to_owned()));
    let stranger = format!("{}/house", SecretKey::from_seed(&[61; 32]).did());
    let refusals: [(&str, Value, &str); 6] = [
        ("bob/house", json!({ "deadline_s": 0 }), "invalid"),
        ("bob/house", json!({ "deadline_s": 7 * 24 * 3600 + 1 }), "invalid"),
        ("bob/house", json!({ "priority": "now" }), "invalid"),
        ("bob/house", json!({ "later": false, "priority": "low" }), "invalid"),
        ("any/house", json!({}), "invalid"),
        (&stranger, json!({}), "not_found"),
    ];
    for (who, more, code) in refusals {
        assert_eq!(ask(who, more.clone()).await.1, code, "{who} {more}");
    }
    blocking(|| is_error(&two.alice.json(&["ask", "bob/house", KEY, "--later"]), "busy", 1));
    let first = two.ok(&["queue", "list"])[0]["id"].as_str().unwrap().to_owned();
    two.ok(&["queue", "drop", &first]);
    assert_eq!(ask("bob/house", json!({})).await.0, 202, "there is room again");
    blocking(|| assert_eq!(two.alice.run(&["ask", "bob/house", KEY, "--priority", "low"]).status.code(), Some(2)));
    two.ok(&["down"]);
}

/// Alice asks Bob's agent, who is not there.
async fn waits(alice: &Person, text: &str) -> Queued {
    let later = Later { priority: Priority::Normal, deadline: None };
    let mut parts = alice.node.queue.ask(question("bob/house", text), later).await.unwrap();
    let Some(Part::Queued(queued)) = parts.recv().await else { panic!("it did not wait") };
    *queued
}

#[tokio::test(flavor = "multi_thread")]
async fn c9_an_order_that_may_have_been_done_is_sent_again_as_it_is_and_one_that_was_not_is_made_anew() {
    let (alice, agent) = (Person::new(&[]).await, SecretKey::from_seed(&[142; 32]));
    let card = Arc::new(Mutex::new(None));
    let shown = Arc::clone(&card);
    // What Bob says to each question, one time after the other, and the orders that he was shown.
    let says = [("doubtful", [Refusal::Full, Refusal::Replay]), ("refused", [Refusal::Busy, Refusal::Denied])];
    let says = Mutex::new(says.map(|(text, refusals)| (text, VecDeque::from(refusals))));
    let orders = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&orders);
    let bob = Puppet::answering(141, move |kind, body| match kind {
        kind::INTRODUCE => Ok(Empty.to_bytes()),
        kind::DIRECTORY => Ok(Cards { cards: shown.lock().unwrap().clone().into_iter().collect() }.to_bytes()),
        kind::GRANTS => Ok(Grants { chains: Vec::new() }.to_bytes()),
        kind::CALL => {
            let call = Call::from_value(body).unwrap();
            let text = call.arguments["text"].clone();
            seen.lock().unwrap().push((text.clone(), call.order.as_bytes().to_vec()));
            let mut says = says.lock().unwrap();
            let (_, refusals) = says.iter_mut().find(|(known, _)| *known == text).unwrap();
            Err(refusals.pop_front().expect("it is not sent once more"))
        }
        _ => Err(Refusal::NoHandler),
    })
    .await;
    *card.lock().unwrap() = Some(bob.card(&agent, "house", &agent));
    alice.node.contacts.add(&bob.ticket_with(|ticket| ticket.addresses.clear()), "bob").await.unwrap();
    let (doubtful, refused) = (waits(&alice, "doubtful").await, waits(&alice, "refused").await);

    bob.meet(&alice).await;
    for (id, code) in [(doubtful.id, "unknown_outcome"), (refused.id, "denied")] {
        let failed = until("the end of a question", async || {
            let shown = alice.node.queue.show(&id).await.unwrap();
            (shown.state == "failed").then_some(shown)
        })
        .await;
        assert_eq!(failed.error.unwrap().code, code);
    }
    let orders = orders.lock().unwrap().clone();
    let of =
        |text: &str| -> Vec<_> { orders.iter().filter(|(known, _)| known == text).map(|(_, order)| order).collect() };
    let (doubtful, refused) = (of("doubtful"), of("refused"));
    assert!(doubtful.len() == 2 && doubtful[0] == doubtful[1], "the very same order");
    assert!(refused.len() == 2 && refused[0] != refused[1], "a fresh one");
    alice.stop().await;
    bob.close();
}
