//! What `kos-relay status` says.

use std::collections::BTreeMap;

use host::status::{External, Places, Status};

/// How this relay is at the moment.
pub(crate) fn of(mesh: &mesh::Mesh) -> Status {
    let (state, service) = (mesh.state(), mesh.service());
    let state = state.borrow();
    let external = state.external.iter().map(|address| External {
        address: address.to_string(),
        confirmed_by: state.confirmed_by(address).map_or_else(|| "operator".to_owned(), |node| node.to_string()),
    });
    let mut refusals = BTreeMap::<String, BTreeMap<String, u64>>::new();
    for ((what, why), count) in &service.refusals {
        refusals.entry((*what).to_owned()).or_default().insert((*why).to_owned(), *count);
    }
    Status {
        listen: state.listen.iter().map(ToString::to_string).collect(),
        external: external.collect(),
        connections: service.open,
        routing: state.routing,
        relay: service.places.map(|places| Places {
            reservations: places.reservations,
            most_reservations: places.most_reservations,
            for_newcomers: places.for_newcomers,
            circuits: places.circuits,
            most_circuits: places.most_circuits,
            alarm: places.alarm(),
        }),
        carried_bytes: service.carried,
        bytes_per_second: service.bytes_per_second,
        banned_addresses: service.banned_addresses,
        banned_peers: service.banned_peers,
        refusals,
        ..Status::default()
    }
}
