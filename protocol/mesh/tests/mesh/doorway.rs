//! Who is let in: places behind a relay, and those who want too much.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use klp::rule::record::Standing;
use klp::{Digest, Timestamp};
use mesh::{Access, Config, GateLimits, Kind, PublishError, Rate, RelayToken, Role, Topic};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{LONG, Node, address, eventually, id, node, start, within};

async fn relay(change: impl FnOnce(&mut mesh::RelayLimits)) -> Node {
    start(1, Role::Relay, |config| change(&mut config.limits.relay)).await
}

async fn behind(seed: u8, relay: &Node, change: impl FnOnce(&mut Config)) -> Node {
    let at = relay.addresses();
    start(seed, Role::Node, |config| {
        config.relays = at;
        change(config);
    })
    .await
}

fn refused(node: &Node, what: &'static str, reason: &'static str) -> u64 {
    node.mesh.service().refusals.get(&(what, reason)).copied().unwrap_or(0)
}

#[tokio::test]
async fn x2_a_full_relay_renews_its_guest_and_refuses_a_newcomer() {
    let life = Duration::from_secs(4);
    let relay = relay(|limits| (limits.reservations, limits.reservation_time) = (1, life)).await;
    let guest = behind(2, &relay, |_| {}).await;
    guest.until(|state| state.reservations == [relay.id()]).await;
    let late = behind(3, &relay, |_| {}).await;
    within(async {
        while refused(&relay, "reservation", "full") == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(late.mesh.state().borrow().reservations.is_empty());
    // Longer than the first reservation lasts: without a renewal its place would be gone.
    let mut state = guest.mesh.state();
    let lost = tokio::time::timeout(life * 3 / 2, state.wait_for(|state| state.reservations.is_empty())).await;
    assert!(lost.is_err(), "the guest keeps its place");
    let places = relay.mesh.service().places.expect("a relay has places");
    assert!((places.reservations, places.most_reservations) == (1, 1) && places.alarm(), "{places:?}");
    let alice = node(4).await;
    let there = mesh::with_node(address(&format!("{}/p2p-circuit", relay.addresses()[0])), guest.id());
    let dialled = within(alice.mesh.dial(guest.id(), vec![there])).await.expect("connects");
    assert_eq!(dialled.path.kind, Kind::Relayed);
    eventually(|| relay.mesh.service().places.is_some_and(|places| places.circuits == 1)).await;
}

#[tokio::test]
async fn x2_only_who_knows_the_token_or_is_listed_waits_behind_a_relay() {
    let token = || RelayToken::new("correct horse battery staple").expect("long enough");
    let relay = relay(|limits| limits.access = Access::Token(token())).await;
    let guest = behind(2, &relay, |config| config.relay_token = Some(token())).await;
    guest.until(|state| state.reservations == [relay.id()]).await;
    assert_eq!(refused(&relay, "reservation", "access"), 0);
    let other = behind(3, &relay, |config| config.relay_token = RelayToken::new("another horse and its staple")).await;
    let without = behind(4, &relay, |_| {}).await;
    // A wrong proof and a place asked for all the same, and a place asked for without one.
    eventually(|| refused(&relay, "reservation", "access") >= 3).await;
    for node in [&other, &without] {
        assert!(node.mesh.state().borrow().reservations.is_empty());
    }

    let listed =
        start(5, Role::Relay, |config| config.limits.relay.access = Access::Listed([id(6)].into_iter().collect()))
            .await;
    let guest = behind(6, &listed, |_| {}).await;
    guest.until(|state| state.reservations == [listed.id()]).await;
    let _stranger = behind(7, &listed, |_| {}).await;
    eventually(|| refused(&listed, "reservation", "access") >= 1).await;
    assert_eq!(listed.mesh.service().places.map(|places| places.reservations), Some(1));
}

/// Limits small enough for a test, also for this machine's own addresses.
fn small(config: &mut Config) {
    config.limits.gate = GateLimits {
        loopback: true,
        open: [40, 80],
        handshakes: [20, 40],
        knocks: [Rate { burst: 100, every: Duration::from_millis(100) }; 2],
        strikes: Rate { burst: 100, every: Duration::from_millis(100) },
        ..GateLimits::default()
    };
}

async fn knock(from: &str, to: SocketAddr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::new(from.parse().expect("an address"), 0)).expect("binds");
    socket.connect(to).await.ok()
}

fn port(node: &Node) -> SocketAddr {
    let text = node.addresses()[0].to_string();
    let port = text.split('/').nth(4).and_then(|port| port.parse().ok()).expect("a port");
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[tokio::test]
async fn x3_many_connections_of_one_address_leave_room_for_others() {
    let hub = start(1, Role::Bootstrap, small).await;
    let at = port(&hub);
    let mut open = Vec::new();
    for _ in 0..400 {
        // None of them ever says a word.
        open.extend(knock("127.9.0.1", at).await);
    }
    eventually(|| refused(&hub, "connection", "handshakes") > 0).await;
    eventually(|| refused(&hub, "connection", "banned_address") > 0).await;
    assert_eq!(hub.mesh.service().banned_addresses, 1);
    // Somebody from elsewhere is let in at once and answered.
    let alice = node(2).await;
    let begun = Instant::now();
    alice.dial(&hub).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    eventually(|| hub.mesh.service().open == 1).await;
    assert!(hub.figure("kos_door_refusals_total{what=\"connection\",reason=\"banned_address\"}") > 0);
}

#[tokio::test]
async fn x3_who_says_nothing_is_hung_up_on() {
    let hub = start(1, Role::Bootstrap, small).await;
    let mut silent = knock("127.9.0.2", port(&hub)).await.expect("connects");
    let mut heard = Vec::new();
    let ended = within(silent.read_to_end(&mut heard)).await;
    assert!(ended.is_err() || heard.len() < 256, "{heard:?}");
}

#[tokio::test]
async fn x3_a_peer_that_floods_the_directory_is_limited_then_dropped() {
    let check = |key: &[u8], value: &[u8]| {
        (Digest::of(&[value]).0 == key).then_some(Standing { seq: 1, expires: Timestamp(u64::MAX) })
    };
    let with_check = move |config: &mut Config| {
        config.check_record = Arc::new(move |key, value, _| check(key, value));
    };
    let hub = start(1, Role::Bootstrap, |config| {
        small(config);
        with_check(config);
    })
    .await;
    let joined = async |seed| {
        let at = hub.addresses();
        let node = start(seed, Role::Node, |config| {
            config.bootstrap = at;
            with_check(config);
        })
        .await;
        node.until(|state| state.routing > 0).await;
        node
    };
    let (greedy, alice) = (joined(2).await, joined(3).await);
    let flood = async {
        for number in 0..10_000_u32 {
            let value = number.to_be_bytes().to_vec();
            if greedy.mesh.put(Digest::of(&[&value]), value).await.is_err() && hub.mesh.service().banned_peers > 0 {
                return number;
            }
        }
        10_000
    };
    let stopped_at = within(flood).await;
    assert!((512..2000).contains(&stopped_at), "dropped after {stopped_at}");
    assert!(refused(&hub, "record", "quota") > 0);
    greedy.until(|state| !state.peers.contains_key(&hub.id())).await;
    eventually(|| refused(&hub, "connection", "banned_peer") > 0).await;
    // Another one still finds room and answers.
    let value = b"alice".to_vec();
    within(alice.mesh.put(Digest::of(&[&value]), value.clone())).await.expect("stored");
    assert_eq!(within(alice.mesh.get(Digest::of(&[&value]))).await, Ok(Some(value)));
}

#[tokio::test]
async fn x3_a_peer_that_floods_gossip_is_limited_then_dropped_and_contacts_are_answered() {
    let bob = start(1, Role::Node, small).await;
    let (loud, alice) = (node(2).await, node(3).await);
    for node in [&bob, &loud] {
        node.mesh.subscribe(Topic::Directory, true).await.expect("subscribes");
    }
    loud.dial(&bob).await;
    alice.dial(&bob).await;
    let (bob_id, loud_id) = (bob.id(), loud.id());
    let bob = bob.echo();
    assert_eq!(alice.ask(bob_id, "before").await.expect("answered"), "before");
    let flood = async {
        let mut number = 0_u32;
        while bob.mesh.service().banned_peers == 0 {
            let body = number.to_be_bytes().repeat(64);
            match loud.mesh.publish(Topic::Directory, body.into()).await {
                Ok(()) => number += 1,
                Err(PublishError::NoPeers | PublishError::Busy) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => panic!("{error}"),
            }
        }
        number
    };
    let asking = async {
        let mut slowest = Duration::ZERO;
        while bob.mesh.service().banned_peers == 0 {
            let begun = Instant::now();
            assert_eq!(alice.ask(bob_id, "meanwhile").await.expect("answered"), "meanwhile");
            slowest = slowest.max(begun.elapsed());
        }
        slowest
    };
    let (sent, slowest) = within(async { tokio::join!(flood, asking) }).await;
    assert!(sent >= 512, "not before {sent}");
    assert!(slowest < LONG / 4, "{slowest:?}");
    let mut state = bob.mesh.state();
    within(state.wait_for(|state| !state.peers.contains_key(&loud_id))).await.expect("runs");
    assert_eq!(alice.ask(bob_id, "after").await.expect("answered"), "after");
    assert!(bob.figure("kos_door_refusals_total{what=\"gossip\",reason=\"often\"}") > 0);
}

#[tokio::test]
async fn x3_one_network_does_not_fill_the_directory() {
    let hub = start(1, Role::Bootstrap, |config| config.limits.gate.loopback = true).await;
    let at = hub.addresses();
    let mut crowd = Vec::new();
    for seed in 10..40 {
        let at = at.clone();
        crowd.push(start(seed, Role::Bootstrap, |config| config.bootstrap = at).await);
    }
    eventually(|| refused(&hub, "routing", "network") >= 1).await;
    for node in &crowd {
        node.until(|state| state.routing > 0).await;
    }
    let known = hub.mesh.known().await.expect("runs");
    assert!((1..=10).contains(&known.len()), "{known:?}");

    // And an earlier life is where the next one begins.
    let later = start(50, Role::Bootstrap, |config| config.known = known.clone()).await;
    later.until(|state| state.routing > 0).await;
}
