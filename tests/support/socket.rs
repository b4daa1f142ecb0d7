//! The local API of a node that may be gone at any moment: called over its socket, where a call that breaks off is an answer too.

use std::path::Path;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::PATIENCE;

/// How a call went that was answered.
pub type Answer = Result<Value, String>;

/// Calls and gives the JSON of the answer, or the code of the refusal; `None` when the node went away before it had answered
/// whole, so that nobody was told anything.
///
/// # Panics
/// When the node is there and does not answer in time, or with something else than JSON.
pub async fn call(home: &Path, method: &str, path: &str, body: Option<&Value>) -> Option<Answer> {
    let (status, body) = bytes(home, method, path, body).await?;
    let json: Value = serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    Some(if status == 200 { Ok(json) } else { Err(json["error"]["code"].as_str().unwrap().to_owned()) })
}

/// The same for an answer of any kind: its status and its bytes.
///
/// # Panics
/// When the node is there and does not answer in time.
pub async fn bytes(home: &Path, method: &str, path: &str, body: Option<&Value>) -> Option<(u16, Vec<u8>)> {
    let exchange = async {
        let mut stream = UnixStream::connect(home.join(node::web::SOCKET)).await.ok()?;
        let body = body.map(ToString::to_string).unwrap_or_default();
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{kind}Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        let end = answer.windows(4).position(|part| part == b"\r\n\r\n")?;
        let body = answer.split_off(end + 4);
        let head = String::from_utf8_lossy(&answer).to_lowercase();
        let told = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<usize>().ok());
        let status = head.split(' ').nth(1)?.parse().ok()?;
        (told("content-length:") == Some(body.len())).then_some((status, body))
    };
    tokio::time::timeout(PATIENCE, exchange).await.unwrap_or_else(|_| panic!("{method} {path}: no answer"))
}
