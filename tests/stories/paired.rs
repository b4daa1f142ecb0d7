//! Pairing with the real programs: at the shell, on one wire, and through a relay.

use std::fs;
use std::path::Path;
use std::process::Output;

use kos_tests::shell::is_error;
use kos_tests::{Lan, Shell, eventually, is_root};
use serde_json::{Value, json};

fn json_of(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text} {}", String::from_utf8_lossy(&output.stderr)))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

/// Files under a folder that hold any of these.
fn holding(folder: &Path, secrets: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holding(&path, secrets));
        } else if let Ok(bytes) = fs::read(&path) {
            let holds = |secret: &String| bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            found.extend(secrets.iter().filter(|secret| holds(secret)).map(|_| path.display().to_string()));
        }
    }
    found
}

#[test]
fn n1_two_people_pair_at_the_shell_and_no_word_of_the_code_stays_anywhere() {
    let (alice, bob) = (Shell::new(), Shell::new());
    let at = alice.up(&["--log-filter", "trace"])["listen"][0].as_str().unwrap().to_owned();
    bob.up(&["--log-filter", "trace"]);
    let made = alice.ok(&["pair", "--me", "alice", "--grant", "guide.ask", "--calls", "3", "--days", "2", "--yes"]);
    let (code, mailbox) = (text(&made, "code").to_owned(), text(&made, "mailbox").to_owned());
    let parts: Vec<&str> = code.split('-').collect();
    assert_eq!((parts.len(), format!("{}-{}", parts[0], parts[1])), (5, mailbox.clone()), "four words and a number");
    assert_eq!(text(&made, "offer"), "guide.ask");
    let wrong = format!("{mailbox}-zoo-zoo-zoo");
    is_error(&bob.json(&["pair", &wrong, "--at", &at, "--timeout", "2"]), "wrong_code", 3);
    is_error(&bob.json(&["pair", "zoo"]), "invalid", 7);
    let listed = alice.ok(&["pair", "--list"]);
    assert_eq!((&listed[0]["state"], &listed[0]["tries_left"]), (&json!("open"), &json!(2)));

    // The code comes on standard input, so that no list of processes shows it.
    let output = bob.typed(&["pair", "-", "--at", &at, "--as", "ally", "--me", "bob", "--yes", "--json"], &code);
    let paired = json_of(&output);
    assert_eq!((text(&paired, "contact"), &paired["did"]), ("ally", &alice.ok(&["whoami"])["owner"]), "{paired}");
    assert_eq!((&paired["grant"]["agent"], &paired["grant"]["calls"]), (&json!("guide"), &json!(3)), "{paired}");
    assert_eq!(text(&paired["given"], "capability"), "ask");
    assert_eq!(bob.ok(&["ask", "ally/guide", "how do I set a passphrase?"])["verified"], true);
    let done = eventually("the code is settled", || {
        let listed = alice.ok(&["pair", "--list"]);
        listed[0]["grant"].is_string().then(|| listed[0].clone())
    });
    assert_eq!((text(&done, "state"), text(&done, "contact"), text(&done, "first")), ("paired", "bob", "given"));
    is_error(&bob.json(&["pair", &code, "--at", &at, "--timeout", "2"]), "burnt", 3);
    is_error(&alice.json(&["pair", "--cancel", &mailbox]), "state", 7);
    is_error(&alice.json(&["pair", "--approve", "zoo-1"]), "not_found", 6);

    let secret = parts[2..].join("-");
    let secrets = [secret.clone(), secret.replace('-', " ")];
    for person in [&alice, &bob] {
        let events = person.run(&["audit", "export"]).stdout;
        let events = String::from_utf8_lossy(&events).into_owned();
        assert!(
            events.contains(&mailbox) && !events.contains(&secret),
            "the log tells of the code, without its secret"
        );
        person.ok(&["down"]);
        assert_eq!(holding(person.folder(), &secrets), Vec::<String>::new());
    }
    let logs = holding(alice.folder(), std::slice::from_ref(&mailbox));
    assert!(logs.iter().all(|file| file.ends_with(".log")), "only the log may name the mailbox: {logs:?}");
}

#[test]
fn n1_two_people_on_one_wire_pair_without_any_contact_or_server() {
    if !is_root("n1_two_people_on_one_wire_pair_without_any_contact_or_server") {
        return;
    }
    let lan = Lan::new();
    let (alice, bob) = (lan.shell(0), lan.shell(1));
    for person in [&alice, &bob] {
        person.ok(&["up", "--detach", "--api", "127.0.0.1:0"]);
    }
    assert_eq!((lan.sent(0), lan.sent(1)), (0, 0), "nothing is said before anybody pairs");
    let made = alice.ok(&["pair", "--me", "alice", "--yes"]);
    let paired = bob.ok(&["pair", text(&made, "code"), "--me", "bob", "--yes"]);
    assert_eq!((text(&paired, "contact"), text(&paired, "path")), ("alice", "lan"), "{paired}");
    assert_eq!(paired["grant"]["agent"], "guide", "{paired}");
    assert_eq!(bob.ok(&["ask", "alice/guide", "how do I set a passphrase?"])["path"], "lan");
    assert_eq!(alice.ok(&["ask", "bob/guide", "how do I set a passphrase?"])["verified"], true);
    for person in [&alice, &bob] {
        person.ok(&["down"]);
    }
}

#[test]
fn n1_two_people_who_cannot_reach_each_other_pair_through_a_relay() {
    if !is_root("n1_two_people_who_cannot_reach_each_other_pair_through_a_relay") {
        return;
    }
    let lan = Lan::new();
    let (alice, bob) = (lan.shell(0), lan.shell(1));
    let folder = tempfile::tempdir().unwrap();
    let listen = ["--json", "--listen", "/ip4/10.77.0.2/tcp/4801", "--external", "/ip4/10.77.0.2/tcp/4801"];
    let lab = ["--reach-trust-cidr", "10.77.0.0/24"];
    let home = folder.path().join("relay");
    let mut relay = lan.program(1, "kos-relay", &home, &[&listen[..], &lab].concat());
    let there = relay.json()["listen"][0].as_str().unwrap().to_owned();
    // Each hears only itself: what one says to the other goes through the relay or not at all.
    let quiet = ["up", "--detach", "--api", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0"];
    for person in [&alice, &bob] {
        person.ok(&[&quiet[..], &["--relay", &there, "--bootstrap", &there], &lab].concat());
        eventually("a place behind the relay", || {
            (person.ok(&["status"])["reach"]["state"] == "relayed").then_some(())
        });
    }
    let made = alice.ok(&["pair", "--me", "alice", "--yes"]);
    let paired = bob.ok(&["pair", text(&made, "code"), "--me", "bob", "--yes"]);
    assert_eq!((text(&paired, "contact"), text(&paired, "path")), ("alice", "relayed"), "{paired}");
    assert_eq!(paired["grant"]["agent"], "guide", "{paired}");
    let asked = bob.ok(&["ask", "alice/guide", "how do I set a passphrase?"]);
    assert_eq!((&asked["path"], &asked["verified"]), (&json!("relayed"), &json!(true)));
    for person in [&alice, &bob] {
        person.ok(&["down"]);
    }
    assert_eq!(relay.stop().code, Some(0));
}
