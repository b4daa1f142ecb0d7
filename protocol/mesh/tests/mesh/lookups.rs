//! The DHT through a bootstrap peer.

use std::sync::Arc;

use klp::rule::record::Standing;
use klp::{Digest, Timestamp};
use mesh::{LookupError, Role};

use crate::support::{Node, start, within};

/// A record of these tests is two numbers, its standing; the second one is also its key.
fn standing(key: &[u8], value: &[u8]) -> Option<Standing> {
    let seq = value.first().copied().map(u64::from)?;
    (Digest::of(&[value.get(1..)?]).0 == key).then_some(Standing { seq, expires: Timestamp(u64::MAX) })
}

async fn joined(seed: u8, role: Role, bootstrap: &[mesh::Multiaddr]) -> Node {
    let bootstrap = bootstrap.to_vec();
    let expects = !bootstrap.is_empty();
    let node = start(seed, role, |config| {
        config.bootstrap = bootstrap;
        config.check_record = Arc::new(|key, value, _| standing(key, value));
    })
    .await;
    if expects {
        node.until(|state| state.routing > 0).await;
    }
    node
}

#[tokio::test]
async fn d3_who_provides_something_is_found_through_a_bootstrap_peer() {
    let hub = joined(1, Role::Bootstrap, &[]).await;
    let alice = joined(2, Role::Node, &hub.addresses()).await;
    let bob = joined(3, Role::Node, &hub.addresses()).await;
    let key = Digest::of(&[b"librarian"]);
    within(bob.mesh.provide(key)).await.expect("provides");
    let found = within(alice.mesh.find_providers(key)).await.expect("looks");
    let (node, addresses) = found.first().cloned().expect("found");
    assert_eq!((found.len(), node), (1, bob.id()));
    assert!(!addresses.is_empty(), "where it is comes with it");
    // What was found is enough to ask.
    within(alice.mesh.dial(node, addresses)).await.expect("connects");
    let _echo = bob.echo();
    assert_eq!(alice.ask(node, "hello").await.expect("answered"), "hello");
    let nobody = within(alice.mesh.find_providers(Digest::of(&[b"other"]))).await.expect("looks");
    assert_eq!(nobody, []);
}

/// What is said once and asks for no answer must not get lost with the stream that it was said on.
#[tokio::test]
async fn d3_over_quic_nothing_that_is_provided_gets_lost() {
    let quic =
        |config: &mut mesh::Config| config.listen = vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse().expect("address")];
    let hub = start(1, Role::Bootstrap, quic).await;
    let addresses = hub.addresses();
    let [alice, bob] = futures::future::join_all([2, 3].map(|seed| {
        let bootstrap = addresses.clone();
        start(seed, Role::Node, move |config| {
            quic(config);
            config.bootstrap = bootstrap;
        })
    }))
    .await
    .try_into()
    .ok()
    .expect("two");
    for node in [&alice, &bob] {
        node.until(|state| state.routing > 0).await;
    }
    let keys: Vec<_> = (0..40_u8).map(|number| Digest::of(&[&[number]])).collect();
    for key in &keys {
        within(bob.mesh.provide(*key)).await.expect("provides");
    }
    for key in &keys {
        within(async {
            while alice.mesh.find_providers(*key).await.expect("looks").is_empty() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn what_was_provided_before_there_were_peers_is_said_when_there_are() {
    let hub = joined(1, Role::Bootstrap, &[]).await;
    let alone = start(2, Role::Node, |_| {}).await;
    let key = Digest::of(&[b"early"]);
    assert_eq!(within(alone.mesh.provide(key)).await, Err(LookupError::NoPeers));
    alone.dial(&hub).await;
    let alice = joined(3, Role::Node, &hub.addresses()).await;
    within(async {
        while alice.mesh.find_providers(key).await.expect("looks").is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn d2_only_records_that_hold_are_stored_and_believed() {
    let hub = joined(1, Role::Bootstrap, &[]).await;
    let alice = joined(2, Role::Node, &hub.addresses()).await;
    let bob = joined(3, Role::Node, &hub.addresses()).await;
    let value = b"\x01a signed record".to_vec();
    let key = Digest::of(&[&value[1..]]);
    within(alice.mesh.put(key, value.clone())).await.expect("stored");
    assert_eq!(within(bob.mesh.get(key)).await.expect("looks"), Some(value));
    // Anybody may send anything; what does not hold is not kept.
    let wrong = Digest::of(&[b"somebody else's key"]);
    let _sent = within(alice.mesh.put(wrong, b"\x01forged".to_vec())).await;
    assert_eq!(within(bob.mesh.get(wrong)).await.expect("looks"), None);
    let large = within(alice.mesh.put(key, vec![0; klp::limits::RECORD + 1])).await;
    assert_eq!(large, Err(LookupError::TooLarge));
}

#[tokio::test]
async fn d2_an_old_record_that_somebody_puts_again_does_not_replace_the_newer_one() {
    let hub = joined(1, Role::Bootstrap, &[]).await;
    let alice = joined(2, Role::Node, &hub.addresses()).await;
    let mallory = joined(3, Role::Node, &hub.addresses()).await;
    let bob = joined(4, Role::Node, &hub.addresses()).await;
    let [old, new] = [1, 2].map(|seq| [&[seq][..], b"where alice is"].concat());
    let key = Digest::of(&[b"where alice is"]);
    for value in [&old, &new] {
        within(alice.mesh.put(key, value.clone())).await.expect("stored");
    }
    within(mallory.mesh.put(key, old.clone())).await.expect("sent");
    assert_eq!(within(bob.mesh.get(key)).await.expect("looks"), Some(new.clone()));
    // Whoever holds an old one, and hears of a newer one, believes the newer one.
    assert_eq!(within(mallory.mesh.get(key)).await.expect("looks"), Some(new));
}
