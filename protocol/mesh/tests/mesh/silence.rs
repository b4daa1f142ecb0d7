//! Peers of the DHT that say nothing, or say it late, and others that do not wait for them.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use klp::rule::record::Standing;
use klp::{Digest, Timestamp};
use mesh::{Multiaddr, Role};

use crate::support::{Node, address, start, within};

/// Far less than a dial takes that nobody answers, and far more than what is waited for here, also on a busy machine.
const SOON: Duration = Duration::from_secs(4);
/// How long a slow peer takes for a record.
const SLOW: Duration = Duration::from_millis(500);

/// A peer that accepts every record, after it has done `work`.
async fn peer(seed: u8, role: Role, bootstrap: &[Multiaddr], work: impl Fn() + Send + Sync + 'static) -> Node {
    let bootstrap = bootstrap.to_vec();
    start(seed, role, move |config| {
        config.bootstrap = bootstrap;
        config.check_record = Arc::new(move |_, _, _| {
            work();
            Some(Standing { seq: 1, expires: Timestamp(u64::MAX) })
        });
    })
    .await
}

/// Alice and Bob know a hub; Bob provides `key`, and Alice's table has a dead peer: whoever dials it is never answered.
async fn with_a_dead_peer(key: Digest) -> (Node, Node, Node, TcpListener) {
    let hub = peer(1, Role::Bootstrap, &[], || {}).await;
    let bob = peer(2, Role::Node, &hub.addresses(), || {}).await;
    let alice = peer(3, Role::Node, &hub.addresses(), || {}).await;
    for node in [&alice, &bob] {
        node.until(|state| state.routing == 1).await;
    }
    within(bob.mesh.provide(key)).await.expect("provides");
    // The kernel takes connections for it, and nobody ever reads from them.
    let silent = TcpListener::bind("127.0.0.1:0").expect("binds");
    let there = address(&format!("/ip4/127.0.0.1/tcp/{}", silent.local_addr().expect("bound").port()));
    let dead = start(4, Role::Bootstrap, |config| {
        config.listen.clear();
        config.external = vec![there];
    })
    .await;
    dead.dial(&alice).await;
    alice.until(|state| state.routing == 2).await;
    dead.mesh.stop();
    alice.until(|state| !state.peers.contains_key(&dead.id())).await;
    (hub, alice, bob, silent)
}

#[tokio::test]
async fn k18_a_search_does_not_wait_for_a_dead_peer() {
    let key = Digest::of(&[b"librarian"]);
    let (_hub, alice, bob, _silent) = with_a_dead_peer(key).await;
    let begun = Instant::now();
    let found = within(alice.mesh.find_providers(key)).await.expect("looks");
    assert_eq!(found.iter().map(|(node, _)| *node).collect::<Vec<_>>(), [bob.id()]);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    let begun = Instant::now();
    assert_eq!(within(alice.mesh.find_providers(Digest::of(&[b"other"]))).await.expect("looks"), []);
    assert!(begun.elapsed() < SOON, "nothing to be found: {:?}", begun.elapsed());
}

#[tokio::test]
async fn k18_what_is_stored_or_provided_does_not_wait_for_a_dead_peer() {
    let (_hub, alice, bob, _silent) = with_a_dead_peer(Digest::of(&[b"librarian"])).await;
    let (key, value) = (Digest::of(&[b"where alice is"]), b"here".to_vec());
    let begun = Instant::now();
    within(alice.mesh.put(key, value.clone())).await.expect("stored");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!(within(bob.mesh.get(key)).await.expect("looks"), Some(value));
    let (key, begun) = (Digest::of(&[b"alice's librarian"]), Instant::now());
    within(alice.mesh.provide(key)).await.expect("provides");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    within(async {
        // Nobody confirms what is provided: it may still be on its way.
        while bob.mesh.find_providers(key).await.expect("looks").is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn k18_a_record_is_put_when_three_have_confirmed_it() {
    let stored = Arc::new(AtomicUsize::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let mut servers = Vec::new();
    for (seed, takes) in [(1, Duration::ZERO), (2, SLOW), (3, SLOW)] {
        let stored = stored.clone();
        let work = move || {
            std::thread::sleep(takes);
            stored.fetch_add(1, Ordering::SeqCst);
        };
        servers.push(peer(seed, Role::Bootstrap, &[], work).await);
    }
    let waits = over.clone();
    let stuck = move || {
        while !waits.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    servers.push(peer(4, Role::Bootstrap, &[], stuck).await);
    let known: Vec<_> = servers.iter().flat_map(Node::addresses).collect();
    let alice = peer(5, Role::Node, &known, || {}).await;
    alice.until(|state| state.routing == servers.len()).await;
    let begun = Instant::now();
    within(alice.mesh.put(Digest::of(&[b"where alice is"]), b"here".to_vec())).await.expect("stored");
    let took = begun.elapsed();
    let confirmed = stored.load(Ordering::SeqCst);
    over.store(true, Ordering::SeqCst);
    assert!(took < SOON, "{took:?}");
    assert_eq!(confirmed, 3);
}
