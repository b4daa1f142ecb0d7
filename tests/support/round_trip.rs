//! How many round trips of the line a question takes, between two nodes with a [`Distance`] between them.

use std::net::SocketAddr;
use std::time::Duration;

use klp::{NodeId, SecretKey};
use mesh::{Event, Mesh, Multiaddr, Registry, Role};
use tokio::time::Instant;

use crate::{Distance, PATIENCE};

/// What carries the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// TCP, Noise, Yamux.
    Tcp,
    /// QUIC.
    Quic,
}

/// Round trips that were counted.
#[derive(Clone, Copy, Debug)]
pub struct RoundTrips {
    /// From nothing: connection, Hello of both sides, question, answer.
    pub connect: f64,
    /// The first question on a connection that is there: Hello of both sides, question, answer.
    pub first: f64,
    /// A question in a session that is open.
    pub next: f64,
}

async fn open(seed: u8, listen: Option<&str>) -> Mesh {
    let mut config = mesh::Config::new(SecretKey::from_seed(&[seed; 32]), Role::Node);
    config.listen = listen.iter().map(|address| address.parse().unwrap()).collect();
    let (mesh, mut events, driver) = mesh::open(config, &mut Registry::default()).unwrap();
    tokio::spawn(driver);
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            if let Event::Request(request) = event {
                request.reply.finish(request.body);
            }
        }
    });
    let mut state = mesh.state();
    state.wait_for(|state| state.listen.len() >= usize::from(listen.is_some())).await.unwrap();
    mesh
}

/// The socket behind an address: `/ip4/IP/tcp/PORT` or `/ip4/IP/udp/PORT/quic-v1`.
fn socket(address: &Multiaddr) -> SocketAddr {
    let text = address.to_string();
    let parts: Vec<&str> = text.split('/').collect();
    format!("{}:{}", parts[2], parts[4]).parse().unwrap()
}

async fn ask(mesh: &Mesh, node: NodeId) {
    let answer = mesh.request(node, "over and back".into(), PATIENCE).await;
    assert_eq!(answer.finish().await.unwrap(), "over and back");
}

/// Counts them once, on a line as long as `delay` each way. Load only adds to what it finds.
pub async fn round_trips(line: Line, delay: Duration) -> RoundTrips {
    let listen = match line {
        Line::Tcp => "/ip4/127.0.0.1/tcp/0",
        Line::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
    };
    let far = open(1, Some(listen)).await;
    let at = socket(&far.state().borrow().listen[0]);
    let (between, address) = match line {
        Line::Tcp => {
            let between = Distance::tcp(at, delay).await;
            let near = between.near();
            (between, format!("/ip4/{}/tcp/{}", near.ip(), near.port()))
        }
        Line::Quic => {
            let between = Distance::udp(at, delay).await;
            let near = between.near();
            (between, format!("/ip4/{}/udp/{}/quic-v1", near.ip(), near.port()))
        }
    };
    let address: Multiaddr = address.parse().unwrap();
    let of = |begun: Instant| begun.elapsed().as_secs_f64() / (2.0 * delay.as_secs_f64());

    // The first connection of a process pays for what its cryptography sets up once.
    let (warm, near, other) = (open(2, None).await, open(3, None).await, open(4, None).await);
    warm.dial(far.node(), vec![address.clone()]).await.unwrap();
    ask(&warm, far.node()).await;

    let begun = Instant::now();
    near.dial(far.node(), vec![address.clone()]).await.unwrap();
    ask(&near, far.node()).await;
    let connect = of(begun);

    other.dial(far.node(), vec![address]).await.unwrap();
    // What else is said on a new connection has been said after some round trips.
    tokio::time::sleep(10 * delay).await;
    let begun = Instant::now();
    ask(&other, far.node()).await;
    let first = of(begun);
    let begun = Instant::now();
    ask(&other, far.node()).await;
    let next = of(begun);
    for mesh in [&warm, &near, &other, &far] {
        mesh.stop();
    }
    drop(between);
    RoundTrips { connect, first, next }
}
