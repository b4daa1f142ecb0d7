//! Settings.

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::config::Config;
use crate::fault::Fault;
use crate::node::Node;
use crate::view;
use crate::web::reply::Input;

/// A value.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewValue {
    /// The value, of the kind that the schema says.
    value: Value,
}

/// Every setting with its value and where it comes from.
#[utoipa::path(get, path = "/v1/config", tag = "config", operation_id = "config", responses((status = 200, body = Vec<view::Setting>)))]
pub(super) async fn list(State(node): State<Node>) -> Result<Json<Vec<view::Setting>>, Fault> {
    node.settings.list().await.map(Json)
}

/// What every setting is called, takes and means.
#[utoipa::path(get, path = "/v1/config/schema", tag = "config", operation_id = "config_schema", responses((status = 200, body = Vec<Object>)))]
pub(super) async fn schema() -> Result<Json<Vec<Value>>, Fault> {
    host::config::schema::<Config>().map(Json).map_err(Fault::internal)
}

/// One setting.
#[utoipa::path(get, path = "/v1/config/{key}", tag = "config", operation_id = "setting", params(("key" = String, Path, description = "Dotted name")), responses((status = 200, body = view::Setting)))]
pub(super) async fn show(State(node): State<Node>, Path(key): Path<String>) -> Result<Json<view::Setting>, Fault> {
    node.settings.get(&key).await.map(Json)
}

/// Changes one setting in the settings file.
#[utoipa::path(put, path = "/v1/config/{key}", tag = "config", operation_id = "set_setting", params(("key" = String, Path, description = "Dotted name")), request_body = NewValue, responses((status = 200, body = view::Setting)))]
pub(super) async fn set(
    State(node): State<Node>,
    Path(key): Path<String>,
    Input(new): Input<NewValue>,
) -> Result<Json<view::Setting>, Fault> {
    node.settings.set(&key, new.value).await.map(Json)
}
