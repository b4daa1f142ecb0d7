//! Somebody else's client: in another language, on another libp2p, written from `specs/` alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kos_tests::{Shell, has};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop")
}

fn client(folder: &Path, arguments: &[&str]) -> String {
    let mut node = Command::new("node");
    node.arg("run.mjs").args(arguments).current_dir(folder).stdin(Stdio::null());
    done(&format!("{arguments:?}"), node.output().unwrap())
}

#[track_caller]
fn done(what: &str, output: Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{what}:\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// The client's packages, exactly those of its lock file.
fn install(folder: &Path, more: &[&str]) {
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]).args(more);
    done("npm ci", npm.current_dir(folder).stdin(Stdio::null()).output().unwrap());
}

/// The client talks with a node over each of these: the name that the client has for it, and where the node listens.
fn talks(folder: &Path, over: &[(&str, &str)]) {
    let client = |arguments: &[&str]| client(folder, arguments);
    let bob = Shell::new();
    let mut line = vec!["up", "--detach", "--api", "127.0.0.1:0", "--no-mdns"];
    line.extend(over.iter().flat_map(|(_, listen)| ["--listen", listen]));
    let up = bob.ok(&line);
    let specs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../specs");
    bob.ok(&["serve", specs.to_str().unwrap(), "--as", "specs"]);
    let place = |name: &str| bob.folder().join(name).display().to_string();
    let (keys, ticket, mine) = (place("keys.json"), place("ticket"), place("mine.receipt"));
    client(&["--keys", &keys, "--ticket-out", &ticket]);
    bob.ok(&["contact", "add", std::fs::read_to_string(&ticket).unwrap().trim(), "--as", "js"]);
    bob.ok(&["grant", "add", "js", "specs.ask", "--calls", "100"]);

    let all: Vec<_> = up["listen"].as_array().unwrap().iter().map(|address| address.as_str().unwrap()).collect();
    let options: Vec<_> = over
        .iter()
        .map(|(name, listen)| {
            // What follows the port says which listener it is.
            let kind = |address: &str| address.split('/').nth(5).filter(|part| *part != "p2p").map(str::to_owned);
            (format!("--{name}"), *all.iter().find(|address| kind(address) == kind(listen)).unwrap())
        })
        .collect();
    let his = bob.ticket();
    let mut line = vec!["--keys", &keys, "--node-ticket", &his, "--receipt-out", &mine];
    line.extend(options.iter().flat_map(|(option, address)| [option.as_str(), address]));
    let talk = client(&line);
    for (transport, _) in over {
        for step in [
            "Hello both ways",
            "link.introduce",
            "a request of two frames",
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

#[test]
fn n11_a_javascript_client_written_from_the_specs_talks_to_a_node_over_tcp_and_websocket() {
    let story = "n11_a_javascript_client_written_from_the_specs_talks_to_a_node_over_tcp_and_websocket";
    if !has(story, "node") || !has(story, "npm") {
        return;
    }
    // What only WebRTC needs is a native module.
    install(&folder(), &["--omit=optional"]);
    let vectors = client(&folder(), &["--vectors", "../../specs/vectors"]);
    assert!(vectors.ends_with(" 0 failed\n") && vectors.lines().count() > 11, "{vectors}");
    talks(&folder(), &[("tcp", "/ip4/127.0.0.1/tcp/0"), ("ws", "/ip4/127.0.0.1/tcp/0/ws")]);
}

#[cfg(feature = "webrtc")]
#[test]
fn c11_a_javascript_client_talks_to_a_node_over_webrtc_direct() {
    let story = "c11_a_javascript_client_talks_to_a_node_over_webrtc_direct";
    if !has(story, "node") || !has(story, "npm") {
        return;
    }
    // A copy with packages of its own: the other story may be putting its packages there just now.
    let own = tempfile::tempdir().unwrap();
    let mut copy = Command::new("cp");
    copy.args(["-R", "klp", "package.json", "package-lock.json", ".npmrc", "run.mjs", "steps.mjs", "talk.mjs"]);
    assert!(copy.arg(own.path()).current_dir(folder()).status().unwrap().success());
    install(own.path(), &[]);
    talks(own.path(), &[("webrtc", "/ip4/127.0.0.1/udp/0/webrtc-direct")]);
}
