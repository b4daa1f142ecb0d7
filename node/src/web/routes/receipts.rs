//! Co-signed proof of calls.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::fault::Fault;
use crate::node::Node;
use crate::services::receipts as service;
use crate::view;
use crate::web::reply::{Query, Raw};

/// Receipts of one answer at most.
const MOST: usize = 1000;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Newest {
    /// At most so many, up to 1000; 100 when absent.
    limit: Option<usize>,
}

/// Receipts, the newest first.
#[utoipa::path(get, path = "/v1/receipts", tag = "receipts", operation_id = "receipts", params(Newest), responses((status = 200, body = Vec<view::Receipt>)))]
pub(super) async fn list(
    State(node): State<Node>,
    Query(newest): Query<Newest>,
) -> Result<Json<Vec<view::Receipt>>, Fault> {
    node.receipts.list(newest.limit.unwrap_or(100).min(MOST)).await.map(Json)
}

/// One receipt.
#[utoipa::path(get, path = "/v1/receipts/{id}", tag = "receipts", operation_id = "receipt", params(("id" = String, Path, description = "Id or its beginning")), responses((status = 200, body = view::Receipt)))]
pub(super) async fn show(State(node): State<Node>, Path(id): Path<String>) -> Result<Json<view::Receipt>, Fault> {
    node.receipts.show(&id).await.map(Json)
}

/// The bytes that a stranger can verify, with question and answer.
#[utoipa::path(get, path = "/v1/receipts/{id}/export", tag = "receipts", operation_id = "export_receipt", params(("id" = String, Path, description = "Id or its beginning")),
    responses((status = 200, description = "The receipt", body = inline(Raw), content_type = "application/cbor")))]
pub(super) async fn export(State(node): State<Node>, Path(id): Path<String>) -> Result<Response, Fault> {
    let bytes = node.receipts.export(&id).await?;
    Ok(([(CONTENT_TYPE, "application/cbor")], bytes).into_response())
}

/// Checks the bytes of a receipt.
#[utoipa::path(post, path = "/v1/receipts/verify", tag = "receipts", operation_id = "verify_receipt",
    request_body(content = inline(Raw), content_type = "application/cbor"), responses((status = 200, body = view::ReceiptCheck)))]
pub(super) async fn verify(body: Bytes) -> Result<Json<view::ReceiptCheck>, Fault> {
    service::verify(&body).map(Json)
}
