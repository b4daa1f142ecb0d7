//! What is packed on its way through a relay, and what is not.

use bytes::Bytes;
use mesh::{Kind, Role};

use crate::support::{LONG, Node, address, dense, node, start, within};

const KIB: usize = 1024;
const SAVED: &str = "kos_session_saved_bytes_total";

/// Prose, of which nothing comes back for a long time.
fn text(length: usize) -> Bytes {
    let pages = [
        include_str!("../../../../specs/guide.md"),
        include_str!("../../../../specs/03-session.md"),
        include_str!("../../../../specs/04-records.md"),
        include_str!("../../../../specs/architecture.md"),
    ];
    pages.concat().into_bytes().into_iter().cycle().take(length).collect::<Vec<_>>().into()
}

/// What a relay carries while this answer comes to `alice` in chunks, and then in one piece.
async fn cost(relay: &Node, alice: &Node, bob: &mut Node, answer: &Bytes) -> u64 {
    let before = relay.figure("kos_door_carried_bytes_total");
    let mut asked = alice.mesh.request(bob.id(), "a long answer".into(), LONG).await;
    let request = bob.request().await;
    let whole = answer.clone();
    let writing = tokio::spawn(async move {
        for chunk in whole.chunks(20 * KIB) {
            request.reply.chunk(Bytes::copy_from_slice(chunk)).await.expect("read");
        }
        request.reply.finish(whole);
    });
    let mut came = Vec::new();
    while let Some(chunk) = within(asked.chunk()).await {
        came.extend_from_slice(&chunk);
    }
    assert!(came == *answer, "the chunks come as they were");
    assert!(within(asked.finish()).await.expect("answered") == *answer, "and so does the end");
    within(writing).await.expect("written");
    relay.figure("kos_door_carried_bytes_total") - before
}

#[tokio::test]
async fn c15_text_costs_a_relay_less_than_half_of_what_noise_does_and_a_direct_path_carries_it_as_it_is() {
    let relay = start(1, Role::Relay, |_| {}).await;
    let at = relay.addresses();
    let mut bob = start(2, Role::Node, |config| config.relays = at).await;
    bob.until(|state| state.reservations == [relay.id()]).await;
    let alice = node(3).await;
    let there = address(&format!("{}/p2p-circuit", relay.addresses()[0]));
    within(alice.mesh.dial(bob.id(), vec![mesh::with_node(there, bob.id())])).await.expect("connects");
    // More than a window, more than a frame, and no whole number of either.
    let length = 300 * KIB + 7;
    let (text, dense) = (text(length), dense(length));
    assert_eq!(alice.send(bob.id(), Bytes::new()).await.expect("a session"), Bytes::new());

    let rough = cost(&relay, &alice, &mut bob, &dense).await;
    assert!(rough > 2 * length as u64, "noise is carried as it is: {rough} bytes");
    assert_eq!(bob.figure(SAVED), 0);
    let smooth = cost(&relay, &alice, &mut bob, &text).await;
    println!("a relay carries {smooth} bytes of text where it carries {rough} of noise, of {} each", 2 * length);
    assert!(smooth < rough / 2, "{smooth} bytes of text, {rough} of noise");
    let saved = bob.figure(SAVED);
    assert!((rough - smooth).abs_diff(saved) < rough / 16, "it says that it has saved {saved} of {rough}");
    assert_eq!(alice.figure(SAVED), 0, "who asks in few words saves nothing");
    // The asker's own words are packed too.
    let to = bob.id();
    let (echoed, ()) = tokio::join!(alice.send(to, text.clone()), async {
        let request = bob.request().await;
        let body = request.body.clone();
        request.reply.finish(body);
    });
    assert!(echoed.expect("answered") == text);
    assert!(alice.figure(SAVED) > length as u64 / 2);

    let (ours, theirs) = (alice.figure(SAVED), bob.figure(SAVED));
    within(alice.mesh.dial(to, bob.addresses())).await.expect("connects directly");
    alice.until(|state| state.peers[&to].paths.len() == 1).await;
    assert_eq!(alice.mesh.path(to).map(|path| path.kind), Some(Kind::Lan));
    let before = alice.mesh.traffic(to).direct.received;
    cost(&relay, &alice, &mut bob, &text).await;
    let direct = alice.mesh.traffic(to).direct.received - before;
    assert!(direct > 2 * length as u64, "nothing is packed on a direct path: {direct} bytes");
    assert_eq!((alice.figure(SAVED), bob.figure(SAVED)), (ours, theirs));
}
