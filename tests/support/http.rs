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
    let (status, body) = get_with(address, path, &[]);
    (status, String::from_utf8(body).unwrap())
}

/// A figure on the page of metrics at this address, by the beginning of its line; zero where it has no line yet.
///
/// # Panics
/// When nobody answers there, or it is no whole number.
#[track_caller]
pub fn figure(address: &str, line: &str) -> u64 {
    let (_, page) = get(address, "/metrics");
    page.lines().find_map(|shown| shown.strip_prefix(line)).map_or(0, |count| count.trim().parse().unwrap())
}

/// The same as [`get`] with further headers, for a body that need be no text.
///
/// # Panics
/// When nobody answers there, or not in HTTP.
#[track_caller]
pub fn get_with(address: &str, path: &str, headers: &[(&str, &str)]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n").unwrap();
    let body = answer.split_off(end + 4);
    let status = String::from_utf8_lossy(&answer).split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap(), body)
}
