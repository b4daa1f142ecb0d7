//! How often: token buckets for many, in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// A burst at once, and one more after each interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many at once.
    pub burst: u32,
    /// One more after this.
    pub every: Duration,
}

/// One bucket for each key. A full bucket needs no memory, so that only those who took something lately are remembered.
#[derive(Debug)]
pub(crate) struct Buckets<K> {
    rate: Rate,
    room: usize,
    /// When each bucket will be full again.
    full_at: HashMap<K, Instant>,
}

impl<K: Copy + Eq + Hash> Buckets<K> {
    /// At most `room` keys are remembered. Over that the ones that have taken least are forgotten.
    pub(crate) fn new(rate: Rate, room: usize) -> Self {
        Self { rate, room, full_at: HashMap::new() }
    }

    /// Takes one. False when the bucket is empty.
    pub(crate) fn take(&mut self, key: K, now: Instant) -> bool {
        self.take_many(key, 1, now)
    }

    /// Takes several at once, or none.
    pub(crate) fn take_many(&mut self, key: K, count: u32, now: Instant) -> bool {
        let cost = self.rate.every * count;
        let full_at = self.full_at.get(&key).copied().unwrap_or(now).max(now);
        if full_at + cost > now + self.rate.every * self.rate.burst {
            return false;
        }
        if self.full_at.len() >= self.room && !self.full_at.contains_key(&key) {
            self.forget(now);
        }
        self.full_at.insert(key, full_at + cost);
        true
    }

    fn forget(&mut self, now: Instant) {
        self.full_at.retain(|_, at| *at > now);
        if self.full_at.len() >= self.room {
            let mut owed: Vec<Instant> = self.full_at.values().copied().collect();
            let middle = owed.len() / 2;
            let (_, half, _) = owed.select_nth_unstable(middle);
            let half = *half;
            self.full_at.retain(|_, at| *at > half);
        }
    }

    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.full_at.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 3, every: Duration::from_secs(1) };

    #[test]
    fn a_burst_and_then_one_after_each_interval() {
        let (mut buckets, start) = (Buckets::new(RATE, 8), Instant::now());
        let taken = (0..10).filter(|_| buckets.take(1, start)).count();
        assert_eq!(taken, 3);
        assert!(buckets.take(2, start), "each has its own");
        let later = start + Duration::from_secs(2);
        assert_eq!((0..10).filter(|_| buckets.take(1, later)).count(), 2);
        assert!(!buckets.take_many(3, 4, start) && buckets.take_many(3, 3, start), "all or nothing");
    }

    #[test]
    fn memory_is_bounded_and_who_took_most_is_remembered() {
        let (mut buckets, start) = (Buckets::new(RATE, 8), Instant::now());
        while buckets.take(0, start) {}
        for key in 1..10_000 {
            assert!(buckets.take(key, start));
            assert!(buckets.remembered() <= 8);
        }
        assert!(!buckets.take(0, start), "the greedy one is not forgotten for newcomers");
    }
}
