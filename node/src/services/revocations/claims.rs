//! How many revocations an owner's node says that the owner has made, and whether it would have told of another one since.

use std::collections::BTreeMap;
use std::time::Duration;

use klp::{NodeId, OwnerId};
use tokio::time::Instant;

/// Owners whose claims are remembered.
const CLAIMS: usize = 4096;
/// An owner who could not be asked is not asked again for so long: each time a call waits for it. It is also how long at most what was
/// revoked behind a broken network counts on after its mending.
const UNHEARD: Duration = Duration::from_secs(15);

/// What owners' nodes have said.
#[derive(Default)]
pub(super) struct Claims {
    said: BTreeMap<OwnerId, Claim>,
    /// Owners who could not be asked, and when.
    unheard: BTreeMap<OwnerId, Instant>,
}

struct Claim {
    seq: u64,
    node: NodeId,
    /// The session in which it was said is open: whatever comes after it will be told there.
    is_current: bool,
}

impl Claims {
    /// A node has said how many revocations its owner has made.
    pub(super) fn said(&mut self, owner: OwnerId, node: NodeId, seq: u64) {
        self.unheard.remove(&owner);
        if self.said.len() >= CLAIMS && !self.said.contains_key(&owner) {
            return;
        }
        let claim = self.said.entry(owner).or_insert(Claim { seq, node, is_current: true });
        claim.is_current = true;
        if seq >= claim.seq {
            (claim.seq, claim.node) = (seq, node);
        }
    }

    /// A session with this node is over: what its owner revokes from now on is not told here.
    pub(super) fn gone(&mut self, node: NodeId) {
        self.said.values_mut().filter(|claim| claim.node == node).for_each(|claim| claim.is_current = false);
    }

    /// What counts now: how many, and where to fetch them.
    pub(super) fn current(&self, owner: &OwnerId) -> Option<(u64, NodeId)> {
        self.said.get(owner).filter(|claim| claim.is_current).map(|claim| (claim.seq, claim.node))
    }

    /// What was said last.
    pub(super) fn last(&self, owner: &OwnerId) -> Option<(u64, NodeId)> {
        self.said.get(owner).map(|claim| (claim.seq, claim.node))
    }

    /// This owner could not be asked.
    pub(super) fn silent(&mut self, owner: OwnerId, now: Instant) {
        self.unheard.retain(|_, at| now.saturating_duration_since(*at) < UNHEARD);
        self.unheard.insert(owner, now);
    }

    /// Whether this owner could not be asked just before.
    pub(super) fn is_silent(&self, owner: &OwnerId, now: Instant) -> bool {
        self.unheard.get(owner).is_some_and(|at| now.saturating_duration_since(*at) < UNHEARD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l1_9_what_was_said_counts_only_while_more_would_be_told() {
        let did = |seed| klp::SecretKey::from_seed(&[seed; 32]).did();
        let (owner, node, start) = (OwnerId(did(1)), NodeId(did(2)), Instant::now());
        let mut claims = Claims::default();
        assert_eq!((claims.current(&owner), claims.last(&owner)), (None, None));
        claims.said(owner, node, 3);
        assert_eq!(claims.current(&owner), Some((3, node)));
        claims.gone(NodeId(did(3)));
        assert_eq!(claims.current(&owner), Some((3, node)), "somebody else has gone");
        claims.gone(node);
        assert_eq!((claims.current(&owner), claims.last(&owner)), (None, Some((3, node))));

        claims.silent(owner, start);
        assert!(claims.is_silent(&owner, start + UNHEARD / 2) && !claims.is_silent(&owner, start + UNHEARD));
        claims.said(owner, node, 2);
        assert!(!claims.is_silent(&owner, start), "it has said something");
        assert_eq!(claims.current(&owner), Some((3, node)), "nobody takes back a revocation");
    }
}
