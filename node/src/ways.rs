//! Ways to nodes that are not to be reached: through whom, until when, and the key to seal to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use klp::NodeId;
use klp::sealed::ExchangeKey;
use tokio::time::Instant;

/// How long a way is used before the direct ones are tried again.
const HOLDS: Duration = Duration::from_secs(60);
/// Ways and keys that are remembered.
const KEPT: usize = 1024;

/// What is known of ways through others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ways(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    ways: BTreeMap<NodeId, Way>,
    keys: BTreeMap<NodeId, ExchangeKey>,
}

#[derive(Debug)]
struct Way {
    until: Instant,
    /// What the direct ways said.
    tried: String,
    /// Through whom, and in how many hops; not known before the first answer.
    by: Option<(String, usize)>,
}

/// A way that is being tried.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    ways: Ways,
    to: NodeId,
    via: String,
}

impl Found {
    /// It leads there, in so many hops.
    pub(crate) fn by(self, hops: usize) {
        self.ways.put(self.to, None, Some((self.via, hops)));
    }
}

impl Ways {
    /// A node cannot be reached, as `tried` says: its requests are carried for a while.
    pub(crate) fn begin(&self, to: NodeId, tried: String) {
        if !self.has(&to) {
            self.put(to, Some(tried), None);
        }
    }

    /// A way to a node that is tried through somebody.
    pub(crate) fn through(&self, to: NodeId, via: String) -> Found {
        Found { ways: self.clone(), to, via }
    }

    fn put(&self, to: NodeId, tried: Option<String>, by: Option<(String, usize)>) {
        let (mut known, now) = (self.lock(), Instant::now());
        // A way that is known already is not prolonged by being used: the direct ones are to be tried again.
        let old = known.ways.get(&to).filter(|way| way.until > now);
        let until = old.map_or(now + HOLDS, |way| way.until);
        let tried = tried.or_else(|| old.map(|way| way.tried.clone())).unwrap_or_default();
        if known.ways.len() >= KEPT {
            known.ways.retain(|_, way| way.until > now);
        }
        if known.ways.len() < KEPT || known.ways.contains_key(&to) {
            known.ways.insert(to, Way { until, tried, by });
        }
    }

    /// Whether requests to this node are carried at the moment.
    pub(crate) fn has(&self, to: &NodeId) -> bool {
        self.lock().ways.get(to).is_some_and(|way| way.until > Instant::now())
    }

    /// It leads nowhere any more. What the direct ways said is given back.
    pub(crate) fn forget(&self, to: &NodeId) -> Option<String> {
        self.lock().ways.remove(to).map(|way| way.tried).filter(|tried| !tried.is_empty())
    }

    /// Through whom the way leads, and in how many hops, once an answer has come by it.
    pub(crate) fn by(&self, to: &NodeId) -> Option<(String, usize)> {
        self.lock().ways.get(to).filter(|way| way.until > Instant::now())?.by.clone()
    }

    /// The newest key that the node itself has said.
    pub(crate) fn key(&self, of: &NodeId) -> Option<ExchangeKey> {
        self.lock().keys.get(of).copied()
    }

    /// Learns a key.
    pub(crate) fn learn(&self, of: NodeId, key: ExchangeKey) {
        let mut known = self.lock();
        if known.keys.len() >= KEPT {
            known.keys.clear();
        }
        known.keys.insert(of, key);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
