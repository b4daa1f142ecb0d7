//! What happens to every request before any route sees it, and to every answer after.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderName, HeaderValue, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;
use klp::Refusal;
use zeroize::Zeroizing;

use super::door::Door;
use super::guests::Talk;
use crate::fault::Fault;
use crate::services::audit::Audit;

/// Bytes of a request body: as a KLP message.
const BODY: usize = klp::limits::MESSAGE;
/// Bytes of a body that carries a file in hex, which makes two bytes of one, and a passphrase.
const FILE_BODY: usize = 2 * BODY + 4096;
/// How long a body may take.
const BODY_WAIT: Duration = Duration::from_secs(30);
/// Bytes of a refused body that are taken and thrown away.
const LINGER: usize = 4 * BODY;
/// How long that may take.
const LINGER_WAIT: Duration = Duration::from_secs(1);
/// Methods that routes have; any other is a stranger's word.
const METHODS: [Method; 6] = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
/// Answered to everybody, for supervisors.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// One way in. The Unix socket has no door: the system said who calls.
#[derive(Clone)]
pub(super) struct Gate {
    door: Option<Door>,
    body_wait: Duration,
    log: Option<Audit>,
}

impl Gate {
    pub(super) fn new(door: Option<Door>) -> Self {
        Self { door, body_wait: BODY_WAIT, log: None }
    }

    /// With a log in which each refused caller is written down.
    pub(super) fn writing_to(self, log: Audit) -> Self {
        Self { log: Some(log), ..self }
    }

    /// With another patience for bodies.
    #[cfg(test)]
    pub(super) fn body_wait(self, body_wait: Duration) -> Self {
        Self { body_wait, ..self }
    }

    fn admit(&self, request: &Request) -> Result<(), Fault> {
        let Some(door) = &self.door else { return Ok(()) };
        door.same_site(request.uri(), request.headers())?;
        if OPEN.contains(&request.uri().path()) && matches!(*request.method(), Method::GET | Method::HEAD) {
            return Ok(());
        }
        door.knows_token(request.headers())?;
        if let Some(talk) = request.extensions().get::<Talk>() {
            talk.vouch();
        }
        Ok(())
    }

    /// Writes down that somebody was not let in.
    async fn refused(&self, what: String, refusal: Refusal) {
        if let Some(log) = &self.log {
            log.refused(&what, refusal).await;
        }
    }
}

/// What a request wants, in the route's own words: what a stranger wrote has no place in the log.
fn wanted(request: &Request) -> String {
    let route = request.extensions().get::<MatchedPath>().map_or("no route", MatchedPath::as_str);
    let method = METHODS.iter().find(|method| *method == request.method()).map_or("OTHER", Method::as_str);
    format!("{method} {route}")
}

/// Admits or refuses, reads the body within its bounds, and makes every refusal the error object.
pub(super) async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let result = match gate.admit(&request) {
        Ok(()) => whole(request, gate.body_wait).await,
        Err(fault) => {
            gate.refused(wanted(&request), fault.refusal).await;
            // Who waits for leave to send a body has not begun, and gets none.
            if !request.headers().contains_key(EXPECT) {
                linger(request.into_body()).await;
            }
            Err(fault)
        }
    };
    let response = match result {
        Ok(request) => next.run(request).await,
        Err(fault) => fault.into_response(),
    };
    finish(response)
}

/// The request with its body in memory that is wiped when the last reader is done: any body may hold a secret.
async fn whole(request: Request, wait: Duration) -> Result<Request, Fault> {
    let limit = if request.uri().path().ends_with("/import") { FILE_BODY } else { BODY };
    let (parts, body) = request.into_parts();
    let announced = announced(&parts.headers)?;
    if announced > limit {
        linger(body).await;
        return Err(too_large(limit));
    }
    // Room for all of it at once, so that growing leaves no copy behind.
    let bytes = Zeroizing::new(Vec::with_capacity(announced));
    let reading = async {
        let mut body = body;
        let mut bytes = bytes;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Fault::new(Refusal::Malformed, "the body broke off"))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > limit {
                linger(body).await;
                return Err(too_large(limit));
            }
            if bytes.len() + data.len() > bytes.capacity() {
                let mut wider =
                    Zeroizing::new(Vec::with_capacity((2 * bytes.capacity()).max(bytes.len() + data.len())));
                wider.extend_from_slice(&bytes);
                bytes = wider;
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    };
    let bytes = tokio::time::timeout(wait, reading)
        .await
        .map_err(|_| Fault::new(Refusal::Stalled, format!("the body took longer than {} seconds", wait.as_secs())))??;
    let body = if bytes.is_empty() { Body::empty() } else { Body::from(Bytes::from_owner(bytes)) };
    Ok(Request::from_parts(parts, body))
}

/// Throws the rest of a refused body away, within bounds: a client that is still sending when the connection closes may lose the answer.
async fn linger(mut body: Body) {
    let mut rest = LINGER;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match rest.checked_sub(length) {
                Some(left) => rest = left,
                None => return,
            }
        }
    };
    // A client that takes longer is cut off.
    let _ = tokio::time::timeout(LINGER_WAIT, reading).await;
}

fn announced(headers: &HeaderMap) -> Result<usize, Fault> {
    headers.get(CONTENT_LENGTH).map_or(Ok(0), |length| {
        let length = length.to_str().ok().and_then(|length| length.parse().ok());
        length.ok_or_else(|| Fault::new(Refusal::Malformed, "the length of the body cannot be read"))
    })
}

fn too_large(limit: usize) -> Fault {
    Fault::new(Refusal::TooLarge, format!("the body is larger than {limit} bytes"))
}

/// Whatever else refused (no such route, wrong method, a bad path) gets the error object too.
fn finish(response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let mut response = match status {
        _ if status.as_u16() < 400 || kind == Some(b"application/json") => response,
        StatusCode::METHOD_NOT_ALLOWED => {
            // The router adds the header `Allow` to what leaves here.
            let fault = Fault::new(Refusal::NoHandler, "this route does not take that method");
            let mut response = fault.hint("the header Allow names those that it takes").into_response();
            *response.status_mut() = status;
            response
        }
        StatusCode::NOT_FOUND => {
            Fault::new(Refusal::NoHandler, "there is no such route").hint("see /openapi.json").into_response()
        }
        StatusCode::BAD_REQUEST => Fault::new(Refusal::Malformed, "the request cannot be read").into_response(),
        _ => Fault::internal(format_args!("status {status}")).into_response(),
    };
    let headers = response.headers_mut();
    let mut put = |name: HeaderName, value| headers.insert(name, HeaderValue::from_static(value));
    put(CACHE_CONTROL, "no-store");
    put(X_CONTENT_TYPE_OPTIONS, "nosniff");
    if status == StatusCode::UNAUTHORIZED {
        put(WWW_AUTHENTICATE, "Bearer");
    }
    response
}
