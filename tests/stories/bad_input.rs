//! What a user may get wrong: each has its name, its cause and what to do, loses nothing, and leaves the node serving.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use klp::{Timestamp, limits};
use kos_tests::puppet::now;
use kos_tests::shell::is_error;
use kos_tests::{Puppet, Shell, eventually, is_root};
use serde_json::{Value, json};

/// A person whose node runs and answers from a folder.
fn served() -> Shell {
    let ada = Shell::new();
    ada.up(&[]);
    let folder = ada.documents("birds", &[("a.md", b"# Herons\n\nThe heron stands in the reeds.\n")]);
    ada.ok(&["serve", folder.to_str().unwrap(), "--as", "birds"]);
    ada
}

#[track_caller]
fn still_serves(ada: &Shell) {
    let asked = ada.ok(&["ask", "self/birds", "where is the heron?"]);
    assert!(asked["answer"].as_str().unwrap().contains("reeds"), "{asked}");
    assert_eq!(ada.ok(&["audit", "verify"])["valid"], true);
}

#[track_caller]
fn says(answer: &(Value, i32), words: &[&str]) {
    let error = &answer.0["error"];
    let said = format!("{} {}", error["message"], error["hint"]);
    assert!(words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_ticket_name_or_agent_is_named_and_changes_nothing() {
    let (ada, bert) = tokio::task::spawn_blocking(|| (served(), Shell::new())).await.unwrap();
    bert.up(&[]);
    let ticket = bert.ticket();

    // Every single character matters, and a typing error is told from another ticket.
    for place in [4, 10, ticket.len() / 2, ticket.len() - 1] {
        let other = if ticket.as_bytes()[place] == b'a' { 'b' } else { 'a' };
        let mut flipped = ticket.clone();
        flipped.replace_range(place..=place, &other.to_string());
        let refused = ada.json(&["contact", "add", &flipped, "--as", "bert"]);
        is_error(&refused, "invalid", 7);
        says(&refused, &["damaged", "nothing was added"]);
    }
    let cut = ada.json(&["contact", "add", &ticket[..ticket.len() - 3], "--as", "bert"]);
    is_error(&cut, "invalid", 7);
    is_error(&ada.json(&["contact", "add", "hello", "--as", "bert"]), "invalid", 7);
    is_error(&ada.json(&["contact", "add", &ada.ticket(), "--as", "me"]), "invalid", 7);
    let carol = Puppet::open(95).await;
    let expired = carol.ticket_with(|ticket| {
        ticket.issued = Timestamp(now().0 - 10 * 24 * 3_600_000);
        ticket.expires = ticket.issued.after(limits::TICKET_LIFE);
    });
    let refused = ada.json(&["contact", "add", &expired, "--as", "carol"]);
    is_error(&refused, "expired", 3);
    says(&refused, &["expired", "contact ticket"]);
    assert_eq!(ada.ok(&["contact", "list"]), json!([]));

    ada.ok(&["contact", "add", &ticket, "--as", "bert"]);
    let twice = ada.json(&["contact", "add", &carol.ticket(), "--as", "bert"]);
    is_error(&twice, "exists", 7);
    says(&twice, &["bert", "another key", "choose another name"]);
    is_error(&ada.json(&["contact", "add", &ticket, "--as", "robert"]), "exists", 7);
    is_error(&ada.json(&["contact", "rename", "nobody", "carol"]), "not_found", 6);
    is_error(&ada.json(&["contact", "add", &carol.ticket(), "--as", "a/b"]), "invalid", 7);
    let known = ada.ok(&["contact", "list"]);
    assert_eq!((known.as_array().unwrap().len(), &known[0]["name"]), (1, &json!("bert")));
    ada.ok(&["contact", "add", &ticket, "--as", "bert"]);

    is_error(&ada.json(&["ask", "self/nobody", "x"]), "not_found", 6);
    is_error(&ada.json(&["ask", "bert/nobody", "x"]), "denied", 3);
    is_error(&ada.json(&["ask", "zoe/birds", "x"]), "not_found", 6);
    is_error(&ada.json(&["ask", "birds", "x"]), "invalid", 7);
    is_error(&ada.json(&["grant", "add", "bert", "birds.write"]), "not_found", 6);
    is_error(&ada.json(&["grant", "add", "zoe", "birds.ask"]), "not_found", 6);
    is_error(&ada.json(&["grant", "revoke", "feed"]), "not_found", 6);
    still_serves(&ada);
}

#[test]
fn a_bad_folder_is_named_and_bad_files_are_left_out_by_name() {
    let ada = served();
    let file = ada.documents("x", &[("file", b"text")]).join("file");
    let refused = ada.json(&["serve", file.to_str().unwrap(), "--as", "file"]);
    is_error(&refused, "invalid", 7);
    says(&refused, &["not a folder"]);
    is_error(&ada.json(&["serve", ada.home().to_str().unwrap(), "--as", "home"]), "invalid", 7);
    is_error(&ada.json(&["serve", ada.folder().join("birds").to_str().unwrap(), "--as", "birds"]), "exists", 7);

    let mixed = ada.documents(
        "mixed",
        &[
            ("good.txt", b"The badger digs at night.\n"),
            ("picture.png", b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"),
            ("broken.pdf", b"%PDF-1.7\nthis is no pdf"),
        ],
    );
    File::create(mixed.join("huge.log")).unwrap().set_len(2 << 30).unwrap();
    let served = ada.ok(&["serve", mixed.to_str().unwrap(), "--as", "mixed"]);
    assert_eq!(served["documents"], 1, "{served}");
    let shown = ada.ok(&["agent", "show", "mixed"]);
    let skipped: Vec<&str> =
        shown["skipped"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
    for name in ["picture.png", "broken.pdf", "huge.log"] {
        assert!(skipped.contains(&name), "{skipped:?}");
    }
    assert!(shown["skipped"].as_array().unwrap().iter().all(|one| !one["reason"].as_str().unwrap().is_empty()));
    assert!(ada.ok(&["ask", "self/mixed", "badger"])["answer"].as_str().unwrap().contains("digs at night"));
    still_serves(&ada);
}

#[test]
fn a_folder_that_may_not_be_read_is_named() {
    if !is_root("a_folder_that_may_not_be_read_is_named") {
        return;
    }
    // Root reads everything: the node runs as somebody else, from a copy of the program that they can reach.
    let place = tempfile::tempdir_in("/tmp").unwrap();
    let kos = place.path().join("kos");
    std::fs::copy(kos_tests::path("kos"), &kos).unwrap();
    let (home, closed) = (place.path().join("home"), place.path().join("closed"));
    for folder in [&home, &closed] {
        std::fs::create_dir(folder).unwrap();
    }
    std::fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
    std::fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&home, Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(&home, Some(65534), Some(65534)).unwrap();
    let run = |line: &[&str]| -> (Value, i32) {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&kos).args(line).arg("--json");
        command.env_clear().env("KOS_HOME", home.join("kos")).env("KOS_UNLOCK_FILE", home.join("unlock"));
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line:?}: {error}: {text}"));
        (value, output.status.code().unwrap())
    };
    let up = run(&["up", "--detach", "--listen", "/ip4/127.0.0.1/tcp/0", "--api", "127.0.0.1:0", "--no-mdns"]);
    assert_eq!(up.1, 0, "{up:?}");
    let refused = run(&["serve", closed.to_str().unwrap(), "--as", "closed"]);
    is_error(&refused, "invalid", 7);
    says(&refused, &["closed", "ermission denied", "readable"]);
    assert_eq!(run(&["ask", "self/guide", "how do I serve a folder?"]).1, 0, "it still serves");
    assert_eq!(run(&["down"]).1, 0);
}

#[test]
fn a_home_that_cannot_be_opened_is_named_and_stays_as_it_is() {
    let ada = Shell::new();
    let flags = ["up", "--detach", "--listen", "/ip4/127.0.0.1/tcp/0", "--api", "127.0.0.1:0"];
    let sealed = [&flags[..], &["--json", "--seal", "passphrase", "--passphrase-fd", "0"]].concat();
    let first: Value = serde_json::from_slice(&ada.typed(&sealed, "open sesame\n").stdout).unwrap();

    // Another program has the port; another node has the home.
    let taken = first["listen"][0].as_str().unwrap().split("/p2p/").next().unwrap().to_owned();
    let bert = Shell::new();
    let refused = bert.json(&["up", "--detach", "--listen", &taken, "--api", "127.0.0.1:0"]);
    is_error(&refused, "invalid", 7);
    says(&refused, &["cannot listen on", &taken, "choose another"]);
    let again = ada.ok(&flags);
    assert_eq!((&again["pid"], &again["did"]), (&first["pid"], &first["did"]), "`up` on a living home shows its state");
    std::fs::remove_file(ada.home().join("kos.sock")).unwrap();
    let held = ada.typed(&sealed, "open sesame\n");
    let held = (serde_json::from_slice(&held.stdout).unwrap(), held.status.code().unwrap());
    is_error(&held, "state", 7);
    says(&held, &[&format!("process {}", first["pid"]), "kos down"]);
    let pid = first["pid"].as_u64().unwrap();
    assert!(Command::new("kill").args(["-TERM", &pid.to_string()]).status().unwrap().success());
    eventually("the node ends", || (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(()));

    let keys = std::fs::read(ada.home().join("machine.keys")).unwrap();
    let wrong = ada.typed(&sealed, "open barley\n");
    assert_eq!(wrong.status.code(), Some(5), "{wrong:?}");
    let wrong: Value = serde_json::from_slice(&wrong.stdout).unwrap();
    says(&(wrong, 5), &["the passphrase is wrong", "nothing was changed"]);
    assert_eq!(std::fs::read(ada.home().join("machine.keys")).unwrap(), keys);

    // A version that comes later writes a head of another format: the field 1 of the head.
    let at = keys.windows(2).position(|pair| pair == [0x01, 0x01]).unwrap() + 1;
    let mut newer = keys.clone();
    newer[at] = 0x09;
    std::fs::write(ada.home().join("machine.keys"), &newer).unwrap();
    let refused = ada.typed(&sealed, "open sesame\n");
    let refused: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(refused["error"]["code"], "version", "{refused}");
    says(&(refused, 1), &["format 9", "newer version", "not touched"]);
    assert_eq!(std::fs::read(ada.home().join("machine.keys")).unwrap(), newer, "not touched");

    std::fs::write(ada.home().join("machine.keys"), &keys).unwrap();
    let back: Value = serde_json::from_slice(&ada.typed(&sealed, "open sesame\n").stdout).unwrap();
    assert_eq!(back["did"], first["did"], "nothing was lost");
    ada.ok(&["down"]);
}
