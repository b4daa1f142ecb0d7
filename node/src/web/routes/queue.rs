//! Questions that wait for somebody's node.

use axum::Json;
use axum::extract::{Path, State};

use crate::fault::Fault;
use crate::node::Node;
use crate::view;

/// Questions that wait for somebody's node, and what became of those that have; the oldest first.
#[utoipa::path(get, path = "/v1/queue", tag = "agents", operation_id = "queue", responses((status = 200, body = Vec<view::Queued>)))]
pub(super) async fn list(State(node): State<Node>) -> Result<Json<Vec<view::Queued>>, Fault> {
    node.queue.list().await.map(Json)
}

/// One question that waits or has waited, with its answer.
#[utoipa::path(get, path = "/v1/queue/{id}", tag = "agents", operation_id = "queued", params(("id" = String, Path, description = "Id or its beginning")), responses((status = 200, body = view::Queued)))]
pub(super) async fn show(State(node): State<Node>, Path(id): Path<String>) -> Result<Json<view::Queued>, Fault> {
    node.queue.show(&id).await.map(Json)
}

/// Drops a question: one that waits is not sent any more, one that has ended is shown no longer.
#[utoipa::path(delete, path = "/v1/queue/{id}", tag = "agents", operation_id = "drop_queued", params(("id" = String, Path, description = "Id or its beginning")), responses((status = 200, body = view::Queued)))]
pub(super) async fn drop(State(node): State<Node>, Path(id): Path<String>) -> Result<Json<view::Queued>, Fault> {
    node.queue.drop(&id).await.map(Json)
}
