//! The local API of a person's node, called by hand so that a story can also call it wrongly.

use std::path::Path;

use host::Stop;
use node::web;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;

use crate::{PATIENCE, Person};

/// An open local API.
pub struct Api {
    /// `127.0.0.1:PORT`.
    pub address: String,
    /// The bearer token.
    pub token: String,
    stop: Stop,
    serving: JoinHandle<()>,
}

/// A request that can still be changed.
pub struct Request {
    address: String,
    method: String,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The body; `null` when it is no JSON.
    pub json: Value,
    /// The body.
    pub body: String,
}

/// A stream of events.
pub struct Events {
    lines: BufReader<TcpStream>,
}

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its id, if it has one.
    pub id: Option<u64>,
    /// Its name.
    pub name: String,
    /// Its data.
    pub data: Value,
}

impl Api {
    /// Opens the local API of somebody's node, at a free port.
    pub async fn open(person: &Person) -> Self {
        let stop = Stop::new();
        let config = web::Config { home: person.home(), api: "127.0.0.1:0".parse().unwrap(), public: false };
        let opened = web::open(person.node.clone(), config, stop.clone()).await.unwrap();
        let serving = tokio::spawn(opened.serving);
        let address = opened.url.strip_prefix("http://").unwrap().to_owned();
        let token = std::fs::read_to_string(person.home().join("api-token")).unwrap().trim().to_owned();
        Self { address, token, stop, serving }
    }

    /// A request as our own programs make it.
    pub fn request(&self, method: &str, path: &str) -> Request {
        let headers = vec![
            ("Host", self.address.clone()),
            ("Connection", "close".into()),
            ("Authorization", format!("Bearer {}", self.token)),
        ];
        Request { address: self.address.clone(), method: method.into(), path: path.into(), headers, body: Vec::new() }
    }

    /// Closes it.
    pub async fn close(self) {
        self.stop.request();
        self.serving.await.unwrap();
    }
}

impl Request {
    /// With this header in place of any of its name.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self = self.without(name);
        self.headers.push((name, value.into()));
        self
    }

    /// With this header besides any of its name.
    pub fn and(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Without this header.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self
    }

    /// With a body of these bytes.
    pub fn body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        let length = self.body.len().to_string();
        self.with("Content-Length", length)
    }

    /// With a JSON body.
    pub fn json(self, body: &Value) -> Self {
        self.with("Content-Type", "application/json").body(body.to_string().into_bytes())
    }

    /// Sends it over TCP.
    pub async fn send(self) -> Reply {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        self.over(stream).await
    }

    /// Sends it over the socket of a home.
    pub async fn send_to_socket(self, home: &Path) -> Reply {
        let stream = UnixStream::connect(home.join(web::SOCKET)).await.unwrap();
        self.over(stream).await
    }

    /// Sends it and listens for events.
    pub async fn events(self) -> Events {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        self.write(&mut stream).await;
        let mut events = Events { lines: BufReader::new(stream) };
        let status = events.line().await;
        assert!(status.starts_with("HTTP/1.1 200"), "{status}");
        events
    }

    /// Sends it over TCP, for an answer that is no text.
    pub async fn send_bytes(self) -> Vec<u8> {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        let (status, body) = self.exchange(stream).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        body
    }

    async fn over(self, stream: impl AsyncRead + AsyncWrite + Unpin) -> Reply {
        let (status, body) = self.exchange(stream).await;
        let body = String::from_utf8_lossy(&body).into_owned();
        Reply { status, json: serde_json::from_str(&body).unwrap_or_default(), body }
    }

    async fn exchange(self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> (u16, Vec<u8>) {
        self.write(&mut stream).await;
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        let end = answer.windows(4).position(|part| part == b"\r\n\r\n").unwrap();
        let body = answer.split_off(end + 4);
        let status = String::from_utf8_lossy(&answer).split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.unwrap(), body)
    }

    async fn write(&self, stream: &mut (impl AsyncWrite + Unpin)) {
        let headers: String = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("{} {} HTTP/1.1\r\n{headers}\r\n", self.method, self.path);
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&self.body).await.unwrap();
    }
}

impl Reply {
    /// The code of an error object that says what happened and what to do.
    #[track_caller]
    pub fn refusal(&self) -> &str {
        let error = &self.json["error"];
        for part in ["message", "hint"] {
            assert!(error[part].as_str().is_some_and(|text| !text.is_empty()), "no {part}: {self:?}");
        }
        error["code"].as_str().unwrap()
    }
}

impl Events {
    /// The next event.
    pub async fn next(&mut self) -> Event {
        let (mut id, mut name, mut data) = (None, String::new(), None);
        loop {
            let line = self.line().await;
            match line.split_once(": ") {
                Some(("id", value)) => id = value.parse().ok(),
                Some(("event", value)) => name = value.to_owned(),
                Some(("data", value)) => data = Some(serde_json::from_str(value).unwrap()),
                None if line.is_empty() => {
                    if let Some(data) = data.take() {
                        return Event { id, name, data };
                    }
                }
                _ => {}
            }
        }
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, self.lines.read_line(&mut line)).await.unwrap().unwrap();
        assert!(read > 0, "the stream of events ended");
        line.trim_end().to_owned()
    }
}
