//! Asking the network: names, bootstrap peers and relays, each transport by itself, with meshes that end with the visit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use klp::{NodeId, Refusal, SecretKey};
use mesh::{DialError, Mesh, Multiaddr, RelayPhase, RelayView, Role, Tls};

use super::place::{Carrier, Place};
use super::{Key, Living, Targets};
use crate::clock::Clock;
use crate::entropy;

/// How long a name may take to be looked up.
const NAMING: Duration = Duration::from_secs(5);
/// How long a peer may take to answer.
const DIALLING: Duration = Duration::from_secs(8);
/// How long a relay may take to give a place.
const RESERVING: Duration = Duration::from_secs(8);

/// How one peer answered over one transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It answered.
    Here,
    /// It answered, and said that the two clocks differ.
    Clock,
    /// It did not.
    Silent(String),
}

/// How one relay answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seat {
    /// It holds a place for this node.
    Given,
    /// It is there, and gives none.
    Refused(String),
    /// It is not there.
    Silent,
    /// It was not asked, for the key of this node is locked.
    Unasked,
}

/// What the network said.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    /// Names that were looked up, with what went wrong.
    pub(super) names: BTreeMap<String, Option<String>>,
    /// Peers by transport.
    pub(super) peers: BTreeMap<(NodeId, &'static str), Answer>,
    /// Relays.
    pub(super) relays: BTreeMap<NodeId, Seat>,
}

/// Asks everybody at once.
pub(super) async fn ask(targets: &Targets, key: Key, living: Option<&Living>, clock: &Clock) -> Heard {
    let all = || targets.bootstrap.iter().chain(&targets.relays);
    let places = all().filter_map(|address| Place::of(&address.to_string()));
    let names: BTreeSet<String> = places.filter_map(|place| place.name().map(str::to_owned)).collect();
    let over = |carrier| all().filter(move |address| carried_by(address) == Some(carrier)).cloned().collect::<Vec<_>>();
    let (tcp, udp) = (over(Carrier::Tcp), over(Carrier::Udp));
    let (names, tcp, udp, relays) = tokio::join!(
        look_up(names),
        dial_all(tcp, &targets.tls, clock),
        dial_all(udp, &targets.tls, clock),
        reserve(targets, key, living, clock),
    );
    let tcp = tcp.into_iter().map(|(node, answer)| ((node, "tcp"), answer));
    let udp = udp.into_iter().map(|(node, answer)| ((node, "udp"), answer));
    Heard { names, peers: tcp.chain(udp).collect(), relays }
}

fn carried_by(address: &Multiaddr) -> Option<Carrier> {
    Place::of(&address.to_string()).map(|place| place.carrier)
}

async fn look_up(names: BTreeSet<String>) -> BTreeMap<String, Option<String>> {
    let looked = names.into_iter().map(|name| async move {
        let found = tokio::time::timeout(NAMING, tokio::net::lookup_host((name.clone(), 0))).await;
        let why = match found {
            Ok(Ok(mut addresses)) => addresses.next().is_none().then(|| "it has no address".to_owned()),
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {} s", NAMING.as_secs())),
        };
        (name, why)
    });
    futures::future::join_all(looked).await.into_iter().collect()
}

/// A mesh for one question.
struct Probe(Mesh);

impl Probe {
    fn open(key: Option<SecretKey>, relays: &[Multiaddr], tls: &Tls, clock: &Clock) -> Option<Self> {
        let key = key.or_else(|| Some(SecretKey::from_seed(&entropy::bytes().ok()?)))?;
        let wall = clock.clone();
        let config = mesh::Config {
            relays: relays.to_vec(),
            tls: tls.clone(),
            wall: Arc::new(move || wall.now()),
            ..mesh::Config::new(key, Role::Node)
        };
        let (mesh, events, driver) = mesh::open(config, &mut mesh::Registry::default()).ok()?;
        // Whoever asks it something is refused.
        drop(events);
        tokio::spawn(driver);
        Some(Self(mesh))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Dials peers that are all reached over the same transport.
async fn dial_all(addresses: Vec<Multiaddr>, tls: &Tls, clock: &Clock) -> BTreeMap<NodeId, Answer> {
    let mut peers: BTreeMap<NodeId, Vec<Multiaddr>> = BTreeMap::new();
    for address in addresses {
        if let Some(node) = mesh::node_in(&address) {
            peers.entry(node).or_default().push(address);
        }
    }
    if peers.is_empty() {
        return BTreeMap::new();
    }
    let Some(probe) = Probe::open(None, &[], tls, clock) else { return BTreeMap::new() };
    let probe = &probe.0;
    let dialled = peers.into_iter().map(|(node, addresses)| async move { (node, dial(probe, node, addresses).await) });
    futures::future::join_all(dialled).await.into_iter().collect()
}

async fn dial(probe: &Mesh, node: NodeId, addresses: Vec<Multiaddr>) -> Answer {
    match tokio::time::timeout(DIALLING, probe.dial(node, addresses)).await {
        Ok(Ok(_)) => {}
        Ok(Err(DialError::Unreachable { attempts })) => {
            let tried = attempts.iter().map(|one| format!("{} ({})", one.address, one.error));
            return Answer::Silent(tried.collect::<Vec<_>>().join(", "));
        }
        Ok(Err(error)) => return Answer::Silent(error.to_string()),
        Err(_) => return Answer::Silent(format!("no answer within {} s", DIALLING.as_secs())),
    }
    match probe.ping(node, DIALLING).await {
        Err(refused) if refused.refusal == Refusal::Clock => Answer::Clock,
        // A peer that is there and too busy for a session is there.
        _ => Answer::Here,
    }
}

/// Asks each relay for a place, as this node; one that runs has asked already.
async fn reserve(targets: &Targets, key: Key, living: Option<&Living>, clock: &Clock) -> BTreeMap<NodeId, Seat> {
    let nodes: Vec<NodeId> = targets.relays.iter().filter_map(mesh::node_in).collect();
    if nodes.is_empty() {
        return BTreeMap::new();
    }
    if let Some(living) = living {
        let place = |node: &NodeId| match living.relays.iter().find(|relay| relay.node == *node) {
            Some(relay) if relay.phase == RelayPhase::Active => Seat::Given,
            Some(relay) => Seat::Refused(relay.lost.clone().unwrap_or_default()),
            None => Seat::Refused(String::new()),
        };
        return nodes.iter().map(|node| (*node, place(node))).collect();
    }
    let Some(key) = key else { return nodes.into_iter().map(|node| (node, Seat::Unasked)).collect() };
    let Some(probe) = Probe::open(Some(key), &targets.relays, &targets.tls, clock) else { return BTreeMap::new() };
    let mut state = probe.0.state();
    let told = |relay: &RelayView| relay.phase == RelayPhase::Active || relay.failures > 0;
    let all = |state: &mesh::State| {
        let known = |node: &NodeId| state.relays.iter().any(|relay| relay.node == *node && told(relay));
        nodes.iter().all(known)
    };
    // What is not there by then is shown as missing.
    let _in_time = tokio::time::timeout(RESERVING, state.wait_for(all)).await.is_ok();
    let state = state.borrow();
    let place = |node: &NodeId| {
        if state.reservations.contains(node) {
            Seat::Given
        } else if state.peers.contains_key(node) {
            let relay = state.relays.iter().find(|relay| relay.node == *node);
            Seat::Refused(relay.and_then(|relay| relay.lost.clone()).unwrap_or_default())
        } else {
            Seat::Silent
        }
    };
    nodes.iter().map(|node| (*node, place(node))).collect()
}
