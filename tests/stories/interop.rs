//! Somebody else's client: in another language, on another libp2p, written from `specs/` alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kos_tests::{Shell, has};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop")
}

fn client(arguments: &[&str]) -> String {
    let mut node = Command::new("node");
    node.arg("run.mjs").args(arguments).current_dir(folder()).stdin(Stdio::null());
    done(&format!("{arguments:?}"), node.output().unwrap())
}

#[track_caller]
fn done(what: &str, output: Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{what}:\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// The client's packages, exactly those of its lock file.
fn install() {
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    done("npm ci", npm.current_dir(folder()).stdin(Stdio::null()).output().unwrap());
}

#[test]
fn n11_a_javascript_client_written_from_the_specs_talks_to_a_node_over_tcp_and_websocket() {
    let story = "n11_a_javascript_client_written_from_the_specs_talks_to_a_node_over_tcp_and_websocket";
    if !has(story, "node") || !has(story, "npm") {
        return;
    }
    install();
    let vectors = client(&["--vectors", "../../specs/vectors"]);
    assert!(vectors.ends_with(" 0 failed\n") && vectors.lines().count() > 11, "{vectors}");

    let bob = Shell::new();
    let up = bob.up(&["--listen", "/ip4/127.0.0.1/tcp/0/ws"]);
    let listen = |ws: bool| {
        let all = up["listen"].as_array().unwrap().iter().map(|address| address.as_str().unwrap());
        all.into_iter().find(|address| address.contains("/ws/") == ws).unwrap().to_owned()
    };
    let specs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../specs");
    bob.ok(&["serve", specs.to_str().unwrap(), "--as", "specs"]);
    let place = |name: &str| bob.folder().join(name).display().to_string();
    let (keys, ticket, mine) = (place("keys.json"), place("ticket"), place("mine.receipt"));
    client(&["--keys", &keys, "--ticket-out", &ticket]);
    bob.ok(&["contact", "add", std::fs::read_to_string(&ticket).unwrap().trim(), "--as", "js"]);
    bob.ok(&["grant", "add", "js", "specs.ask", "--calls", "100"]);

    let (tcp, ws, his) = (listen(false), listen(true), bob.ticket());
    let talk = client(&["--keys", &keys, "--tcp", &tcp, "--ws", &ws, "--node-ticket", &his, "--receipt-out", &mine]);
    for transport in ["tcp", "ws"] {
        for step in [
            "Hello both ways",
            "link.introduce",
            "agent.call: chunks, credit, the signed outcome",
            "cancel of a running call: cancelled",
            "a replayed order: replay",
            "a call without grant: denied",
        ] {
            assert!(talk.contains(&format!("ok {transport}: {step}")), "{transport}: {step}\n{talk}");
        }
    }
    assert!(talk.ends_with(" 0 failed\n"), "{talk}");

    // Each verifies what the other has signed.
    assert_eq!(bob.ok(&["receipt", "verify", &mine])["valid"], true);
    let newest = bob.ok(&["receipt", "list"])[0]["id"].as_str().unwrap().to_owned();
    let theirs = place("theirs.receipt");
    std::fs::write(&theirs, bob.run(&["receipt", "export", &newest]).stdout).unwrap();
    let checked = client(&["--receipt", &theirs]);
    assert!(checked.contains("ok receipt with any one byte changed is refused"), "{checked}");
    bob.ok(&["down"]);
}
