//! Gossip travels only after its receiver's verdict.

use std::time::Duration;

use bytes::Bytes;
use mesh::{Event, Gossip, PublishError, Topic, Verdict};

use crate::support::{Node, node, within};

async fn heard(node: &mut Node) -> Gossip {
    node.event(|event| if let Event::Gossip(gossip) = event { Some(gossip) } else { None }).await
}

async fn publish(from: &Node, body: &'static str) {
    within(async {
        while from.mesh.publish(Topic::Directory, Bytes::from_static(body.as_bytes())).await
            == Err(PublishError::NoPeers)
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// A line of three: what the middle one accepts reaches the end, what it rejects does not.
#[tokio::test]
async fn a_verdict_decides_whether_gossip_travels() {
    let (alice, mut bob, mut carol) = (node(1).await, node(2).await, node(3).await);
    for node in [&alice, &bob, &carol] {
        node.mesh.subscribe(Topic::Directory, true).await.expect("subscribes");
    }
    alice.dial(&bob).await;
    bob.dial(&carol).await;
    publish(&alice, "rejected").await;
    let gossip = heard(&mut bob).await;
    assert_eq!((gossip.body.clone(), gossip.source, gossip.from), ("rejected".into(), alice.id(), alice.id()));
    bob.mesh.judge(&gossip, Verdict::Reject).await.expect("judges");
    publish(&alice, "accepted").await;
    let gossip = heard(&mut bob).await;
    assert_eq!(gossip.body, "accepted");
    bob.mesh.judge(&gossip, Verdict::Accept).await.expect("judges");
    // The first thing that Carol hears is the second thing that Alice said.
    let gossip = heard(&mut carol).await;
    assert_eq!((gossip.body, gossip.source, gossip.from), ("accepted".into(), alice.id(), bob.id()));
    let large = vec![0; klp::limits::GOSSIP + 1];
    assert_eq!(alice.mesh.publish(Topic::Directory, large.into()).await, Err(PublishError::TooLarge));
}
