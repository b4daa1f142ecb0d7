//! A stranger runs `kos-relay` and `kos-bootstrap`.

use std::fs;
use std::path::Path;

use kos_tests::{Program, get};
use serde_json::Value;

const PROGRAMS: [&str; 2] = ["kos-relay", "kos-bootstrap"];
const LOOPBACK: [&str; 5] = ["--json", "--listen", "/ip4/127.0.0.1/tcp/0", "--listen", "/ip4/127.0.0.1/udp/0/quic-v1"];

fn start(program: &str, home: &Path, more: &[&str]) -> (Program, Value) {
    let mut running = Program::start(program, home, LOOPBACK.iter().chain(more));
    let said = running.json();
    (running, said)
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn l1_8_a_server_says_where_it_is_refuses_a_second_and_drains_on_sigterm() {
    for program in PROGRAMS {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        let (first, said) = start(program, &home, &[]);
        assert_eq!((&said["program"], &said["pid"]), (&Value::from(program), &Value::from(first.pid())));
        let listen = texts(&said["listen"]);
        let peer = said["peer_id"].as_str().unwrap();
        assert_eq!(listen.len(), 2, "{listen:?}");
        assert!(listen.iter().all(|address| address.ends_with(&format!("/p2p/{peer}"))), "{listen:?}");
        assert!(listen.iter().all(|address| !address.contains("/0/")), "the real port: {listen:?}");
        assert_eq!(fs::read_to_string(home.join("addresses")).unwrap().lines().collect::<Vec<_>>(), listen);

        let second = Program::start(program, &home, LOOPBACK).wait();
        assert_eq!(second.code, Some(7), "{second:?}");
        let refused: Value = serde_json::from_str(&second.stdout).unwrap();
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(message.contains(&format!("in use by process {}", first.pid())), "{message}");
        assert_eq!(refused["error"]["code"], "state");

        let ended = first.stop();
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{}", ended.stderr);
        assert!(ended.stderr.contains("stopping"), "{}", ended.stderr);

        // A killed one leaves its lock file behind; the next one takes over, with the same key.
        let (killed, again) = start(program, &home, &[]);
        assert_eq!(again["peer_id"], said["peer_id"]);
        killed.signal("KILL");
        assert_eq!(killed.wait().code, None);
        let (third, again) = start(program, &home, &[]);
        assert_eq!(again["peer_id"], said["peer_id"]);
        assert_eq!(third.stop().code, Some(0));
    }
}

#[test]
fn l1_16_a_server_logs_its_components_in_order_and_names_the_one_that_fails() {
    for program in PROGRAMS {
        let folder = tempfile::tempdir().unwrap();
        let (running, said) =
            start(program, &folder.path().join("home"), &["--log", "json", "--metrics", "127.0.0.1:0"]);
        let taken = said["metrics"].as_str().unwrap().to_owned();
        let log = running.log();
        let started = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let started: Vec<String> = started
            .filter(|line| line["message"] == "started")
            .map(|line| line["component"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(started, ["home", "key", "mesh", "metrics"]);

        let failed = Program::start(
            program,
            &folder.path().join("other"),
            ["--listen=/ip4/127.0.0.1/tcp/0", "--metrics", &taken],
        )
        .wait();
        assert_eq!(failed.code, Some(1), "{failed:?}");
        assert!(
            failed.stderr.contains(&format!("metrics did not start: cannot serve metrics on {taken}")),
            "{}",
            failed.stderr
        );
        assert_eq!(running.stop().code, Some(0));
    }
}

#[test]
fn l1_17_a_server_shows_health_and_metrics_without_any_did() {
    for program in PROGRAMS {
        let folder = tempfile::tempdir().unwrap();
        let (running, said) = start(program, &folder.path().join("home"), &["--metrics", "127.0.0.1:0"]);
        let metrics = said["metrics"].as_str().unwrap();
        assert_eq!(get(metrics, "/healthz").0, 200);
        let (status, ready) = get(metrics, "/readyz");
        let ready: Value = serde_json::from_str(&ready).unwrap();
        assert_eq!((status, &ready["state"]), (200, &Value::from("ok")), "{ready}");
        let (status, text) = get(metrics, "/metrics");
        assert!(status == 200 && text.contains("\n# TYPE libp2p_"), "{text}");
        assert!(!text.contains("did:key") && !text.contains(said["peer_id"].as_str().unwrap()), "{text}");
        assert_eq!(running.stop().code, Some(0));
    }
}

#[test]
fn a_server_refuses_settings_that_do_not_hold_by_name() {
    for program in PROGRAMS {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        let refused = |arguments: &[&str]| {
            let ended = Program::start(program, &home, arguments).wait();
            (ended.code, ended.stderr)
        };
        let (code, text) = refused(&["--listen", "everywhere"]);
        assert!(code == Some(7) && text.contains("listen from --listen must be a multiaddr, not everywhere"), "{text}");
        let (code, text) = refused(&["--connections", "0"]);
        assert!(
            code == Some(7) && text.contains("connections from --connections must be a whole number from 1"),
            "{text}"
        );
        let (code, _) = refused(&["--colour", "blue"]);
        assert_eq!(code, Some(2));
        fs::write(home.join("kos.toml"), "conections = 5\n").unwrap();
        let (code, text) = refused(&[]);
        assert!(
            code == Some(7) && text.contains("unknown key conections in") && text.contains("did you mean connections?"),
            "{text}"
        );
    }
}
