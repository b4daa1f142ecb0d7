//! Secrets in a vault.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::fault::Fault;
use crate::node::Node;
use crate::services::vaults::Secret;
use crate::web::reply::{Input, secret, wiped};

/// A secret to be stored.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSecret {
    /// Its value.
    #[serde(deserialize_with = "secret")]
    #[schema(value_type = String)]
    value: Secret,
}

/// A secret that is handed out.
#[derive(Serialize, ToSchema)]
pub(super) struct ShownSecret<'s> {
    /// Its name.
    name: &'s str,
    /// Its value.
    value: &'s str,
}

/// What was done to a secret.
#[derive(Serialize, ToSchema)]
pub(super) struct ChangedSecret {
    /// Its vault.
    vault: String,
    /// Its name.
    name: String,
}

/// Names of the secrets.
#[utoipa::path(get, path = "/v1/vaults/{vault}/secrets", tag = "vaults", operation_id = "secrets", params(("vault" = String, Path, description = "Name of the vault")), responses((status = 200, body = Vec<String>)))]
pub(super) async fn list(State(node): State<Node>, Path(vault): Path<String>) -> Result<Json<Vec<String>>, Fault> {
    node.vaults.names(&vault).await.map(Json)
}

/// Hands a secret out.
#[utoipa::path(get, path = "/v1/vaults/{vault}/secrets/{name}", tag = "vaults", operation_id = "secret",
    params(("vault" = String, Path, description = "Name of the vault"), ("name" = String, Path, description = "Name of the secret")),
    responses((status = 200, body = inline(ShownSecret))))]
pub(super) async fn show(
    State(node): State<Node>,
    Path((vault, name)): Path<(String, String)>,
) -> Result<Response, Fault> {
    let value = node.vaults.get(&vault, &name).await?;
    // Escapes make a text at most six times as long; no growing, no copy left behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(6 * (value.len() + name.len()) + 64));
    serde_json::to_writer(&mut *bytes, &ShownSecret { name: &name, value: &value }).map_err(Fault::internal)?;
    Ok(wiped(bytes))
}

/// Stores a secret.
#[utoipa::path(put, path = "/v1/vaults/{vault}/secrets/{name}", tag = "vaults", operation_id = "set_secret",
    params(("vault" = String, Path, description = "Name of the vault"), ("name" = String, Path, description = "Name of the secret")),
    request_body = NewSecret, responses((status = 200, body = ChangedSecret)))]
pub(super) async fn set(
    State(node): State<Node>,
    Path((vault, name)): Path<(String, String)>,
    Input(input): Input<NewSecret>,
) -> Result<Json<ChangedSecret>, Fault> {
    node.vaults.set(&vault, &name, input.value).await?;
    Ok(Json(ChangedSecret { vault, name }))
}

/// Forgets a secret.
#[utoipa::path(delete, path = "/v1/vaults/{vault}/secrets/{name}", tag = "vaults", operation_id = "remove_secret",
    params(("vault" = String, Path, description = "Name of the vault"), ("name" = String, Path, description = "Name of the secret")),
    responses((status = 200, body = ChangedSecret)))]
pub(super) async fn remove(
    State(node): State<Node>,
    Path((vault, name)): Path<(String, String)>,
) -> Result<Json<ChangedSecret>, Fault> {
    node.vaults.remove(&vault, &name).await?;
    Ok(Json(ChangedSecret { vault, name }))
}
