//! A peer without a node behind it: it says Hello and asks whatever the story wants.

use std::time::Duration;

use bytes::Bytes;
use klp::{NodeId, Refusal, SecretKey};
use mesh::{Mesh, Multiaddr, Role};

/// A bare peer.
pub struct Bare {
    mesh: Mesh,
}

impl Bare {
    /// Opens one with the key of this seed.
    pub async fn open(seed: u8) -> Self {
        let mut config = mesh::Config::new(SecretKey::from_seed(&[seed; 32]), Role::Node);
        config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        let (mesh, events, driver) = mesh::open(config, &mut mesh::Registry::default()).unwrap();
        drop(events);
        tokio::spawn(driver);
        Self { mesh }
    }

    /// Connects to an address that names its node.
    pub async fn dial(&self, address: &str) {
        let address: Multiaddr = address.parse().unwrap();
        let node = mesh::node_in(&address).unwrap();
        self.mesh.dial(node, vec![address]).await.unwrap();
    }

    /// Asks, and waits for the end.
    pub async fn ask(&self, node: NodeId, body: Bytes) -> Result<Bytes, Refusal> {
        let answer = self.mesh.request(node, body, Duration::from_secs(20)).await;
        answer.finish().await.map_err(|refused| refused.refusal)
    }

    /// Ends it.
    pub fn close(self) {
        self.mesh.stop();
    }
}
