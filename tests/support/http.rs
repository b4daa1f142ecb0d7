//! One HTTP request at a time, by hand: enough for a story.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::PATIENCE;

/// The status and body of `GET path` at this address.
///
/// # Panics
/// When nobody answers there, or not in HTTP.
#[track_caller]
pub fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap(), body.to_owned())
}
