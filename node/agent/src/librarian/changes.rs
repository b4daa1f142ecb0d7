//! Changes that the operating system reports, gathered until they have settled.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{EventKind, ModifyKind, RemoveKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

/// Quiet for this long, a change has settled.
const QUIET: Duration = Duration::from_millis(250);
/// A change that never settles is looked at after this long all the same, so that it is visible within two seconds.
const PATIENCE: Duration = Duration::from_secs(1);
/// Changed paths that are kept apart; beyond that the whole folder is looked through.
const PATHS: usize = 4096;

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Look at these paths; `true` where a whole folder may have gone.
    Paths(BTreeMap<PathBuf, bool>),
    /// Look through everything.
    Everything,
    /// End.
    Stop,
}

#[derive(Default)]
struct Pending {
    paths: BTreeMap<PathBuf, bool>,
    everything: bool,
    stop: bool,
    since: Option<(Instant, Instant)>,
}

impl Pending {
    /// How long until what is pending has settled; `None` when nothing is.
    fn settles(&self, now: Instant) -> Option<Duration> {
        let (first, last) = self.since?;
        let due = (first + PATIENCE).min(last + QUIET);
        Some(due.saturating_duration_since(now))
    }

    fn take(&mut self, now: Instant) -> Option<Next> {
        if self.stop {
            return Some(Next::Stop);
        }
        if self.settles(now)? > Duration::ZERO {
            return None;
        }
        self.since = None;
        let paths = std::mem::take(&mut self.paths);
        Some(if std::mem::take(&mut self.everything) { Next::Everything } else { Next::Paths(paths) })
    }
}

/// The one place where changes, and the wish to stop, wait for the worker.
#[derive(Default)]
pub(super) struct Changes {
    pending: Mutex<Pending>,
    changed: Condvar,
}

impl Changes {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        // Every single change under this lock is complete in itself.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the worker to end.
    pub(super) fn stop(&self) {
        self.pending().stop = true;
        self.changed.notify_all();
    }

    pub(super) fn stopped(&self) -> bool {
        self.pending().stop
    }

    fn add(&self, paths: Vec<PathBuf>, folder: bool, everything: bool) {
        let now = Instant::now();
        let mut pending = self.pending();
        for path in paths {
            *pending.paths.entry(path).or_default() |= folder;
        }
        if everything || pending.paths.len() > PATHS {
            pending.paths.clear();
            pending.everything = true;
        }
        pending.since = Some((pending.since.map_or(now, |(first, _)| first), now));
        drop(pending);
        self.changed.notify_all();
    }

    /// What has settled by now, without waiting.
    pub(super) fn settled(&self) -> Option<Next> {
        self.pending().take(Instant::now())
    }

    /// Waits until something has settled, at most `patience`, after which everything is looked through.
    pub(super) fn wait(&self, patience: Duration) -> Next {
        let deadline = Instant::now() + patience;
        let mut pending = self.pending();
        loop {
            let now = Instant::now();
            if let Some(next) = pending.take(now) {
                return next;
            }
            if now >= deadline {
                return Next::Everything;
            }
            let until = pending.settles(now).unwrap_or(patience).min(deadline - now);
            pending = self.changed.wait_timeout(pending, until).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Watches a folder and everything in it, until the watcher is dropped.
    pub(super) fn watch(self: &Arc<Self>, root: &Path) -> notify::Result<RecommendedWatcher> {
        let changes = Arc::clone(self);
        let take = move |event: notify::Result<notify::Event>| match event {
            Ok(event) if event.need_rescan() => changes.add(Vec::new(), false, true),
            Ok(event) if event.kind.is_access() => {}
            Ok(event) => {
                let folder = matches!(
                    event.kind,
                    EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(RemoveKind::Folder | RemoveKind::Any)
                );
                changes.add(event.paths, folder, false);
            }
            Err(_) => changes.add(Vec::new(), false, true),
        };
        let mut watcher = RecommendedWatcher::new(take, notify::Config::default().with_follow_symlinks(false))?;
        watcher.watch(root, RecursiveMode::Recursive)?;
        Ok(watcher)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_settle_or_are_due_and_too_many_become_everything() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pending = Pending { since: Some((at(0), at(0))), ..Pending::default() };
        pending.paths.insert("a".into(), false);
        assert_eq!(pending.take(at(100)), None, "not quiet yet");
        pending.since = Some((at(0), at(900)));
        assert_eq!(pending.take(at(999)), None);
        let Some(Next::Paths(paths)) = pending.take(at(1000)) else { panic!("due") };
        assert_eq!(paths.len(), 1);
        assert_eq!(pending.take(at(5000)), None, "nothing is left");

        let changes = Changes::default();
        changes.add((0..=PATHS).map(|number| PathBuf::from(number.to_string())).collect(), false, false);
        assert_eq!(changes.wait(Duration::from_secs(60)), Next::Everything);
        assert_eq!(changes.wait(Duration::ZERO), Next::Everything, "patience ended");
        changes.stop();
        assert_eq!(changes.wait(Duration::from_secs(60)), Next::Stop);
    }
}
