//! `kos-relay`: carries circuits between nodes that cannot reach each other. It sees who speaks with whom and how much, never what.
//!
//! It has one key and no vault (`security.md` rule 1), answers lookups in the DHT, and helps nodes to learn how they are reached.

mod access;
mod config;
mod contacts;
mod status;

use std::process::ExitCode;
use std::sync::Arc;

use host::door::{self, Standing};
use host::{Door, DoorError};

use crate::config::Config;

const PROGRAM: &str = "kos-relay";

fn main() -> ExitCode {
    let about = "A relay of kOS: carries encrypted circuits between nodes that cannot reach each other";
    door::enter(clap::Command::new(PROGRAM).version(env!("CARGO_PKG_VERSION")).about(about), PROGRAM, serve)
}

async fn serve(mut door: Door<Config>) -> Result<(), DoorError> {
    let mut config = mesh::Config::new(door.key.clone(), mesh::Role::Relay);
    config.listen = door.list("listen", "a multiaddr")?;
    config.external = door.list("external", "a multiaddr")?;
    config.bootstrap = door.list("bootstrap", "a multiaddr that ends in /p2p/PEERID")?;
    config.trust_cidr = door.list("reach.trust_cidr", "a range of addresses, like 10.0.0.0/8")?;
    config.tls = door.tls(mesh::Tls::from_pem)?;
    config.check_record = Arc::new(host::record::standing_now);
    let (access, contacts) = access::read(&door)?;
    config.limits = door.settings.limits(access);

    let listeners = config.listen.len();
    let mut registry = mesh::Registry::default();
    let open = async { mesh::open(config, &mut registry) };
    let ((mesh, events, driver), component) = door.startup.step("mesh", &["home", "key"], open).await?;
    // Nobody has anything to ask of this program in a session: without a reader every request is refused.
    drop(events);
    let driver = tokio::spawn(driver);
    if let Some(contacts) = contacts {
        tokio::spawn(contacts.follow());
    }
    door.serve_metrics(registry).await?;
    let asked = mesh.clone();
    door.serve_status(move || status::of(&asked))?;

    let mut state = mesh.state();
    state.mark_changed();
    let next = async || {
        state.changed().await.ok()?;
        let state = state.wait_for(|state| state.listen.len() >= listeners).await.ok()?;
        Some(standing(&state))
    };
    door.attend(&component, next).await?;
    mesh.stop();
    if let Err(error) = driver.await {
        tracing::error!(%error, "the mesh did not end well");
    }
    Ok(())
}

/// Where it listens, and whether others can reach it. Loopback is enough in a laboratory.
fn standing(state: &mesh::State) -> Standing {
    let reached = matches!(state.reach, mesh::Reach::Public | mesh::Reach::Loopback);
    Standing {
        listen: state.listen.iter().map(ToString::to_string).collect(),
        trouble: (!reached)
            .then(|| "no address of this relay is confirmed: set --external, or --bootstrap and wait until a peer has dialled back".into()),
    }
}
