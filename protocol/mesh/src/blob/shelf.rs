//! What is offered to whom, and how many streams there are. Shared by the handle, the driver and the streams.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use klp::hello::SessionId;
use klp::{Digest, NodeId, Refusal, limits};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::source::Source;
use crate::answer::Refused;
use crate::metrics::Metrics;
use crate::session::Table;

/// A blob that one peer may fetch.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    peer: NodeId,
    digest: Digest,
    pub(super) source: Source,
    pub(super) total: u64,
    until: Instant,
    /// The sessions with the peer when the offer was made. Two sides that open one at once have two of them for a moment.
    sessions: Vec<SessionId>,
}

#[derive(Debug, Default)]
struct State {
    offers: HashMap<NodeId, Vec<Offer>>,
    serving: HashMap<NodeId, usize>,
}

/// Offers and streams of one mesh.
#[derive(Debug)]
pub(crate) struct Shelf {
    table: Arc<Table>,
    state: Mutex<State>,
    fetching: Arc<Semaphore>,
    pub(super) metrics: Metrics,
    pub(super) stall: Duration,
}

/// The right to serve one stream, until it is dropped.
pub(super) struct Slot {
    shelf: Arc<Shelf>,
    peer: NodeId,
}

impl Shelf {
    pub(crate) fn new(table: Arc<Table>, metrics: Metrics, stall: Duration) -> Self {
        let fetching = Arc::new(Semaphore::new(limits::BLOB_STREAMS_ALL));
        Self { table, state: Mutex::default(), fetching, metrics, stall }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Offers a blob to a peer. The same one again replaces the first.
    pub(crate) async fn offer(&self, peer: NodeId, source: Source, until: Instant) -> Result<Digest, Refused> {
        self.sessions(peer)?;
        let (digest, total) = source.measure().await?;
        let sessions = self.sessions(peer)?;
        let until = until.min(Instant::now() + limits::BLOB_OFFER_LIFE);
        let offer = Offer { peer, digest, source, total, until, sessions };
        self.tidy();
        let mut state = self.lock();
        let all = state.offers.values().map(Vec::len).sum::<usize>();
        let offers = state.offers.entry(peer).or_default();
        if let Some(same) = offers.iter_mut().find(|offer| offer.digest == digest) {
            *same = offer;
        } else if offers.len() < limits::BLOB_OFFERS && all < limits::BLOB_OFFERS_ALL {
            offers.push(offer);
        } else {
            return Err(Refused::new(Refusal::Busy, "too many blobs are offered already"));
        }
        Ok(digest)
    }

    fn sessions(&self, peer: NodeId) -> Result<Vec<SessionId>, Refused> {
        if self.table.preferred(peer).is_none_or(|link| !link.is_open()) {
            return Err(Refused::new(Refusal::Unreachable, "there is no open session with this node"));
        }
        Ok(self.table.with(peer).iter().map(|link| link.id).collect())
    }

    /// Whether an offer still holds.
    pub(super) fn holds(&self, offer: &Offer) -> bool {
        let is_open = |id: &SessionId| self.table.find(offer.peer, *id).is_some();
        Instant::now() < offer.until && offer.sessions.iter().any(is_open)
    }

    /// What is offered to this peer under this digest. What others may fetch is not even looked at.
    pub(super) fn find(&self, peer: NodeId, digest: Digest) -> Option<Offer> {
        let offer = self.lock().offers.get(&peer)?.iter().find(|offer| offer.digest == digest)?.clone();
        self.holds(&offer).then_some(offer)
    }

    /// Lets go of what is no longer offered, and of its files.
    pub(crate) fn tidy(&self) {
        let mut state = self.lock();
        state.offers.retain(|_, offers| {
            offers.retain(|offer| self.holds(offer));
            !offers.is_empty()
        });
    }

    /// Room to fetch one more blob.
    pub(crate) fn permit(&self) -> Result<OwnedSemaphorePermit, Refused> {
        let permit = self.fetching.clone().try_acquire_owned();
        permit.map_err(|_| Refused::new(Refusal::Busy, "this node fetches too many blobs already"))
    }

    /// Room to serve one more stream to this peer.
    pub(super) fn slot(self: &Arc<Self>, peer: NodeId) -> Option<Slot> {
        let mut state = self.lock();
        let all = state.serving.values().sum::<usize>();
        let own = state.serving.get(&peer).copied().unwrap_or_default();
        if own >= limits::BLOB_STREAMS || all >= limits::BLOB_STREAMS_ALL {
            return None;
        }
        state.serving.insert(peer, own + 1);
        Some(Slot { shelf: self.clone(), peer })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.shelf.lock();
        if let Some(own) = state.serving.get_mut(&self.peer) {
            *own -= 1;
            if *own == 0 {
                state.serving.remove(&self.peer);
            }
        }
    }
}
