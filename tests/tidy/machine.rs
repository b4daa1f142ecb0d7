//! Nothing in the repository knows the machine on which it was written.

use crate::tree;

/// Beginnings of paths that exist on one machine only. They are written in two parts, so that this file does not hold them.
const PLACES: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
    concat!("/tmp/w", "t/"),
    concat!("../sha", "red"),
    concat!("fa", "rm-"),
    concat!(".car", "go/registry"),
    concat!("/opt/", "wheels"),
];

/// Hosts that the repository may name. Whoever adds one means it.
const HOSTS: &[&str] = &[
    "localhost",
    "127.0.0.1",
    "[::1]",
    "0.0.0.0",
    "github.com",
    "crates.io",
    "docs.rs",
    "www.w3.org",
    "www.rfc-editor.org",
    "kos.local",
];

/// Names that can never be registered: RFC 2606.
const MADE_UP: &[&str] = &[".example", ".test", ".invalid", ".localhost", "example.com", "example.org", "example.net"];

/// The hosts of the URLs in a text.
fn hosts(text: &str) -> Vec<&str> {
    let starts = text.match_indices("://").filter(|(at, _)| {
        let scheme = &text[..*at];
        ["http", "https", "ws", "wss"].iter().any(|name| scheme.ends_with(name))
    });
    starts
        .filter_map(|(at, _)| {
            let rest = &text[at + 3..];
            let end = if rest.starts_with('[') {
                rest.find(']').map_or(rest.len(), |at| at + 1)
            } else {
                rest.find(|letter: char| !(letter.is_ascii_alphanumeric() || ".-_".contains(letter)))
                    .unwrap_or(rest.len())
            };
            Some(rest[..end].trim_end_matches('.')).filter(|host| !host.is_empty())
        })
        .collect()
}

/// Whether a text names a place. A path that begins with `/` must begin there: `/v1/vaults/work/lock` is no place.
fn stands(text: &str, place: &str) -> bool {
    text.match_indices(place).any(|(at, _)| {
        let inside = text[..at].ends_with(|letter: char| letter.is_alphanumeric() || "._-".contains(letter));
        !(place.starts_with('/') && inside)
    })
}

fn foreign(path: &str, text: &str) -> Vec<String> {
    let places = PLACES.iter().filter(|place| stands(text, place));
    let mut findings: Vec<String> = places.map(|place| format!("{path} names {place}")).collect();
    if path != "Cargo.lock" {
        let known = |host: &&str| HOSTS.contains(host) || MADE_UP.iter().any(|end| host.ends_with(end));
        let unknown = hosts(text).into_iter().filter(|host| !known(host));
        findings.extend(unknown.map(|host| format!("{path} names the host {host}; if it must, add it to HOSTS")));
    }
    findings
}

#[test]
fn no_file_names_a_machine_or_an_unknown_host() {
    let files = tree::files();
    let here = tree::root().canonicalize().unwrap().display().to_string();
    let mut findings: Vec<String> =
        files.iter().flat_map(|leaf| foreign(&leaf.path, leaf.text.as_deref().unwrap_or_default())).collect();
    let named = files.iter().filter(|leaf| leaf.text.as_deref().is_some_and(|text| text.contains(&here)));
    findings.extend(named.map(|leaf| format!("{} names this checkout", leaf.path)));
    tree::none(&findings);
}

#[test]
fn every_package_comes_from_the_public_registry() {
    let lock = tree::text("Cargo.lock").unwrap();
    let sources = lock.lines().filter_map(|line| line.strip_prefix("source = "));
    let foreign = sources.filter(|source| *source != "\"registry+https://github.com/rust-lang/crates.io-index\"");
    tree::none(&foreign.map(|source| format!("Cargo.lock has {source}")).collect::<Vec<_>>());
}

#[test]
fn machines_and_hosts_are_found() {
    assert_eq!(foreign("a.md", concat!("see /wo", "rk/main")).len(), 1);
    assert_eq!(
        foreign("a.md", concat!("https:/", "/mirror.corp.lan/simple and http://bob.example:80/x, http://[::1]:1/"))
            .len(),
        1
    );
    assert_eq!(foreign("a.rs", concat!("GET /v1/vaults/wo", "rk/lock")), Vec::<String>::new());
    assert_eq!(hosts("(https://github.com/a/b), ws://x.test.:3"), ["github.com", "x.test"]);
}
