//! What we build on: its licences, what is banned, and versions without known holes.

use std::process::Command;

use crate::tree;

/// Licences that ask for no more than a notice.
const PERMISSIVE: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages that ask for a little more, each with its licence and why it is taken all the same (decision 0006).
const EXCEPTED: &[(&str, &str, &str)] = &[(
    "attohttpc",
    "MPL-2.0",
    "it comes with libp2p's UPnP, unchanged; only changes of its own files would have to be shown",
)];

/// Packages that must not come in, also not by way of others, and why.
const BANNED: &[(&str, &str)] = &[
    ("rsa", "its timing leaks the private key (RUSTSEC-2023-0071)"),
    ("openssl-sys", "one TLS library is enough, and it is rustls"),
    ("serde_yaml", "nobody looks after it any more"),
    ("libp2p-stream", "it drops inbound streams and picks a random connection"),
];

/// The oldest version without a known remote hole, of packages that read what strangers send.
const OLDEST: &[(&str, [u64; 3])] = &[
    ("libp2p-gossipsub", [0, 50, 1]),
    ("libp2p-quic", [0, 13, 1]),
    ("libp2p-relay", [0, 22, 0]),
    ("libp2p-rendezvous", [0, 17, 1]),
    ("quinn-proto", [0, 11, 18]),
    ("yamux", [0, 13, 10]),
];

/// Whether an SPDX expression leaves a permissive choice. The old form `MIT/Apache-2.0` means `OR`.
fn permits(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (permitted, rest) = any_of(&words);
    permitted && rest.is_empty()
}

fn any_of<'w>(words: &'w [&'w str]) -> (bool, &'w [&'w str]) {
    let (mut permitted, mut rest) = all_of(words);
    while let Some(("OR", tail)) = rest.split_first().map(|(word, tail)| (*word, tail)) {
        let (next, tail) = all_of(tail);
        permitted |= next;
        rest = tail;
    }
    (permitted, rest)
}

fn all_of<'w>(words: &'w [&'w str]) -> (bool, &'w [&'w str]) {
    let (mut permitted, mut rest) = one(words);
    while let Some(("AND", tail)) = rest.split_first().map(|(word, tail)| (*word, tail)) {
        let (next, tail) = one(tail);
        permitted &= next;
        rest = tail;
    }
    (permitted, rest)
}

fn one<'w>(words: &'w [&'w str]) -> (bool, &'w [&'w str]) {
    match words {
        ["(", inner @ ..] => {
            let (permitted, rest) = any_of(inner);
            (permitted && rest.first() == Some(&")"), rest.get(1..).unwrap_or_default())
        }
        [licence, "WITH", exception, rest @ ..] => {
            (PERMISSIVE.contains(&format!("{licence} WITH {exception}").as_str()), rest)
        }
        [licence, rest @ ..] => (PERMISSIVE.contains(licence), rest),
        [] => (false, &[]),
    }
}

/// Name, version and licence of everything that is compiled here.
fn built() -> Vec<(String, String, String)> {
    let text = tree::run(tree::cargo().args([
        "tree",
        "--workspace",
        "--locked",
        "--edges=all",
        "--prefix=none",
        "--format={p}|{l}",
    ]));
    let rows = text.lines().filter_map(|line| {
        let (package, licence) = line.trim_end_matches(" (*)").split_once('|')?;
        let mut words = package.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.to_owned(), licence.to_owned()))
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort();
    rows.dedup();
    rows
}

/// Name and version of everything in the lock, for every platform.
fn locked() -> Vec<(String, String)> {
    let lock: toml::Table = tree::text("Cargo.lock").unwrap().parse().unwrap();
    let text = |package: &toml::Value, field: &str| package[field].as_str().unwrap().to_owned();
    let packages = lock["package"].as_array().unwrap().iter();
    packages.map(|package| (text(package, "name"), text(package, "version"))).collect()
}

fn version(text: &str) -> [u64; 3] {
    let mut numbers = text.split(['.', '-', '+']).map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| numbers.next().unwrap_or(0))
}

fn too_old(name: &str, found: &str) -> bool {
    OLDEST.iter().any(|(known, oldest)| *known == name && version(found) < *oldest)
}

#[test]
fn everything_that_is_built_has_a_permissive_licence() {
    let built = built();
    assert!(built.len() > 200, "cargo tree shows what is built");
    let excepted = |name: &str, licence: &str| EXCEPTED.iter().any(|(one, its, _)| (*one, *its) == (name, licence));
    let refused = built.iter().filter(|(name, _, licence)| !permits(licence) && !excepted(name, licence));
    tree::none(&refused.map(|(name, version, licence)| format!("{name} {version}: {licence}")).collect::<Vec<_>>());
}

#[test]
fn nothing_banned_and_nothing_with_a_known_hole_is_locked() {
    let mut findings = Vec::new();
    for (name, found) in locked() {
        findings.extend(BANNED.iter().filter(|(banned, _)| *banned == name).map(|(_, why)| format!("{name}: {why}")));
        if too_old(&name, &found) {
            findings.push(format!("{name} {found} has a known hole"));
        }
    }
    tree::none(&findings);
}

#[test]
fn the_toolchain_is_at_least_the_one_that_is_promised() {
    let manifest: toml::Table = tree::text("Cargo.toml").unwrap().parse().unwrap();
    let promised = manifest["workspace"]["package"]["rust-version"].as_str().unwrap().to_owned();
    let here = tree::run(Command::new("rustc").arg("--version"));
    let here = here.split_whitespace().nth(1).unwrap();
    assert!(version(here) >= version(&promised), "rustc {here} is older than {promised}");
}

#[test]
fn licences_and_versions_are_understood() {
    for permitted in [
        "MIT",
        "MIT/Apache-2.0",
        "GPL-3.0 OR MIT",
        "(MIT OR GPL-2.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
    ] {
        assert!(permits(permitted), "{permitted}");
    }
    for refused in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "(MIT OR ISC) AND GPL-3.0",
        "MPL-2.0",
        "(MIT",
        "MIT)",
        "GPL-2.0 WITH LLVM-exception",
    ] {
        assert!(!permits(refused), "{refused}");
    }
    assert!(too_old("yamux", "0.12.1") && too_old("quinn-proto", "0.11.17"));
    assert!(!too_old("yamux", "0.13.10") && !too_old("quinn-proto", "1.0.0-rc.1") && !too_old("serde", "0.0.1"));
}
