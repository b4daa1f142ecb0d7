//! From one path to another: back to a relay when the direct one swallows everything, to another relay when one dies, and up again.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use klp::NodeId;
use mesh::{Event, Kind, Multiaddr, Role};
use tokio::sync::watch;

use crate::support::{LONG, Node, address, node, start, within};

/// Passes bytes on between whoever connects and `to`, until it is told to swallow everything and to say nothing.
async fn black_hole(to: SocketAddr) -> (SocketAddr, watch::Sender<bool>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let at = listener.local_addr().expect("bound");
    let (swallow, told) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut told = told.clone();
            tokio::spawn(async move {
                let Ok(mut far) = tokio::net::TcpStream::connect(to).await else { return };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
                    _ = told.wait_for(|swallow| *swallow) => {}
                }
                // Both ends stay open, and nobody reads them.
                let _open = told.wait_for(|swallow| !swallow).await;
            });
        }
    });
    (at, swallow)
}

fn port(address: &Multiaddr) -> u16 {
    address.to_string().split('/').nth(4).and_then(|port| port.parse().ok()).expect("a port")
}

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

#[tokio::test]
async fn c14_whoever_waits_for_a_peer_has_it_when_the_peer_comes_while_the_dial_hangs() {
    let alice = start(141, Role::Node, |_| {}).await;
    let bob = start(142, Role::Node, |_| {}).await;
    // The system takes the connection, and nobody says a word in it.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let nowhere = address(&format!("/ip4/127.0.0.1/tcp/{}", silent.local_addr().expect("bound").port()));
    let begun = Instant::now();
    let waits = alice.mesh.dial(bob.id(), vec![mesh::with_node(nowhere, bob.id())]);
    let comes = async {
        let hangs = silent.accept().await.expect("she dials");
        bob.mesh.dial(alice.id(), alice.addresses()).await.expect("connects");
        hangs
    };
    let (waited, _hangs) = within(async { tokio::join!(waits, comes) }).await;
    assert_eq!(waited.expect("has him").path.kind, Kind::Lan);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

async fn relay(seed: u8) -> Node {
    start(seed, Role::Relay, |_| {}).await
}

/// A node that waits behind these relays.
async fn behind(seed: u8, relays: &[&Node]) -> Node {
    let at: Vec<_> = relays.iter().flat_map(|relay| relay.addresses()).collect();
    let node = start(seed, Role::Node, |config| config.relays = at).await;
    node.until(|state| state.reservations.len() == relays.len()).await;
    node
}

/// The way to a node through a relay, whose address may be another than its own.
fn circuit(relay: &Node, at: u16, node: NodeId) -> Multiaddr {
    let to_relay = mesh::with_node(address(&format!("/ip4/127.0.0.1/tcp/{at}")), relay.id());
    mesh::with_node(address(&format!("{to_relay}/p2p-circuit")), node)
}

/// Writes numbered chunks without end, one each 20 ms, until nobody reads them any more.
fn stream(request: mesh::Request) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        for n in 0..u32::MAX {
            if request.reply.chunk(Bytes::copy_from_slice(&n.to_be_bytes())).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
}

/// Reads this many chunks in order; says how long the longest silence was.
async fn read(answer: &mut mesh::Answer, next: &mut u32, count: u32) -> Duration {
    let mut longest = Duration::ZERO;
    for _ in 0..count {
        let begun = Instant::now();
        let chunk = within(answer.chunk()).await.expect("the stream goes on");
        assert_eq!(chunk, next.to_be_bytes().as_slice(), "nothing is lost and nothing comes twice");
        *next += 1;
        longest = longest.max(begun.elapsed());
    }
    longest
}

#[tokio::test]
async fn k17_a_stream_through_a_relay_that_falls_silent_goes_on_through_the_other() {
    let (one, other) = (relay(1).await, relay(2).await);
    let mut bob = behind(3, &[&one, &other]).await;
    let bob_id = bob.id();
    let mut alice = node(4).await;
    let (at, swallow) = black_hole(local(port(&one.addresses()[0]))).await;
    within(alice.mesh.dial(bob_id, vec![circuit(&one, at.port(), bob_id)])).await.expect("connects");
    let mut answer = alice.mesh.request(bob_id, "stream".into(), Duration::from_secs(60)).await;
    let writer = stream(bob.request().await);
    let mut next = 0;
    read(&mut answer, &mut next, 20).await;
    // Alice learns of the other relay, and goes on as she is: she is connected.
    let known = alice.mesh.dial(bob_id, vec![circuit(&other, port(&other.addresses()[0]), bob_id)]);
    let _already = tokio::time::timeout(Duration::from_millis(1), known).await;
    swallow.send_replace(true);
    let silence = read(&mut answer, &mut next, 200).await;
    assert!(silence < Duration::from_secs(7), "{silence:?}");
    drop(answer);
    within(writer).await.expect("ends");
    let moved = alice.event(|event| if let Event::Opened { path, .. } = event { Some(path) } else { None }).await;
    assert_eq!(moved.kind, Kind::Relayed);
    let _echo = bob.echo();
    assert_eq!(alice.ask(bob_id, "and the next").await.expect("answered"), "and the next");
}

#[tokio::test]
async fn k16_a_direct_path_that_swallows_everything_is_given_up_for_another() {
    let relay = relay(1).await;
    let mut bob = behind(2, &[&relay]).await;
    let bob_id = bob.id();
    let alice = node(3).await;
    let (at, swallow) = black_hole(local(port(&bob.addresses()[0]))).await;
    let direct = address(&format!("/ip4/127.0.0.1/tcp/{}", at.port()));
    let dialled = within(alice.mesh.dial(bob_id, vec![direct])).await.expect("connects");
    assert_eq!(dialled.path.kind, Kind::Lan);
    let mut answer = alice.mesh.request(bob_id, "stream".into(), Duration::from_secs(60)).await;
    let writer = stream(bob.request().await);
    let mut next = 0;
    read(&mut answer, &mut next, 20).await;
    let known = alice.mesh.dial(bob_id, vec![circuit(&relay, port(&relay.addresses()[0]), bob_id)]);
    let _already = within(known).await;
    swallow.send_replace(true);
    let silence = read(&mut answer, &mut next, 200).await;
    assert!(silence < Duration::from_secs(7), "{silence:?}");
    // Bob has told his own address and his circuit, and whichever answers first carries on.
    let path = alice.mesh.path(bob_id).expect("connected");
    assert!(path.is_relayed() || port(&path.address) != at.port(), "{path:?}");
    assert!(alice.figure("kos_reach_demotions_total") >= 1);
    drop(answer);
    within(writer).await.expect("ends");
}

#[tokio::test]
async fn k16_whoever_can_be_dialled_is_dialled_back_and_the_circuit_is_closed() {
    let everywhere = |config: &mut mesh::Config| config.trust_cidr = vec!["127.0.0.0/8".parse().expect("a range")];
    let relay = relay(1).await;
    let at = relay.addresses();
    let bob = start(2, Role::Node, |config| {
        everywhere(config);
        config.relays = at;
    })
    .await;
    bob.until(|state| state.reservations == [relay.id()]).await;
    let alice = start(3, Role::Node, everywhere).await;
    let (bob_id, alice_id) = (bob.id(), alice.id());
    let there = circuit(&relay, port(&relay.addresses()[0]), bob_id);
    let dialled = within(alice.mesh.dial(bob_id, vec![there])).await.expect("connects");
    assert_eq!(dialled.path.kind, Kind::Relayed, "the first answer waits for no more");
    bob.until(|state| state.peers.get(&alice_id).is_some_and(|peer| peer.paths[0].kind == Kind::Direct)).await;
    let only_direct = |state: &mesh::State| {
        state.peers.get(&bob_id).is_some_and(|peer| peer.paths.iter().all(|path| path.kind == Kind::Direct))
    };
    alice.until(only_direct).await;
    let reversed = "kos_reach_steps_total{step=\"reversal\",result=\"ok\"}";
    assert!(alice.figure(reversed) + bob.figure(reversed) >= 1);
}

#[tokio::test]
async fn c16_a_dial_says_what_was_tried_how_long_and_which_way() {
    let relay = relay(1).await;
    let bob = behind(2, &[&relay]).await;
    let alice = node(3).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let nobody = free.local_addr().expect("bound").port();
    drop(free);
    let there = circuit(&relay, port(&relay.addresses()[0]), bob.id());
    let nowhere = address(&format!("/ip4/127.0.0.1/tcp/{nobody}"));
    let dialled = within(alice.mesh.dial(bob.id(), vec![nowhere.clone(), there])).await.expect("connects");
    let [attempt] = &dialled.attempts[..] else { panic!("{:?}", dialled.attempts) };
    assert_eq!((attempt.kind, attempt.took.is_some()), (Kind::Lan, true), "{attempt:?}");
    assert!(attempt.address.to_string().starts_with(&nowhere.to_string()), "{attempt:?}");
    let state = alice.mesh.state().borrow().clone();
    assert_eq!(state.peers[&bob.id()].attempts, dialled.attempts);
    assert_eq!(alice.figure("kos_reach_steps_total{step=\"lan\",result=\"failed\"}"), 1);
    let unknown = crate::support::id(9);
    let failed = within(alice.mesh.dial(unknown, vec![nowhere])).await;
    assert!(matches!(failed, Err(mesh::DialError::Unreachable { attempts }) if attempts[0].took < Some(LONG)));
}
