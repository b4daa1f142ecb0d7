//! When a query has heard enough. Kademlia waits for everybody whom it has asked, and one dead peer in a table makes it wait for the end
//! of a dial; a dead peer stays in tables for a long time, here and at others.

use std::time::{Duration, Instant};

/// Silence that ends a query which has what it wanted and has heard half of those that may answer.
const SHORT: Duration = Duration::from_millis(400);
/// Silence that ends any other one that was answered at all: a peer at the other end of the world has made its connection by then.
const LONG: Duration = Duration::from_millis(1500);

/// How far a query has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Peers asked.
    pub(super) asked: u32,
    /// Peers that have answered.
    pub(super) answered: u32,
    /// Peers that cannot be reached.
    pub(super) failed: u32,
}

/// How long a query has heard nothing.
#[derive(Debug)]
pub(super) struct Silence {
    heard: Progress,
    since: Instant,
}

impl Silence {
    pub(super) fn new(now: Instant) -> Self {
        Self { heard: Progress::default(), since: now }
    }

    /// Whether nothing is worth waiting for any more. `enough` says that what was wanted is there. A query that nobody has answered goes
    /// on: a slow answer is all that it can get.
    pub(super) fn is_enough(&mut self, progress: Progress, enough: bool, now: Instant) -> bool {
        if self.heard != progress {
            *self = Self { heard: progress, since: now };
        }
        let most = 2 * progress.answered + progress.failed >= progress.asked;
        let patience = if enough && most { SHORT } else { LONG };
        progress.answered > 0 && now.duration_since(self.since) >= patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends_after(progress: Progress, enough: bool) -> Option<Duration> {
        let begun = Instant::now();
        let mut silence = Silence::new(begun);
        (0..200).map(|step| step * Duration::from_millis(50)).find(|after| {
            let before = Progress { answered: progress.answered.saturating_sub(1), ..progress };
            // The last answer comes after a second, and what came before does not count.
            let (now, late) = (begun + *after, *after >= Duration::from_secs(1));
            silence.is_enough(if late { progress } else { before }, enough, now)
        })
    }

    #[test]
    fn a_query_ends_when_most_have_answered_and_the_rest_is_silent() {
        let second = Duration::from_secs(1);
        let one_is_dead = Progress { asked: 2, answered: 1, failed: 0 };
        assert_eq!(ends_after(one_is_dead, true), Some(second + SHORT));
        assert_eq!(ends_after(one_is_dead, false), Some(second + LONG), "nothing was found yet");
        let most_are_silent = Progress { asked: 5, answered: 1, failed: 1 };
        assert_eq!(ends_after(most_are_silent, true), Some(second + LONG), "a liar is quick");
        let nobody = Progress { asked: 3, answered: 0, failed: 1 };
        assert_eq!(ends_after(nobody, false), None);
    }
}
