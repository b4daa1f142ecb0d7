//! A bootstrap peer that lives as long as the demo: it greets nodes and answers lookups, with a key that nobody keeps.

use std::sync::Arc;

use host::Stop;
use klp::{Refusal, SecretKey};
use mesh::{Multiaddr, Role};

use crate::fault::Fault;

/// Runs until it is told to stop by a signal. `told` hears where it listens.
///
/// # Errors
/// `invalid` for an address that is none or is in use.
pub async fn bootstrap(listen: &[String], told: impl FnOnce(Vec<String>) -> Result<(), Fault>) -> Result<(), Fault> {
    let stop = Stop::on_signals().map_err(Fault::internal)?;
    let addresses: Result<Vec<Multiaddr>, _> = listen.iter().map(|text| text.parse()).collect();
    let mut config = mesh::Config::new(SecretKey::from_seed(&crate::entropy::bytes()?), Role::Bootstrap);
    config.listen = addresses.map_err(|_| Fault::new(Refusal::Invalid, "not a multiaddr"))?;
    config.check_record = Arc::new(host::record::standing_now);
    let opened = mesh::open(config, &mut mesh::Registry::default());
    let (mesh, events, driver) = opened.map_err(|error| Fault::new(Refusal::Invalid, error.to_string()))?;
    // Nobody has anything to ask of it in a session.
    drop(events);
    let driver = tokio::spawn(driver);
    let mut state = mesh.state();
    let listening = state.wait_for(|state| !state.listen.is_empty()).await.map_err(Fault::internal)?;
    let addresses = listening.listen.iter().map(ToString::to_string).collect();
    drop(listening);
    told(addresses)?;
    stop.requested().await;
    mesh.stop();
    driver.await.map_err(Fault::internal)
}
