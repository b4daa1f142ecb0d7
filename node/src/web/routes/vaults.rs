//! Vaults.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use klp::Refusal;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::fault::Fault;
use crate::node::Node;
use crate::services::vaults::Secret;
use crate::view;
use crate::web::reply::{Input, Raw, maybe_secret, secret};

/// A passphrase, where there is one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MaybePassphrase {
    /// The passphrase; none for a vault that is sealed to this machine.
    #[serde(default, deserialize_with = "maybe_secret")]
    #[schema(value_type = Option<String>)]
    passphrase: Option<Secret>,
}

/// A passphrase.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Passphrase {
    /// The passphrase.
    #[serde(deserialize_with = "secret")]
    #[schema(value_type = String)]
    passphrase: Secret,
}

/// Another passphrase.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassphrase {
    /// The new passphrase.
    #[serde(deserialize_with = "secret")]
    #[schema(value_type = String)]
    new: Secret,
    /// The old one, if there is one.
    #[serde(default, deserialize_with = "maybe_secret")]
    #[schema(value_type = Option<String>)]
    old: Option<Secret>,
}

/// An exported vault.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Exported {
    /// The passphrase it was exported under.
    #[serde(deserialize_with = "secret")]
    #[schema(value_type = String)]
    passphrase: Secret,
    /// The file's bytes in hex.
    data: String,
}

/// All vaults.
#[utoipa::path(get, path = "/v1/vaults", tag = "vaults", operation_id = "vaults", responses((status = 200, body = Vec<view::Vault>)))]
pub(super) async fn list(State(node): State<Node>) -> Result<Json<Vec<view::Vault>>, Fault> {
    node.vaults.list().await.map(Json)
}

/// One vault.
#[utoipa::path(get, path = "/v1/vaults/{vault}", tag = "vaults", operation_id = "vault", params(("vault" = String, Path, description = "Name")), responses((status = 200, body = view::Vault)))]
pub(super) async fn show(State(node): State<Node>, Path(vault): Path<String>) -> Result<Json<view::Vault>, Fault> {
    node.vaults.status(&vault).await.map(Json)
}

/// Makes another vault, sealed by a passphrase or to this machine.
#[utoipa::path(post, path = "/v1/vaults/{vault}", tag = "vaults", operation_id = "create_vault", params(("vault" = String, Path, description = "Name")), request_body = MaybePassphrase, responses((status = 200, body = view::Vault)))]
pub(super) async fn create(
    State(node): State<Node>,
    Path(vault): Path<String>,
    Input(input): Input<MaybePassphrase>,
) -> Result<Json<view::Vault>, Fault> {
    node.vaults.create(&vault, input.passphrase).await.map(Json)
}

/// Unlocks a vault.
#[utoipa::path(post, path = "/v1/vaults/{vault}/unlock", tag = "vaults", params(("vault" = String, Path, description = "Name")), request_body = MaybePassphrase, responses((status = 200, body = view::Vault)))]
pub(super) async fn unlock(
    State(node): State<Node>,
    Path(vault): Path<String>,
    Input(input): Input<MaybePassphrase>,
) -> Result<Json<view::Vault>, Fault> {
    node.vaults.unlock(&vault, input.passphrase).await.map(Json)
}

/// Locks a vault: its keys leave memory.
#[utoipa::path(post, path = "/v1/vaults/{vault}/lock", tag = "vaults", params(("vault" = String, Path, description = "Name")), responses((status = 200, body = view::Vault)))]
pub(super) async fn lock(State(node): State<Node>, Path(vault): Path<String>) -> Result<Json<view::Vault>, Fault> {
    node.vaults.lock(&vault).await.map(Json)
}

/// Gives a vault another passphrase, or its first; old backups still open with the old one.
#[utoipa::path(post, path = "/v1/vaults/{vault}/passwd", tag = "vaults", params(("vault" = String, Path, description = "Name")), request_body = NewPassphrase, responses((status = 200, body = view::Vault)))]
pub(super) async fn passwd(
    State(node): State<Node>,
    Path(vault): Path<String>,
    Input(input): Input<NewPassphrase>,
) -> Result<Json<view::Vault>, Fault> {
    node.vaults.passwd(&vault, input.old, input.new).await.map(Json)
}

/// A vault as an encrypted file under a passphrase of its own.
#[utoipa::path(post, path = "/v1/vaults/{vault}/export", tag = "vaults", operation_id = "export_vault", params(("vault" = String, Path, description = "Name")), request_body = Passphrase,
    responses((status = 200, description = "The encrypted file", body = inline(Raw), content_type = "application/octet-stream")))]
pub(super) async fn export(
    State(node): State<Node>,
    Path(vault): Path<String>,
    Input(input): Input<Passphrase>,
) -> Result<Response, Fault> {
    let bytes = node.vaults.export(&vault, input.passphrase).await?;
    Ok(([(CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}

/// Takes the secrets of an exported file in.
#[utoipa::path(post, path = "/v1/vaults/{vault}/import", tag = "vaults", operation_id = "import_vault", params(("vault" = String, Path, description = "Name")), request_body = Exported, responses((status = 200, body = view::Vault)))]
pub(super) async fn import(
    State(node): State<Node>,
    Path(vault): Path<String>,
    Input(input): Input<Exported>,
) -> Result<Json<view::Vault>, Fault> {
    let data = unhex(&input.data).ok_or_else(|| Fault::new(Refusal::Malformed, "the data is not written in hex"))?;
    node.vaults.import(&vault, input.passphrase, &data).await.map(Json)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| if let [high, low] = *pair { Some(digit(high)? << 4 | digit(low)?) } else { None }).collect()
}
