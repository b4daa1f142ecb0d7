//! Being reached: relays that are found, lost and replaced, and what the state says of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use klp::Timestamp;
use mesh::{Mapping, Reach, RelayPhase, RelaySource, Role, State, Upnp, Witness};

use crate::support::{Node, address, eventually, key, node, start, within};

/// In these tests the whole of this machine counts as public.
fn everywhere(config: &mut mesh::Config) {
    config.trust_cidr = vec!["127.0.0.0/8".parse().expect("a range")];
}

async fn bootstrap() -> Node {
    start(1, Role::Bootstrap, everywhere).await
}

/// A relay in a network of its own.
async fn relay(seed: u8, network: u8, bootstrap: &Node) -> Node {
    let to = bootstrap.addresses();
    start(seed, Role::Relay, |config| {
        everywhere(config);
        config.listen = vec![address(&format!("/ip4/127.{network}.0.1/tcp/0"))];
        config.bootstrap = to;
    })
    .await
}

fn held(state: &State) -> Vec<RelayPhase> {
    state.relays.iter().map(|relay| relay.phase).filter(|phase| *phase == RelayPhase::Active).collect()
}

#[tokio::test]
async fn k17_a_node_finds_two_relays_in_two_networks_and_replaces_one_that_dies() {
    let bootstrap = bootstrap().await;
    let relays = [relay(2, 1, &bootstrap).await, relay(3, 1, &bootstrap).await, relay(4, 2, &bootstrap).await];
    let carol = start(9, Role::Node, everywhere).await;
    carol.dial(&bootstrap).await;
    carol.until(|state| state.routing > 0).await;
    until_provided(&carol, klp::Digest::of(&[b"kos/relay/1"]), 3).await;
    let to = bootstrap.addresses();
    let bob = start(5, Role::Node, |config| {
        everywhere(config);
        config.bootstrap = to;
    })
    .await;
    let state = bob.until(|state| state.reservations.len() == 2).await;
    assert!(state.reservations.contains(&relays[2].id()), "one of each network");
    assert_eq!((state.reach, state.upnp), (Reach::Relayed, Upnp::Off));
    assert!(state.relays.iter().all(|relay| relay.source == RelaySource::Directory), "{:?}", state.relays);
    let circuits: Vec<_> = state.own.iter().filter(|own| own.witness == Some(Witness::Relay)).collect();
    assert_eq!((circuits.len(), state.external.len()), (2, 2), "{:?}", state.own);
    assert_eq!(bob.figure("kos_reach_reservations"), 2);

    let first = state.reservations.iter().find(|relay| **relay != relays[2].id()).copied().expect("one");
    for relay in relays.iter().filter(|relay| relay.id() == first) {
        relay.driver.abort();
    }
    let state = bob.until(|state| !state.reservations.contains(&first)).await;
    assert_eq!(state.external.len(), 1, "what leads nowhere is told to nobody: {:?}", state.external);
    let lost = state.relays.iter().find(|relay| relay.node == first).expect("known");
    assert!(lost.phase == RelayPhase::Waiting && lost.failures > 0 && lost.lost.is_some(), "{lost:?}");
    let state = bob.until(|state| state.reservations.len() == 2).await;
    assert_eq!(held(&state).len(), 2);
    assert!(bob.figure("kos_reach_relay_losses_total{result=\"lost\"}") >= 1);
}

#[tokio::test]
async fn k17_a_relay_is_dialled_at_every_address_that_the_user_gives_and_told_at_the_one_that_works() {
    let relay = start(1, Role::Relay, |_| {}).await;
    let works = relay.addresses()[0].clone();
    let nowhere = mesh::with_node(address("/ip4/127.0.0.1/tcp/1"), relay.id());
    let given = vec![nowhere, works.clone()];
    let bob = start(2, Role::Node, |config| config.relays = given).await;
    let state = bob.until(|state| state.reservations == [relay.id()]).await;
    assert_eq!(state.relays.len(), 1, "one relay: {:?}", state.relays);
    assert!(state.external[0].to_string().starts_with(&works.to_string()), "{:?}", state.external);
}

#[tokio::test]
async fn k17_contacts_offer_relays_and_take_them_back() {
    let bootstrap = bootstrap().await;
    let relay = relay(2, 1, &bootstrap).await;
    let bob = start(5, Role::Node, everywhere).await;
    bob.mesh.set_relays(relay.addresses()).await.expect("runs");
    let state = bob.until(|state| state.reservations == [relay.id()]).await;
    assert_eq!(state.relays[0].source, RelaySource::Contact);
    let state = bob.until(|state| !state.external.is_empty()).await;
    assert!(state.external[0].to_string().contains("p2p-circuit"), "{:?}", state.external);
    bob.mesh.set_relays(Vec::new()).await.expect("runs");
    let state = bob.until(|state| state.reservations.is_empty() && state.external.is_empty()).await;
    assert!(state.relays.is_empty() && relay.figure("kos_door_reservations") <= 1, "{:?}", state.relays);
    bob.mesh.set_relays(relay.addresses()).await.expect("runs");
    bob.until(|state| state.reservations == [relay.id()]).await;
}

#[tokio::test]
async fn k17_a_relay_that_is_full_is_left_alone_for_another() {
    let bootstrap = bootstrap().await;
    let full = {
        let to = bootstrap.addresses();
        start(2, Role::Relay, |config| {
            everywhere(config);
            config.bootstrap = to;
            config.limits.relay.reservations = 0;
        })
        .await
    };
    let other = relay(3, 1, &bootstrap).await;
    let (at, to) = (full.addresses(), bootstrap.addresses());
    let bob = start(5, Role::Node, |config| {
        everywhere(config);
        config.relays = at;
        config.bootstrap = to;
    })
    .await;
    let state = bob.until(|state| state.reservations == [other.id()]).await;
    let refused = state.relays.iter().find(|relay| relay.node == full.id()).expect("known");
    assert_eq!((refused.source, refused.phase), (RelaySource::Configured, RelayPhase::Waiting));
    assert!(bob.figure("kos_reach_relay_losses_total{result=\"refused\"}") >= 1);
}

#[tokio::test]
async fn k18_after_a_sleep_everything_is_tried_again_at_once() {
    let port = {
        let free = std::net::TcpListener::bind("127.18.0.1:0").expect("binds");
        free.local_addr().expect("bound").port()
    };
    // An address of its own, so that nobody else takes the port meanwhile.
    let at = address(&format!("/ip4/127.18.0.1/tcp/{port}"));
    let named = mesh::with_node(at.clone(), klp::NodeId(key(1).did()));
    let clock = Arc::new(AtomicU64::new(Timestamp(1_700_000_000_000).0));
    let (wall, relays) = (clock.clone(), vec![named]);
    let bob = start(2, Role::Node, |config| {
        config.relays = relays;
        config.wall = Arc::new(move || Timestamp(wall.load(Ordering::Relaxed)));
    })
    .await;
    // Two failures: the next attempt is five seconds away and more.
    bob.until(|state| state.relays.iter().any(|relay| relay.failures >= 2)).await;
    let relay = start(1, Role::Relay, |config| config.listen = vec![at]).await;
    let begun = std::time::Instant::now();
    clock.fetch_add(60_000, Ordering::Relaxed);
    bob.until(|state| state.reservations == [relay.id()]).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(bob.figure("kos_reach_changes_total{what=\"slept\"}"), 1);
}

#[tokio::test]
async fn k18_a_bootstrap_peer_that_was_restarted_hears_again_what_it_has_forgotten() {
    let first = bootstrap().await;
    let at = first.addresses();
    let to = at.clone();
    let bob = start(2, Role::Node, |config| config.bootstrap = to).await;
    bob.until(|state| state.routing > 0).await;
    let thing = klp::Digest::of(&[b"a thing"]);
    within(bob.mesh.provide(thing)).await.expect("said");
    first.driver.abort();
    bob.until(|state| state.peers.is_empty()).await;
    let mut again = at[0].clone();
    again.pop();
    let second = within(async {
        loop {
            // The port is free as soon as the first one has let go of it.
            let port_is_free = std::net::TcpListener::bind(socket(&again)).is_ok();
            if port_is_free {
                return start(1, Role::Bootstrap, |config| config.listen = vec![again.clone()]).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let carol = node(3).await;
    carol.dial(&second).await;
    carol.until(|state| state.routing > 0).await;
    until_provided(&carol, thing, 1).await;
}

#[tokio::test]
async fn n12_the_state_tells_each_own_address_and_how_little_is_known() {
    let bob = node(2).await;
    let state = bob.until(|state| !state.own.is_empty()).await;
    assert_eq!(state.own.len(), 1);
    assert!(state.own[0].witness.is_none() && !state.own[0].is_confirmed(), "nobody has dialled it: {:?}", state.own);
    assert_eq!((state.mappings.udp.mapping, state.mappings.tcp.mapping), (Mapping::Unknown, Mapping::Unknown));
    assert!(state.relays.is_empty() && state.probes.is_empty());
    let vouched = address("/ip4/127.0.0.1/tcp/9");
    let ours = vouched.clone();
    let carol = start(3, Role::Node, |config| config.external = vec![ours]).await;
    eventually(|| {
        let state = carol.mesh.state();
        let state = state.borrow();
        state.own.iter().any(|own| own.address == vouched && own.witness == Some(Witness::User))
    })
    .await;
}

/// Waits until so many say that they have something.
async fn until_provided(node: &Node, thing: klp::Digest, count: usize) {
    within(async {
        while node.mesh.find_providers(thing).await.unwrap_or_default().len() < count {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
}

pub(crate) fn socket(address: &mesh::Multiaddr) -> std::net::SocketAddr {
    let text = address.to_string();
    let port = text.split('/').nth(4).and_then(|port| port.parse().ok()).expect("a port");
    ([127, 0, 0, 1], port).into()
}

#[cfg(not(feature = "webrtc"))]
#[tokio::test]
async fn c11_an_address_of_webrtc_is_refused_by_the_name_of_the_feature_that_speaks_it() {
    use crate::support::id;
    use mesh::{Config, DialError, Multiaddr, OpenError, Registry};
    let told = "without WebRTC Direct, the cargo feature `webrtc`";
    let place = address("/ip4/127.0.0.1/udp/1/webrtc-direct");
    let changes: [fn(&mut Config, Multiaddr); 2] =
        [|config, place| config.listen = vec![place], |config, place| config.external = vec![place]];
    for change in changes {
        let mut config = Config::new(crate::support::key(1), Role::Node);
        change(&mut config, place.clone());
        let error = mesh::open(config, &mut Registry::default()).err().expect("refused");
        assert!(matches!(&error, OpenError::NoWebRtc(refused) if *refused == place), "{error}");
        assert!(error.to_string().contains(told), "{error}");
    }
    let alice = node(1).await;
    match within(alice.mesh.dial(id(2), vec![place])).await {
        Err(DialError::Unreachable { attempts }) => assert!(attempts[0].error.contains(told), "{attempts:?}"),
        other => panic!("{other:?}"),
    }
}
