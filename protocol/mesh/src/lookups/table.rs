//! The routing table: how Kademlia is set, and what can be seen of it.

use std::time::Duration;

use klp::limits;
use libp2p::core::Endpoint;
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig};
use libp2p::kad::{self, BucketInserts, Mode, StoreInserts};
use libp2p::swarm::{ConnectionId, NetworkBehaviour as _};
use libp2p::{Multiaddr, PeerId, StreamProtocol};

use crate::config::Role;

/// Our own DHT; other networks' peers do not speak it and so never enter our table.
pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/kos/kad/1");
/// Things that one node says it has: its agents' tags and DIDs.
pub(super) const PROVIDED: usize = 1024;
/// Longest query. A lookup over an honest table takes far less.
const QUERY_TIME: Duration = Duration::from_secs(20);

pub(super) type Table = kad::Behaviour<MemoryStore>;

/// A DHT with our settings.
pub(crate) fn table(me: PeerId, role: Role, life: Duration) -> Table {
    let (max_records, max_providers) = match role {
        Role::Node => (1024, 20),
        Role::Relay | Role::Bootstrap => (65_536, 64),
    };
    let store = MemoryStoreConfig {
        max_records,
        max_value_bytes: limits::RECORD,
        max_provided_keys: max_records.max(PROVIDED),
        max_providers_per_key: max_providers,
    };
    let mut config = kad::Config::new(PROTOCOL);
    config
        .set_query_timeout(QUERY_TIME)
        .set_record_ttl(Some(life))
        .set_publication_interval(None)
        .set_provider_record_ttl(Some(life))
        .set_provider_publication_interval(Some(life / 2))
        .set_record_filtering(StoreInserts::FilterBoth)
        .set_kbucket_inserts(BucketInserts::Manual)
        .disjoint_query_paths(true);
    let mut table = Table::with_config(me, MemoryStore::with_config(me, store), config);
    // Never by itself: a circuit address would make a node behind a router a server.
    table.set_mode(Some(if role == Role::Node { Mode::Client } else { Mode::Server }));
    table
}

pub(super) fn is_empty(table: &mut Table) -> bool {
    table.kbuckets().next().is_none()
}

/// At which distance a peer is, and at which all of the table are.
pub(super) fn distances(table: &mut Table, peer: PeerId) -> (u32, Vec<(PeerId, u32)>) {
    let mut present = Vec::new();
    for (distance, bucket) in table.kbuckets().map(|bucket| (bucket.range().1.ilog2().unwrap_or(0), bucket)) {
        present.extend(bucket.iter().map(|entry| (*entry.node.key.preimage(), distance)));
    }
    let at = table.kbucket(peer).and_then(|bucket| bucket.range().1.ilog2());
    (at.unwrap_or(0), present)
}

/// Where the peers of the table are, each address ending in `/p2p/PEER`.
pub(crate) fn known(table: &mut Table) -> Vec<Multiaddr> {
    let mut known = Vec::new();
    for bucket in table.kbuckets() {
        for entry in bucket.iter() {
            let addresses = entry.node.value.iter().cloned();
            known.extend(addresses.filter_map(|address| address.with_p2p(*entry.node.key.preimage()).ok()));
        }
    }
    known
}

/// Peers in the routing table.
pub(crate) fn size(table: &mut Table) -> usize {
    table.kbuckets().map(|bucket| bucket.num_entries()).sum()
}

/// What the table and the running queries know of a peer's addresses. The answer to this question is the only place where kad shows
/// the addresses that came with a provider.
pub(super) fn addresses_of(table: &mut Table, peer: PeerId) -> Vec<Multiaddr> {
    let id = ConnectionId::new_unchecked(0);
    table.handle_pending_outbound_connection(id, Some(peer), &[], Endpoint::Dialer).unwrap_or_default()
}
