//! What the mesh shows, as the faces show it.

use klp::NodeId;
use mesh::{Mapping, Path, RelayPhase, RelayView, State};

use crate::view::{Attempt, CarriedBytes, NetcheckAddress, NetcheckRelay, RelayUse};

/// How the router in front of us maps UDP; that of TCP where nobody has seen us over UDP.
pub(super) fn mapping(state: &State) -> &'static str {
    match state.mappings.udp.mapping {
        Mapping::Unknown => state.mappings.tcp.mapping.as_str(),
        known => known.as_str(),
    }
}

/// How it maps UDP.
pub(super) fn mapping_udp(state: &State) -> &'static str {
    state.mappings.udp.mapping.as_str()
}

/// How it maps TCP.
pub(super) fn mapping_tcp(state: &State) -> &'static str {
    state.mappings.tcp.mapping.as_str()
}

/// What the router does when it is asked to open a port.
pub(super) fn upnp(state: &State) -> &'static str {
    state.upnp.as_str()
}

/// Whether others may reach us over IPv6.
pub(super) fn has_ipv6(state: &State) -> bool {
    let mut addresses = state.listen.iter().chain(&state.external).map(ToString::to_string);
    addresses.any(|address| {
        address.starts_with("/ip6/") && !address.starts_with("/ip6/::1/") && !address.starts_with("/ip6/fe80")
    })
}

/// Our own addresses, and who says that they reach us.
pub(super) fn addresses(state: &State) -> Vec<NetcheckAddress> {
    let shown = state.own.iter().map(|own| NetcheckAddress {
        address: own.address.to_string(),
        confirmed_by: own.witness.map_or_else(String::new, |witness| witness.as_str().to_owned()),
    });
    shown.collect()
}

/// The relays that are known.
pub(super) fn relays(state: &State) -> Vec<NetcheckRelay> {
    let relay = |relay: &RelayView| NetcheckRelay {
        node: relay.node.to_string(),
        address: relay.address.to_string(),
        source: relay.source.as_str().to_owned(),
        state: relay.phase.as_str().to_owned(),
        failures: relay.failures,
        lost: relay.lost.clone().filter(|_| relay.phase != RelayPhase::Active),
        rtt_ms: relay.rtt.map(super::millis),
    };
    state.relays.iter().map(relay).collect()
}

/// Why a relay was lost, as far as it is known.
pub(super) fn lost(state: &State, node: &NodeId) -> Option<String> {
    state.relays.iter().find(|relay| relay.node == *node).and_then(|relay| relay.lost.clone())
}

/// What was tried in vain before a peer was reached.
pub(super) fn attempts(state: &State, node: NodeId) -> Vec<Attempt> {
    let tried = state.peers.get(&node).map(|peer| peer.attempts.as_slice()).unwrap_or_default();
    let attempt = |one: &mesh::Attempt| Attempt {
        step: one.kind.as_str().to_owned(),
        address: one.address.to_string(),
        result: one.error.clone(),
        took_ms: one.took.map_or(0, super::millis),
    };
    tried.iter().map(attempt).collect()
}

/// Why the last hole punch to a peer failed.
pub(super) fn punch(state: &State, node: NodeId) -> Option<String> {
    state.peers.get(&node)?.punch.as_ref()?.error.clone()
}

/// The relay that a path leads through, with what it lets through.
pub(super) fn relay(path: &Path) -> Option<RelayUse> {
    let address = path.address.to_string();
    let (relay, _) = address.split_once("/p2p-circuit").filter(|_| path.is_relayed())?;
    Some(RelayUse {
        address: relay.to_owned(),
        limit_bytes: path.limit.and_then(|limit| limit.bytes),
        limit_s: path.limit.and_then(|limit| limit.time).map(|time| time.as_secs()),
    })
}

/// What went through relays, and what did not.
pub(super) fn carried(traffic: mesh::Traffic) -> Vec<CarriedBytes> {
    let ways = [("relayed", traffic.relayed), ("direct", traffic.direct)];
    let used = ways.into_iter().filter(|(_, carried)| *carried != mesh::Carried::default());
    used.map(|(way, mesh::Carried { sent, received })| CarriedBytes { way: way.to_owned(), sent, received }).collect()
}
