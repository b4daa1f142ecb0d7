//! What goes in and out: inputs that are refused with the error object, and the error object itself.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use klp::Refusal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::fault::Fault;
use crate::services::vaults::Secret;

/// Every refusal, wherever it comes from.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// The refusal.
    pub error: ErrorObject,
}

/// What happened, why, and what to do.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ErrorObject {
    /// Stable name, such as `denied`.
    pub code: String,
    /// What happened and why.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl From<&Fault> for ErrorBody {
    fn from(fault: &Fault) -> Self {
        let code = fault.refusal.code().to_owned();
        Self { error: ErrorObject { code, message: fault.message.clone(), hint: fault.hint.clone() } }
    }
}

impl From<ErrorBody> for Fault {
    fn from(body: ErrorBody) -> Self {
        let refusal = Refusal::from_code(&body.error.code).unwrap_or(Refusal::Failed);
        Self { refusal, message: body.error.message, hint: body.error.hint }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.refusal.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, axum::Json(ErrorBody::from(&self))).into_response()
    }
}

/// Bytes as they are, in the description.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "it is described and never made")]
pub(super) struct Raw(Vec<u8>);

/// One event of a stream, in the description.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is described and never made")]
pub(super) struct Told {
    /// Where a stream can go on, if it can.
    id: Option<String>,
    /// Its name.
    event: String,
    /// JSON.
    data: String,
}

/// A JSON body.
pub(super) struct Input<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Input<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, state: &S) -> Result<Self, Fault> {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
            return Err(Fault::new(Refusal::Invalid, "the body is not marked as JSON")
                .hint("send it with \"Content-Type: application/json\""));
        }
        // The gate has read the whole body; this hands the same bytes over.
        let body = Bytes::from_request(request, state).await.map_err(Fault::internal)?;
        serde_json::from_slice(&body).map(Self).map_err(|error| {
            // Its words could quote the body, which may hold a secret: say where, not what.
            let place = format!("line {} column {}", error.line(), error.column());
            match error.classify() {
                serde_json::error::Category::Data => Fault::new(
                    Refusal::Invalid,
                    format!("a field of the body is missing, unknown or of the wrong kind, before {place}"),
                )
                .hint("see /openapi.json for what this route takes"),
                _ => Fault::new(Refusal::Malformed, format!("the body is not valid JSON at {place}"))
                    .hint("see /openapi.json for what this route takes"),
            }
        })
    }
}

/// The query part of the address.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Fault> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|query: axum::extract::Query<T>| Self(query.0))
            .map_err(|error| Fault::new(Refusal::Invalid, format!("the query is not valid: {}", error.body_text())))
    }
}

/// Reads a text that is wiped when dropped.
pub(super) fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
    String::deserialize(from).map(Zeroizing::new)
}

/// As [`secret`], where it may be absent.
pub(super) fn maybe_secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Secret>, D::Error> {
    Option::<String>::deserialize(from).map(|text| text.map(Zeroizing::new))
}

/// An answer that holds a secret: its bytes are wiped once they are sent.
pub(super) fn wiped(bytes: Zeroizing<Vec<u8>>) -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, kind)], Body::from(Bytes::from_owner(bytes))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(kind: &str, body: &'static str) -> Result<Option<Secret>, Fault> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Words {
            #[serde(default, deserialize_with = "maybe_secret")]
            word: Option<Secret>,
        }
        let request = Request::builder().header(CONTENT_TYPE, kind).body(Body::from(body)).expect("request");
        Input::<Words>::from_request(request, &()).await.map(|Input(words)| words.word)
    }

    #[tokio::test]
    async fn bodies_that_do_not_fit_are_refused_by_name_and_never_quoted() {
        let json = "application/json; charset=utf-8";
        assert_eq!(read(json, r#"{"word":"geheim"}"#).await.map(|word| word.map(|word| word.len())), Ok(Some(6)));
        for (kind, body, refusal) in [
            ("text/plain", "{}", Refusal::Invalid),
            (json, "{", Refusal::Malformed),
            (json, r#"{"word":"geheim","geheim":1}"#, Refusal::Invalid),
            (json, r#"{"word":["geheim"]}"#, Refusal::Invalid),
        ] {
            let fault = read(kind, body).await.expect_err(body);
            assert_eq!(fault.refusal, refusal, "{body}");
            assert!(!fault.message.contains("geheim"), "{}", fault.message);
        }
    }

    #[tokio::test]
    async fn a_fault_is_the_error_object_with_the_refusals_status() {
        for refusal in Refusal::ALL {
            let response = Fault::from(*refusal).into_response();
            assert_eq!(response.status().as_u16(), refusal.http());
            let body = axum::body::to_bytes(response.into_body(), 4096).await.expect("body");
            let body: ErrorBody = serde_json::from_slice(&body).expect("error object");
            assert_eq!(Fault::from(body), Fault::from(*refusal));
        }
    }
}
