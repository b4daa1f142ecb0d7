//! A small HTTP server for a machine that watches: `/metrics` (the text format of Prometheus, or OpenMetrics for whoever asks for it), `/healthz`, `/readyz`. It carries no DIDs
//! (`security.md` rule 28) and is off unless `--metrics` names an address.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use hyper::http::response::Builder;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::exposition::{self, OPEN_METRICS, TEXT, wants_open_metrics};
use crate::health::{Health, State};
use crate::stop::Stop;

/// Connections at once: a scraper or two, a balancer's probe, a person. More wait in the system's queue.
const CONNECTIONS: usize = 16;
/// How long a client may take for the head of its request, and how long an idle connection stays.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause after a failure to accept, which is nearly always a lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve metrics on {address}")]
pub struct MetricsError {
    /// The address that was wanted.
    pub address: SocketAddr,
    /// The system's reason.
    pub source: io::Error,
}

/// Binds, and gives the real address (port 0 becomes a free one) and the server itself, which ends after `stop`.
///
/// # Errors
/// When the address cannot be had.
pub async fn open(
    address: SocketAddr,
    registry: Registry,
    health: Health,
    stop: Stop,
) -> Result<(SocketAddr, impl Future<Output = ()> + Send + 'static), MetricsError> {
    let refused = |source| MetricsError { address, source };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let pages = Arc::new(Pages { registry, health });
    Ok((address, serve(listener, pages, stop)))
}

async fn serve(listener: TcpListener, pages: Arc<Pages>, stop: Stop) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = stop.requested() => return,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (pages, stop) = (Arc::clone(&pages), stop.clone());
                tokio::spawn(async move {
                    let _permit = permit;
                    tokio::select! {
                        () = stop.requested() => {}
                        () = converse(stream, pages) => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the metrics server cannot accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, pages: Arc<Pages>) {
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let accept = request.headers().get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
        let open_metrics = accept.into_iter().any(wants_open_metrics);
        let answer = pages.answer(request.method(), request.uri().path(), open_metrics);
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    let talk =
        http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).serve_connection(TokioIo::new(stream), service);
    if let Err(error) = talk.await {
        tracing::debug!(%error, "a metrics connection ended early");
    }
}

struct Pages {
    registry: Registry,
    health: Health,
}

impl Pages {
    fn answer(&self, method: &Method, path: &str, open_metrics: bool) -> Response<Full<Bytes>> {
        if !matches!(path, "/metrics" | "/healthz" | "/readyz") {
            return page(
                Response::builder().status(StatusCode::NOT_FOUND),
                "text/plain",
                "try /metrics, /healthz or /readyz\n",
            );
        }
        if method != Method::GET && method != Method::HEAD {
            let refused = Response::builder().status(StatusCode::METHOD_NOT_ALLOWED).header(ALLOW, "GET, HEAD");
            return page(refused, "text/plain", "this is read only\n");
        }
        match path {
            "/metrics" => {
                let mut text = String::new();
                match prometheus_client::encoding::text::encode(&mut text, &self.registry) {
                    Ok(()) if open_metrics => page(Response::builder(), OPEN_METRICS, text),
                    Ok(()) => page(Response::builder(), TEXT, exposition::text(&text)),
                    Err(_) => page(
                        Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR),
                        "text/plain",
                        "a metric cannot be written\n",
                    ),
                }
            }
            "/healthz" => self.state(self.health.worst() != State::Failed),
            _ => self.state(self.health.is_ready()),
        }
    }

    fn state(&self, well: bool) -> Response<Full<Bytes>> {
        let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let body = json!({ "state": self.health.worst(), "ready": self.health.is_ready(), "components": self.health.reports() });
        page(Response::builder().status(status), "application/json", format!("{body}\n"))
    }
}

fn page(builder: Builder, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let answer = builder.header(CONTENT_TYPE, kind).header(CACHE_CONTROL, "no-store").body(Full::new(body.into()));
    answer.unwrap_or_else(|_| Response::new(Full::default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn get(address: SocketAddr, request: &str) -> String {
        get_as(address, request, "*/*").await
    }

    async fn get_as(address: SocketAddr, request: &str, accept: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("{request} HTTP/1.1\r\nHost: lab\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn l1_17_metrics_health_and_readiness_are_served_until_the_stop() {
        let mut registry = Registry::default();
        let calls = Counter::<u64>::default();
        registry.register("lab_calls", "Calls in the lab", calls.clone());
        calls.inc_by(3);
        let (health, stop) = (Health::new(), Stop::new());
        let (address, server) =
            open("127.0.0.1:0".parse().unwrap(), registry, health.clone(), stop.clone()).await.unwrap();
        let server = tokio::spawn(server);

        let answer = get(address, "GET /metrics").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(TEXT), "{answer}");
        assert!(answer.contains("# TYPE lab_calls_total counter\nlab_calls_total 3\n"), "{answer}");
        let answer = get_as(address, "GET /metrics", "application/openmetrics-text;version=1.0.0").await;
        assert!(answer.contains(OPEN_METRICS) && answer.ends_with("# EOF\n"), "{answer}");

        let mesh = health.component("mesh");
        assert!(get(address, "GET /healthz").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "GET /readyz").await.starts_with("HTTP/1.1 503"), "it is starting");
        mesh.degraded("no relay");
        let answer = get(address, "GET /readyz").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"no relay\""), "{answer}");
        mesh.failed("socket lost");
        assert!(get(address, "GET /healthz").await.starts_with("HTTP/1.1 503"));

        assert!(get(address, "GET /").await.starts_with("HTTP/1.1 404"));
        assert!(get(address, "POST /metrics").await.starts_with("HTTP/1.1 405"));

        let taken = open(address, Registry::default(), Health::new(), Stop::new()).await;
        assert!(taken.is_err_and(|error| error.to_string() == format!("cannot serve metrics on {address}")));

        let mut idle = TcpStream::connect(address).await.unwrap();
        stop.request();
        server.await.unwrap();
        assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0, "idle clients do not hold the stop up");
    }

    #[tokio::test]
    async fn idle_clients_leave_room_for_no_more_than_the_limit() {
        let (health, stop) = (Health::new(), Stop::new());
        let (address, server) =
            open("127.0.0.1:0".parse().unwrap(), Registry::default(), health, stop.clone()).await.unwrap();
        let server = tokio::spawn(server);
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let mut waiting = tokio::spawn(async move { get(address, "GET /healthz").await });
        assert!(tokio::time::timeout(Duration::from_millis(100), &mut waiting).await.is_err());
        idle.clear();
        assert!(waiting.await.unwrap().starts_with("HTTP/1.1 200"));
        stop.request();
        server.await.unwrap();
    }
}
