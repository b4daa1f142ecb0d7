//! Circuits, and the move from a circuit to a direct connection.

use bytes::Bytes;
use klp::NodeId;
use mesh::{Event, Kind, Multiaddr, Role};

use crate::support::{LONG, Node, address, node, start, within};

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
