//! The command line as a user types it: one program, a home of its own.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use kos_tests::Shell;
use kos_tests::shell::is_error;
use serde_json::{Value, json};

#[test]
fn x1_from_nothing_to_the_first_answer() {
    let begun = Instant::now();
    let ada = Shell::new();
    is_error(&ada.json(&["status"]), "no_node", 4);
    let up = ada.up(&[]);
    assert!(up["did"].as_str().unwrap().starts_with("did:key:z6Mk"), "{up}");
    assert!(up["listen"][0].as_str().unwrap().contains("/p2p/"), "{up}");
    let again = ada.up(&[]);
    assert_eq!(again, up, "up is idempotent");
    let (asked, exit) = ada.json(&["ask", "self/guide", "what", "is", "a", "receipt?"]);
    assert_eq!((exit, &asked["verified"]), (0, &json!(true)), "{asked}");
    assert!(asked["answer"].as_str().unwrap().contains("receipt"), "{asked}");
    assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", begun.elapsed());

    let (status, _) = ada.json(&["status"]);
    assert_eq!(status["api"], up["api"]);
    assert_eq!(ada.json(&["down"]), (json!({"stopped": true}), 0));
    is_error(&ada.json(&["status"]), "no_node", 4);
    let back = ada.up(&[]);
    assert_eq!((&back["did"], &back["node"]), (&up["did"], &up["node"]), "the same identity");
    assert_ne!(back["pid"], up["pid"]);
    assert_eq!(ada.json(&["down"]).1, 0);
}

#[test]
fn errors_have_their_codes_and_exit_codes() {
    let ada = Shell::new();
    is_error(&ada.json(&["no-such-verb"]), "usage", 2);
    is_error(&ada.json(&["receipt", "verify", "/no/such/file"]), "not_found", 6);
    let junk = ada.folder().join("junk");
    std::fs::write(&junk, "no receipt").unwrap();
    assert_eq!(ada.json(&["receipt", "verify", junk.to_str().unwrap()]).1, 7);
    is_error(&ada.json(&["up", "--api", "0.0.0.0:0", "--listen", "/ip4/127.0.0.1/tcp/0"]), "invalid", 7);
    is_error(&ada.json(&["up", "--detach", "--seal", "wax"]), "invalid", 7);
    assert_eq!(ada.json(&["config", "check"]).0["valid"], true);
    assert!(ada.json(&["config", "schema"]).0.as_array().unwrap().iter().any(|key| key["key"] == "listen"));

    ada.up(&[]);
    is_error(&ada.json(&["agent", "show", "nobody"]), "not_found", 6);
    is_error(&ada.json(&["contact", "add", "kos1nonsense", "--as", "bob"]), "invalid", 7);
    is_error(&ada.json(&["serve", "/no/such/folder", "--as", "x"]), "not_found", 6);
    is_error(&ada.json(&["vault", "get", "nothing"]), "not_found", 6);
    is_error(&ada.json(&["config", "set", "mdns", "perhaps"]), "invalid", 7);
    is_error(&ada.json(&["vault", "unlock", "--vault", "none"]), "not_found", 6);
    let (failed, exit) = ada.json(&["ask", "self/guide", "x", "--arg", "limit=50"]);
    assert_eq!((&failed["status"], &failed["verified"], exit), (&json!("failed"), &json!(true), 1), "{failed}");
    let text = ada.run(&["agent", "show", "nobody"]);
    let stderr = String::from_utf8(text.stderr).unwrap();
    assert!(text.stdout.is_empty() && stderr.starts_with("error: ") && stderr.contains("\n  hint: "), "{stderr}");
    assert!(!stderr.contains('\u{1b}'), "no colours where there is no terminal");
}

#[test]
fn n7_a_folder_is_served_asked_and_proven_without_a_node() {
    let ada = Shell::new();
    let folder = ada.folder().join("docs");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("birds.md"), "# Birds\n\nThe heron stands in the \u{1b}[31mreeds\u{202e}.\n").unwrap();
    ada.up(&[]);
    let (served, exit) = ada.json(&["serve", folder.to_str().unwrap(), "--as", "birds"]);
    assert_eq!((exit, &served["documents"], &served["state"]), (0, &json!(1), &json!("ready")), "{served}");

    let shown = ada.run(&["ask", "self/birds", "heron"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("birds.md:") && shown.contains("The heron"), "{shown}");
    assert!(!shown.contains(['\u{1b}', '\u{202e}']), "nothing steers the terminal");

    let (asked, _) = ada.json(&["ask", "self/birds", "heron"]);
    let receipt = asked["receipt"].as_str().unwrap();
    let file = ada.folder().join("receipt.cbor");
    std::fs::write(&file, ada.run(&["receipt", "export", receipt]).stdout).unwrap();
    assert_eq!(ada.json(&["down"]).1, 0);
    let (check, exit) = ada.json(&["receipt", "verify", file.to_str().unwrap()]);
    assert_eq!((exit, &check["valid"], &check["answer"]), (0, &json!(true), &asked["answer"]), "without a node");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(ada.json(&["receipt", "verify", file.to_str().unwrap()]).1, 7);
}

#[test]
fn s6_passphrases_and_values_come_from_standard_input_only() {
    let ada = Shell::new();
    let started = ada.typed(
        &[
            "up",
            "--detach",
            "--json",
            "--seal",
            "passphrase",
            "--passphrase-fd",
            "0",
            "--listen",
            "/ip4/127.0.0.1/tcp/0",
            "--api",
            "127.0.0.1:0",
        ],
        "correct horse\n",
    );
    assert!(started.status.success(), "{started:?}");
    assert!(ada.typed(&["vault", "set", "mail"], "geheim\n").status.success());
    assert_eq!(ada.run(&["vault", "get", "mail"]).stdout, b"geheim\n");
    let cleartext = |path: &Path| {
        let bytes = std::fs::read(path).unwrap_or_default();
        ["correct horse", "geheim"].iter().any(|word| bytes.windows(word.len()).any(|part| part == word.as_bytes()))
    };
    assert_eq!(ada.json(&["vault", "lock"]).0["state"], "locked");
    is_error(&ada.json(&["vault", "get", "mail"]), "locked", 5);
    let wrong = ada.typed(&["vault", "unlock", "--json", "--passphrase-fd", "0"], "wrong\n");
    assert_eq!(wrong.status.code(), Some(3), "{wrong:?}");
    assert!(ada.typed(&["vault", "unlock", "--passphrase-fd", "0"], "correct horse\n").status.success());
    assert_eq!(ada.run(&["vault", "get", "mail"]).stdout, b"geheim\n");
    assert_eq!(ada.json(&["down"]).1, 0);
    for file in std::fs::read_dir(ada.home()).unwrap() {
        let path = file.unwrap().path();
        assert!(!cleartext(&path), "{}", path.display());
    }
    // Nobody is there to be asked, and it says so.
    is_error(&ada.json(&["up", "--detach", "--listen", "/ip4/127.0.0.1/tcp/0", "--api", "127.0.0.1:0"]), "locked", 5);
}

#[test]
fn l1_12_events_are_one_object_a_line() {
    let ada = Shell::new();
    ada.up(&[]);
    let mut tail = ada.command(&["events", "tail", "--json", "--filter", "config.*", "--after", "0"]);
    let mut tail = tail.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(ada.json(&["config", "set", "vault.lock_after_s", "60"]).1, 0);
    assert_eq!(ada.json(&["config", "set", "vault.lock_after_s", "70"]).1, 0);
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(tail.stdout.take().unwrap()));
    for seconds in [60, 70] {
        let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!((&event["name"], &event["data"]["value"]), (&json!("config.changed"), &json!(seconds)), "{event}");
        assert!(event["id"].is_u64() && event["time"].is_string(), "{event}");
    }
    assert_eq!(ada.json(&["down"]).1, 0);
    assert!(lines.next().is_none(), "it ends with the node");
    assert!(tail.wait().unwrap().success());
}
