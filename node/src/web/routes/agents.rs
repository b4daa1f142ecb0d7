//! Agents on this node.

use std::path::PathBuf;

use axum::Json;
use axum::extract::{Path, State};
use klp::Refusal;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::fault::Fault;
use crate::node::Node;
use crate::services::agents::Serve;
use crate::view;
use crate::web::reply::{Input, Query};

/// Which folder becomes which agent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewServed {
    /// The folder, absolute.
    #[schema(value_type = String)]
    path: PathBuf,
    /// Name of the agent.
    name: String,
    /// `private` (default), `listed` or `public`.
    #[serde(default = "private")]
    visibility: String,
    /// Words it is found by, besides its name; at most 8.
    #[serde(default)]
    tags: Vec<String>,
}

fn private() -> String {
    "private".into()
}

/// A manifest.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAgent {
    /// The text of the manifest, TOML or JSON.
    manifest: String,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Roles {
    /// Only agents of this role.
    role: Option<String>,
}

/// Turns a folder into an agent; answers as soon as it is registered.
#[utoipa::path(post, path = "/v1/agents/serve", tag = "agents", request_body = NewServed, responses((status = 200, body = view::Served)))]
pub(super) async fn serve(State(node): State<Node>, Input(new): Input<NewServed>) -> Result<Json<view::Served>, Fault> {
    if !new.path.is_absolute() {
        return Err(Fault::new(Refusal::Invalid, "the folder's path must be absolute"));
    }
    let NewServed { path, name, visibility, tags } = new;
    node.agents.serve(Serve { path, name, visibility, tags }).await.map(Json)
}

/// All agents here, or those of a role.
#[utoipa::path(get, path = "/v1/agents", tag = "agents", operation_id = "agents", params(Roles), responses((status = 200, body = Vec<view::Agent>)))]
pub(super) async fn list(
    State(node): State<Node>,
    Query(query): Query<Roles>,
) -> Result<Json<Vec<view::Agent>>, Fault> {
    node.agents.list(query.role.as_deref()).await.map(Json)
}

/// Registers an agent from a manifest.
#[utoipa::path(post, path = "/v1/agents", tag = "agents", operation_id = "add_agent", request_body = NewAgent, responses((status = 200, body = view::Agent)))]
pub(super) async fn add(State(node): State<Node>, Input(new): Input<NewAgent>) -> Result<Json<view::Agent>, Fault> {
    node.agents.add(&new.manifest).await.map(Json)
}

/// One agent.
#[utoipa::path(get, path = "/v1/agents/{name}", tag = "agents", operation_id = "agent", params(("name" = String, Path, description = "Name or DID")), responses((status = 200, body = view::Agent)))]
pub(super) async fn show(State(node): State<Node>, Path(name): Path<String>) -> Result<Json<view::Agent>, Fault> {
    node.agents.show(&name).await.map(Json)
}

/// Removes an agent; its receipts and audit entries stay.
#[utoipa::path(delete, path = "/v1/agents/{name}", tag = "agents", operation_id = "remove_agent", params(("name" = String, Path, description = "Name or DID")), responses((status = 200, body = view::Agent)))]
pub(super) async fn remove(State(node): State<Node>, Path(name): Path<String>) -> Result<Json<view::Agent>, Fault> {
    node.agents.remove(&name).await.map(Json)
}

/// Pauses an agent.
#[utoipa::path(post, path = "/v1/agents/{name}/pause", tag = "agents", params(("name" = String, Path, description = "Name or DID")), responses((status = 200, body = view::Agent)))]
pub(super) async fn pause(State(node): State<Node>, Path(name): Path<String>) -> Result<Json<view::Agent>, Fault> {
    node.agents.pause(&name).await.map(Json)
}

/// Resumes an agent.
#[utoipa::path(post, path = "/v1/agents/{name}/resume", tag = "agents", params(("name" = String, Path, description = "Name or DID")), responses((status = 200, body = view::Agent)))]
pub(super) async fn resume(State(node): State<Node>, Path(name): Path<String>) -> Result<Json<view::Agent>, Fault> {
    node.agents.resume(&name).await.map(Json)
}
