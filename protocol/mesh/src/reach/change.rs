//! Noticing that the network may be another one: an address of this machine comes or goes, or this process has not run for a while.

use std::time::{Duration, Instant};

use klp::Timestamp;

/// Ticks that come this much later than the one before mean that the process was frozen, or the machine asleep.
const GAP: Duration = Duration::from_secs(5);
/// Addresses that come this soon after the start are the first ones, and no change.
const START: Duration = Duration::from_secs(3);
/// Addresses come and go in groups; this long after the last one they are one change.
const TOGETHER: Duration = Duration::from_millis(500);

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Addresses of this machine came or went.
    Moved,
    /// This process has not run for so long.
    Slept,
}

/// Watches the clock and the addresses.
#[derive(Debug)]
pub(crate) struct Watch {
    started: Instant,
    last: (Instant, Timestamp),
    moved: Option<Instant>,
}

impl Watch {
    pub(crate) fn new(now: Instant, wall: Timestamp) -> Self {
        Self { started: now, last: (now, wall), moved: None }
    }

    /// An address of this machine has come or gone.
    pub(crate) fn moved(&mut self, now: Instant) {
        if now.saturating_duration_since(self.started) > START {
            self.moved = Some(now);
        }
    }

    /// Called several times a second; says what has changed since. A machine that sleeps may stop the one clock and not the other.
    pub(crate) fn tick(&mut self, now: Instant, wall: Timestamp) -> Option<Change> {
        let (then, then_wall) = std::mem::replace(&mut self.last, (now, wall));
        if now.saturating_duration_since(then) > GAP || wall.since(then_wall) > GAP {
            self.moved = None;
            return Some(Change::Slept);
        }
        let settled = |at: Instant| now.saturating_duration_since(at) >= TOGETHER;
        self.moved.take_if(|at| settled(*at)).map(|_| Change::Moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k18_a_gap_between_ticks_and_a_new_address_are_changes() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let wall = |seconds: u64| Timestamp(1_000_000 + seconds * 1000);
        let mut watch = Watch::new(start, wall(0));
        watch.moved(start + second);
        assert_eq!(watch.tick(start + second, wall(1)), None);
        assert_eq!(watch.tick(start + 2 * second, wall(2)), None, "the first addresses are no change");
        assert_eq!(watch.tick(start + 60 * second, wall(60)), Some(Change::Slept), "the process was frozen");
        assert_eq!(watch.tick(start + 61 * second, wall(600)), Some(Change::Slept), "the machine was asleep");
        assert_eq!(watch.tick(start + 62 * second, wall(601)), None);
        watch.moved(start + 62 * second);
        assert_eq!(watch.tick(start + 62 * second, wall(601)), None, "more may follow at once");
        assert_eq!(watch.tick(start + 63 * second, wall(602)), Some(Change::Moved));
        assert_eq!(watch.tick(start + 64 * second, wall(603)), None, "each change is told once");
    }
}
