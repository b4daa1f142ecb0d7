//! People I know.

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::fault::Fault;
use crate::node::Node;
use crate::view;
use crate::web::reply::{Input, Query};

/// Somebody's ticket and the name they get here.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewContact {
    /// The ticket that they handed over: `kos1…`.
    ticket: String,
    /// Their name here.
    name: String,
}

/// Another name.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Renamed {
    /// The new name.
    name: String,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Wants {
    /// What I would like to use there, as `agent.capability`, parted by commas; everything when absent.
    #[serde(default)]
    wants: String,
}

/// My own ticket, to hand to others.
#[utoipa::path(post, path = "/v1/contacts/ticket", tag = "contacts", responses((status = 200, body = view::Ticket)))]
pub(super) async fn ticket(State(node): State<Node>) -> Result<Json<view::Ticket>, Fault> {
    node.contacts.ticket().await.map(Json)
}

/// Everybody I know.
#[utoipa::path(get, path = "/v1/contacts", tag = "contacts", operation_id = "contacts", responses((status = 200, body = Vec<view::Contact>)))]
pub(super) async fn list(State(node): State<Node>) -> Result<Json<Vec<view::Contact>>, Fault> {
    node.contacts.list().await.map(Json)
}

/// Adds the person of a ticket.
#[utoipa::path(post, path = "/v1/contacts", tag = "contacts", operation_id = "add_contact", request_body = NewContact, responses((status = 200, body = view::Contact)))]
pub(super) async fn add(State(node): State<Node>, Input(new): Input<NewContact>) -> Result<Json<view::Contact>, Fault> {
    node.contacts.add(new.ticket.trim(), &new.name).await.map(Json)
}

/// One person, with the agents that they show me and what I may use of them.
#[utoipa::path(get, path = "/v1/contacts/{name}", tag = "contacts", operation_id = "contact", params(("name" = String, Path, description = "Petname or DID"), Wants),
    responses((status = 200, body = view::Contact)))]
pub(super) async fn show(
    State(node): State<Node>,
    Path(name): Path<String>,
    Query(query): Query<Wants>,
) -> Result<Json<view::Contact>, Fault> {
    let wants: Vec<String> = query.wants.split(',').filter(|want| !want.is_empty()).map(str::to_owned).collect();
    node.contacts.show(&name, &wants).await.map(Json)
}

/// Gives somebody another name.
#[utoipa::path(patch, path = "/v1/contacts/{name}", tag = "contacts", operation_id = "rename_contact", params(("name" = String, Path, description = "Petname")),
    request_body = Renamed, responses((status = 200, body = view::Contact)))]
pub(super) async fn rename(
    State(node): State<Node>,
    Path(name): Path<String>,
    Input(renamed): Input<Renamed>,
) -> Result<Json<view::Contact>, Fault> {
    node.contacts.rename(&name, &renamed.name).await.map(Json)
}

/// Forgets a person and revokes what I granted them.
#[utoipa::path(delete, path = "/v1/contacts/{name}", tag = "contacts", operation_id = "remove_contact", params(("name" = String, Path, description = "Petname")),
    responses((status = 200, body = view::Contact)))]
pub(super) async fn remove(State(node): State<Node>, Path(name): Path<String>) -> Result<Json<view::Contact>, Fault> {
    node.contacts.remove(&name).await.map(Json)
}
