//! The doctor: looks at a node from outside and from inside, and names each fault with its cause and what to do.
//!
//! It also runs where no node does: it reads the home without changing it, and asks the network with a mesh of its own that ends with
//! the visit. What it finds out is one thing, what it makes of that another: `verdict` is pure.
//!
//! # Layout
//! - `home`: lock, files, disk, vault, age of what is kept.
//! - `ports`: whether what is to be listened on is free.
//! - `place`: what a multiaddr says in words.
//! - `network`: names, bootstrap peers, relays, by each transport; `verdict`: what that means.

mod home;
mod network;
mod place;
mod ports;
mod verdict;

use std::path::{Path, PathBuf};

use klp::SecretKey;
use mesh::{Multiaddr, RelayView};

use crate::clock::Clock;
use crate::config::Config;
use crate::fault::Fault;
use crate::view;

/// Who is examined.
pub(crate) struct Patient {
    /// The home folder.
    pub(crate) home: PathBuf,
    /// Its settings, or why they do not hold.
    pub(crate) settings: Result<Config, Fault>,
    /// What the running node says of itself; none where no node answers.
    pub(crate) living: Option<Living>,
    /// This machine's time.
    pub(crate) clock: Clock,
}

/// What a running node knows.
pub(crate) struct Living {
    /// One look at everything.
    pub(crate) status: view::Status,
    /// The relays that it knows.
    pub(crate) relays: Vec<RelayView>,
}

/// Examines, within half a minute.
pub(crate) async fn examine(patient: Patient) -> view::Doctor {
    let Patient { home, settings, living, clock } = patient;
    let mut checks = Vec::new();
    let config = match settings {
        Ok(config) => {
            checks.push(settings_of(&config));
            config
        }
        Err(fault) => {
            checks.push(failed("settings", fault.message, fault.hint));
            Config::default()
        }
    };
    let (at, unlock) = (home.clone(), config.unlock_file.clone());
    let runs = living.is_some();
    let unlocked = living.as_ref().map(|living| living.status.vault == "unlocked");
    let now = clock.now();
    let looked = tokio::task::spawn_blocking(move || home::look(&at, unlock, unlocked, now)).await;
    let (of_home, key) = looked.unwrap_or_else(|error| (vec![failed("home", error.to_string(), AGAIN)], None));
    checks.extend(of_home);
    checks.push(node(&home, living.as_ref()));
    let listening = if runs { Vec::new() } else { ports::look(&config).await };
    checks.push(ports::verdict(runs, &listening));
    let has_clock = checks.iter().any(|check| check.name == "clock");
    let heard = look_out(&config, key, living.as_ref(), &clock).await;
    checks.extend(heard.into_iter().filter(|check| !(has_clock && check.name == "clock")));
    view::Doctor { well: checks.iter().all(|check| check.state != "failed"), checks }
}

/// The checks of the network: `dns`, `bootstrap`, `udp`, `clock`, `relay`.
pub(crate) async fn look_out(config: &Config, key: Key, living: Option<&Living>, clock: &Clock) -> Vec<view::Check> {
    let targets = Targets::of(config);
    let heard = network::ask(&targets, key, living, clock).await;
    verdict::verdicts(&targets, &heard)
}

/// What is to be reached.
#[derive(Clone, Debug, Default)]
struct Targets {
    bootstrap: Vec<Multiaddr>,
    relays: Vec<Multiaddr>,
    tls: mesh::Tls,
}

impl Targets {
    /// What the settings name and can be read; the settings themselves are checked elsewhere.
    fn of(config: &Config) -> Self {
        let read = |texts: &[String]| texts.iter().take(TARGETS).filter_map(|text| text.parse().ok()).collect();
        let tls = config.tls().unwrap_or_default();
        Self { bootstrap: read(&config.basics.bootstrap), relays: read(&config.relay), tls }
    }
}

/// The settings' own check says that a text is a text; here it must be an address, and a peer's says whose it is.
fn settings_of(config: &Config) -> view::Check {
    let lists = [
        ("listen", &config.basics.listen, false),
        ("external", &config.basics.external, false),
        ("bootstrap", &config.basics.bootstrap, true),
        ("relay", &config.relay, true),
    ];
    for (name, texts, names_peer) in lists {
        for text in texts {
            let fits = text.parse().is_ok_and(|address: Multiaddr| !names_peer || mesh::node_in(&address).is_some());
            if !fits {
                let form = if names_peer { "/ip4/192.0.2.1/tcp/4711/p2p/PEERID" } else { "/ip4/192.0.2.1/tcp/4711" };
                return failed(
                    "settings",
                    format!("{name}: \"{text}\" is no such address"),
                    format!("write it as {form}"),
                );
            }
        }
    }
    match config.tls() {
        Ok(_) => ok("settings", "they hold"),
        Err(fault) => failed("settings", fault.message, "write the files in PEM, or leave the settings out"),
    }
}

/// Addresses of each kind that one visit asks.
const TARGETS: usize = 16;
const AGAIN: &str = "run `kos doctor` once more";

/// The key that the home opens to, for questions that only this node may ask.
type Key = Option<SecretKey>;

fn node(home: &Path, living: Option<&Living>) -> view::Check {
    let Some(living) = living else {
        return skipped("node", format!("no node answers on {}", home.display()), "start it with `kos up`");
    };
    let health = living.status.health.iter().filter(|(_, state)| *state != "ok");
    let ill: Vec<String> = health.map(|(name, state)| format!("{name} is {state}")).collect();
    if ill.is_empty() {
        ok("node", format!("process {} is well", living.status.pid))
    } else {
        failed("node", ill.join("; "), "what is wrong with each part stands in `kos status` and in the node's log")
    }
}

fn check(name: &str, state: &str, cause: impl Into<String>, fix: impl Into<String>) -> view::Check {
    view::Check { name: name.to_owned(), state: state.to_owned(), cause: cause.into(), fix: fix.into() }
}

fn ok(name: &str, cause: impl Into<String>) -> view::Check {
    check(name, "ok", cause, "")
}

fn failed(name: &str, cause: impl Into<String>, fix: impl Into<String>) -> view::Check {
    check(name, "failed", cause, fix)
}

/// Nothing is wrong and nothing could be shown to be right.
fn skipped(name: &str, cause: impl Into<String>, fix: impl Into<String>) -> view::Check {
    check(name, "skipped", cause, fix)
}
