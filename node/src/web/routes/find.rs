//! Finding agents.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::fault::Fault;
use crate::node::Node;
use crate::view;
use crate::web::reply::Query;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Words of the name, tags or description.
    q: String,
    /// Only agents with this capability.
    capability: Option<String>,
}

/// Agents here, at contacts, on the local network and in the directory; healthy ones first.
#[utoipa::path(get, path = "/v1/find", tag = "agents", params(Wanted), responses((status = 200, body = Vec<view::Found>)))]
pub(super) async fn find(
    State(node): State<Node>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Vec<view::Found>>, Fault> {
    node.directory.find(&wanted.q, wanted.capability.as_deref()).await.map(Json)
}
