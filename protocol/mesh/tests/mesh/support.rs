//! Small nodes and what tests wait for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use klp::{NodeId, SecretKey};
use mesh::{Config, Event, Mesh, Multiaddr, Registry, Request, Role, State};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Longer than any test should take, also on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// A mesh with its driver.
pub(crate) struct Node {
    pub(crate) mesh: Mesh,
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) driver: JoinHandle<()>,
    registry: Registry,
}

pub(crate) fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

pub(crate) fn id(seed: u8) -> NodeId {
    NodeId(key(seed).did())
}

/// A node that listens on loopback TCP unless `change` says otherwise.
pub(crate) async fn start(seed: u8, role: Role, change: impl FnOnce(&mut Config)) -> Node {
    begin(key(seed), role, change).await
}

/// The same with any key.
pub(crate) async fn begin(key: SecretKey, role: Role, change: impl FnOnce(&mut Config)) -> Node {
    let _on = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_test_writer()
        .try_init();
    let mut config = Config::new(key, role);
    config.listen = vec![address("/ip4/127.0.0.1/tcp/0")];
    change(&mut config);
    let listeners = config.listen.len();
    let mut registry = Registry::default();
    let (mesh, events, driver) = mesh::open(config, &mut registry).expect("opens");
    let node = Node { mesh, events, driver: tokio::spawn(driver), registry };
    node.until(|state| state.listen.len() >= listeners).await;
    node
}

pub(crate) async fn node(seed: u8) -> Node {
    start(seed, Role::Node, |_| {}).await
}

pub(crate) fn address(text: &str) -> Multiaddr {
    text.parse().expect("address")
}

impl Node {
    pub(crate) fn id(&self) -> NodeId {
        self.mesh.node()
    }

    pub(crate) fn addresses(&self) -> Vec<Multiaddr> {
        self.mesh.state().borrow().listen.clone()
    }

    /// Waits until the state is so.
    pub(crate) async fn until(&self, so: impl FnMut(&State) -> bool) -> State {
        let mut state = self.mesh.state();
        within(async move { state.wait_for(so).await.expect("the mesh runs").clone() }).await
    }

    /// Connects to another one.
    pub(crate) async fn dial(&self, other: &Node) {
        within(self.mesh.dial(other.id(), other.addresses())).await.expect("connects");
    }

    pub(crate) async fn ask(&self, other: NodeId, body: &str) -> Result<Bytes, mesh::Refused> {
        self.send(other, Bytes::copy_from_slice(body.as_bytes())).await
    }

    /// The same with any bytes.
    pub(crate) async fn send(&self, other: NodeId, body: Bytes) -> Result<Bytes, mesh::Refused> {
        within(async { self.mesh.request(other, body, LONG).await.finish().await }).await
    }

    /// The next request.
    pub(crate) async fn request(&mut self) -> Request {
        self.event(|event| if let Event::Request(request) = event { Some(request) } else { None }).await
    }

    /// The next event of a kind; others are passed over.
    pub(crate) async fn event<T>(&mut self, mut pick: impl FnMut(Event) -> Option<T>) -> T {
        within(async {
            loop {
                if let Some(picked) = pick(self.events.recv().await.expect("the mesh runs")) {
                    return picked;
                }
            }
        })
        .await
    }

    /// Answers every request with its own body from now on.
    pub(crate) fn echo(mut self) -> Echo {
        let mesh = self.mesh.clone();
        let registry = std::mem::take(&mut self.registry);
        tokio::spawn(async move {
            while let Some(event) = self.events.recv().await {
                if let Event::Request(request) = event {
                    request.reply.finish(request.body);
                }
            }
        });
        Echo { mesh, registry: Arc::new(registry) }
    }

    /// The value of a figure, by the beginning of its line.
    pub(crate) fn figure(&self, name: &str) -> u64 {
        figure(&self.registry, name)
    }
}

/// A node that answers every request with its own body.
pub(crate) struct Echo {
    pub(crate) mesh: Mesh,
    registry: Arc<Registry>,
}

impl Echo {
    pub(crate) fn figure(&self, name: &str) -> u64 {
        figure(&self.registry, name)
    }
}

fn figure(registry: &Registry, name: &str) -> u64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).expect("encodes");
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// Bytes in which nothing comes back: they are as many on every way.
pub(crate) fn dense(length: usize) -> Bytes {
    let block = |number: usize| klp::Digest::of(&[&number.to_be_bytes()]).0;
    let bytes: Vec<u8> = (0..length.div_ceil(32)).flat_map(block).take(length).collect();
    bytes.into()
}

/// Fails a test that hangs.
pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, work).await.expect("in time")
}

/// Waits for something that no channel tells.
pub(crate) async fn eventually(mut so: impl FnMut() -> bool) {
    within(async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
