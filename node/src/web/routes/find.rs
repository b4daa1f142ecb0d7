//! Finding agents.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::fault::Fault;
use crate::node::Node;
use crate::services::directory;
use crate::view;
use crate::web::reply::Query;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Words of the name, tags or description, or a DID; may be left out beside one of the others.
    #[serde(default)]
    q: String,
    /// Only agents with this capability.
    capability: Option<String>,
    /// Only agents of this kind, such as `librarian`.
    kind: Option<String>,
}

/// Agents here, at contacts, on the local network and in the directory; healthy ones first.
#[utoipa::path(get, path = "/v1/find", tag = "agents", params(Wanted), responses((status = 200, body = Vec<view::Found>)))]
pub(super) async fn find(
    State(node): State<Node>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Vec<view::Found>>, Fault> {
    let Wanted { q: text, capability, kind } = wanted;
    node.directory.search(&directory::Wanted { text, capability, kind }).await.map(Json)
}
