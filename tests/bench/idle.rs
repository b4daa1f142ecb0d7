//! What a connection costs that nobody uses: memory of the side that was dialled, all protocols on.

use std::time::Duration;

use bytes::Bytes;
use mesh::Multiaddr;

use crate::session::{self, LONG};
use crate::side::{Side, hear, say};

/// Connections before the first measure: what is set up once is paid by then.
const FIRST: usize = 20;
/// Connections that are measured.
const COUNT: usize = 100;
/// What is said by itself on a new connection has been said after so long, and buffers that nobody needs are given back.
const REST: Duration = Duration::from_secs(3);

/// KiB for each connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    /// With every protocol, and no session.
    pub(crate) connection: f64,
    /// With an open session that has carried a question.
    pub(crate) session: f64,
}

/// Measures over one transport.
pub(crate) fn measure(listen: &str) -> Idle {
    let each = |crowd: &str| {
        let mut server = Side::start(&["host", listen]);
        let address = server.line();
        let mut crowd = Side::start(&["crowd", &address, crowd]);
        assert_eq!(crowd.line(), "ready");
        std::thread::sleep(REST);
        let before = server.memory();
        crowd.tell("go");
        assert_eq!(crowd.line(), "ready");
        std::thread::sleep(REST);
        server.memory().saturating_sub(before) as f64 / 1024.0 / COUNT as f64
    };
    Idle { connection: each("connect"), session: each("ask") }
}

/// The side that is dialled.
pub(crate) async fn host(listen: String) {
    let (mesh, events) = session::open(&[&listen]).await;
    say(&session::address(&mesh).to_string());
    session::answer(events, crate::proof::Answering::new(false)).await;
}

/// Everybody who dials, each a node of their own.
pub(crate) async fn crowd(address: String, what: String) {
    let address: Multiaddr = address.parse().unwrap();
    let node = mesh::node_in(&address).unwrap();
    let mut crowd = Vec::new();
    for count in [FIRST, COUNT] {
        for _ in 0..count {
            let number = u64::try_from(crowd.len()).unwrap();
            let mut seed = [3; 32];
            seed[..8].copy_from_slice(&number.to_be_bytes());
            let (mesh, events) = session::open_as(klp::SecretKey::from_seed(&seed), &[]).await;
            mesh.dial(node, vec![address.clone()]).await.unwrap();
            if what == "ask" {
                let answer = mesh.request(node, Bytes::from_static(b"anybody here?"), LONG).await;
                answer.finish().await.unwrap();
            }
            crowd.push((mesh, events));
        }
        say("ready");
        hear().await;
    }
}
