//! Which sessions there are with whom. Shared by the handle, the driver and the tasks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use klp::hello::SessionId;
use klp::{NodeId, Refusal};

use super::link::Link;
use crate::peer::peer_of;

/// Sessions with one peer at a time: the one that stays, one that drains, and as many left behind by a peer that restarts quickly. A peer
/// that restarts more often than that takes the place of those it has left.
const LINKS: usize = 4;

/// The sessions of one mesh.
#[derive(Debug)]
pub(crate) struct Table {
    me: NodeId,
    links: Mutex<HashMap<NodeId, Vec<Arc<Link>>>>,
}

impl Table {
    pub(crate) fn new(me: NodeId) -> Self {
        Self { me, links: Mutex::new(HashMap::new()) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, Vec<Arc<Link>>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session that new requests ride on. Of several, one with a stream; then the one dialled by the lower peer id; then the newest.
    /// Both sides come to the same choice, and the others drain.
    pub(crate) fn preferred(&self, peer: NodeId) -> Option<Arc<Link>> {
        self.best_of(self.lock().get(&peer)?)
    }

    fn best_of(&self, links: &[Arc<Link>]) -> Option<Arc<Link>> {
        // One is the rule, and asking it costs its lock.
        if let [only] = links {
            return (!only.is_closed()).then(|| only.clone());
        }
        let i_am_lower = |peer| peer_of(self.me) < peer_of(peer);
        let rank = |link: &Arc<Link>| (link.is_open(), link.ours == i_am_lower(link.peer));
        // `max_by_key` takes the last of equals, and new ones are put last.
        links.iter().filter(|link| !link.is_closed()).max_by_key(|link| rank(link)).cloned()
    }

    /// The preferred session, or this new one, which is then in the table. Says whether it is the new one.
    pub(crate) fn preferred_or(&self, link: Arc<Link>) -> (Arc<Link>, bool) {
        let mut table = self.lock();
        let links = table.entry(link.peer).or_default();
        if let Some(best) = self.best_of(links) {
            return (best, false);
        }
        links.retain(|link| !link.is_closed());
        links.push(link.clone());
        (link, true)
    }

    /// The session with this id.
    pub(crate) fn find(&self, peer: NodeId, id: SessionId) -> Option<Arc<Link>> {
        self.lock().get(&peer)?.iter().find(|link| link.id == id && !link.is_closed()).cloned()
    }

    /// Adds a session; gives back `false` when the peer has too many, all with a stream.
    pub(crate) fn insert(&self, link: Arc<Link>) -> bool {
        let mut table = self.lock();
        let links = table.entry(link.peer).or_default();
        links.retain(|link| !link.is_closed());
        if links.len() >= LINKS {
            let Some(left) = links.iter().position(|link| link.is_detached()) else { return false };
            links.remove(left).close(Some(Refusal::Unreachable), "its peer has begun other sessions since");
        }
        links.push(link);
        true
    }

    pub(crate) fn remove(&self, link: &Arc<Link>) {
        let mut table = self.lock();
        if let Some(links) = table.get_mut(&link.peer) {
            links.retain(|other| !Arc::ptr_eq(other, link));
            if links.is_empty() {
                table.remove(&link.peer);
            }
        }
    }

    /// All sessions with a peer.
    pub(crate) fn with(&self, peer: NodeId) -> Vec<Arc<Link>> {
        self.lock().get(&peer).cloned().unwrap_or_default()
    }

    /// All sessions.
    pub(crate) fn all(&self) -> Vec<Arc<Link>> {
        self.lock().values().flatten().cloned().collect()
    }
}
