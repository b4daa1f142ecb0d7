//! Nodes that reach each other over WebRTC Direct and nothing else.

use bytes::Bytes;
use futures::future::join_all;
use klp::{Refusal, limits};
use libp2p::multiaddr::Protocol;
use libp2p::multihash::Multihash;
use mesh::{Config, DialError, Multiaddr, Role};

use crate::support::{LONG, Node, address, eventually, id, start, within};

async fn listener(seed: u8) -> Node {
    start(seed, Role::Node, |config| config.listen = vec![address("/ip4/127.0.0.1/udp/0/webrtc-direct")]).await
}

async fn dialler(seed: u8) -> Node {
    start(seed, Role::Node, |config| config.listen.clear()).await
}

/// The addresses of a node, without its name.
fn nameless(node: &Node) -> Vec<Multiaddr> {
    let without = |mut address: Multiaddr| {
        address.pop();
        address
    };
    node.addresses().into_iter().map(without).collect()
}

/// The digest of a node's certificate.
fn digest(node: &Node) -> Multihash<64> {
    match nameless(node)[0].iter().last() {
        Some(Protocol::Certhash(digest)) => digest,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn c11_two_nodes_ask_each_other_over_webrtc_alone() {
    let (bob, alice) = (listener(1).await, dialler(2).await);
    alice.dial(&bob).await;
    let (bob_id, alice_id) = (bob.id(), alice.id());
    let (bob, alice) = (bob.echo(), alice.echo());
    let large = Bytes::from(vec![7; limits::MESSAGE]);
    for (from, to) in [(&alice.mesh, bob_id), (&bob.mesh, alice_id)] {
        within(from.ping(to, LONG)).await.expect("a session");
        let ask = async |number: usize| {
            let body = Bytes::from(vec![u8::try_from(number % 251).expect("small"); 100 * number]);
            from.request(to, body.clone(), LONG).await.finish().await.expect("answered") == body
        };
        assert!(within(join_all((0..200).map(ask))).await.into_iter().all(|same| same), "many at once");
        let answer = within(async { from.request(to, large.clone(), LONG).await.finish().await }).await;
        assert!(answer.expect("answered") == large, "a mebibyte");
        assert_eq!(from.path(to).expect("connected").to_string(), "lan over webrtc");
    }
}

#[tokio::test]
async fn c11_another_node_or_another_certificate_at_the_address_hears_nothing() {
    let (bob, alice) = (listener(1).await, dialler(2).await);
    match within(alice.mesh.dial(id(3), nameless(&bob))).await {
        Err(DialError::WrongNode { found, .. }) => assert_eq!(found, Some(bob.id())),
        other => panic!("{other:?}"),
    }
    let refused = alice.ask(id(3), "secret").await.expect_err("nobody there");
    assert_eq!(refused.refusal, Refusal::Unreachable);

    // The digest of somebody else's certificate, with the right node behind it.
    let other = listener(4).await;
    let digest = digest(&other);
    let swapped = |mut address: Multiaddr| {
        address.pop();
        address.with(Protocol::Certhash(digest))
    };
    match within(alice.mesh.dial(bob.id(), nameless(&bob).into_iter().map(swapped).collect())).await {
        Err(DialError::Unreachable { attempts }) => assert_eq!(attempts.len(), 1),
        other => panic!("{other:?}"),
    }

    // None of that keeps anybody out.
    alice.dial(&bob).await;
    let bob_id = bob.id();
    let _bob = bob.echo();
    assert_eq!(alice.ask(bob_id, "hello").await.expect("answered"), "hello");
}

#[tokio::test]
async fn c11_a_node_has_its_address_again_after_a_restart() {
    let bob = listener(1).await;
    let alice = dialler(2).await;
    let before = nameless(&bob);
    // It belongs to the key: another one, also from a new version of what makes it, would make stale what others know of this node.
    assert!(
        before[0].to_string().ends_with("/webrtc-direct/certhash/uEiDaY-UcPsBHMyptd3pzzYVlyXQOI4xu_DKanFvfn-CHVA"),
        "{before:?}"
    );
    alice.dial(&bob).await;
    let bob_id = bob.id();
    bob.mesh.stop();
    within(bob.driver).await.expect("ends");
    // Who asked hears of the end without asking again.
    eventually(|| alice.mesh.path(bob_id).is_none()).await;

    let port = before[0].iter().nth(1).expect("a port");
    let listen = address("/ip4/127.0.0.1").with(port).with(Protocol::WebRTCDirect);
    let bob = start(1, Role::Node, |config: &mut Config| config.listen = vec![listen]).await;
    assert_eq!(nameless(&bob), before);
    within(alice.mesh.dial(bob_id, before)).await.expect("the old address holds");
    let _bob = bob.echo();
    assert_eq!(alice.ask(bob_id, "again").await.expect("answered"), "again");
}

#[tokio::test]
async fn c11_an_address_that_the_user_vouches_for_gets_the_digest_of_the_certificate() {
    let (listen, vouched) =
        (address("/ip4/127.0.0.1/udp/0/webrtc-direct"), address("/ip4/192.0.2.7/udp/9/webrtc-direct"));
    let bob = start(1, Role::Node, |config| {
        config.listen = vec![listen];
        config.external = vec![vouched.clone()];
    })
    .await;
    let told = mesh::with_node(vouched.with(Protocol::Certhash(digest(&bob))), bob.id());
    bob.until(|state| state.external.contains(&told)).await;
}

#[tokio::test]
async fn c11_connections_that_end_leave_nothing_running() {
    let (bob, alice) = (listener(1).await, dialler(2).await);
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let meet = async || {
        let found = within(alice.mesh.dial(id(3), nameless(&bob))).await;
        assert!(matches!(found, Err(DialError::WrongNode { .. })), "{found:?}");
    };
    meet().await;
    let mut least = usize::MAX;
    eventually(|| {
        least = least.min(tasks());
        least < 30
    })
    .await;
    for _ in 0..5 {
        meet().await;
    }
    eventually(|| tasks() <= least).await;
}
