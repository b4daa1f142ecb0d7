//! Circuits, and the move from a circuit to a direct connection.

use std::time::{Duration, Instant};

use bytes::Bytes;
use klp::NodeId;
use mesh::{Event, Kind, Multiaddr, Role};

use crate::line::Line;
use crate::reach::socket;
use crate::support::{LONG, Node, address, dense, node, start, within};

async fn relay() -> Node {
    start(1, Role::Relay, |_| {}).await
}

/// A node that is told only through a relay.
async fn behind(seed: u8, relay: &Node) -> Node {
    let at = relay.addresses();
    let node = start(seed, Role::Node, |config| config.relays = at).await;
    node.until(|state| state.reservations == [relay.id()]).await;
    node
}

fn circuit(relay: &Node, node: NodeId) -> Multiaddr {
    let through = format!("{}/p2p-circuit", relay.addresses()[0]);
    mesh::with_node(address(&through), node)
}

#[tokio::test]
async fn k17_two_nodes_talk_through_a_relay() {
    let relay = relay().await;
    let bob = behind(2, &relay).await;
    let alice = node(3).await;
    let there = circuit(&relay, bob.id());
    let dialled = within(alice.mesh.dial(bob.id(), vec![there])).await.expect("connects");
    assert_eq!(dialled.path.kind, Kind::Relayed);
    let node = bob.id();
    let external = bob.mesh.state().borrow().external.clone();
    assert!(external.iter().any(|address| address.to_string().contains("p2p-circuit")), "{external:?}");
    let _echo = bob.echo();
    assert_eq!(alice.ask(node, "through").await.expect("answered"), "through");
}

#[tokio::test]
async fn s10_an_open_request_moves_to_the_direct_connection_and_runs_once() {
    let relay = relay().await;
    let mut bob = behind(2, &relay).await;
    let mut alice = node(3).await;
    let bob_id = bob.id();
    let there = circuit(&relay, bob_id);
    within(alice.mesh.dial(bob_id, vec![there])).await.expect("connects");

    let mut answer = alice.mesh.request(bob_id, "one question".into(), LONG).await;
    let request = bob.request().await;
    request.reply.chunk("over the relay".into()).await.expect("read");
    assert_eq!(within(answer.chunk()).await.expect("a chunk"), "over the relay");
    let unread = Bytes::from_static(b"sent, not yet read");
    request.reply.chunk(unread.clone()).await.expect("fits");

    within(alice.mesh.dial(bob_id, bob.addresses())).await.expect("connects directly");
    let mut kinds = Vec::new();
    while kinds.last() != Some(&Kind::Lan) {
        let kind =
            alice.event(|event| if let Event::Opened { path, .. } = event { Some(path.kind) } else { None }).await;
        kinds.push(kind);
    }
    assert_eq!(kinds, [Kind::Relayed, Kind::Lan], "the session moved");
    request.reply.chunk("directly".into()).await.expect("read");
    request.reply.finish("done".into());
    assert_eq!(within(answer.chunk()).await.expect("a chunk"), unread);
    assert_eq!(within(answer.chunk()).await.expect("a chunk"), "directly");
    assert_eq!(within(answer.finish()).await.expect("answered"), "done");

    // It ran once: the next thing that Bob hears is the next question.
    let (asked, next) = tokio::join!(alice.ask(bob_id, "another"), async {
        let request = bob.request().await;
        let body = request.body.clone();
        request.reply.finish(Bytes::new());
        body
    });
    assert!(asked.is_ok());
    assert_eq!(next, "another");
    // And the circuit, which costs the relay and is limited, is closed.
    let state = alice.until(|state| state.peers.get(&bob_id).is_some_and(|peer| peer.paths.len() == 1)).await;
    assert_eq!(state.peers[&bob_id].paths[0].kind, Kind::Lan);
    assert!(alice.figure("kos_session_moves_total") >= 1);
}

#[tokio::test]
async fn c15_what_a_relay_carries_stops_rising_when_the_path_is_direct() {
    const ASKS: u64 = 16;
    let body = dense(16 * 1024);
    let relay = relay().await;
    let bob = behind(2, &relay).await;
    let alice = node(3).await;
    let (to, at) = (bob.id(), bob.addresses());
    let bob = bob.echo();
    within(alice.mesh.dial(to, vec![circuit(&relay, to)])).await.expect("connects");
    for _ in 0..ASKS {
        assert_eq!(alice.send(to, body.clone()).await.expect("answered"), body);
    }
    let all = ASKS * body.len() as u64;
    let (carried, traffic) = (|| relay.figure("kos_door_carried_bytes_total"), || alice.mesh.traffic(to));
    assert!(carried() > 2 * all, "there and back: {}", carried());
    assert!(traffic().relayed.sent > all && traffic().relayed.received > all, "{:?}", traffic());
    assert_eq!(traffic().direct, mesh::Carried::default());

    within(alice.mesh.dial(to, at)).await.expect("connects directly");
    alice.until(|state| state.peers[&to].paths.len() == 1).await;
    let (relayed, through_relay) = (traffic().relayed, carried());
    for _ in 0..ASKS {
        assert_eq!(alice.send(to, body.clone()).await.expect("answered"), body);
    }
    assert_eq!(traffic().relayed, relayed, "nothing more goes through a relay");
    assert!(traffic().direct.sent > all && traffic().direct.received > all, "{:?}", traffic());
    // What Bob says to his relay because he waits there.
    assert!(carried() - through_relay < all / 16, "{} after {through_relay}", carried());
    let theirs = bob.mesh.traffic(alice.id());
    assert!(theirs.relayed.received > all && theirs.direct.received > all, "both sides see the same: {theirs:?}");
}

#[tokio::test]
async fn c14_of_two_relays_the_nearer_one_carries_and_when_it_dies_the_other_without_a_word_lost() {
    let relays = [start(1, Role::Relay, |_| {}).await, start(4, Role::Relay, |_| {}).await];
    let mut ends = Vec::new();
    for _ in &relays {
        ends.push(tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds"));
    }
    // Of addresses that are alike in all else libp2p takes the lower port first, and another one a quarter of a second later.
    ends.sort_by_key(|end| std::cmp::Reverse(end.local_addr().expect("bound").port()));
    let line = |((relay, end), delay): ((&Node, _), _)| {
        Line::from(end, socket(&relay.addresses()[0]), Duration::from_millis(delay))
    };
    let mut lines: Vec<_> = relays.iter().zip(ends).zip([1, 15]).map(line).collect();
    let places: Vec<_> = lines.iter().zip(&relays).map(|(line, relay)| line.address(relay.id())).collect();
    let given = places.clone();
    let mut bob = start(2, Role::Node, |config| config.relays = given).await;
    bob.until(|state| state.reservations.len() == 2).await;
    let mut alice = node(3).await;
    for (relay, place) in relays.iter().zip(&places) {
        within(alice.mesh.dial(relay.id(), vec![place.clone()])).await.expect("connects");
    }
    let rtt = |state: &mesh::State, at: usize| state.peers.get(&relays[at].id()).and_then(|peer| peer.rtt);
    alice.until(|state| rtt(state, 0).is_some_and(|near| rtt(state, 1).is_some_and(|far| near < far))).await;
    let to = bob.id();
    let there = |place: &Multiaddr| mesh::with_node(address(&format!("{place}/p2p-circuit")), to);
    let circuits: Vec<_> = places.iter().map(there).collect();
    let dialled = within(alice.mesh.dial(to, circuits.clone())).await.expect("connects");
    assert_eq!(dialled.path.address, circuits[0], "{dialled:?}");

    let mut answer = alice.mesh.request(to, "many pieces".into(), LONG).await;
    let request = bob.request().await;
    let piece = |number: u32| Bytes::from(format!("piece {number}"));
    for number in 0..50 {
        request.reply.chunk(piece(number)).await.expect("read");
    }
    for number in 0..25 {
        assert_eq!(within(answer.chunk()).await.expect("a chunk"), piece(number));
    }
    // The nearer one dies with pieces on their way.
    relays[0].driver.abort();
    drop(lines.remove(0));
    for number in 50..100 {
        request.reply.chunk(piece(number)).await.expect("read");
    }
    request.reply.finish("that is all".into());
    for number in 25..100 {
        assert_eq!(within(answer.chunk()).await.expect("a chunk"), piece(number));
    }
    assert_eq!(within(answer.finish()).await.expect("answered"), "that is all");
    let path = alice.mesh.path(to).expect("connected");
    assert_eq!(path.address, circuits[1]);
    let mut moved = Vec::new();
    while moved.len() < 2 {
        moved.push(
            alice.event(|event| if let Event::Opened { path, .. } = event { Some(path.address) } else { None }).await,
        );
    }
    assert_eq!(moved, circuits, "one session, over one after the other");
}

#[tokio::test]
async fn c14_a_session_moves_to_a_relay_that_turns_out_to_be_nearer() {
    let relays = [start(1, Role::Relay, |_| {}).await, start(4, Role::Relay, |_| {}).await];
    let line = Line::to(socket(&relays[1].addresses()[0]), Duration::from_millis(20)).await;
    let places = [relays[0].addresses()[0].clone(), line.address(relays[1].id())];
    let given = places.to_vec();
    let mut bob = start(2, Role::Node, |config| config.relays = given).await;
    bob.until(|state| state.reservations.len() == 2).await;
    let mut alice = node(3).await;
    let measured =
        |state: &mesh::State, at: usize| state.peers.get(&relays[at].id()).is_some_and(|peer| peer.rtt.is_some());
    within(alice.mesh.dial(relays[1].id(), vec![places[1].clone()])).await.expect("connects");
    alice.until(|state| measured(state, 1)).await;
    // Of the near one she does not know yet how near it is.
    let to = bob.id();
    let circuits = places.clone().map(|place| mesh::with_node(address(&format!("{place}/p2p-circuit")), to));
    let dialled = within(alice.mesh.dial(to, circuits.to_vec())).await.expect("connects");
    assert_eq!(dialled.path.address, circuits[1], "{dialled:?}");
    let mut answer = alice.mesh.request(to, "two pieces".into(), LONG).await;
    let request = bob.request().await;
    request.reply.chunk("by the far one".into()).await.expect("read");
    assert_eq!(within(answer.chunk()).await.expect("a chunk"), "by the far one");

    within(alice.mesh.dial(relays[0].id(), vec![places[0].clone()])).await.expect("connects");
    let mut paths = Vec::new();
    while paths.last() != Some(&circuits[0]) {
        paths.push(
            alice.event(|event| if let Event::Opened { path, .. } = event { Some(path.address) } else { None }).await,
        );
    }
    assert_eq!(paths, [&circuits[1], &circuits[0]].map(Clone::clone), "it moved once");
    request.reply.chunk("by the near one".into()).await.expect("read");
    request.reply.finish("that is all".into());
    assert_eq!(within(answer.chunk()).await.expect("a chunk"), "by the near one");
    assert_eq!(within(answer.finish()).await.expect("answered"), "that is all");
    let state = alice.until(|state| state.peers.get(&to).is_some_and(|peer| peer.paths.len() == 1)).await;
    assert_eq!(state.peers[&to].paths[0].address, circuits[0], "the far circuit is closed");
}

#[tokio::test]
async fn c14_a_nearer_relay_that_does_not_lead_there_holds_nobody_up_for_long() {
    let relays = [start(1, Role::Relay, |_| {}).await, start(4, Role::Relay, |_| {}).await];
    let line = Line::to(socket(&relays[1].addresses()[0]), Duration::from_millis(30)).await;
    let far = line.address(relays[1].id());
    let given = vec![far.clone()];
    let bob = start(2, Role::Node, |config| config.relays = given).await;
    bob.until(|state| state.reservations == [relays[1].id()]).await;
    let alice = node(3).await;
    alice.dial(&relays[0]).await;
    within(alice.mesh.dial(relays[1].id(), vec![far.clone()])).await.expect("connects");
    let measured =
        |state: &mesh::State, at: usize| state.peers.get(&relays[at].id()).is_some_and(|peer| peer.rtt.is_some());
    alice.until(|state| measured(state, 0) && measured(state, 1)).await;
    // Bob holds no place at the near one.
    let to = bob.id();
    let _echo = bob.echo();
    let circuits = [circuit(&relays[0], to), mesh::with_node(address(&format!("{far}/p2p-circuit")), to)];
    let dialled = within(alice.mesh.dial(to, circuits.to_vec())).await.expect("connects");
    assert_eq!(dialled.path.address, circuits[1], "{dialled:?}");
    assert_eq!(alice.ask(to, "through").await.expect("answered"), "through");
}

#[tokio::test]
async fn c14_a_relay_that_dies_in_silence_is_known_by_its_own_round_trips_and_not_by_those_behind_it() {
    let relay = relay().await;
    let slow = Line::to(socket(&relay.addresses()[0]), Duration::from_millis(400)).await;
    let given = vec![slow.address(relay.id())];
    let mut bob = start(2, Role::Node, |config| config.relays = given).await;
    bob.until(|state| state.reservations == [relay.id()]).await;
    let alice = node(3).await;
    let line = Line::to(socket(&relay.addresses()[0]), Duration::ZERO).await;
    let place = line.address(relay.id());
    let to = bob.id();
    let through = mesh::with_node(address(&format!("{place}/p2p-circuit")), to);
    within(alice.mesh.dial(relay.id(), vec![place])).await.expect("connects");
    within(alice.mesh.dial(to, vec![through])).await.expect("connects");
    let rtt = |state: &mesh::State, node| state.peers.get(&node).and_then(|peer| peer.rtt).unwrap_or_default();
    let state = alice.until(|state| rtt(state, to) > Duration::from_millis(700)).await;
    assert!(rtt(&state, relay.id()) < Duration::from_millis(100), "{state:?}");
    let _answer = alice.mesh.request(to, "work".into(), LONG).await;
    let _request = bob.request().await;

    line.fall_silent();
    let silent = Instant::now();
    let state = alice.until(|state| !state.peers.contains_key(&to)).await;
    // A second until somebody wonders, one and a half for the answer, and twice half of one until they look; ten round trips to Bob are eight seconds.
    assert!(silent.elapsed() < Duration::from_secs(6), "{:?}", silent.elapsed());
    assert!(state.peers.contains_key(&relay.id()), "it may only be slow");
}

#[tokio::test]
async fn a_relay_or_bootstrap_peer_must_say_who_it_is() {
    let mut config = mesh::Config::new(crate::support::key(1), Role::Node);
    config.relays = vec![address("/ip4/127.0.0.1/tcp/1")];
    let opened = mesh::open(config, &mut mesh::Registry::default());
    assert!(matches!(opened.err(), Some(mesh::OpenError::NoPeer(_))));
    let mut config = mesh::Config::new(crate::support::key(1), Role::Node);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = taken.local_addr().expect("bound").port();
    config.listen = vec![address(&format!("/ip4/127.0.0.1/tcp/{port}"))];
    let opened = mesh::open(config, &mut mesh::Registry::default());
    assert!(matches!(opened.err(), Some(mesh::OpenError::Listen { .. })), "a port in use is named");
}
