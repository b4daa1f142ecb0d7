//! P9: who may lean on whom. The drawing is in `specs/architecture.md`.

use serde_json::Value;

use crate::tree;

/// Every arrow that may be there, by name of the package without `kos-`.
const ALLOWED: &[(&str, &[&str])] = &[
    ("klp", &[]),
    ("mesh", &["klp"]),
    ("host", &["klp"]),
    ("store", &["klp"]),
    ("agent", &["klp", "store"]),
    ("node", &["klp", "mesh", "host", "store", "agent"]),
    ("relay", &["mesh", "host"]),
    ("bootstrap", &["mesh", "host"]),
    ("simulations", &["klp", "mesh"]),
    ("tests", &["klp", "mesh", "host", "store", "agent", "node"]),
];

/// Libraries behind a wall: only this one room may lean on them.
const WALLS: &[(&str, &str)] = &[("libp2p", "mesh"), ("redb", "store"), ("tantivy", "agent"), ("axum", "node")];

/// Libraries that the benchmark measures us beside: `tests` may lean on them, but only where its feature `peers` asks for it.
const PEERS: &[&str] = &["libp2p"];

/// What would let the pure floor reach the world.
const IMPURE: &[&str] = &["tokio", "getrandom", "rand", "futures", "tempfile", "hyper", "notify", "tracing"];

type Arrow = (String, String);

fn short(name: &str) -> &str {
    name.strip_prefix("kos-").unwrap_or(name)
}

/// Every direct dependency of every package of ours, of any kind: normal, build and dev.
fn arrows(metadata: &Value) -> Vec<Arrow> {
    let mut arrows = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        for dependency in package["dependencies"].as_array().unwrap() {
            let named = |names: &[&str]| names.iter().any(|name| dependency["name"] == *name);
            if package["name"] == "kos-tests" && dependency["optional"] == true && named(PEERS) {
                continue;
            }
            arrows.push((package["name"].as_str().unwrap().into(), dependency["name"].as_str().unwrap().into()));
        }
    }
    arrows
}

fn wrong(arrows: &[Arrow]) -> Vec<String> {
    let mut findings = Vec::new();
    for (from, to) in arrows {
        let (room, inner) = (short(from), short(to));
        if to.starts_with("kos-") {
            match ALLOWED.iter().find(|(name, _)| *name == room) {
                None => findings.push(format!("{room} is not in the drawing")),
                Some((_, allowed)) if !allowed.contains(&inner) => {
                    findings.push(format!("{room} must not lean on {inner}"))
                }
                Some(_) => {}
            }
        }
        let walled = |(library, home): &&(&str, &str)| library == to && *home != room;
        if let Some((library, home)) = WALLS.iter().find(walled) {
            findings.push(format!("only {home} leans on {library}, not {room}"));
        }
        if room == "klp" && IMPURE.contains(&inner) {
            findings.push(format!("klp is pure and must not lean on {inner}"));
        }
    }
    findings
}

#[test]
fn p9_every_crate_leans_only_on_the_floors_below() {
    let metadata = tree::metadata();
    let arrows = arrows(&metadata);
    assert!(arrows.contains(&("kos-node".into(), "kos-mesh".into())), "cargo metadata shows the arrows");
    tree::none(&wrong(&arrows));
    let features = |name: &str| {
        let tests = metadata["packages"].as_array().unwrap().iter().find(|package| package["name"] == "kos-tests");
        tests.unwrap()["features"][name].as_array().unwrap().clone()
    };
    for feature in ["default", "stories", "hostile"] {
        let named = features(feature)
            .iter()
            .any(|one| one == "peers" || PEERS.iter().any(|peer| *one == format!("dep:{peer}")));
        assert!(!named, "{feature} switches on what only the benchmark needs");
    }
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        assert!(ALLOWED.iter().any(|(room, _)| *room == short(name)), "{name} is not in the drawing");
    }
}

#[test]
fn p9_an_upward_arrow_is_rejected() {
    let arrow = |from: &str, to: &str| wrong(&[(from.into(), to.into())]);
    for (from, to) in [
        ("kos-klp", "kos-mesh"),
        ("kos-mesh", "kos-node"),
        ("kos-store", "kos-mesh"),
        ("kos-mesh", "kos-store"),
        ("kos-agent", "kos-mesh"),
        ("kos-relay", "kos-store"),
        ("kos-host", "kos-mesh"),
        ("kos-cellar", "kos-klp"),
        ("kos-node", "libp2p"),
        ("kos-agent", "redb"),
        ("kos-klp", "tokio"),
        ("kos-tests", "libp2p"),
    ] {
        assert_eq!(arrow(from, to).len(), 1, "{from} -> {to}");
    }
    assert_eq!(arrow("kos-mesh", "kos-klp"), Vec::<String>::new());
    assert_eq!(arrow("kos-mesh", "libp2p"), Vec::<String>::new());
}
