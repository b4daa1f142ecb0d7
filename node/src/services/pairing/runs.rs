//! Runs of the key exchange that were begun with this node and have not ended: few, short, and of everybody together.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use klp::pairing::{Expecting, Issuer};
use klp::{NodeId, Refusal, limits};
use tokio::time::Instant;

/// Runs of one peer at once: one, and one that was given up.
const PER_PEER: usize = 2;
/// What one peer may begin in a minute.
const PER_PEER_RATE: usize = 6;
const MINUTE: Duration = Duration::from_secs(60);

/// Which run.
pub(super) type Key = (NodeId, [u8; 16]);

/// How far a run is.
pub(super) enum Stage {
    /// The one try is awaited.
    Begun(Box<Issuer>),
    /// The last proof is awaited.
    Proven(Box<Expecting>),
}

/// The runs.
#[derive(Default)]
pub(super) struct Runs(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    open: BTreeMap<Key, (Instant, Stage)>,
    begun: VecDeque<(Instant, NodeId)>,
}

impl Runs {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this peer may begin a run now; asking counts.
    ///
    /// # Errors
    /// `busy`
    pub(super) fn admit(&self, peer: NodeId, now: Instant) -> Result<(), Refusal> {
        let mut inner = self.lock();
        while inner.begun.front().is_some_and(|(at, _)| now.duration_since(*at) > MINUTE) {
            inner.begun.pop_front();
        }
        inner.open.retain(|_, (begun, _)| now.duration_since(*begun) <= limits::PAIR_RUN_LIFE);
        let theirs = inner.begun.iter().filter(|(_, node)| *node == peer).count();
        if inner.begun.len() >= limits::PAIR_RATE || theirs >= PER_PEER_RATE {
            return Err(Refusal::Busy);
        }
        inner.begun.push_back((now, peer));
        Ok(())
    }

    /// Keeps a run. The oldest of the same peer makes room.
    ///
    /// # Errors
    /// `busy`
    pub(super) fn keep(&self, key: Key, stage: Stage, now: Instant) -> Result<(), Refusal> {
        let mut inner = self.lock();
        let theirs: Vec<(Instant, Key)> =
            inner.open.iter().filter(|((node, _), _)| *node == key.0).map(|(key, (begun, _))| (*begun, *key)).collect();
        if theirs.len() >= PER_PEER
            && let Some((_, oldest)) = theirs.into_iter().min()
        {
            inner.open.remove(&oldest);
        }
        if inner.open.len() >= limits::PAIR_RUNS {
            return Err(Refusal::Busy);
        }
        inner.open.insert(key, (now, stage));
        Ok(())
    }

    /// Takes a run out that is at this stage: each step of it is taken once. One that is at another stays where it is.
    pub(super) fn take(&self, key: &Key, now: Instant, is_due: impl Fn(&Stage) -> bool) -> Option<Stage> {
        let mut inner = self.lock();
        let (begun, _) = inner.open.get(key).filter(|(_, stage)| is_due(stage))?;
        let in_time = now.duration_since(*begun) <= limits::PAIR_RUN_LIFE;
        let (_, stage) = inner.open.remove(key)?;
        in_time.then_some(stage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use klp::SecretKey;
    use klp::message::PairOpen;
    use klp::pairing::{Code, Joiner, Parties};

    fn node(seed: u8) -> NodeId {
        NodeId(SecretKey::from_seed(&[seed; 32]).did())
    }

    fn begun() -> Stage {
        let code = Code::from_entropy(&[1; 12]);
        let (_, open): (_, PairOpen) = Joiner::begin(&code, node(1), node(2), &[3; 80]);
        let parties = Parties { mailbox: code.mailbox, issuer: node(1), joiner: node(2) };
        let (issuer, _) = Issuer::answer(&code.password, parties, &open, &[4; 64]).expect("answers");
        Stage::Begun(Box::new(issuer))
    }

    #[test]
    fn s27_runs_are_few_short_and_each_step_is_taken_once() {
        let (runs, now) = (Runs::default(), Instant::now());
        for number in 0..16 {
            runs.keep((node(number), [0; 16]), begun(), now).expect("room");
        }
        assert_eq!(runs.keep((node(99), [0; 16]), begun(), now), Err(Refusal::Busy), "no more than sixteen");
        assert!(runs.take(&(node(1), [0; 16]), now, |_| false).is_none(), "it is at another step");
        assert!(runs.take(&(node(1), [0; 16]), now, |_| true).is_some());
        assert!(runs.take(&(node(1), [0; 16]), now, |_| true).is_none(), "a step is taken once");
        assert!(runs.take(&(node(2), [0; 16]), now + limits::PAIR_RUN_LIFE + MINUTE, |_| true).is_none(), "too late");
        for number in 0..3 {
            runs.keep((node(3), [number; 16]), begun(), now).expect("its own oldest makes room");
        }
        assert!(runs.take(&(node(3), [0; 16]), now, |_| true).is_none());
    }

    #[test]
    fn s27_a_peer_begins_six_runs_a_minute_and_all_together_thirty_two() {
        let (runs, now) = (Runs::default(), Instant::now());
        for _ in 0..PER_PEER_RATE {
            runs.admit(node(1), now).expect("may");
        }
        assert_eq!(runs.admit(node(1), now), Err(Refusal::Busy));
        for number in 0..limits::PAIR_RATE - PER_PEER_RATE {
            runs.admit(node(2 + number as u8), now).expect("may");
        }
        assert_eq!(runs.admit(node(200), now), Err(Refusal::Busy));
        runs.admit(node(1), now + MINUTE + Duration::from_secs(1)).expect("a minute later");
    }
}
