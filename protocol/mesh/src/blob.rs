//! Bulk bytes on streams of their own, addressed by digest. The messages are in `klp::blob`.
//!
//! - `behaviour` opens such a stream on the connection that it is told, and hands over those that come.
//! - `shelf` knows what is offered to whom and how many streams there are; `source` is what a blob is read from.
//! - `serve` answers one stream; `fetch` is the end that reads and hashes.

mod behaviour;
mod fetch;
mod serve;
mod shelf;
mod source;

pub(crate) use behaviour::{Behaviour, Opened};
pub use fetch::Fetch;
pub(crate) use serve::serve;
pub(crate) use shelf::Shelf;
pub use source::Source;

use std::io;
use std::time::Duration;

use futures::AsyncReadExt as _;
use klp::Refusal;
use klp::blob::{HEADER, LONGEST, Message};
use libp2p::{Stream, StreamProtocol};

/// The protocol of a blob stream.
pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/kos/blob/1");

/// What does not come in time, or not at all.
async fn in_time<T>(stall: Duration, work: impl Future<Output = io::Result<T>>) -> Result<T, Refusal> {
    match tokio::time::timeout(stall, work).await {
        Ok(done) => done.map_err(|_| Refusal::Unreachable),
        Err(_) => Err(Refusal::Stalled),
    }
}

/// Reads one message, and not a byte beyond it.
async fn hear(stream: &mut Stream, stall: Duration) -> Result<Message, Refusal> {
    let mut bytes = [0; LONGEST];
    let mut header = [0; HEADER];
    in_time(stall, stream.read_exact(&mut header)).await?;
    let end = HEADER + Message::body(header)?;
    bytes[..HEADER].copy_from_slice(&header);
    in_time(stall, stream.read_exact(&mut bytes[HEADER..end])).await?;
    Message::decode(&bytes[..end])
}

#[cfg(test)]
mod tests;
