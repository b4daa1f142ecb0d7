//! What third parties found when they dialled us, and when to ask them again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::shown::Probe;

/// Verdicts that are shown.
const SHOWN: usize = 16;
/// How long a verdict stands before it is asked for again: a public address, and none.
const PUBLIC: Duration = Duration::from_secs(30 * 60);
const HIDDEN: Duration = Duration::from_secs(10 * 60);
/// How long after the start, or a change, nobody is taken to be hidden unless a third party has said so.
const GRACE: Duration = Duration::from_secs(10);

/// The verdicts.
#[derive(Debug)]
pub(crate) struct Probes {
    shown: VecDeque<Probe>,
    begun: Instant,
    renewed: Instant,
}

impl Probes {
    pub(crate) fn new(now: Instant) -> Self {
        Self { shown: VecDeque::new(), begun: now, renewed: now }
    }

    /// A third party has dialled us, or has tried.
    pub(crate) fn heard(&mut self, probe: Probe) {
        self.shown.retain(|one| (one.server, &one.address) != (probe.server, &probe.address));
        self.shown.push_front(probe);
        self.shown.truncate(SHOWN);
    }

    /// The network has changed: what was found holds for another one.
    pub(crate) fn changed(&mut self, now: Instant) {
        self.shown.clear();
        (self.begun, self.renewed) = (now, now);
    }

    /// Whether it is time to ask again. Says so once.
    pub(crate) fn is_due(&mut self, public: bool, now: Instant) -> bool {
        let due = now.saturating_duration_since(self.renewed) > if public { PUBLIC } else { HIDDEN };
        if due {
            self.renewed = now;
        }
        due
    }

    /// Whether nobody can dial us, as far as we know: somebody has tried in vain, or had time to.
    pub(crate) fn is_hidden(&self, public: bool, now: Instant) -> bool {
        let failed = self.shown.iter().any(|probe| probe.error.is_some());
        !public && (failed || now.saturating_duration_since(self.begun) >= GRACE)
    }

    /// The last verdicts, the newest first.
    pub(crate) fn shown(&self) -> Vec<Probe> {
        self.shown.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(server: u8, error: Option<&str>, at: Instant) -> Probe {
        let server = klp::NodeId(klp::SecretKey::from_seed(&[server; 32]).did());
        let address = "/ip4/8.8.8.8/tcp/1".parse().expect("address");
        Probe { address, server, at, error: error.map(str::to_owned) }
    }

    #[test]
    fn k16_nobody_is_hidden_before_somebody_has_tried_or_had_time_to() {
        let start = Instant::now();
        let mut probes = Probes::new(start);
        assert!(!probes.is_hidden(false, start));
        assert!(probes.is_hidden(false, start + GRACE));
        assert!(!probes.is_hidden(true, start + GRACE));
        probes.heard(probe(1, Some("no answer"), start));
        assert!(probes.is_hidden(false, start));
        probes.changed(start + GRACE);
        assert!(!probes.is_hidden(false, start + GRACE), "another network, another chance");
    }

    #[test]
    fn k16_verdicts_are_renewed_and_bounded() {
        let start = Instant::now();
        let mut probes = Probes::new(start);
        assert!(!probes.is_due(false, start + HIDDEN));
        assert!(probes.is_due(false, start + 2 * HIDDEN));
        assert!(!probes.is_due(false, start + 2 * HIDDEN), "once");
        assert!(
            !probes.is_due(true, start + 2 * HIDDEN + PUBLIC) && probes.is_due(true, start + 2 * (HIDDEN + PUBLIC))
        );
        for server in 0..40 {
            probes.heard(probe(server, None, start));
            probes.heard(probe(server, Some("later not"), start));
        }
        assert_eq!(probes.shown().len(), SHOWN);
        assert!(probes.shown().iter().all(|probe| probe.error.is_some()), "the last word of each counts");
    }
}
