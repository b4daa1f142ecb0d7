//! Many bytes in one piece: over `/kos/blob/1`, and over a bare libp2p stream on TCP.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use klp::Digest;
use klp::blob::Held;
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt as _};
use libp2p::core::transport::{DialOpts, ListenerId, PortUse, TransportEvent};
use libp2p::core::{Endpoint, Transport as _};
use libp2p::identity::Keypair;
use mesh::{Event, Mesh, Multiaddr, Source};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::request_response::transport;
use crate::session::{self, LONG};
use crate::side::{Side, hear, say};

/// Bytes of one transfer.
const SIZE: usize = 128 * 1024 * 1024;
/// Bytes of one read and one write.
const PIECE: usize = 64 * 1024;

/// What carries them.
pub(crate) const KINDS: [&str; 2] = ["blob", "stream"];

/// MiB in a second, and CPU seconds for a GiB on both sides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bulk {
    pub(crate) rate: f64,
    pub(crate) cpu: f64,
}

/// One transfer between two processes.
pub(crate) fn once(kind: &str) -> Bulk {
    let mut server = Side::start(&["give", kind]);
    let address = server.line();
    between(&[&server], Side::start(&["take", kind, &address]))
}

/// One transfer to `client`; the CPU time of all others counts too.
pub(crate) fn between(others: &[&Side], mut client: Side) -> Bulk {
    assert_eq!(client.line(), "ready");
    let cpu = |client: &Side| client.cpu() + others.iter().map(|side| side.cpu()).sum::<Duration>();
    let before = cpu(&client);
    client.tell("go");
    let seconds: f64 = client.line().parse().unwrap();
    let used = cpu(&client) - before;
    let mebibytes = (SIZE >> 20) as f64;
    Bulk { rate: mebibytes / seconds, cpu: used.as_secs_f64() * 1024.0 / mebibytes }
}

/// Keeps a connection going while its streams are used.
async fn keep(mut muxer: StreamMuxerBox) {
    while poll_fn(|context| muxer.poll_unpin(context)).await.is_ok() {}
}

/// Offers the bytes to whoever asks.
pub(crate) async fn give_blob(mesh: Mesh, mut events: mpsc::Receiver<Event>) {
    let bytes = Bytes::from(vec![7; SIZE]);
    while let Some(event) = events.recv().await {
        let Event::Request(request) = event else { continue };
        let (until, source) = (Instant::now() + LONG, Source::from(bytes.clone()));
        let digest = mesh.offer(request.hello.node, source, until).await.unwrap();
        request.reply.finish(Bytes::copy_from_slice(&digest.0));
    }
}

/// The side that has the bytes.
pub(crate) async fn give(kind: String) {
    if kind == "blob" {
        let (mesh, events) = session::open(&["/ip4/127.0.0.1/tcp/0"]).await;
        say(&session::address(&mesh).to_string());
        return give_blob(mesh, events).await;
    }
    let mut transport = transport(&Keypair::generate_ed25519());
    transport.listen_on(ListenerId::next(), "/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    loop {
        match transport.select_next_some().await {
            TransportEvent::NewAddress { listen_addr, .. } => say(&listen_addr.to_string()),
            TransportEvent::Incoming { upgrade, .. } => {
                let (_, mut muxer) = upgrade.await.unwrap();
                let mut stream = poll_fn(|context| muxer.poll_inbound_unpin(context)).await.unwrap();
                tokio::spawn(keep(muxer));
                stream.read_exact(&mut [0]).await.unwrap();
                let piece = vec![7; PIECE];
                for _ in 0..SIZE / PIECE {
                    stream.write_all(&piece).await.unwrap();
                }
                stream.close().await.unwrap();
            }
            _ => {}
        }
    }
}

/// The side that wants them: says `ready`, waits for a line, says how many seconds it took.
pub(crate) async fn take(kind: String, address: String) {
    let address: Multiaddr = address.parse().unwrap();
    let mut buffer = vec![0; PIECE];
    if kind == "blob" {
        let (mesh, _events) = session::open(&[]).await;
        let node = mesh::node_in(&address).unwrap();
        let is_relayed = address.to_string().contains("/p2p-circuit");
        mesh.dial(node, vec![address]).await.unwrap();
        let answer = mesh.request(node, "give".into(), LONG).await.finish().await.unwrap();
        let digest = Digest(answer[..].try_into().unwrap());
        say("ready");
        hear().await;
        let begun = Instant::now();
        let mut fetch = mesh.fetch(node, digest, Held::default(), u64::MAX).await.unwrap();
        while fetch.read(&mut buffer).await.unwrap() > 0 {}
        assert!(fetch.is_proven());
        assert_eq!(mesh.path(node).unwrap().is_relayed(), is_relayed);
        say(&begun.elapsed().as_secs_f64().to_string());
        // Its CPU time can be read as long as it is there.
        hear().await;
        return;
    }
    let mut transport = transport(&Keypair::generate_ed25519());
    let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    let (_, mut muxer) = transport.dial(address, options).unwrap().await.unwrap();
    let mut stream = poll_fn(|context| muxer.poll_outbound_unpin(context)).await.unwrap();
    tokio::spawn(keep(muxer));
    say("ready");
    hear().await;
    let begun = Instant::now();
    stream.write_all(&[1]).await.unwrap();
    stream.flush().await.unwrap();
    let mut come = 0;
    while let count @ 1.. = stream.read(&mut buffer).await.unwrap() {
        come += count;
    }
    assert_eq!(come, SIZE);
    say(&begun.elapsed().as_secs_f64().to_string());
    hear().await;
}
