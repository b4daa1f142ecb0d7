//! A bootstrap peer in this very process.

use std::sync::Arc;
use std::time::Duration;

use klp::SecretKey;
use mesh::{Mesh, Role};

/// A bootstrap peer on loopback; it ends when it is dropped.
pub struct Hub {
    mesh: Mesh,
    /// Where it listens, as `--bootstrap` takes it.
    pub address: String,
}

impl Hub {
    /// Opens one, at `listen` or at any free port.
    pub async fn open(seed: u8, listen: Option<&str>) -> Self {
        Self::open_ahead(seed, listen, Duration::ZERO).await
    }

    /// The same with a clock that is ahead of this machine's.
    pub async fn open_ahead(seed: u8, listen: Option<&str>, ahead: Duration) -> Self {
        let mut config = mesh::Config::new(SecretKey::from_seed(&[seed; 32]), Role::Bootstrap);
        config.listen = vec![listen.unwrap_or("/ip4/127.0.0.1/tcp/0").parse().unwrap()];
        config.wall = Arc::new(move || crate::puppet::now().after(ahead));
        config.check_record = Arc::new(host::record::standing_now);
        let (mesh, events, driver) = mesh::open(config, &mut mesh::Registry::default()).unwrap();
        // Nobody has anything to ask of it in a session.
        drop(events);
        tokio::spawn(driver);
        let mut state = mesh.state();
        let address = state.wait_for(|state| !state.listen.is_empty()).await.unwrap().listen[0].to_string();
        Self { mesh, address }
    }

    /// Ends it.
    pub fn close(self) {
        self.mesh.stop();
    }
}
