//! What others may do here, and I elsewhere.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::fault::Fault;
use crate::node::Node;
use crate::services::grants::Limits;
use crate::view;
use crate::web::reply::Input;

/// Limits of a grant; each is unbounded when absent, but the days, which are then 30.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantLimits {
    /// Calls.
    calls: Option<u64>,
    /// Bytes of answers.
    bytes: Option<u64>,
    /// Days.
    days: Option<u64>,
    /// Patterns by argument name, in which `*` stands for anything.
    args: Option<BTreeMap<String, String>>,
}

/// A new grant.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewGrant {
    /// Who gets it: petname or DID.
    who: String,
    /// What, as `AGENT.CAPABILITY`.
    what: String,
    /// Its limits.
    #[serde(default)]
    limits: GrantLimits,
}

/// A delegation.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Delegation {
    /// Who gets it: petname or DID.
    to: String,
    /// Its limits.
    #[serde(default)]
    limits: GrantLimits,
}

impl From<GrantLimits> for Limits {
    fn from(limits: GrantLimits) -> Self {
        let GrantLimits { calls, bytes, days, args } = limits;
        Self { calls, bytes, days, args }
    }
}

/// Grants that I issued and grants that I hold.
#[utoipa::path(get, path = "/v1/grants", tag = "grants", operation_id = "grants", responses((status = 200, body = Vec<view::Grant>)))]
pub(super) async fn list(State(node): State<Node>) -> Result<Json<Vec<view::Grant>>, Fault> {
    node.grants.list().await.map(Json)
}

/// Grants somebody a capability of one of my agents.
#[utoipa::path(post, path = "/v1/grants", tag = "grants", operation_id = "add_grant", request_body = NewGrant, responses((status = 200, body = view::Grant)))]
pub(super) async fn add(State(node): State<Node>, Input(new): Input<NewGrant>) -> Result<Json<view::Grant>, Fault> {
    node.grants.add(&new.who, &new.what, new.limits.into()).await.map(Json)
}

/// One grant.
#[utoipa::path(get, path = "/v1/grants/{id}", tag = "grants", operation_id = "grant", params(("id" = String, Path, description = "Id or its beginning")), responses((status = 200, body = view::Grant)))]
pub(super) async fn show(State(node): State<Node>, Path(id): Path<String>) -> Result<Json<view::Grant>, Fault> {
    node.grants.show(&id).await.map(Json)
}

/// Hands a grant that I hold on to somebody else.
#[utoipa::path(post, path = "/v1/grants/{id}/delegate", tag = "grants", params(("id" = String, Path, description = "Id or its beginning")), request_body = Delegation, responses((status = 200, body = view::Grant)))]
pub(super) async fn delegate(
    State(node): State<Node>,
    Path(id): Path<String>,
    Input(delegation): Input<Delegation>,
) -> Result<Json<view::Grant>, Fault> {
    node.grants.delegate(&id, &delegation.to, delegation.limits.into()).await.map(Json)
}

/// Takes a grant back; works while the vault is locked.
#[utoipa::path(post, path = "/v1/grants/{id}/revoke", tag = "grants", params(("id" = String, Path, description = "Id or its beginning")), responses((status = 200, body = view::Grant)))]
pub(super) async fn revoke(State(node): State<Node>, Path(id): Path<String>) -> Result<Json<view::Grant>, Fault> {
    node.grants.revoke(&id).await.map(Json)
}
