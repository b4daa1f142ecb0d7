//! The audit log.

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::fault::Fault;
use crate::node::Node;
use crate::services::audit::Filter;
use crate::view;
use crate::web::reply::Query;

/// Entries of one answer at most.
const MOST: usize = 1000;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Only of this part of the node.
    component: Option<String>,
    /// Only of this kind; `*` stands for anything.
    kind: Option<String>,
    /// Only after the entry of this number.
    after: Option<u64>,
    /// At most so many, up to 1000; 100 when absent.
    limit: Option<usize>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    /// `json` (default) or `csv`.
    format: Option<String>,
}

/// Entries, oldest first; without `after` the newest ones.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", operation_id = "audit", params(Which), responses((status = 200, body = Vec<view::AuditEntry>)))]
pub(super) async fn list(
    State(node): State<Node>,
    Query(which): Query<Which>,
) -> Result<Json<Vec<view::AuditEntry>>, Fault> {
    let Which { component, kind, after, limit } = which;
    let limit = Some(limit.unwrap_or(100).min(MOST));
    node.audit.list(Filter { component, kind, after, limit }).await.map(Json)
}

/// Checks every entry, the tree and the checkpoints.
#[utoipa::path(get, path = "/v1/audit/verify", tag = "audit", operation_id = "verify_audit", responses((status = 200, body = view::AuditCheck)))]
pub(super) async fn verify(State(node): State<Node>) -> Result<Json<view::AuditCheck>, Fault> {
    node.audit.verify().await.map(Json)
}

/// The whole log.
#[utoipa::path(get, path = "/v1/audit/export", tag = "audit", operation_id = "export_audit", params(Form),
    responses((status = 200, content((Vec<view::ExportedEntry> = "application/json"), (String = "text/csv")))))]
pub(super) async fn export(State(node): State<Node>, Query(form): Query<Form>) -> Result<Response, Fault> {
    let format = form.format.as_deref().unwrap_or("json");
    let text = node.audit.export(format).await?;
    let kind = if format == "csv" { "text/csv; charset=utf-8" } else { "application/json" };
    Ok(([(CONTENT_TYPE, kind)], text).into_response())
}

/// The owner says, after a restore, that this older state is meant.
#[utoipa::path(post, path = "/v1/audit/confirm", tag = "audit", operation_id = "confirm_audit", responses((status = 200, body = view::AuditCheck)))]
pub(super) async fn confirm(State(node): State<Node>) -> Result<Json<view::AuditCheck>, Fault> {
    node.audit.confirm().await.map(Json)
}
