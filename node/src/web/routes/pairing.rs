//! Pairing: two people become contacts by a code.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use zeroize::Zeroizing;

use crate::fault::Fault;
use crate::node::Node;
use crate::services::pairing::{Gift, Join, Terms};
use crate::services::vaults::Secret;
use crate::view;
use crate::web::reply::{Input, Query, secret, wiped};

/// How long a code is looked for, and their first grant waited for, when nobody says how long.
const LOOK: u64 = 60;
const WAIT: u64 = 10;
/// The longest of such waits.
const LONGEST: u64 = 600;
/// The longest that a question for news of a code is held: many programs in between give up after a minute. Who wants to wait longer asks again.
const NEWS: u64 = 30;

/// A first grant.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FirstGrant {
    /// What, as `AGENT.CAPABILITY`.
    what: String,
    /// Calls; 20 when absent.
    calls: Option<u64>,
    /// Days; 7 when absent.
    days: Option<u64>,
}

/// A code that is wanted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewCode {
    /// What whoever comes is to be called here; else what they propose, or the first word of the code.
    name: Option<String>,
    /// What I would like to be called there.
    me: Option<String>,
    /// What they get to begin with; nothing when absent.
    grant: Option<FirstGrant>,
    /// Whether they get it without my being asked again.
    #[serde(default)]
    approved: bool,
}

/// A code that I was told.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ToldCode {
    /// All of it: a word, a number and three words.
    #[serde(deserialize_with = "secret")]
    #[schema(value_type = String)]
    code: Secret,
    /// What they are to be called here; else what they propose, or the first word of the code.
    name: Option<String>,
    /// What I would like to be called there.
    me: Option<String>,
    /// What they get to begin with; nothing when absent or not approved.
    grant: Option<FirstGrant>,
    /// Whether they get it.
    #[serde(default)]
    approved: bool,
    /// Where their node is, when that is known: a multiaddr that ends in `/p2p/PEERID`.
    at: Option<String>,
    /// Seconds to look for them; 60 when absent, 600 at most.
    timeout_s: Option<u64>,
    /// Seconds to wait for their first grant; 10 when absent, 600 at most.
    wait_s: Option<u64>,
}

/// A yes or a no.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Decision {
    /// Whether they get the first grant.
    yes: bool,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Patience {
    /// Seconds to wait for something to happen with an open code; 0 when absent, 30 at most.
    #[serde(default)]
    wait_s: u64,
}

impl From<FirstGrant> for Gift {
    fn from(FirstGrant { what, calls, days }: FirstGrant) -> Self {
        Self { what, calls, days }
    }
}

fn seconds(given: Option<u64>, usual: u64) -> Duration {
    Duration::from_secs(given.unwrap_or(usual).min(LONGEST))
}

/// Makes a pairing code, to be told to one person.
#[utoipa::path(post, path = "/v1/pair", tag = "contacts", operation_id = "new_pair_code", request_body = NewCode, responses((status = 200, body = view::PairCode)))]
pub(super) async fn issue(State(node): State<Node>, Input(new): Input<NewCode>) -> Result<Response, Fault> {
    let NewCode { name, me, grant, approved } = new;
    let code = node.pairing.issue(Terms { name, me, gift: grant.map(Into::into), approved }).await?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    serde_json::to_writer(&mut *bytes, &code).map_err(Fault::internal)?;
    Ok(wiped(bytes))
}

/// Pairs with whoever made a code.
#[utoipa::path(post, path = "/v1/pair/join", tag = "contacts", operation_id = "join_pair", request_body = ToldCode, responses((status = 200, body = view::Paired)))]
pub(super) async fn join(State(node): State<Node>, Input(told): Input<ToldCode>) -> Result<Json<view::Paired>, Fault> {
    let ToldCode { code, name, me, grant, approved, at, timeout_s, wait_s } = told;
    let terms = Terms { name, me, gift: grant.map(Into::into), approved };
    let (timeout, wait) = (seconds(timeout_s, LOOK), seconds(wait_s, WAIT));
    node.pairing.join(Join { code, terms, at, timeout, wait }).await.map(Json)
}

/// My codes, and what became of them.
#[utoipa::path(get, path = "/v1/pair", tag = "contacts", operation_id = "pair_codes", responses((status = 200, body = Vec<view::PairState>)))]
pub(super) async fn list(State(node): State<Node>) -> Result<Json<Vec<view::PairState>>, Fault> {
    node.pairing.list().await.map(Json)
}

/// What became of one code.
#[utoipa::path(get, path = "/v1/pair/{mailbox}", tag = "contacts", operation_id = "pair_code", params(("mailbox" = String, Path, description = "First word and number of the code"), Patience),
    responses((status = 200, body = view::PairState)))]
pub(super) async fn show(
    State(node): State<Node>,
    Path(mailbox): Path<String>,
    Query(patience): Query<Patience>,
) -> Result<Json<view::PairState>, Fault> {
    node.pairing.show(&mailbox, Duration::from_secs(patience.wait_s.min(NEWS))).await.map(Json)
}

/// Takes a code back.
#[utoipa::path(delete, path = "/v1/pair/{mailbox}", tag = "contacts", operation_id = "cancel_pair_code", params(("mailbox" = String, Path, description = "First word and number of the code")),
    responses((status = 200, body = view::PairState)))]
pub(super) async fn cancel(
    State(node): State<Node>,
    Path(mailbox): Path<String>,
) -> Result<Json<view::PairState>, Fault> {
    node.pairing.cancel(&mailbox).await.map(Json)
}

/// Says yes or no to the first grant of a code with which somebody has paired.
#[utoipa::path(post, path = "/v1/pair/{mailbox}/decide", tag = "contacts", operation_id = "decide_pair", params(("mailbox" = String, Path, description = "First word and number of the code")),
    request_body = Decision, responses((status = 200, body = view::PairState)))]
pub(super) async fn decide(
    State(node): State<Node>,
    Path(mailbox): Path<String>,
    Input(decision): Input<Decision>,
) -> Result<Json<view::PairState>, Fault> {
    node.pairing.decide(&mailbox, decision.yes).await.map(Json)
}
