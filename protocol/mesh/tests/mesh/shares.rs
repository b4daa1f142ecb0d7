//! One relay, and two that send through it: the greedy one leaves the other its share.

use std::time::Duration;

use bytes::Bytes;
use klp::blob::Held;
use klp::{Digest, NodeId, limits};
use mesh::{Mesh, Role};

use crate::support::{LONG, Node, address, start, within};

const MIB: usize = 1 << 20;

async fn behind(seed: u8, relay: &Node) -> Node {
    let at = relay.addresses();
    let node = start(seed, Role::Node, |config| config.relays = at).await;
    node.until(|state| state.reservations == [relay.id()]).await;
    node
}

/// Somebody who reaches `to` through the relay only, and has a session with it.
async fn caller(seed: u8, relay: &Node, to: NodeId) -> Node {
    let node = start(seed, Role::Node, |config| config.listen.clear()).await;
    let there = mesh::with_node(address(&format!("{}/p2p-circuit", relay.addresses()[0])), to);
    within(node.mesh.dial(to, vec![there])).await.expect("connects");
    within(node.mesh.ping(to, LONG)).await.expect("a session");
    node
}

async fn fetch(mesh: &Mesh, from: NodeId, digest: Digest) -> usize {
    let mut fetch = within(mesh.fetch(from, digest, Held::default(), u64::MAX)).await.expect("offered");
    let (mut buffer, mut taken) = (vec![0; limits::FRAME], 0);
    while let Ok(count @ 1..) = fetch.read(&mut buffer).await {
        taken += count;
    }
    taken
}

#[tokio::test]
async fn x2_one_greedy_sender_leaves_the_other_its_share() {
    let relay = start(1, Role::Relay, |config| {
        let limits = &mut config.limits.relay;
        (limits.bytes_per_second, limits.circuit_bytes) = (16 * MIB as u64, 0);
    })
    .await;
    let (greedy, modest) = (behind(2, &relay).await, behind(3, &relay).await);
    let later = tokio::time::Instant::now() + Duration::from_secs(600);
    let content = Bytes::from(vec![9; 32 * MIB]);
    let mut greed = Vec::new();
    for seed in 10..16 {
        let taker = caller(seed, &relay, greedy.id()).await;
        let digest = within(greedy.mesh.offer(taker.id(), content.clone().into(), later)).await.expect("offered");
        let from = greedy.id();
        greed.push(tokio::spawn(async move { fetch(&taker.mesh, from, digest).await }));
    }
    let taker = caller(20, &relay, modest.id()).await;
    let content = Bytes::from(vec![7; 12 * MIB]);
    let digest = within(modest.mesh.offer(taker.id(), content.into(), later)).await.expect("offered");
    // All six streams of the greedy one run by now.
    let before = relay.mesh.service().carried;
    within(async {
        while relay.mesh.service().carried < before + 8 * MIB as u64 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let before = relay.mesh.service().carried;
    assert_eq!(within(fetch(&taker.mesh, modest.id(), digest)).await, 12 * MIB);
    // Of what the relay carried meanwhile, not of the time: a busy machine slows both.
    let share = 12.0 * MIB as f64 / (relay.mesh.service().carried - before) as f64;
    println!("the modest one had {share:.2} of what the relay carried, beside six greedy streams");
    assert!(share > 0.375, "{share} where one half is fair");
    let bytes = relay.mesh.service().bytes_per_second;
    assert!(bytes <= 20 * MIB as u64, "{bytes} bytes a second of 16 MiB");
    greed.iter().for_each(tokio::task::JoinHandle::abort);
}
