//! Networks that let nothing through but the web: WebSocket, alone and over TLS.

use std::fs;
use std::path::{Path, PathBuf};

use kos_tests::shell::is_error;
use kos_tests::{Lan, Program, Shell, eventually, is_root};
use serde_json::{Value, json};

/// Who asks whom here: Bob serves what he knows, Ada may use it.
fn acquaint(ada: &Shell, bob: &Shell) {
    let documents =
        bob.documents("tea", &[("tea.md", b"# Tea\n\nGreen tea is brewed at eighty degrees.\n".as_slice())]);
    ada.ok(&["contact", "add", &bob.ticket(), "--as", "bob"]);
    bob.ok(&["contact", "add", &ada.ticket(), "--as", "ada"]);
    bob.ok(&["serve", documents.to_str().unwrap(), "--as", "tea"]);
    bob.ok(&["grant", "add", "ada", "tea.ask", "--calls", "20"]);
}

/// Connections of this machine that lead to a port.
fn connections(port: u16) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let to = format!(":{port:04X}");
    let columns = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    columns.filter(|line| line[2].ends_with(&to) && line[3] == "01").count()
}

#[test]
fn c10_two_nodes_over_websocket_alone_ask_side_by_side_on_a_connection_that_they_keep() {
    let (ada, bob) = (Shell::new(), Shell::new());
    let up = |person: &Shell| {
        let flags = ["--detach", "--listen", "/ip4/127.0.0.1/tcp/0/ws", "--api", "127.0.0.1:0", "--no-mdns"];
        person.ok(&[&["up"][..], &flags].concat())
    };
    let at = [&ada, &bob].map(|person| up(person)["listen"][0].as_str().unwrap().to_owned());
    assert!(at.iter().all(|at| at.contains("/ws/p2p/")), "{at:?}");
    acquaint(&ada, &bob);
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let asks: Vec<_> =
            (0..8).map(|_| scope.spawn(|| ada.ok(&["ask", "bob/tea", "how hot is green tea?"]))).collect();
        asks.into_iter().map(|ask| ask.join().unwrap()).collect()
    });
    for answer in &answers {
        assert_eq!((&answer["verified"], &answer["path"]), (&json!(true), &json!("lan")), "{answer}");
    }
    assert_eq!(ada.ok(&["path", "bob"])["over"], "ws");
    let open = at.map(|at| connections(at.split('/').nth(4).unwrap().parse().unwrap()));
    assert!(
        matches!(open, [0 | 1, 0 | 1]) && open != [0, 0],
        "all of it goes over the one that either has made: {open:?}"
    );
    for person in [&ada, &bob] {
        person.ok(&["down"]);
    }
}

/// A certificate for this address that nobody vouches for but itself, and its key.
fn certificate(folder: &Path, ip: &str) -> [PathBuf; 2] {
    let made = rcgen::generate_simple_self_signed(vec![ip.to_owned()]).unwrap();
    let files = ["certificate.pem", "key.pem"].map(|name| folder.join(name));
    fs::write(&files[0], made.cert.pem()).unwrap();
    fs::write(&files[1], made.key_pair.serialize_pem()).unwrap();
    files
}

#[test]
fn c10_where_only_the_web_passes_a_relay_over_tls_brings_two_people_together() {
    if !is_root("c10_where_only_the_web_passes_a_relay_over_tls_brings_two_people_together") {
        return;
    }
    let (lan, folder) = (Lan::new(), tempfile::tempdir().unwrap());
    let (ada, bob) = (lan.shell(0), lan.shell(1));
    lan.pass_only(0, 443);
    let files = certificate(folder.path(), "10.77.0.2");
    let [certificate, key] = files.each_ref().map(|file| file.to_str().unwrap());
    let at = "/ip4/10.77.0.2/tcp/443/wss";
    let elsewhere = "/ip4/10.77.0.2/tcp/4711";
    let listen = ["--json", "--listen", at, "--listen", elsewhere, "--external", at, "--external", elsewhere];
    let tls = ["--tls-cert-file", certificate, "--tls-key-file", key];
    let lab = ["--reach-trust-cidr", "10.77.0.0/24"];
    let mut relay = lan.program(1, "kos-relay", &folder.path().join("relay"), &[&listen[..], &tls, &lab].concat());
    let said = relay.json();
    let told = |part: &str| {
        let listen = said["listen"].as_array().unwrap().iter().filter_map(Value::as_str);
        listen.filter(|one| one.contains(part)).map(str::to_owned).next().unwrap_or_else(|| panic!("{said}"))
    };
    // Each hears only itself: what one says to the other goes through the relay or not at all.
    let quiet = ["up", "--detach", "--api", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0"];
    let up = |person: &Shell, relay: &str| {
        person.ok(&[&quiet[..], &["--relay", relay, "--tls-roots-file", certificate], &lab].concat());
        eventually("a place behind the relay", || {
            (person.ok(&["status"])["reach"]["state"] == "relayed").then_some(())
        });
    };
    up(&ada, &told("/tcp/443/"));
    up(&bob, &told("/tcp/4711/"));
    acquaint(&ada, &bob);
    let answer = ada.ok(&["ask", "bob/tea", "how hot is green tea?"]);
    assert_eq!((&answer["verified"], &answer["path"]), (&json!(true), &json!("relayed")), "{answer}");
    for person in [&ada, &bob] {
        person.ok(&["down"]);
    }
    assert_eq!(relay.stop().code, Some(0));
}

#[test]
fn c10_what_tls_lacks_is_named_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = certificate(folder.path(), "127.0.0.1");
    let [certificate, key] = [&certificate, &key].map(|file| file.to_str().unwrap());
    let listen = ["--listen", "/ip4/127.0.0.1/tcp/0/wss"];
    for (files, named) in [
        (vec![], "tls_cert_file"),
        (vec!["--tls-cert-file", certificate], "tls_cert_file"),
        (vec!["--tls-cert-file", certificate, "--tls-key-file", certificate], "the key is no private key in PEM"),
        (vec!["--tls-cert-file", certificate, "--tls-key-file", "/nowhere/key.pem"], "tls_key_file"),
        (vec!["--tls-roots-file", key], "the roots are no certificates"),
    ] {
        for program in ["kos-relay", "kos-bootstrap"] {
            let ended = Program::start(program, &folder.path().join(program), listen.iter().chain(&files)).wait();
            assert!(ended.code != Some(0) && ended.stderr.contains(named), "{program} {files:?}: {ended:?}");
        }
        let node = Shell::new();
        let refused = node.json(&[&["up", "--detach", "--api", "127.0.0.1:0"][..], &listen, &files].concat());
        is_error(&refused, "invalid", 7);
        assert!(refused.0["error"]["message"].as_str().unwrap().contains(named), "{files:?}: {}", refused.0);
    }
}
