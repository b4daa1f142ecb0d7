//! One side: what it asked and what became of it, what it was asked and how far it is.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use klp::Refusal;
use klp::session::Session;

/// How a request of ours ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Answered,
    Refused(Refusal),
    /// We did not want it any more.
    Dropped,
}

/// One request of ours.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Names it among all requests of the world.
    pub(crate) token: u64,
    pub(crate) chunks: u64,
    pub(crate) seen: u64,
    pub(crate) unread: VecDeque<Bytes>,
    pub(crate) end: Option<End>,
}

/// One request of the other side that runs here.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) token: u64,
    pub(crate) chunks: u64,
    pub(crate) size: usize,
    pub(crate) sent: u64,
    /// The window is full; the machine says when there is room.
    pub(crate) waits: bool,
}

/// One side of the world.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) session: Session,
    pub(crate) asked: BTreeMap<u64, Asked>,
    pub(crate) running: BTreeMap<u64, Running>,
    /// How often each request has been begun here, over all sessions.
    pub(crate) begun: BTreeMap<u64, u64>,
    /// The stream that it uses, or `None`.
    pub(crate) stream: Option<u64>,
    /// When the last frame from here arrives: a stream keeps its order.
    pub(crate) last_arrival: Duration,
    pub(crate) left: u64,
}

impl Host {
    pub(crate) fn new(requests: u64, memory: u64) -> Self {
        Self {
            session: Session::new([1; 16], memory.to_be_bytes(), Duration::ZERO),
            asked: BTreeMap::new(),
            running: BTreeMap::new(),
            begun: BTreeMap::new(),
            stream: None,
            last_arrival: Duration::ZERO,
            left: requests,
        }
    }

    /// Whether everything that was asked here has ended.
    pub(crate) fn is_done(&self) -> bool {
        self.left == 0 && self.asked.values().all(|asked| asked.end.is_some() && asked.unread.is_empty())
    }
}

/// What a request says: which it is, how many chunks it wants, and how large.
pub(crate) fn body(token: u64, chunks: u64, size: u64) -> Bytes {
    [token, chunks, size].iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<_>>().into()
}

/// The other way.
pub(crate) fn wish(body: &[u8]) -> Option<[u64; 3]> {
    let mut numbers = body.chunks_exact(8).map(|bytes| bytes.try_into().map(u64::from_be_bytes));
    Some([numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?])
}
