//! Seeing how others are reached: pings, paths with what was tried, and one line about the network in front of a node.

use kos_tests::person::introduce;
use kos_tests::shell::is_error;
use kos_tests::{Lan, Person, Program, Shell, is_root, until};
use node::bus::Heard;
use serde_json::{Value, json};

#[test]
fn c16_a_path_says_why_it_is_the_best_and_a_ping_counts_what_comes_back() {
    let (ada, bob) = (Shell::new(), Shell::new());
    let up = bob.up(&[]);
    ada.up(&[]);
    ada.ok(&["contact", "add", &bob.ticket(), "--as", "bob"]);
    let ping = ada.ok(&["ping", "bob", "--count", "3"]);
    assert_eq!((&ping["path"], &ping["lost"]), (&json!("lan"), &json!(0)), "{ping}");
    assert_eq!(ping["rtts_ms"].as_array().unwrap().len(), 3, "{ping}");
    let path = ada.ok(&["path", "bob"]);
    assert_eq!((&path["path"], &path["over"], &path["node"]), (&json!("lan"), &json!("tcp"), &up["node"]), "{path}");
    assert!(path["why"].as_str().unwrap().contains("nothing in between"), "{path}");
    assert!(path["better"].is_null() && path["relay"].is_null() && path["moved"] == 0, "{path}");
    assert_eq!(path["attempts"][0]["result"], "ok", "{path}");
    let carried = path["carried"].as_array().unwrap();
    assert_eq!((carried.len(), &carried[0]["way"]), (1, &json!("direct")), "{path}");
    assert!(carried[0]["sent"].as_u64().unwrap() > 0 && carried[0]["received"].as_u64().unwrap() > 0, "{path}");
    let shown = String::from_utf8(ada.run(&["path", "bob"]).stdout).unwrap();
    assert!(shown.starts_with("path     lan over tcp, ") && shown.contains("\nwhy      both are"), "{shown}");
    assert_eq!(ada.ok(&["path", "self"])["path"], "local");
    is_error(&ada.json(&["path", "nobody"]), "not_found", 6);
    is_error(&ada.json(&["ping", "bob", "--count", "0"]), "usage", 2);

    // Where nobody listens any more, each address is named with what went wrong there.
    bob.ok(&["down"]);
    let (refused, exit) = kos_tests::eventually("the session to end", || {
        let answer = ada.json(&["path", "bob"]);
        (answer.1 != 0).then_some(answer)
    });
    let message = refused["error"]["message"].as_str().unwrap();
    let place = up["listen"][0].as_str().unwrap().split("/p2p/").next().unwrap();
    assert!(exit == 4 && message.contains(place) && message.contains("refused"), "{refused}");
}

#[test]
fn n12_netcheck_is_one_line_that_says_what_to_do() {
    let ada = Shell::new();
    ada.up(&[]);
    let found = ada.ok(&["netcheck"]);
    assert!(found["headline"].as_str().unwrap().contains("this machine only"), "{found}");
    assert!(found["fix"].as_str().unwrap().contains("--listen"), "{found}");
    assert_eq!((&found["reach"], &found["udp"], &found["bootstrap"]), (&json!("loopback"), &json!(null), &json!(null)));
    let shown = String::from_utf8(ada.run(&["netcheck"]).stdout).unwrap();
    assert!(shown.starts_with("This node listens on this machine only") && shown.contains("\n-> start it"), "{shown}");
    is_error(&Shell::new().json(&["netcheck"]), "no_node", 4);
}

#[test]
fn n12_netcheck_tells_a_node_without_a_relay_that_only_its_own_network_reaches_it() {
    let story = "n12_netcheck_tells_a_node_without_a_relay_that_only_its_own_network_reaches_it";
    if !is_root(story) {
        return;
    }
    let lan = Lan::new();
    let ada = lan.shell(0);
    ada.ok(&["up", "--detach", "--api", "127.0.0.1:0", "--no-mdns"]);
    let found = kos_tests::eventually("the addresses", || {
        let found = ada.ok(&["netcheck"]);
        (found["reach"] == "private").then_some(found)
    });
    assert!(found["headline"].as_str().unwrap().contains("Only your own network"), "{found}");
    assert!(found["fix"].as_str().unwrap().contains("--relay"), "{found}");
    ada.ok(&["down"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn l1_12_a_place_at_a_relay_is_told_on_the_bus_when_it_is_won_and_when_it_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut relay = Program::start("kos-relay", &folder.path().join("relay"), ["--listen", "/ip4/127.0.0.1/tcp/0"]);
    let address = relay.line();
    let ada = Person::new(&["--relay", &address]).await;
    let mut events = ada.node.bus.listen("relay.*", Some(0));
    let mut heard = async || match events.next().await {
        Some(Heard::Event(event)) => {
            let data: Value = serde_json::from_str(event.data.get()).unwrap();
            (event.name, data["relay"].as_str().unwrap().to_owned())
        }
        other => panic!("{other:?}"),
    };
    let (name, node) = heard().await;
    assert_eq!(name, "relay.reserved");
    tokio::task::block_in_place(|| relay.stop());
    assert_eq!(heard().await, ("relay.lost", node));
    ada.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c16_what_was_tried_in_vain_is_shown_before_what_worked() {
    let (mut bob, alice) = (Person::new(&[]).await, Person::new(&[]).await);
    introduce((&bob, "bob"), (&alice, "alice")).await;
    alice.node.reach.ping("bob", 1).await.unwrap();
    let old = bob.node.status().await.unwrap().listen[0].split("/p2p/").next().unwrap().to_owned();
    bob.restart().await;
    let ticket = bob.node.contacts.ticket().await.unwrap();
    alice.node.contacts.add(&ticket.ticket, "bob").await.unwrap();
    // Either of the two may have dialled first; what is shown is true of this connection.
    let path = until("the path", async || alice.node.reach.path("bob").await.ok()).await;
    let (last, before) = path.attempts.split_last().unwrap();
    assert_eq!(last.result, "ok", "{path:?}");
    assert!(before.iter().all(|attempt| attempt.result != "ok" && attempt.address.starts_with(&old)), "{path:?}");
    for person in [alice, bob] {
        person.stop().await;
    }
}
