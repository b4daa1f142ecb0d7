use super::*;
use axum::body::Bytes;
use axum::extract::Path as Part;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::web::ErrorBody;

const SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

struct Lab {
    address: SocketAddr,
    stop: Stop,
    serving: JoinHandle<()>,
}

impl Lab {
    async fn open(wait: Duration) -> Self {
        let app = Router::new()
            .route("/healthz", get(|| async { "ok" }))
            .route("/length", post(|body: Bytes| async move { body.len().to_string() }))
            .route("/length/import", post(|body: Bytes| async move { body.len().to_string() }))
            .route("/name/{name}", get(|Part(name): Part<String>| async move { name }));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let address = listener.local_addr().expect("address");
        let door = Door::new(address, Token::parse(SECRET).expect("token"));
        let app = app.layer(from_fn_with_state(Gate::new(Some(door)).body_wait(wait), gate::pass));
        let stop = Stop::new();
        let serving = tokio::spawn(serve(listener, app, stop.clone(), |_| Caller::Guest));
        Self { address, stop, serving }
    }

    async fn send(&self, request: &str, body: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.expect("connection");
        stream.write_all(request.replace("HOST", &self.address.to_string()).as_bytes()).await.expect("head");
        // A refused body need not be taken to its end.
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("status");
        (status, answer.split_once("\r\n\r\n").expect("head").1.to_owned())
    }

    async fn refused(&self, request: &str, body: &[u8]) -> (u16, String) {
        let (status, body) = self.send(request, body).await;
        let error: ErrorBody = serde_json::from_str(&body).expect(&body);
        assert!(!error.error.message.is_empty() && !error.error.hint.is_empty(), "{body}");
        (status, error.error.code)
    }
}

fn with_token(line: &str, length: usize) -> String {
    format!(
        "{line} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nAuthorization: Bearer {SECRET}\r\nContent-Length: {length}\r\n\r\n"
    )
}

#[tokio::test]
async fn p11_every_kind_of_refusal_is_the_error_object() {
    let lab = Lab::open(Duration::from_secs(30)).await;
    let limit = klp::limits::MESSAGE;
    assert_eq!(lab.send(&with_token("POST /length", 5), b"hello").await, (200, "5".into()));
    assert_eq!(lab.send(&with_token("POST /length", limit), &vec![0; limit]).await, (200, limit.to_string()));
    assert_eq!(lab.send(&with_token("POST /length/import", limit + 1), &vec![0; limit + 1]).await.0, 200);

    let anonymous = "POST /length HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(lab.refused(anonymous, b"hello").await, (401, "unauthorized".into()));
    let foreign = with_token("POST /length", 5).replace("HOST", "evil.example");
    assert_eq!(lab.refused(&foreign, b"hello").await, (403, "foreign_origin".into()));
    let page = with_token("POST /length", 5).replace("\r\n\r\n", "\r\nOrigin: http://evil.example\r\n\r\n");
    assert_eq!(lab.refused(&page, b"hello").await, (403, "foreign_origin".into()));

    assert_eq!(lab.refused(&with_token("POST /length", limit + 1), b"").await, (413, "too_large".into()));
    let chunked = with_token("POST /length", 0).replace("Content-Length: 0", "Transfer-Encoding: chunked");
    let mut chunks = format!("{:x}\r\n", limit + 1).into_bytes();
    chunks.extend(vec![b'x'; limit + 1]);
    assert_eq!(lab.refused(&chunked, &chunks).await, (413, "too_large".into()), "a body of unknown length");

    assert_eq!(lab.refused(&with_token("GET /nowhere", 0), b"").await, (404, "no_handler".into()));
    assert_eq!(lab.refused(&with_token("DELETE /length", 0), b"").await, (405, "no_handler".into()));
    assert_eq!(lab.refused(&with_token("GET /name/%ff", 0), b"").await, (400, "malformed".into()));
    lab.stop.request();
    lab.serving.await.expect("end");
}

#[tokio::test]
async fn p11_health_needs_no_token_and_nothing_else_is_open() {
    let lab = Lab::open(Duration::from_secs(30)).await;
    let bare = |line: &str| format!("{line} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n");
    assert_eq!(lab.send(&bare("GET /healthz"), b"").await, (200, "ok".into()));
    assert_eq!(lab.refused(&bare("POST /healthz"), b"").await.0, 401);
    assert_eq!(lab.refused(&bare("GET /name/healthz"), b"").await.0, 401);
    assert_eq!(lab.refused(&bare("GET /healthz/"), b"").await.0, 401);
    assert_eq!(lab.refused(&bare("GET /healthz").replace("HOST", "evil.example"), b"").await.0, 403);
    lab.stop.request();
    lab.serving.await.expect("end");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_refused_as_stalled() {
    let lab = Lab::open(Duration::from_millis(50)).await;
    assert_eq!(lab.refused(&with_token("POST /length", 5), b"hell").await, (408, "stalled".into()));
    lab.stop.request();
    lab.serving.await.expect("end");
}

/// A connection that has shown the token and stays open.
async fn known(lab: &Lab) -> TcpStream {
    let mut stream = TcpStream::connect(lab.address).await.expect("connection");
    let request = with_token("GET /name/known", 0).replace("Connection: close\r\n", "");
    stream.write_all(request.replace("HOST", &lab.address.to_string()).as_bytes()).await.expect("head");
    assert!(stream.read(&mut [0; 512]).await.expect("answer") > 0);
    stream
}

#[tokio::test]
async fn no_more_connections_are_answered_at_once_than_the_limit() {
    let lab = Lab::open(Duration::from_secs(30)).await;
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS {
        idle.push(known(&lab).await);
    }
    let request = with_token("GET /healthz", 0);
    let mut waiting = Box::pin(lab.send(&request, b""));
    assert!(tokio::time::timeout(Duration::from_millis(300), waiting.as_mut()).await.is_err());
    idle.clear();
    assert_eq!(waiting.as_mut().await.0, 200);
    drop(waiting);
    lab.stop.request();
    lab.serving.await.expect("end");
}

#[tokio::test]
async fn silent_connections_make_room_and_known_ones_stay() {
    let lab = Lab::open(Duration::from_secs(30)).await;
    let mut friend = known(&lab).await;
    let mut silent = Vec::new();
    for _ in 0..4 * CONNECTIONS {
        silent.push(TcpStream::connect(lab.address).await.expect("connection"));
    }
    let begun = tokio::time::Instant::now();
    assert_eq!(lab.send(&with_token("GET /name/other", 0), b"").await, (200, "other".into()));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(silent[0].read(&mut [0; 1]).await.unwrap_or(0), 0, "the oldest silent one made room");
    let request = with_token("GET /name/friend", 0).replace("HOST", &lab.address.to_string());
    friend.write_all(request.as_bytes()).await.expect("still open");
    let mut answer = String::new();
    friend.read_to_string(&mut answer).await.expect("answer");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("friend"), "{answer}");
    lab.stop.request();
    lab.serving.await.expect("end");
}

#[tokio::test]
async fn the_stop_cuts_idle_connections() {
    let lab = Lab::open(Duration::from_secs(30)).await;
    let mut idle = TcpStream::connect(lab.address).await.expect("connection");
    idle.write_all(with_token("GET /healthz", 0).replace("Connection: close\r\n", "").as_bytes()).await.expect("head");
    let mut answer = [0; 512];
    assert!(idle.read(&mut answer).await.expect("answer") > 0);
    lab.stop.request();
    lab.serving.await.expect("end");
    assert_eq!(idle.read(&mut answer).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn s28_other_machines_are_let_in_by_explicit_leave_only() {
    let open: SocketAddr = "0.0.0.0:0".parse().expect("address");
    let refused = bind(open, false).await.expect_err("not loopback");
    assert_eq!((refused.refusal, refused.refusal.exit()), (Refusal::Invalid, 7));
    assert!(refused.hint.contains("--api-public"), "{refused:?}");
    bind(open, true).await.expect("with leave");

    let taken = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let address = taken.local_addr().expect("address");
    let other = bind(address, false).await.expect("a free port").local_addr().expect("address");
    assert!(other.ip().is_loopback() && other.port() != address.port());
}

#[tokio::test]
async fn s28_the_socket_is_for_this_user_in_a_closed_folder() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("folder");
    let home = folder.path().join("home");
    std::fs::create_dir(&home).expect("home");
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o755)).expect("mode");
    assert_eq!(bind_socket(&home).err().map(|fault| fault.refusal), Some(Refusal::Invalid), "an open home");

    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o700)).expect("mode");
    std::fs::write(home.join(SOCKET), "left by a dead process").expect("file");
    let (listener, me) = bind_socket(&home).expect("socket");
    let mode = std::fs::metadata(home.join(SOCKET)).expect("socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let _client = UnixStream::connect(home.join(SOCKET)).await.expect("client");
    let (peer, _) = listener.accept().await.expect("peer");
    assert!(is_user(&peer, me));
    assert!(!is_user(&peer, me + 1), "another user's socket");
}
