//! The one clock of a node, at its edge: wall time for statements, never below what was once signed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use klp::{Timestamp, limits};

/// Wall time that does not run backwards below a floor. A deadline uses tokio's monotonic time instead.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    floor: Arc<AtomicU64>,
}

impl Clock {
    /// A clock that never shows less than `floor`, the time of the last checkpoint.
    pub fn new(floor: Timestamp) -> Self {
        Self { floor: Arc::new(AtomicU64::new(floor.0)) }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        let wall = wall().0;
        let floor = self.floor.fetch_max(wall, Ordering::Relaxed);
        Timestamp(wall.max(floor))
    }

    /// How far the machine's clock stands behind what this node has already seen, when that is more than the usual skew.
    pub fn jumped_back(&self) -> Option<Duration> {
        let behind = Timestamp(self.floor.load(Ordering::Relaxed)).since(wall());
        (behind > limits::SKEW).then_some(behind)
    }
}

fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_runs_below_the_floor() {
        let ahead = wall().after(Duration::from_secs(3600));
        let clock = Clock::new(ahead);
        assert_eq!(clock.now(), ahead);
        assert!(clock.jumped_back().is_some());
        assert_eq!(Clock::default().jumped_back(), None);
    }
}
