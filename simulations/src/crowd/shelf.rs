//! What a node keeps for others: records, and who provides what.

use std::collections::BTreeMap;

use klp::rule::record::{Put, Standing};
use klp::{Digest, NodeId, Timestamp, limits};

use super::rules::Rules;
use super::table::{Peer, place};

/// Providers of one key: as many as a bootstrap peer keeps, the nearest to the key.
const PROVIDERS: usize = 64;

/// Somebody who says that it has something, and where it says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Provider {
    pub(super) peer: Peer,
    pub(super) address: u64,
}

/// What one node keeps.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    records: BTreeMap<Digest, (Standing, Vec<u8>)>,
    providers: BTreeMap<Digest, Vec<(Provider, Timestamp)>>,
}

impl Shelf {
    /// Somebody puts a record. Says whether it is kept, and what it replaces.
    pub(super) fn put(
        &mut self,
        rules: &Rules,
        (key, value, publisher): (Digest, Vec<u8>, Option<NodeId>),
        now: Timestamp,
    ) -> Option<Option<Standing>> {
        let standing = (rules.standing)(&key.0, &value, publisher, now)?;
        let known = self.records.get(&key).map(|(standing, _)| *standing);
        if (rules.put)(known.as_ref(), &standing, now) != Put::Kept {
            return None;
        }
        self.records.insert(key, (standing, value));
        Some(known)
    }

    /// The record under a key, as it was put: whoever asks judges for itself.
    pub(super) fn get(&self, key: &Digest) -> Option<Vec<u8>> {
        self.records.get(key).map(|(_, value)| value.clone())
    }

    /// Somebody says that it has something; it counts for the life of a record.
    pub(super) fn provide(&mut self, key: Digest, provider: Provider, now: Timestamp) {
        let (until, target) = (now.after(limits::RECORD_LIFE), place(&key.0));
        let known = self.providers.entry(key).or_default();
        known.retain(|(other, expires)| other.peer != provider.peer && *expires > now);
        known.push((provider, until));
        known.sort_by_key(|(provider, _)| provider.peer.place ^ target);
        known.truncate(PROVIDERS);
    }

    /// Who says so at the moment.
    pub(super) fn providers(&self, key: &Digest, now: Timestamp) -> Vec<Provider> {
        let known = self.providers.get(key).into_iter().flatten();
        known.filter(|(_, expires)| *expires > now).map(|(provider, _)| *provider).collect()
    }
}
