//! Bulk bytes: offered to one peer, fetched on a stream of their own, proven at the end.

use std::io::{Seek as _, Write as _};
use std::time::Duration;

use bytes::Bytes;
use klp::blob::Held;
use klp::{Digest, NodeId, Refusal, limits};
use mesh::{Fetch, Kind, Mesh, Refused, Role, Source};
use tokio::time::Instant;

use crate::support::{LONG, Node, address, eventually, id, node, start, within};

/// More than one piece of a server, and more than any window begins with.
const LARGE: usize = 3 * 1024 * 1024 + 7;

fn content(length: usize) -> Bytes {
    (0..length).map(|n| (n % 251) as u8).collect::<Vec<_>>().into()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

async fn fetch(mesh: &Mesh, from: NodeId, digest: Digest) -> Result<Fetch, Refused> {
    within(mesh.fetch(from, digest, Held::default(), u64::MAX)).await
}

/// Reads to the end, or as far as it goes.
async fn rest(fetch: &mut Fetch) -> Result<Vec<u8>, Refused> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; limits::FRAME];
    loop {
        match within(fetch.read(&mut buffer)).await? {
            0 => return Ok(bytes),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

async fn whole(mesh: &Mesh, from: NodeId, digest: Digest) -> Result<Vec<u8>, Refused> {
    let mut fetch = fetch(mesh, from, digest).await?;
    let bytes = rest(&mut fetch).await?;
    assert!(fetch.is_proven() && fetch.total() == bytes.len() as u64);
    Ok(bytes)
}

async fn offer(from: &Mesh, to: NodeId, source: impl Into<Source>) -> Result<Digest, Refused> {
    within(from.offer(to, source.into(), soon())).await
}

fn file(content: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(content).expect("written");
    file
}

/// Connects with an open session.
async fn meet(one: &Node, other: &Node) {
    one.dial(other).await;
    within(one.mesh.ping(other.id(), LONG)).await.expect("a session");
}

#[tokio::test]
async fn s13_a_blob_is_fetched_whole_and_proven_over_every_transport() {
    let listen = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0/ws", "/memory/0"];
    for (at, listen) in listen.iter().enumerate() {
        let seed = 10 + 2 * u8::try_from(at).expect("small");
        let bob = start(seed, Role::Node, |config| config.listen = vec![address(listen)]).await;
        let alice = start(seed + 1, Role::Node, |config| config.listen.clear()).await;
        meet(&alice, &bob).await;
        let large = content(LARGE);
        let digest = offer(&bob.mesh, alice.id(), large.clone()).await.expect("offered");
        assert_eq!(digest, Digest::of(&[&large]));
        assert!(whole(&alice.mesh, bob.id(), digest).await.expect("fetched") == large, "{listen}");
        let other = content(LARGE - 300_000);
        let digest = offer(&bob.mesh, alice.id(), file(&other)).await.expect("offered");
        assert!(whole(&alice.mesh, bob.id(), digest).await.expect("fetched") == other, "a file over {listen}");
        let digest = offer(&bob.mesh, alice.id(), Bytes::new()).await.expect("offered");
        assert_eq!(whole(&alice.mesh, bob.id(), digest).await.expect("fetched"), b"", "nothing is a blob too");
        let bytes = (large.len() + other.len()) as u64;
        assert_eq!(alice.figure("kos_blob_bytes_total{way=\"in\"}"), bytes);
        assert_eq!(bob.figure("kos_blob_bytes_total{way=\"out\"}"), bytes);
    }
}

#[tokio::test]
async fn s13_a_fetch_goes_on_where_another_has_stopped() {
    let (alice, bob) = (node(1).await, node(2).await);
    meet(&alice, &bob).await;
    let large = content(LARGE);
    let digest = offer(&bob.mesh, alice.id(), file(&large)).await.expect("offered");

    // Broken off in the middle, by whatever it was.
    let mut first = fetch(&alice.mesh, bob.id(), digest).await.expect("offered");
    let mut got = Vec::new();
    let mut buffer = vec![0; 1000];
    while got.len() < 300_000 {
        let count = within(first.read(&mut buffer)).await.expect("comes");
        got.extend_from_slice(&buffer[..count]);
        assert!(!first.is_proven());
    }
    // A part that was asked for as a part.
    let mut second = within(alice.mesh.fetch(bob.id(), digest, first.into_held(), 500_000)).await.expect("offered");
    let part = rest(&mut second).await.expect("comes");
    assert_eq!((part.len(), second.total(), second.is_proven()), (500_000, LARGE as u64, false));
    got.extend_from_slice(&part);
    // Another run of the program has only what it wrote down: it hashes that first.
    let mut held = Held::default();
    held.add(&got);
    assert_eq!(held.length(), second.into_held().length());
    let mut third = within(alice.mesh.fetch(bob.id(), digest, held, u64::MAX)).await.expect("offered");
    got.extend_from_slice(&rest(&mut third).await.expect("comes"));
    assert!(third.is_proven() && got == large);
    // All is there, so nothing follows; more than all is a fault of the asker.
    let mut again = within(alice.mesh.fetch(bob.id(), digest, third.into_held(), u64::MAX)).await.expect("offered");
    assert_eq!(rest(&mut again).await.expect("proven"), b"");
    let mut held = again.into_held();
    held.add(b"!");
    let refused = within(alice.mesh.fetch(bob.id(), digest, held, u64::MAX)).await.expect_err("too far");
    assert_eq!(refused.refusal, Refusal::Invalid);
    // A damaged beginning is noticed at the end.
    let mut held = Held::default();
    held.add(&content(1000)[1..]);
    let mut wrong = within(alice.mesh.fetch(bob.id(), digest, held, u64::MAX)).await.expect("offered");
    assert_eq!(rest(&mut wrong).await.expect_err("other bytes").refusal, Refusal::Signature);
}

#[tokio::test]
async fn s13_what_is_not_offered_to_the_asker_now_is_not_found_in_the_same_words() {
    let (alice, bob, carol) = (node(1).await, node(2).await, node(3).await);
    let (to_alice, to_carol) = (content(1000), content(2000));
    // A node without a session is offered nothing.
    alice.dial(&bob).await;
    let refused = offer(&bob.mesh, alice.id(), to_alice.clone()).await.expect_err("no session");
    assert_eq!(refused.refusal, Refusal::Unreachable);
    meet(&alice, &bob).await;
    meet(&carol, &bob).await;
    let alices = offer(&bob.mesh, alice.id(), to_alice.clone()).await.expect("offered");
    let carols = offer(&bob.mesh, carol.id(), to_carol.clone()).await.expect("offered");
    assert_eq!(whole(&alice.mesh, bob.id(), alices).await.expect("fetched"), to_alice);
    assert_eq!(whole(&carol.mesh, bob.id(), carols).await.expect("fetched"), to_carol);

    let unknown = fetch(&alice.mesh, bob.id(), Digest::of(&[b"unknown"])).await.expect_err("unknown");
    assert_eq!(unknown.refusal, Refusal::NotFound);
    let not_mine = fetch(&alice.mesh, bob.id(), carols).await.expect_err("offered to Carol");
    assert_eq!(not_mine, unknown);

    let until = Instant::now() + Duration::from_millis(500);
    let brief = within(bob.mesh.offer(alice.id(), content(3000).into(), until)).await.expect("offered");
    tokio::time::sleep_until(until).await;
    let expired = fetch(&alice.mesh, bob.id(), brief).await.expect_err("expired");
    assert_eq!(expired, unknown);

    // Alice's node says goodbye and comes back: the same node, in another session.
    alice.mesh.stop();
    within(alice.driver).await.expect("ends");
    let again = node(1).await;
    meet(&again, &bob).await;
    let over = fetch(&again.mesh, bob.id(), alices).await.expect_err("the session has ended");
    assert_eq!(over, unknown);
    let anew = offer(&bob.mesh, again.id(), to_alice.clone()).await.expect("offered");
    assert_eq!(anew, alices);
    assert_eq!(whole(&again.mesh, bob.id(), alices).await.expect("fetched"), to_alice);
}

#[tokio::test]
async fn s13_a_stream_under_way_ends_with_its_offer() {
    let (alice, bob) = (node(1).await, node(2).await);
    meet(&alice, &bob).await;
    let until = Instant::now() + Duration::from_millis(500);
    let digest = within(bob.mesh.offer(alice.id(), content(LARGE).into(), until)).await.expect("offered");
    let mut fetch = fetch(&alice.mesh, bob.id(), digest).await.expect("offered still");
    tokio::time::sleep_until(until).await;
    // What was on its way is read; the window is smaller than the blob.
    assert_eq!(rest(&mut fetch).await.expect_err("cut").refusal, Refusal::Unreachable);
    assert!(fetch.into_held().length() < LARGE as u64);
    assert_eq!(bob.figure("kos_blob_refusals_total{code=\"not_found\"}"), 1);
}

#[tokio::test]
async fn s13_a_file_that_has_changed_is_noticed() {
    let (alice, bob) = (node(1).await, node(2).await);
    meet(&alice, &bob).await;
    let mut changing = file(&content(LARGE));
    let kept = changing.try_clone().expect("a handle");
    let digest = offer(&bob.mesh, alice.id(), kept).await.expect("offered");
    changing.seek(std::io::SeekFrom::Start(2_000_000)).expect("seeks");
    changing.write_all(b"other").expect("written");
    let refused = whole(&alice.mesh, bob.id(), digest).await.expect_err("other bytes");
    assert_eq!(refused.refusal, Refusal::Signature);
    assert_eq!(alice.figure("kos_blob_refusals_total{code=\"signature\"}"), 1);
    changing.set_len(1_000_000).expect("cut");
    let refused = whole(&alice.mesh, bob.id(), digest).await.expect_err("too short");
    assert_eq!(refused.refusal, Refusal::Unreachable, "the stream breaks where the file ends");
    assert_eq!(bob.figure("kos_blob_refusals_total{code=\"failed\"}"), 1);
}

#[tokio::test]
async fn s13_a_reader_that_stalls_is_cut_off_and_others_are_served() {
    let bob = start(2, Role::Node, |config| config.limits.stall = Duration::from_millis(500)).await;
    let (alice, carol) = (node(1).await, node(3).await);
    meet(&alice, &bob).await;
    meet(&carol, &bob).await;
    let large = content(LARGE);
    let digest = offer(&bob.mesh, alice.id(), large.clone()).await.expect("offered");
    let mut idle = fetch(&alice.mesh, bob.id(), digest).await.expect("offered");
    assert_eq!(offer(&bob.mesh, carol.id(), large.clone()).await, Ok(digest));
    assert!(whole(&carol.mesh, bob.id(), digest).await.expect("fetched") == large);
    eventually(|| bob.figure("kos_blob_refusals_total{code=\"stalled\"}") == 1).await;
    let refused = rest(&mut idle).await.expect_err("cut");
    assert_eq!(refused.refusal, Refusal::Unreachable);
    // What did arrive is not lost.
    let held = idle.into_held();
    assert!(held.length() > 0);
    let mut on = within(alice.mesh.fetch(bob.id(), digest, held, u64::MAX)).await.expect("offered");
    rest(&mut on).await.expect("comes");
    assert!(on.is_proven());
}

#[tokio::test]
async fn s13_streams_and_offers_are_bounded_and_then_busy() {
    let (alice, bob, carol) = (node(1).await, node(2).await, node(3).await);
    meet(&alice, &bob).await;
    meet(&carol, &bob).await;
    let large = content(LARGE);
    let digest = offer(&bob.mesh, alice.id(), large.clone()).await.expect("offered");
    let mut open = Vec::new();
    for _ in 0..limits::BLOB_STREAMS {
        open.push(fetch(&alice.mesh, bob.id(), digest).await.expect("room"));
    }
    let refused = fetch(&alice.mesh, bob.id(), digest).await.expect_err("one too many");
    assert_eq!(refused.refusal, Refusal::Busy);
    let unknown = fetch(&alice.mesh, bob.id(), Digest::of(&[b"unknown"])).await.expect_err("unknown");
    assert_eq!(unknown.refusal, Refusal::NotFound, "being busy tells nothing about what there is");
    assert_eq!(offer(&bob.mesh, carol.id(), large.clone()).await, Ok(digest));
    assert!(whole(&carol.mesh, bob.id(), digest).await.expect("another peer has its own room") == large);
    // A stream that is dropped makes room.
    open.pop();
    let fifth = within(async {
        loop {
            match fetch(&alice.mesh, bob.id(), digest).await {
                Err(refused) if refused.refusal == Refusal::Busy => tokio::time::sleep(LONG / 1000).await,
                other => break other,
            }
        }
    });
    assert!(rest(&mut fifth.await.expect("room")).await.expect("comes") == large);

    for n in 1..limits::BLOB_OFFERS {
        offer(&bob.mesh, alice.id(), content(n)).await.expect("room");
    }
    offer(&bob.mesh, alice.id(), large).await.expect("the same one again takes no room");
    let refused = offer(&bob.mesh, alice.id(), content(limits::BLOB_OFFERS)).await.expect_err("one too many");
    assert_eq!(refused.refusal, Refusal::Busy);
    // Our own end is bounded too: as many as may be open, whoever is asked.
    open.clear();
    let mut asked = Vec::new();
    let refused = loop {
        let mut asking = Box::pin(alice.mesh.fetch(id(9), digest, Held::default(), 0));
        match futures::poll!(&mut asking) {
            std::task::Poll::Pending => asked.push(asking),
            std::task::Poll::Ready(ended) => break ended.expect_err("nobody is there"),
        }
        assert!(asked.len() <= limits::BLOB_STREAMS_ALL);
    };
    assert_eq!((refused.refusal, asked.len()), (Refusal::Busy, limits::BLOB_STREAMS_ALL));
}

#[tokio::test]
async fn s13_a_circuit_carries_half_of_its_limit_and_a_direct_connection_all() {
    const CIRCUIT: u64 = 2 * 1024 * 1024;
    let relay = start(1, Role::Relay, |config| config.limits.relay.circuit_bytes = CIRCUIT).await;
    let at = relay.addresses();
    let bob = start(2, Role::Node, |config| config.relays = at).await;
    bob.until(|state| state.reservations == [relay.id()]).await;
    let alice = node(3).await;
    let circuit = mesh::with_node(address(&format!("{}/p2p-circuit", relay.addresses()[0])), bob.id());
    within(alice.mesh.dial(bob.id(), vec![circuit])).await.expect("connects");
    within(alice.mesh.ping(bob.id(), LONG)).await.expect("a session");
    for (node, peer) in [(&alice, bob.id()), (&bob, alice.id())] {
        let path = node.mesh.path(peer).expect("connected");
        assert_eq!((path.kind, path.limit.and_then(|limit| limit.bytes)), (Kind::Relayed, Some(CIRCUIT)));
    }
    // Whoever dialled the circuit, its limit is known to both.
    let large = content(LARGE);
    for (from, to) in [(&bob, &alice), (&alice, &bob)] {
        let digest = offer(&from.mesh, to.id(), large.clone()).await.expect("offered");
        let refused = fetch(&to.mesh, from.id(), digest).await.expect_err("too much for the relay");
        assert_eq!(refused.refusal, Refusal::TooLarge);
    }
    let small = content(700_000);
    let digest = offer(&bob.mesh, alice.id(), small.clone()).await.expect("offered");
    assert!(whole(&alice.mesh, bob.id(), digest).await.expect("it fits") == small);
    let refused = fetch(&alice.mesh, bob.id(), digest).await.expect_err("a second one does not fit");
    assert_eq!(refused.refusal, Refusal::TooLarge);
    let digest = offer(&alice.mesh, bob.id(), small.clone()).await.expect("offered");
    let refused = fetch(&bob.mesh, alice.id(), digest).await.expect_err("nor one in the other direction");
    assert_eq!(refused.refusal, Refusal::TooLarge);

    // The session moves, and the offer with it.
    within(alice.mesh.dial(bob.id(), bob.addresses())).await.expect("connects directly");
    let digest = Digest::of(&[&large]);
    assert!(whole(&alice.mesh, bob.id(), digest).await.expect("fetched") == large);
}
