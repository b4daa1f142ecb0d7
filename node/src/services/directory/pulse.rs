//! Which nodes have answered lately, and which are not worth asking again yet.
//!
//! Nothing is asked for this alone: a search asks, and what comes of it is remembered here. A node that stays silent is asked again later
//! and later, up to half a minute; one that says anything is asked again at once.

use std::collections::BTreeMap;
use std::time::Duration;

use klp::NodeId;
use tokio::time::Instant;

/// Nodes that are remembered.
const NODES: usize = 4096;
/// The wait after the first silence; it doubles up to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(2);
/// A node that is back is found again after this long at most.
const LONGEST: Duration = Duration::from_secs(30);

/// What is remembered of one node.
#[derive(Clone, Copy, Debug)]
struct Sign {
    /// When it was last heard.
    heard: Option<Instant>,
    /// Silences since then.
    silences: u32,
    /// Not to be asked before.
    again: Instant,
}

/// What is remembered of all.
#[derive(Debug, Default)]
pub(super) struct Pulse(BTreeMap<NodeId, Sign>);

impl Pulse {
    /// It said something. Whether it had been silent before.
    pub(super) fn heard(&mut self, node: NodeId, now: Instant) -> bool {
        let sign = Sign { heard: Some(now), silences: 0, again: now };
        self.keep(node, sign).is_some_and(|before| before.silences > 0)
    }

    /// It is worth asking: something of it is new, though it did not say it to us.
    pub(super) fn stirred(&mut self, node: NodeId, now: Instant) {
        if let Some(sign) = self.0.get_mut(&node) {
            sign.again = now;
        }
    }

    /// It was asked and said nothing. Whether it had answered before.
    pub(super) fn silent(&mut self, node: NodeId, now: Instant) -> bool {
        let before = self.0.get(&node).copied();
        let silences = before.map_or(0, |sign| sign.silences).saturating_add(1);
        let wait = FIRST.saturating_mul(1 << (silences - 1).min(8)).min(LONGEST);
        self.keep(node, Sign { heard: before.and_then(|sign| sign.heard), silences, again: now + wait });
        before.is_some_and(|sign| sign.silences == 0)
    }

    /// Whether to ask it now.
    pub(super) fn is_due(&self, node: &NodeId, now: Instant) -> bool {
        self.0.get(node).is_none_or(|sign| sign.again <= now)
    }

    /// How long ago it was last heard, if ever.
    pub(super) fn silence(&self, node: &NodeId, now: Instant) -> Option<Duration> {
        Some(now.saturating_duration_since(self.0.get(node)?.heard?))
    }

    /// Nodes that said nothing when they were asked last.
    pub(super) fn silent_ones(&self) -> usize {
        self.0.values().filter(|sign| sign.silences > 0).count()
    }

    fn keep(&mut self, node: NodeId, sign: Sign) -> Option<Sign> {
        if self.0.len() >= NODES && !self.0.contains_key(&node) {
            let oldest = self.0.iter().min_by_key(|(_, sign)| sign.heard.max(Some(sign.again))).map(|(node, _)| *node);
            oldest.and_then(|oldest| self.0.remove(&oldest));
        }
        self.0.insert(node, sign)
    }
}

#[cfg(test)]
mod tests {
    use klp::SecretKey;

    use super::*;

    fn node(seed: u16) -> NodeId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&seed.to_be_bytes());
        NodeId(SecretKey::from_seed(&bytes).did())
    }

    #[test]
    fn d4_a_silent_node_is_asked_later_and_later_and_at_once_when_it_is_heard() {
        let (mut pulse, bob, start) = (Pulse::default(), node(1), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(pulse.is_due(&bob, start) && pulse.silence(&bob, start).is_none());
        assert!(!pulse.heard(bob, start), "nobody had missed it");
        assert!(pulse.silent(bob, at(10)), "it is lost");
        assert!(!pulse.silent(bob, at(12)), "it was lost before");
        assert_eq!(pulse.silent_ones(), 1);
        assert_eq!(pulse.silence(&bob, at(12)), Some(Duration::from_secs(12)));
        assert!(!pulse.is_due(&bob, at(15)) && pulse.is_due(&bob, at(16)));
        for second in 20..40 {
            pulse.silent(bob, at(second));
        }
        assert!(!pulse.is_due(&bob, at(39 + 29)) && pulse.is_due(&bob, at(39 + 30)), "half a minute at most");
        pulse.stirred(bob, at(41));
        assert!(pulse.is_due(&bob, at(41)) && pulse.silent_ones() == 1);
        assert!(pulse.heard(bob, at(42)), "it is back");
        assert!(pulse.is_due(&bob, at(42)) && pulse.silent_ones() == 0);
    }

    #[test]
    fn d4_what_is_remembered_is_bounded_and_the_oldest_goes() {
        let (mut pulse, start) = (Pulse::default(), Instant::now());
        for seed in 0..=u16::try_from(NODES).expect("fits") {
            pulse.heard(node(seed), start + Duration::from_secs(u64::from(seed)));
        }
        assert_eq!(pulse.0.len(), NODES);
        assert!(pulse.silence(&node(0), start).is_none() && pulse.silence(&node(1), start).is_some());
    }
}
