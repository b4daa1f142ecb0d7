//! Relays and bootstrap peers that lie, and wires that do: a node ends with a named error or takes no notice, and never hangs.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use klp::{Digest, NodeId};
use libp2p::kad::store::MemoryStore;
use libp2p::kad::{self, Mode};
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{PeerId, StreamProtocol, SwarmBuilder, identify, noise, relay, tcp, yamux};
use mesh::{DialError, Kind, Multiaddr, Role};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::support::{LONG, Node, address, dense, eventually, node, start};

/// Longer than any patience that a node has.
const END: Duration = Duration::from_secs(45);

/// Fails a test in which a node waits for a liar without end.
async fn ends<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(END, work).await.expect("it ends")
}

#[derive(NetworkBehaviour)]
struct Liar {
    identify: identify::Behaviour,
    relay: Toggle<relay::Behaviour>,
    kad: Toggle<kad::Behaviour<MemoryStore>>,
}

/// A swarm of libp2p that is none of ours. Gives its address, and runs until the end of the test.
async fn liar(
    external: &[&str],
    relay: Option<relay::Config>,
    kad: impl FnOnce(&mut kad::Behaviour<MemoryStore>) -> bool,
) -> Multiaddr {
    let builder = SwarmBuilder::with_new_identity().with_tokio();
    let builder = builder.with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default).expect("tcp");
    let builder = builder.with_behaviour(|key| {
        let me = key.public().to_peer_id();
        let config = kad::Config::new(StreamProtocol::new("/kos/kad/1"));
        let mut table = kad::Behaviour::with_config(me, MemoryStore::new(me), config);
        table.set_mode(Some(Mode::Server));
        let speaks = kad(&mut table);
        Liar {
            identify: identify::Behaviour::new(identify::Config::new("/kos/id/1".to_owned(), key.public())),
            relay: Toggle::from(relay.map(|config| relay::Behaviour::new(me, config))),
            kad: Toggle::from(speaks.then_some(table)),
        }
    });
    let mut swarm = builder.expect("a behaviour").build();
    swarm.listen_on(address("/ip4/127.0.0.1/tcp/0")).expect("listens");
    let at = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address.with_p2p(*swarm.local_peer_id()).expect("an address");
        }
    };
    for lie in external {
        swarm.add_external_address(if *lie == "true" { at.clone() } else { address(lie) });
    }
    tokio::spawn(async move { while swarm.next().await.is_some() {} });
    at
}

async fn behind(seed: u8, relay: &Multiaddr) -> Node {
    let at = relay.clone();
    start(seed, Role::Node, |config| config.relays = vec![at]).await
}

fn circuit(relay: &Multiaddr, to: NodeId) -> Multiaddr {
    mesh::with_node(address(&format!("{relay}/p2p-circuit")), to)
}

#[tokio::test]
async fn k16_a_relay_that_lies_about_its_addresses_is_not_repeated() {
    let lies = ["/ip4/198.51.100.1/tcp/1", "/ip4/10.9.9.9/tcp/22", "/dns4/relay.example/tcp/443", "true"];
    let relay = liar(&lies, Some(relay::Config::default()), |_| false).await;
    let bob = behind(2, &relay).await;
    let state = bob.until(|state| !state.external.is_empty()).await;
    let told: Vec<String> = state.external.iter().map(ToString::to_string).collect();
    assert!(told.iter().all(|told| told.starts_with("/ip4/127.0.0.1/")), "{told:?}");
    let alice = node(3).await;
    let dialled = ends(alice.mesh.dial(bob.id(), vec![circuit(&relay, bob.id())])).await.expect("the way that it has");
    assert_eq!(dialled.path.kind, Kind::Relayed);
}

#[tokio::test]
async fn k17_a_relay_that_drops_circuits_after_a_kibibyte_ends_in_a_named_error() {
    let config = relay::Config { max_circuit_bytes: 1024, ..relay::Config::default() };
    let relay = liar(&["true"], Some(config), |_| false).await;
    let bob = behind(2, &relay).await;
    bob.until(|state| !state.reservations.is_empty()).await;
    let (alice, to) = (node(3).await, bob.id());
    let there = circuit(&relay, to);
    let _echo = bob.echo();
    match ends(alice.mesh.dial(to, vec![there])).await {
        Ok(_) => {
            let body = dense(8192);
            let refused = ends(async { alice.mesh.request(to, body, LONG).await.finish().await }).await;
            assert!(refused.is_err(), "a kibibyte is not enough for it");
        }
        Err(error) => assert!(matches!(error, DialError::Unreachable { .. }), "{error:?}"),
    }
}

#[tokio::test]
async fn k17_a_relay_that_takes_guests_and_forwards_nobody_ends_in_a_named_error() {
    let config = relay::Config { max_circuits: 0, ..relay::Config::default() };
    let relay = liar(&["true"], Some(config), |_| false).await;
    let bob = behind(2, &relay).await;
    bob.until(|state| !state.reservations.is_empty()).await;
    let alice = node(3).await;
    let dialled = ends(alice.mesh.dial(bob.id(), vec![circuit(&relay, bob.id())])).await;
    let Err(DialError::Unreachable { attempts }) = dialled else { panic!("{dialled:?}") };
    assert_eq!(attempts.len(), 1, "{attempts:?}");
}

#[tokio::test]
async fn x3_a_bootstrap_peer_that_knows_only_strangers_or_itself_ends_every_lookup() {
    for strangers in [40, 0] {
        let at = liar(&["true"], None, |table| {
            for _ in 0..strangers {
                table.add_address(&PeerId::random(), address("/ip4/127.0.0.1/tcp/1"));
            }
            true
        })
        .await;
        let alice = start(2, Role::Node, |config| config.bootstrap = vec![at]).await;
        alice.until(|state| state.routing == 1).await;
        let key = Digest::of(&[b"anything"]);
        let begun = Instant::now();
        assert_eq!(ends(alice.mesh.get(key)).await, Ok(None), "{strangers} strangers");
        assert_eq!(ends(alice.mesh.find_providers(key)).await, Ok(Vec::new()), "{strangers} strangers");
        assert!(begun.elapsed() < END, "{:?}", begun.elapsed());
        let known = alice.mesh.known().await.expect("runs");
        assert_eq!(known.len(), 1, "strangers stay outside: {known:?}");
    }
}

/// What a wire does with the bytes of either way once it has carried `after` of them.
#[derive(Clone, Copy)]
enum Wire {
    Late(Duration),
    Twice { after: usize },
    Mute { after: usize },
}

/// A wire to somebody. Gives its near end.
async fn wire(kind: Wire, to: &Multiaddr) -> (Multiaddr, JoinHandle<()>) {
    let text = to.to_string();
    let mut parts = text.split('/').skip(4);
    let port: u16 = parts.next().and_then(|port| port.parse().ok()).expect("a port");
    let peer = text.rsplit('/').next().expect("a peer").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let near = listener.local_addr().expect("bound").port();
    let carrying = tokio::spawn(async move {
        while let (Ok((near, _)), Ok(far)) = (listener.accept().await, TcpStream::connect(("127.0.0.1", port)).await) {
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::spawn(carry(kind, near_in, far_out));
            tokio::spawn(carry(kind, far_in, near_out));
        }
    });
    (address(&format!("/ip4/127.0.0.1/tcp/{near}/p2p/{peer}")), carrying)
}

async fn carry(kind: Wire, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
    let (mut buffer, carried) = (vec![0; 4096], Arc::new(AtomicUsize::new(0)));
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let before = carried.fetch_add(count, Ordering::Relaxed);
        match kind {
            Wire::Late(late) => tokio::time::sleep(late).await,
            Wire::Mute { after } if before >= after => std::future::pending().await,
            _ => {}
        }
        to.write_all(&buffer[..count]).await?;
        if matches!(kind, Wire::Twice { after } if before >= after) {
            to.write_all(&buffer[..count]).await?;
        }
    }
}

#[tokio::test]
async fn k17_a_wire_that_is_ten_seconds_late_ends_in_a_named_error() {
    let bob = node(2).await;
    let (near, _wire) = wire(Wire::Late(Duration::from_secs(10)), &bob.addresses()[0]).await;
    let alice = node(3).await;
    let dialled = ends(alice.mesh.dial(bob.id(), vec![near])).await;
    assert!(matches!(dialled, Err(DialError::Unreachable { .. })), "{dialled:?}");
}

#[tokio::test]
async fn k17_a_wire_that_says_everything_twice_ends_the_session_by_name_and_the_next_one_works() {
    let bob = node(2).await;
    let (to, addresses) = (bob.id(), bob.addresses());
    let (near, _wire) = wire(Wire::Twice { after: 4000 }, &addresses[0]).await;
    let _echo = bob.echo();
    let alice = node(3).await;
    ends(alice.mesh.dial(to, vec![near])).await.expect("connects");
    let body = "x".repeat(16_384);
    let refused = ends(async {
        loop {
            let asked = alice.mesh.request(to, body.clone().into(), LONG).await.finish().await;
            if asked.is_err() {
                break asked;
            }
        }
    })
    .await;
    assert!(refused.is_err());
    ends(alice.mesh.dial(to, addresses)).await.expect("connects without it");
    assert_eq!(alice.ask(to, "again").await.expect("answered"), "again");
}

#[tokio::test]
async fn n9_who_comes_again_leaves_no_connection_behind_that_died_in_silence() {
    let alice = node(2).await;
    let bob = node(3).await;
    let (near, _wire) = wire(Wire::Mute { after: 6000 }, &alice.addresses()[0]).await;
    ends(bob.mesh.dial(alice.id(), vec![near])).await.expect("connects");
    alice.until(|state| state.peers.contains_key(&bob.id())).await;
    // Bob has a question and notices that nobody hears it. Alice, who waits for nothing, learns it from his coming again.
    let _asked = bob.mesh.request(alice.id(), "x".repeat(16_384).into(), LONG).await;
    eventually(|| alice.figure("kos_reach_demotions_total") > 0).await;
}

#[tokio::test]
async fn x3_a_bootstrap_peer_that_falls_silent_ends_every_lookup() {
    let hub = start(1, Role::Bootstrap, |_| {}).await;
    let (near, _wire) = wire(Wire::Mute { after: 6000 }, &hub.addresses()[0]).await;
    let alice = start(2, Role::Node, |config| config.bootstrap = vec![near]).await;
    alice.until(|state| state.routing == 1).await;
    for number in 0..1000_u32 {
        let begun = Instant::now();
        let found = ends(alice.mesh.get(Digest::of(&[&number.to_be_bytes()]))).await;
        if found.is_err() || begun.elapsed() > Duration::from_secs(2) {
            return;
        }
    }
    panic!("it never fell silent");
}
