//! The local API against its own description: schemathesis makes requests of what `/openapi.json` says, good and bad ones, and holds every
//! answer of a running node to it. `EXAMPLES=50 cargo test --release --workspace --test stories described` tries as many on each route;
//! without the variable it is a short run.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kos_tests::{Shell, has, needs};
use serde_json::Value;

/// The lines of `schemathesis.toml` that say how many requests a route gets, and one that takes a passphrase, in the short run.
const SHORT: [&str; 2] = ["max-examples = 2", "max-examples = 1"];
/// What schemathesis checks; `error_object` is ours, in `tests/api/checks.py`.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,negative_data_rejection,missing_required_header,unsupported_method,\
                      allow_header_conformance,ignored_auth,error_object";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("api")
}

/// The program, in an environment of its own below `target`, with exactly the packages of the list.
fn schemathesis() -> Result<PathBuf, String> {
    let wanted = std::fs::read_to_string(folder().join("requirements.txt")).unwrap();
    let version = wanted.lines().find_map(|line| line.strip_prefix("schemathesis==")).unwrap();
    let target = kos_tests::path("kos").parent().and_then(Path::parent).unwrap().to_owned();
    let place = target.join(format!("schemathesis-{version}"));
    let (stamp, program) = (place.join("installed"), place.join("bin").join("schemathesis"));
    if std::fs::read_to_string(&stamp).is_ok_and(|there| there == wanted) {
        return Ok(program);
    }
    let run = |command: &mut Command| {
        let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
        if output.status.success() { Ok(()) } else { Err(said(&output)) }
    };
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&place))?;
    let list = folder().join("requirements.txt");
    run(Command::new(place.join("bin/pip")).args(["install", "-q", "--no-deps", "-r"]).arg(list))?;
    std::fs::write(stamp, wanted).map_err(|error| error.to_string())?;
    Ok(program)
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A person who has something of every kind: an agent, a contact with a grant, a receipt, a question for somebody who is away, vaults with
/// a secret.
fn furnished(ada: &Shell, bert: &Shell) -> (Value, Vec<(&'static str, String)>) {
    let up = ada.up(&[]);
    bert.up(&[]);
    let birds = ada.documents("birds", &[("a.md", b"# Herons\n\nThe heron stands in the reeds.\n")]);
    let birds = birds.to_str().unwrap().to_owned();
    ada.ok(&["serve", &birds, "--as", "birds"]);
    ada.ok(&["contact", "add", &bert.ticket(), "--as", "bert"]);
    bert.ok(&["contact", "add", &ada.ticket(), "--as", "ada"]);
    let grant = ada.ok(&["grant", "add", "bert", "birds.ask", "--calls", "20"])["id"].as_str().unwrap().to_owned();
    let receipt = ada.ok(&["ask", "self/birds", "where is the heron?"])["receipt"].as_str().unwrap().to_owned();
    let carl = Shell::new();
    carl.up(&[]);
    ada.ok(&["contact", "add", &carl.ticket(), "--as", "carl"]);
    carl.ok(&["down"]);
    let queued = ada.ok(&["ask", "carl/birds", "where is the heron?", "--later"])["id"].as_str().unwrap().to_owned();
    let known =
        vec![("KNOWN_FOLDER", birds), ("KNOWN_GRANT", grant), ("KNOWN_RECEIPT", receipt), ("KNOWN_QUEUED", queued)];
    (up, known)
}

#[test]
fn p11_every_answer_is_as_the_description_says_whatever_is_asked() {
    let story = "p11_every_answer_is_as_the_description_says_whatever_is_asked";
    if !has(story, "python3") {
        return;
    }
    let program = schemathesis();
    if !needs(story, "schemathesis from PyPI", program.is_ok()) {
        return println!("{}", program.unwrap_err());
    }
    let (ada, bert) = (Shell::new(), Shell::new());
    let (up, known) = furnished(&ada, &bert);
    let token = std::fs::read_to_string(ada.home().join("api-token")).unwrap();
    let mut config = std::fs::read_to_string(folder().join("schemathesis.toml")).unwrap();
    if let Ok(examples) = std::env::var("EXAMPLES") {
        let examples: u64 = examples.parse().unwrap();
        assert!(SHORT.iter().all(|line| config.contains(line)));
        config = config.replace(SHORT[0], &format!("max-examples = {examples}"));
        config = config.replace(SHORT[1], &format!("max-examples = {}", examples.div_ceil(25)));
    }
    let config_file = ada.folder().join("schemathesis.toml");
    std::fs::write(&config_file, config).unwrap();
    let mut run = Command::new(program.unwrap());
    run.arg("--config-file").arg(config_file);
    run.args(["run", &format!("{}/openapi.json", up["api"].as_str().unwrap()), "--checks", CHECKS]);
    run.args(["--phases", "examples,coverage,fuzzing", "--generation-database", "none"]);
    run.args(["--no-color", "--continue-on-failure", "--header", &format!("Authorization: Bearer {}", token.trim())]);
    run.env("PYTHONPATH", folder()).env("PYTHONDONTWRITEBYTECODE", "1").env("SCHEMATHESIS_HOOKS", "checks").envs(known);
    let output = run.current_dir(ada.folder()).stdin(Stdio::null()).output().unwrap();
    let log = std::fs::read_to_string(ada.home().join("kos.log")).unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let summary = said(&output);
    println!("{}", summary.lines().rev().take(12).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n"));
    assert!(!log.contains("panicked"), "{log}");

    let status = ada.ok(&["status"]);
    assert_eq!(status["pid"], up["pid"], "the same node still serves its owner");
    assert_eq!(ada.ok(&["audit", "verify"])["valid"], true);
    assert_eq!(ada.ok(&["down"])["stopped"], true);
    bert.ok(&["down"]);
}
