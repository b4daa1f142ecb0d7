//! Somebody runs `kos-relay` and `kos-bootstrap` for others, and looks after them.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use kos_tests::{Lan, Program, Shell, eventually, get, is_root, memory, path};
use serde_json::Value;

const LOOPBACK: [&str; 3] = ["--json", "--listen", "/ip4/127.0.0.1/tcp/0"];

fn start(program: &str, home: &Path, more: &[&str]) -> (Program, Value) {
    let mut running = Program::start(program, home, LOOPBACK.iter().chain(more));
    let said = running.json();
    (running, said)
}

fn ask(program: &str, home: &Path, more: &[&str]) -> Output {
    Command::new(path(program)).args(["status", "--home"]).arg(home).args(more).output().unwrap()
}

fn status(program: &str, home: &Path) -> (Value, Option<i32>) {
    let output = ask(program, home, &["--json"]);
    (serde_json::from_slice(&output.stdout).unwrap(), output.status.code())
}

#[test]
fn x2_a_server_says_how_it_is_and_by_its_exit_code_whether_it_is_ready() {
    for program in ["kos-relay", "kos-bootstrap"] {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        let (nobody, code) = status(program, &home);
        assert_eq!((&nobody["error"]["code"], code), (&Value::from("unreachable"), Some(4)), "{nobody}");
        let (running, said) = start(program, &home, &[]);
        let (how, code) = status(program, &home);
        assert_eq!((&how["ready"], code), (&Value::from(true), Some(0)), "{how}");
        assert_eq!((&how["program"], &how["pid"]), (&Value::from(program), &said["pid"]));
        assert_eq!((&how["listen"], &how["health"]["mesh"]), (&said["listen"], &Value::from("ok")));
        assert_eq!(how["relay"]["most_reservations"].is_u64(), program == "kos-relay", "{how}");
        let text = String::from_utf8(ask(program, &home, &[]).stdout).unwrap();
        assert!(text.contains(": ready\n") && text.contains("listens at    /ip4/127.0.0.1"), "{text}");
        assert_eq!(running.stop().code, Some(0));
        assert_eq!(status(program, &home).1, Some(4));
    }
}

#[test]
fn x2_a_relay_with_a_token_takes_who_knows_it() {
    let folder = tempfile::tempdir().unwrap();
    let (home, token, wrong) = (folder.path().join("home"), folder.path().join("token"), folder.path().join("wrong"));
    fs::write(&token, "c2VjcmV0IG9mIHRoZSBndWVzdHM=\n").unwrap();
    fs::write(&wrong, "bm90IHRoZSBzZWNyZXQgYXQgYWxs\n").unwrap();
    let [token, wrong] = [&token, &wrong].map(|file| file.to_str().unwrap());
    let refused = Program::start("kos-relay", &home, ["--access", "token"]).wait();
    assert!(refused.code == Some(7) && refused.stderr.contains("token_file"), "{refused:?}");
    let (running, said) = start("kos-relay", &home, &["--access", "token", "--token-file", token]);
    let relay = said["listen"][0].as_str().unwrap();

    let (guest, stranger) = (Shell::new(), Shell::new());
    let up = |person: &Shell, file: &str| {
        let loopback = ["--api", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0"];
        person.ok(&[&["up", "--detach", "--relay", relay, "--relay-token-file", file][..], &loopback].concat());
    };
    up(&guest, token);
    up(&stranger, wrong);
    eventually("the guest has a place, and the stranger was refused one", || {
        let (how, _) = status("kos-relay", &home);
        let refused = how["refusals"]["reservation"]["access"].as_u64().unwrap_or(0);
        (how["relay"]["reservations"] == 1 && refused >= 1).then_some(())
    });
    for person in [&guest, &stranger] {
        person.ok(&["down"]);
    }
    assert_eq!(running.stop().code, Some(0));
}

#[test]
fn x2_a_relay_with_contacts_takes_those_of_whoever_runs_it_and_hears_of_others() {
    let [ada, bert, carol, stranger] = [(); 4].map(|()| Shell::new());
    let (home, file) = (ada.folder().join("relay"), ada.folder().join("contacts.json"));
    let know = |person: &Shell, name: &str| {
        person.up(&[]);
        ada.ok(&["contact", "add", &person.ticket(), "--as", name]);
        person.ok(&["down"]);
        fs::write(&file, ada.run(&["contact", "list", "--json"]).stdout).unwrap();
    };
    ada.up(&[]);
    let contacts = ["--access", "contacts", "--contacts-file", file.to_str().unwrap()];
    let refused = Program::start("kos-relay", &home, contacts).wait();
    assert!(refused.code == Some(7) && refused.stderr.contains("kos contact list --json"), "{refused:?}");
    know(&bert, "bert");
    let (running, said) = start("kos-relay", &home, &contacts);
    let relay = said["listen"][0].as_str().unwrap();
    let waits = |guests: u64, what: &str| {
        eventually(what, || {
            let (how, _) = status("kos-relay", &home);
            let refused = how["refusals"]["reservation"]["access"].as_u64().unwrap_or(0);
            (how["relay"]["reservations"] == guests && refused >= 1).then_some(())
        });
    };
    bert.up(&["--relay", relay]);
    stranger.up(&["--relay", relay]);
    waits(1, "bert has a place, and the stranger was refused one");

    know(&carol, "carol");
    eventually("the relay has heard of carol", || {
        running.log().contains("other contacts may wait here now").then_some(())
    });
    carol.up(&["--relay", relay]);
    waits(2, "carol has a place too");
    for person in [&ada, &bert, &carol, &stranger] {
        person.ok(&["down"]);
    }
    assert_eq!(running.stop().code, Some(0));
}

#[test]
fn x2_a_server_is_not_ready_before_somebody_has_dialled_back() {
    if !is_root("x2_a_server_is_not_ready_before_somebody_has_dialled_back") {
        return;
    }
    let (lan, folder) = (Lan::new(), tempfile::tempdir().unwrap());
    let [relay, hub] = ["relay", "hub"].map(|name| folder.path().join(name));
    let trust = ["--reach-trust-cidr", "10.77.0.0/24", "--json"];
    // Once, to learn its name: a greeting needs it.
    let hub_flags = ["--listen", "/ip4/10.77.0.2/tcp/4712", "--external", "/ip4/10.77.0.2/tcp/4712"];
    let hub_flags = [&hub_flags[..], &trust].concat();
    let mut first = lan.program(1, "kos-bootstrap", &hub, &hub_flags);
    let at = first.json()["listen"][0].as_str().unwrap().to_owned();
    assert_eq!(first.stop().code, Some(0));

    let flags = ["--listen", "/ip4/10.77.0.1/tcp/4711", "--bootstrap", &at, "--metrics", "10.77.0.1:9100"];
    let mut running = lan.program(0, "kos-relay", &relay, &[&flags[..], &trust].concat());
    let there = running.json()["listen"][0].as_str().unwrap().to_owned();
    let (how, code) = status("kos-relay", &relay);
    assert_eq!((&how["ready"], code, &how["external"]), (&Value::from(false), Some(1), &Value::from([""; 0])), "{how}");
    assert!(how["health"]["mesh"].as_str().unwrap().contains("--external"), "{how}");
    let guest = lan.shell(1);
    let alone = ["up", "--detach", "--api", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0", "--no-mdns"];
    guest.ok(&[&alone[..], &["--relay", &there]].concat());
    let place = || guest.ok(&["netcheck"])["relays"][0].clone();
    let found = eventually("the guest hears that there are no places", || {
        Some(place()).filter(|found| found["lost"] == "it does not carry circuits" || found["state"] == "active")
    });
    assert_ne!(found["state"], "active", "{found}");
    let (how, code) = status("kos-relay", &relay);
    assert_eq!((code, &how["relay"]["reservations"]), (Some(1), &Value::from(0)), "{how}");

    let mut other = lan.program(1, "kos-bootstrap", &hub, &hub_flags);
    let hub_node = other.json()["node"].clone();
    let how = eventually("somebody has dialled back", || {
        let (how, code) = status("kos-relay", &relay);
        (code == Some(0)).then_some(how)
    });
    assert_eq!(how["external"].as_array().unwrap().len(), 1, "{how}");
    assert_eq!(how["external"][0]["confirmed_by"], hub_node, "{how}");
    assert!(how["external"][0]["address"].as_str().unwrap().starts_with("/ip4/10.77.0.1/tcp/4711"), "{how}");
    let (how, code) = status("kos-bootstrap", &hub);
    assert_eq!((code, &how["external"][0]["confirmed_by"]), (Some(0), &Value::from("operator")), "{how}");
    eventually("now the guest has a place", || (place()["state"] == "active").then_some(()));
    assert_eq!(status("kos-relay", &relay).0["relay"]["reservations"], 1);
    guest.ok(&["down"]);
    assert_eq!(running.stop().code, Some(0));
    assert_eq!(other.stop().code, Some(0));
}

#[test]
fn x3_a_bootstrap_peer_that_was_restarted_greets_those_of_its_last_life() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
    let knows = |home: &Path| {
        eventually("one peer in the table", || (status("kos-bootstrap", home).0["routing"] == 1).then_some(()));
    };
    let (first, said) = start("kos-bootstrap", &one, &[]);
    let at = said["listen"][0].as_str().unwrap();
    let (second, _) = start("kos-bootstrap", &other, &["--bootstrap", at]);
    for home in [&one, &other] {
        knows(home);
    }
    for running in [second, first] {
        assert_eq!(running.stop().code, Some(0));
    }
    assert_eq!(fs::read_to_string(other.join("table")).unwrap(), format!("{at}\n"));

    // The first forgets, if it has kept anything: only the table of the other can bring the two together.
    let _forgotten = fs::remove_file(one.join("table"));
    let place = at.split("/p2p/").next().unwrap();
    let mut first = Program::start("kos-bootstrap", &one, ["--json", "--listen", place]);
    assert_eq!(first.json()["listen"][0], at);
    assert_eq!(status("kos-bootstrap", &one).0["routing"], 0);
    let (second, _) = start("kos-bootstrap", &other, &[]);
    for home in [&one, &other] {
        knows(home);
    }
    for running in [second, first] {
        assert_eq!(running.stop().code, Some(0));
    }
}

/// `FLOOD=10000` runs it in full.
#[test]
fn x3_a_flood_of_connections_costs_little_and_others_are_answered() {
    let most: usize = std::env::var("FLOOD").map_or(800, |most| most.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let (running, said) = start("kos-bootstrap", &home, &["--metrics", "127.0.0.1:0"]);
    let at = said["listen"][0].as_str().unwrap();
    let port: u16 = at.split('/').nth(4).unwrap().parse().unwrap();
    let metrics = said["metrics"].as_str().unwrap();
    let pid = u64::from(running.pid());
    let before = memory(pid);
    let (mut open, mut slowest) = (Vec::new(), Duration::ZERO);
    let limit = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    for number in 0..most {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        open.extend(TcpStream::connect_timeout(&address, Duration::from_secs(5)));
        if open.len() as u64 + 200 > limit {
            open.clear();
        }
        if number % 100 == 0 {
            let begun = Instant::now();
            assert_eq!(get(metrics, "/readyz").0, 200);
            slowest = slowest.max(begun.elapsed());
        }
    }
    let grown = memory(pid).saturating_sub(before);
    println!("{most} connections: {before} kB before, {grown} kB more, slowest look {slowest:?}");
    assert!(grown < 64 * 1024, "{grown} kB for {most} connections that never said a word");
    let how = eventually("the flood is turned away", || {
        let (how, _) = status("kos-bootstrap", &home);
        (how["banned_addresses"] == 1).then_some(how)
    });
    println!("{}", how["refusals"]);
    assert!(how["connections"].as_u64().unwrap() <= 256, "{how}");
    drop(open);
    assert_eq!(running.stop().code, Some(0));
}
