//! The command line of the surface contract, row by row.

use std::collections::BTreeSet;
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use clap::CommandFactory as _;
use serde_json::json;

use super::*;
use crate::web::{ROUTES, SOCKET};

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn every_row_of_the_surface_is_understood() {
    for row in [
        "up",
        "up --detach",
        "up --listen /ip4/127.0.0.1/tcp/0 --api 127.0.0.1:0",
        "down",
        "status",
        "whoami",
        "contact ticket",
        "contact add kos1x --as bob",
        "contact list",
        "contact show bob",
        "contact rename bob rob",
        "contact remove rob",
        "serve /tmp --as docs",
        "serve /tmp --as docs --listed",
        "serve /tmp --as docs --public",
        "agent list",
        "agent list --role planner",
        "agent show docs",
        "agent add manifest.toml",
        "agent pause docs",
        "agent resume docs",
        "agent remove docs",
        "find rust",
        "find rust --capability ask",
        "ask bob/docs what is this",
        "ask bob/docs what --timeout 5",
        "ask bob/docs what --later",
        "ask bob/docs what --later --priority urgent --deadline 60",
        "queue list",
        "queue show abcd",
        "queue drop abcd",
        "grant add bob docs.ask --calls 3 --days 7 --args text=*",
        "grant delegate abcd --to carol --calls 1",
        "grant list",
        "grant show abcd",
        "grant revoke abcd",
        "receipt list",
        "receipt show abcd",
        "receipt export abcd",
        "receipt verify file",
        "audit list",
        "audit verify",
        "audit export",
        "vault status",
        "vault --vault work unlock",
        "vault lock",
        "vault set name",
        "vault get name",
        "vault list",
        "vault remove name",
        "vault passwd",
        "vault export",
        "vault import",
        "ping bob",
        "path bob",
        "netcheck",
        "doctor",
        "pair",
        "pair ocean-4821-river-stone-lamp",
        "pair --list",
        "pair --cancel ocean-4821",
        "pair --approve ocean-4821",
        "events tail",
        "events tail --filter agent.*",
        "config get",
        "config get listen",
        "config set mdns false",
        "config edit",
        "config schema",
        "config check",
        "demo",
        "status --json --home /tmp/x",
    ] {
        let words = std::iter::once("kos").chain(row.split(' '));
        assert!(Cli::try_parse_from(words).is_ok(), "kos {row}");
    }
}

#[test]
fn what_is_not_understood_is_a_usage_error() {
    for row in ["", "nothing", "grant add bob", "ask bob/docs", "contact add kos1x", "ask bob/docs x --stream"] {
        let words = std::iter::once("kos").chain(row.split_whitespace());
        assert!(Cli::try_parse_from(words).is_err(), "kos {row}");
    }
}

type Seen = Arc<Mutex<BTreeSet<(String, String)>>>;

/// Refuses everything but the look at a vault, and writes down what was called.
async fn refuse(State(seen): State<Seen>, request: Request) -> Response {
    let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
    let fits = |pattern: &str| {
        let (pattern, path): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
        let same = |(pattern, part): (&&str, &&str)| pattern == part || pattern.starts_with('{');
        pattern.len() == path.len() && pattern.iter().zip(&path).all(same)
    };
    // The most literal route, as the router chooses.
    let routes = ROUTES.iter().filter(|(of, pattern)| *of == method && fits(pattern));
    let route = routes.min_by_key(|(_, pattern)| pattern.matches('{').count());
    let route = route.map_or_else(|| format!("unknown {path}"), |(_, pattern)| (*pattern).to_owned());
    let is_vault = method == "GET" && route == "/v1/vaults/{vault}";
    seen.lock().unwrap().insert((method, route));
    if is_vault {
        let vault = json!({"name": "main", "state": "locked", "seal": "machine", "secrets": null, "locks_in_s": null});
        return Json(vault).into_response();
    }
    Fault::from(Refusal::State).into_response()
}

#[tokio::test]
async fn every_verb_has_a_route_and_every_route_a_verb() {
    let home = tempfile::tempdir().unwrap();
    let listener = tokio::net::UnixListener::bind(home.path().join(SOCKET)).unwrap();
    let seen = Seen::default();
    let app = axum::Router::new().fallback(refuse).with_state(Arc::clone(&seen));
    let serving = tokio::spawn(axum::serve(listener, app).into_future());

    let file = home.path().join("file");
    std::fs::write(&file, "name = 'x'").unwrap();
    for row in [
        "down",
        "status",
        "whoami",
        "ping bob",
        "path bob",
        "netcheck",
        "doctor",
        "pair",
        "pair ocean-4821-river-stone-lamp",
        "pair --list",
        "pair --cancel ocean-4821",
        "pair --approve ocean-4821",
        "contact ticket",
        "contact add kos1x --as bob",
        "contact list",
        "contact show bob",
        "contact rename bob rob",
        "contact remove rob",
        "serve . --as docs",
        "agent list",
        "agent show docs",
        "agent add FILE",
        "agent pause docs",
        "agent resume docs",
        "agent remove docs",
        "find rust",
        "ask bob/docs why",
        "queue list",
        "queue show abcd",
        "queue drop abcd",
        "grant add bob docs.ask",
        "grant delegate abcd --to carol",
        "grant list",
        "grant show abcd",
        "grant revoke abcd",
        "receipt list",
        "receipt show abcd",
        "receipt export abcd",
        "audit list",
        "audit verify",
        "audit export",
        "audit confirm",
        "vault status",
        "vault status --all",
        "vault unlock",
        "vault lock",
        "vault get x",
        "vault list",
        "vault remove x",
        "vault passwd --passphrase-fd FD",
        "vault export --passphrase-fd FD",
        "vault import FILE --passphrase-fd FD",
        "vault create work --machine",
        "events tail",
        "config get",
        "config get mdns",
        "config set mdns false",
    ] {
        let (reader, mut writer) = std::io::pipe().unwrap();
        std::io::Write::write_all(&mut writer, b"geheim\n").unwrap();
        let row = row.replace("FILE", file.to_str().unwrap()).replace("FD", &reader.as_raw_fd().to_string());
        let cli = Cli::try_parse_from(std::iter::once("kos").chain(row.split(' '))).unwrap();
        let terminal = Terminal::new(home.path().to_owned(), true);
        let result = cli.verb.run(&terminal, Vec::new()).await;
        if row != "vault status" {
            assert_eq!(result.err().map(|failure| failure.fault.refusal), Some(Refusal::State), "{row}");
        }
    }
    serving.abort();

    let seen = seen.lock().unwrap();
    let unknown: Vec<_> = seen.iter().filter(|(_, route)| route.starts_with("unknown")).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    // For supervisors and programs; what the command line does without a node; what reads standard input; what follows an answer.
    let others = [
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/openapi.json"),
        ("POST", "/v1/receipts/verify"),
        ("GET", "/v1/config/schema"),
        ("PUT", "/v1/vaults/{vault}/secrets/{name}"),
        ("GET", "/v1/pair/{mailbox}"),
    ];
    let missed = ROUTES.iter().filter(|(method, route)| !seen.contains(&((*method).into(), (*route).into())));
    let missed: BTreeSet<_> = missed.copied().collect();
    assert_eq!(missed, BTreeSet::from(others));
}
