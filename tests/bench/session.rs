//! What is ours, through the same handle that the node uses.

use std::time::Duration;

use bytes::Bytes;
use klp::{NodeId, SecretKey};
use mesh::{Config, Event, Mesh, Multiaddr, Registry, Role};
use tokio::sync::mpsc;

use crate::load::Caller;
use crate::proof::Answering;

/// Longer than any answer here takes.
pub(crate) const LONG: Duration = Duration::from_secs(60);
/// More connections than a person's node takes, so that there is something to count.
const INCOMING: u32 = 1024;

/// A mesh that listens, and what happens in it.
pub(crate) async fn open(listen: &[&str]) -> (Mesh, mpsc::Receiver<Event>) {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&std::process::id().to_be_bytes().repeat(2));
    seed[8..16].copy_from_slice(&kos_tests::puppet::now().0.to_be_bytes());
    open_as(SecretKey::from_seed(&seed), listen).await
}

/// The same with a key of its own.
pub(crate) async fn open_as(key: SecretKey, listen: &[&str]) -> (Mesh, mpsc::Receiver<Event>) {
    open_config(Config::new(key, Role::Node), listen).await
}

/// The same with settings of its own.
pub(crate) async fn open_config(mut config: Config, listen: &[&str]) -> (Mesh, mpsc::Receiver<Event>) {
    config.listen = listen.iter().map(|address| address.parse().unwrap()).collect();
    config.limits.incoming = INCOMING;
    let (mesh, events, driver) = mesh::open(config, &mut Registry::default()).unwrap();
    tokio::spawn(driver);
    let mut state = mesh.state();
    state.wait_for(|state| state.listen.len() >= listen.len()).await.unwrap();
    (mesh, events)
}

/// Answers for ever: an echo at once, and what is work in a task of its own, as the node does.
pub(crate) async fn answer(mut events: mpsc::Receiver<Event>, answering: Answering) {
    while let Some(event) = events.recv().await {
        let Event::Request(request) = event else { continue };
        if answering.is_work() {
            let answering = answering.clone();
            tokio::spawn(async move { request.reply.finish(answering.to(request.body)) });
        } else {
            request.reply.finish(answering.to(request.body));
        }
    }
}

/// Where a mesh listens first.
pub(crate) fn address(mesh: &Mesh) -> Multiaddr {
    mesh.state().borrow().listen[0].clone()
}

/// Asks over a session.
#[derive(Clone)]
pub(crate) struct Asker {
    mesh: Mesh,
    node: NodeId,
}

impl Asker {
    /// Connects.
    pub(crate) async fn connect(address: &str) -> Self {
        let (mesh, events) = open(&[]).await;
        // Nobody asks here, and what else happens is of no interest.
        tokio::spawn(answer(events, Answering::new(false)));
        let address: Multiaddr = address.parse().unwrap();
        let node = mesh::node_in(&address).unwrap();
        mesh.dial(node, vec![address]).await.unwrap();
        Self { mesh, node }
    }
}

impl Caller for Asker {
    async fn call(&self, body: Bytes) -> Bytes {
        self.mesh.request(self.node, body, LONG).await.finish().await.unwrap()
    }
}
