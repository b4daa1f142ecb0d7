//! The node itself.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Face;
use crate::fault::Fault;
use crate::node::Node;
use crate::view;
use crate::web::reply::Query;

/// How the node is, without saying whose it is.
#[derive(Serialize, ToSchema)]
pub(super) struct Pulse {
    /// `ok`, `starting` or `failed`.
    state: &'static str,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Often {
    /// How many times, from 1 to 100.
    #[param(minimum = 1, maximum = 100)]
    count: Option<u32>,
}

/// What `down` answers.
#[derive(Serialize, ToSchema)]
pub(super) struct Stopped {
    /// The node drains and stops.
    stopped: bool,
}

async fn pulse(node: &Node) -> &'static str {
    let Ok(status) = node.status().await else { return "failed" };
    let any = |word: &str| status.health.values().any(|state| state.starts_with(word));
    if any("failed") {
        "failed"
    } else if any("starting") {
        "starting"
    } else {
        "ok"
    }
}

/// Whether the process is well; needs no token.
#[utoipa::path(get, path = "/healthz", tag = "node", responses((status = 200, body = Pulse), (status = 503, body = Pulse)))]
pub(super) async fn healthz(State(node): State<Node>) -> (StatusCode, Json<Pulse>) {
    let state = pulse(&node).await;
    let status = if state == "failed" { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, Json(Pulse { state }))
}

/// Whether everything has started; needs no token.
#[utoipa::path(get, path = "/readyz", tag = "node", responses((status = 200, body = Pulse), (status = 503, body = Pulse)))]
pub(super) async fn readyz(State(node): State<Node>) -> (StatusCode, Json<Pulse>) {
    let state = pulse(&node).await;
    let status = if state == "ok" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Pulse { state }))
}

/// One look at everything.
#[utoipa::path(get, path = "/v1/status", tag = "node", responses((status = 200, body = view::Status)))]
pub(super) async fn status(State(face): State<Face>) -> Result<Json<view::Status>, Fault> {
    let status = face.node.status().await?;
    Ok(Json(view::Status { api: face.url.to_string(), ..status }))
}

/// Who I am.
#[utoipa::path(get, path = "/v1/whoami", tag = "node", responses((status = 200, body = view::Whoami)))]
pub(super) async fn whoami(State(node): State<Node>) -> Result<Json<view::Whoami>, Fault> {
    node.whoami().await.map(Json)
}

/// Drain and stop; answers at once.
#[utoipa::path(post, path = "/v1/down", tag = "node", responses((status = 200, body = Stopped)))]
pub(super) async fn down(State(node): State<Node>) -> Json<Stopped> {
    node.stop();
    Json(Stopped { stopped: true })
}

/// Looks for faults, in the home and out in the network; takes some seconds.
#[utoipa::path(get, path = "/v1/doctor", tag = "node", responses((status = 200, body = view::Doctor)))]
pub(super) async fn doctor(State(node): State<Node>) -> Result<Json<view::Doctor>, Fault> {
    node.examine().await.map(Json)
}

/// Whether a contact's node is there, and by which path.
#[utoipa::path(get, path = "/v1/ping/{who}", tag = "node", params(("who" = String, Path, description = "Petname, owner DID or node DID"), Often),
    responses((status = 200, body = view::Ping)))]
pub(super) async fn ping(
    State(node): State<Node>,
    Path(who): Path<String>,
    Query(often): Query<Often>,
) -> Result<Json<view::Ping>, Fault> {
    node.reach.ping(&who, often.count.unwrap_or(1)).await.map(Json)
}

/// By which path a contact's node is reached, why, what was tried, and what would make it better.
#[utoipa::path(get, path = "/v1/path/{who}", tag = "node", params(("who" = String, Path, description = "Petname, owner DID or node DID")),
    responses((status = 200, body = view::Route)))]
pub(super) async fn path(State(node): State<Node>, Path(who): Path<String>) -> Result<Json<view::Route>, Fault> {
    node.reach.path(&who).await.map(Json)
}

/// How this node is reached, in one line with what to do, and the facts behind it; takes some seconds.
#[utoipa::path(get, path = "/v1/netcheck", tag = "node", responses((status = 200, body = view::Netcheck)))]
pub(super) async fn netcheck(State(node): State<Node>) -> Result<Json<view::Netcheck>, Fault> {
    node.netcheck().await.map(Json)
}
