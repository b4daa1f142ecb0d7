//! The local API from outside, over the node's socket.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use klp::Refusal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use zeroize::Zeroizing;

use super::stream::Events;
use crate::fault::Fault;
use crate::web::{ErrorBody, SOCKET};

/// Bytes of an answer: a whole exported log of some years.
const ANSWER: usize = 1 << 30;
/// How long an answer may take to begin. Asking has its own, shorter limit at the node.
const ANSWER_WAIT: Duration = Duration::from_secs(3700);

/// A client of one home's node. Each call is a connection of its own: dropping it is what cancels a call.
#[derive(Clone, Debug)]
pub(super) struct Client {
    home: PathBuf,
}

/// A request to the local API.
pub(super) struct Call {
    method: Method,
    path: String,
    kind: Option<&'static str>,
    body: Zeroizing<Vec<u8>>,
    headers: Vec<(&'static str, String)>,
}

impl Call {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(super) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    pub(super) fn put(path: impl Into<String>) -> Self {
        Self::new(Method::PUT, path)
    }

    pub(super) fn patch(path: impl Into<String>) -> Self {
        Self::new(Method::PATCH, path)
    }

    pub(super) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), kind: None, body: Zeroizing::default(), headers: Vec::new() }
    }

    /// With a JSON body, which may hold secrets: it is written once, into memory that is wiped.
    pub(super) fn json(self, body: &impl Serialize) -> Result<Self, Fault> {
        let mut length = Length(0);
        serde_json::to_writer(&mut length, body).map_err(Fault::internal)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(length.0));
        serde_json::to_writer(&mut *bytes, body).map_err(Fault::internal)?;
        Ok(Self { kind: Some("application/json"), body: bytes, ..self })
    }

    /// With another header.
    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Counts what is written.
struct Length(usize);

impl std::io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Client {
    pub(super) fn new(home: &Path) -> Self {
        Self { home: home.to_owned() }
    }

    /// Whether a node answers on this home.
    pub(super) async fn is_alive(&self) -> bool {
        self.connect().await.is_ok()
    }

    /// Calls and reads the answer.
    ///
    /// # Errors
    /// `no_node`, or what the node refused with.
    pub(super) async fn call<T: DeserializeOwned>(&self, call: Call) -> Result<T, Fault> {
        let body = Zeroizing::new(self.bytes(call).await?);
        serde_json::from_slice(&body).map_err(|error| Fault::internal(format_args!("the node's answer: {error}")))
    }

    /// Calls and gives the answer's bytes.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub(super) async fn bytes(&self, call: Call) -> Result<Vec<u8>, Fault> {
        let response = self.send(call, "application/json").await?;
        collect(response).await
    }

    /// Calls and gives the answer's events as they come.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub(super) async fn events(&self, call: Call) -> Result<Events, Fault> {
        Ok(Events::new(self.send(call, "text/event-stream").await?.into_body()))
    }

    async fn connect(&self) -> Result<UnixStream, Fault> {
        UnixStream::connect(self.home.join(SOCKET)).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                Fault::new(Refusal::NoNode, format!("no node is running on {}", self.home.display()))
            }
            _ => Fault::new(Refusal::NoNode, format!("the node on {} cannot be reached: {error}", self.home.display())),
        })
    }

    async fn send(&self, call: Call, accept: &'static str) -> Result<Response<Incoming>, Fault> {
        let lost = |error: hyper::Error| Fault::new(Refusal::Interrupted, format!("the node hung up: {error}"));
        let stream = self.connect().await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the node ended early");
            }
        });
        let mut request =
            Request::builder().method(call.method).uri(call.path).header(HOST, "localhost").header(ACCEPT, accept);
        if let Some(kind) = call.kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from_owner(call.body))).map_err(Fault::internal)?;
        let response = tokio::time::timeout(ANSWER_WAIT, sender.send_request(request)).await;
        let response = response.map_err(|_| Fault::from(Refusal::Timeout))?.map_err(lost)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = collect(response).await?;
        Err(serde_json::from_slice::<ErrorBody>(&body)
            .map_or_else(|_| Fault::internal(format_args!("the node answered with status {status}")), Fault::from))
    }
}

async fn collect(response: Response<Incoming>) -> Result<Vec<u8>, Fault> {
    let body = Limited::new(response.into_body(), ANSWER).collect().await;
    let body =
        body.map_err(|error| Fault::new(Refusal::Interrupted, format!("the node's answer broke off: {error}")))?;
    Ok(body.to_bytes().into())
}

/// A text as one part of a path, or as one value of a query.
pub(super) fn part(text: &str) -> String {
    let mut part = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b':') {
            part.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(part, "%{byte:02X}");
        }
    }
    part
}

/// A path with a query of those values that are there.
pub(super) fn query(path: &str, values: &[(&str, Option<String>)]) -> String {
    let values = values.iter().filter_map(|(name, value)| Some(format!("{name}={}", part(value.as_deref()?))));
    let query = values.collect::<Vec<_>>().join("&");
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_one_part_of_a_path() {
        assert_eq!(part("bob/docs? ü%"), "bob%2Fdocs%3F%20%C3%BC%25");
        assert_eq!(part("did:key:z6Mk"), "did:key:z6Mk");
        assert_eq!(query("/v1/find", &[("q", Some("a b".into())), ("capability", None)]), "/v1/find?q=a%20b");
        assert_eq!(query("/v1/agents", &[("role", None)]), "/v1/agents");
    }

    #[test]
    fn a_body_is_written_without_growing() {
        let call = Call::post("/").json(&serde_json::json!({"passphrase": "x".repeat(5000)})).expect("call");
        assert_eq!(call.body.len(), call.body.capacity());
    }

    #[tokio::test]
    async fn without_a_node_the_fault_says_kos_up() {
        let home = tempfile::tempdir().expect("folder");
        let fault = Client::new(home.path()).bytes(Call::get("/v1/status")).await.expect_err("no node");
        assert_eq!((fault.refusal, fault.refusal.exit()), (Refusal::NoNode, 4));
        assert!(fault.hint.contains("kos up"), "{fault:?}");
    }
}
