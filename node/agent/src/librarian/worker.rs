//! The thread of a librarian: compares the folder with the ledger, reads what differs, commits now and then, waits for changes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::changes::{Changes, Next};
use super::progress::{Left, NAMED, Phase, Progress};
use super::walk::{Folder, Found, Place};
use crate::extract::{Extractor, Skip, Skipped};
use crate::index::{Content, Entry, Index, IndexError, Writer, hash};

/// Files between two commits: what a kill can cost.
const COMMIT_FILES: usize = 1000;
/// Time between two commits while files are read.
const COMMIT_EVERY: Duration = Duration::from_secs(5);
/// Time between two reports of progress.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// A folder that is watched is looked through this often all the same: network drives tell nothing.
const AGAIN_WATCHED: Duration = Duration::from_secs(600);
/// A folder that cannot be watched.
const AGAIN: Duration = Duration::from_secs(30);
/// Unreadable files and folders that are remembered until the next pass.
const CLOSED: usize = 10_000;
/// A file that was changed this recently may change again without another time stamp.
const FRESH: Duration = Duration::from_secs(2);

pub(super) struct Worker {
    folder: Arc<Folder>,
    index: Index,
    writer: Writer,
    ledger: HashMap<u64, Entry>,
    extractor: Extractor,
    changes: Arc<Changes>,
    sender: watch::Sender<Progress>,
    now: Progress,
    /// What cannot be read at present; it is not in the ledger.
    closed: BTreeMap<u64, Left>,
    /// What is in the ledger as left out, as far as it is named.
    named: BTreeMap<u64, Left>,
    /// Files met in this pass.
    seen: HashSet<u64>,
    /// Whether something happened meanwhile that calls for another pass.
    again: bool,
    uncommitted: usize,
    committed: Instant,
    told: Instant,
}

impl Worker {
    pub(super) fn new(
        folder: Folder,
        index: Index,
        writer: Writer,
        ledger: HashMap<u64, Entry>,
        extractor: Extractor,
        changes: Arc<Changes>,
        sender: watch::Sender<Progress>,
    ) -> Self {
        let start = Instant::now();
        Self {
            folder: Arc::new(folder),
            index,
            writer,
            ledger,
            extractor,
            changes,
            sender,
            now: Progress::default(),
            closed: BTreeMap::new(),
            named: BTreeMap::new(),
            seen: HashSet::new(),
            again: false,
            uncommitted: 0,
            committed: start,
            told: start,
        }
    }

    /// Works until it is stopped, or until the index fails.
    pub(super) fn run(mut self) {
        let ended = catch_unwind(AssertUnwindSafe(|| self.work()));
        self.count();
        let Self { writer, sender, mut now, .. } = self;
        let ended = ended.map(|worked| worked.and_then(|()| writer.finish()));
        let failure = match ended {
            Ok(Ok(())) => None,
            Ok(Err(error)) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a librarian stopped");
                Some(error.to_string())
            }
            Err(_) => Some("indexing panicked".to_owned()),
        };
        now.phase = if failure.is_some() { Phase::Failed } else { Phase::Closed };
        now.failure = failure.or(now.failure);
        sender.send_replace(now);
    }

    fn work(&mut self) -> Result<(), IndexError> {
        self.name_left()?;
        // Before the first look, so that nothing changes unseen between the two.
        let watching = self.changes.watch(self.folder.root());
        if let Err(error) = &watching {
            tracing::warn!(%error, "a folder cannot be watched");
        }
        self.now.watching = watching.is_ok();
        let mut next = Next::Everything;
        loop {
            match next {
                Next::Stop => return Ok(()),
                Next::Everything => self.look_through()?,
                Next::Paths(paths) => {
                    self.visit_all(paths)?;
                    self.settle()?;
                }
            }
            let patience = if self.now.watching && self.now.failure.is_none() { AGAIN_WATCHED } else { AGAIN };
            next = if std::mem::take(&mut self.again) { Next::Everything } else { self.changes.wait(patience) };
        }
    }

    /// Names what an earlier run left out.
    fn name_left(&mut self) -> Result<(), IndexError> {
        let left = self.ledger.iter().filter_map(|(key, entry)| Some((*key, Skip::from_number(entry.skip)?)));
        for (key, reason) in left.take(NAMED) {
            if let Some(path) = self.index.name(key)? {
                self.named.insert(key, Left { path, reason, cause: String::new() });
            }
        }
        Ok(())
    }

    /// Looks through the whole folder.
    fn look_through(&mut self) -> Result<(), IndexError> {
        let changes = Arc::clone(&self.changes);
        self.now.phase = Phase::Scanning;
        self.now.files_done = 0;
        self.tell();
        self.now.files_total = self.folder.count(&|| changes.stopped());
        self.now.phase = Phase::Indexing;
        self.closed.clear();
        self.seen.clear();
        if !self.walk()? {
            return Ok(());
        }
        self.forget_missing()?;
        self.now.failure = self.closed.get(&hash("")).map(|left| format!("the folder cannot be read: {}", left.cause));
        self.settle()
    }

    /// Whether it came to the end.
    fn walk(&mut self) -> Result<bool, IndexError> {
        let folder = Arc::clone(&self.folder);
        for found in folder.files(folder.root()) {
            if self.changes.stopped() {
                return Ok(false);
            }
            match found {
                Ok(found) => self.take(&found, false)?,
                Err(closed) => self.close(closed.name, closed.skipped),
            }
            self.now.files_done += 1;
            self.pause()?;
            // What changes meanwhile need not wait for the end of a long pass.
            match self.changes.settled() {
                Some(Next::Paths(paths)) => {
                    self.visit_all(paths)?;
                    self.commit()?;
                }
                Some(Next::Everything) => self.again = true,
                Some(Next::Stop) => return Ok(false),
                None => {}
            }
        }
        Ok(true)
    }

    fn visit_all(&mut self, paths: BTreeMap<PathBuf, bool>) -> Result<(), IndexError> {
        for (path, folder_gone) in paths {
            self.visit(&path, folder_gone)?;
        }
        Ok(())
    }

    /// Looks at one path. Where a whole folder may have gone, everything must be looked through again.
    fn visit(&mut self, path: &Path, folder_gone: bool) -> Result<(), IndexError> {
        let folder = Arc::clone(&self.folder);
        let Some(name) = folder.name(path) else { return Ok(()) };
        let key = hash(&name);
        self.closed.remove(&key);
        match folder.visit(path) {
            Place::File(found) => self.take(&found, true)?,
            Place::Closed(closed) => self.close(closed.name, closed.skipped),
            Place::Folder => {
                for found in folder.files(path) {
                    if self.changes.stopped() {
                        return Ok(());
                    }
                    match found {
                        Ok(found) => self.take(&found, true)?,
                        Err(closed) => self.close(closed.name, closed.skipped),
                    }
                    self.pause()?;
                }
            }
            Place::Nothing if self.ledger.contains_key(&key) => self.forget(key),
            Place::Nothing => self.again |= folder_gone || name.is_empty(),
        }
        Ok(())
    }

    /// Reads a file, unless the ledger knows it as it is; one that was just reported as `changed` is believed to have.
    fn take(&mut self, found: &Found, changed: bool) -> Result<(), IndexError> {
        let key = hash(&found.name);
        self.seen.insert(key);
        let known = self.ledger.get(&key).is_some_and(|entry| entry.stamp == found.stamp);
        if known && !(changed && is_fresh(found.stamp.modified)) {
            return Ok(());
        }
        self.index.give_way();
        let changes = Arc::clone(&self.changes);
        let read = self.extractor.read(&found.path, &found.name, &|| changes.stopped());
        if changes.stopped() && read.is_err() {
            // Perhaps it failed only because it was stopped.
            return Ok(());
        }
        self.now.files_read += 1;
        self.now.bytes += found.stamp.size;
        self.named.remove(&key);
        let content = match read {
            Ok(document) => Content::Blocks(document.blocks()),
            Err(skipped) if skipped.skip == Skip::Unreadable => {
                self.forget(key);
                self.close(found.name.clone(), skipped);
                return Ok(());
            }
            Err(skipped) => {
                if self.named.len() < NAMED {
                    let left = Left { path: found.name.clone(), reason: skipped.skip, cause: skipped.cause };
                    self.named.insert(key, left);
                }
                Content::Skipped(skipped.skip.number())
            }
        };
        let skip = if let Content::Skipped(number) = content { number } else { 0 };
        self.writer.put(&found.name, found.stamp, content)?;
        self.ledger.insert(key, Entry { stamp: found.stamp, skip });
        self.uncommitted += 1;
        Ok(())
    }

    fn close(&mut self, path: String, skipped: Skipped) {
        if self.closed.len() < CLOSED {
            self.closed.insert(hash(&path), Left { path, reason: skipped.skip, cause: skipped.cause });
        }
    }

    fn forget(&mut self, key: u64) {
        self.named.remove(&key);
        if self.ledger.remove(&key).is_some() {
            self.writer.remove(key);
            self.uncommitted += 1;
        }
    }

    /// Forgets what is gone; what lies below something unreadable is not gone.
    fn forget_missing(&mut self) -> Result<(), IndexError> {
        let missing: Vec<u64> = self.ledger.keys().filter(|key| !self.seen.contains(key)).copied().collect();
        for key in missing {
            if !self.closed.is_empty() {
                let name = self.index.name(key)?.unwrap_or_default();
                let mut above = Path::new(&name).ancestors();
                if above.any(|path| path.to_str().is_some_and(|path| self.closed.contains_key(&hash(path)))) {
                    continue;
                }
            }
            self.forget(key);
        }
        Ok(())
    }

    /// Between two files: commits and reports when it is time.
    fn pause(&mut self) -> Result<(), IndexError> {
        let due = self.uncommitted >= COMMIT_FILES || self.committed.elapsed() >= COMMIT_EVERY;
        if self.uncommitted > 0 && due {
            self.commit()?;
        }
        if self.told.elapsed() >= TELL_EVERY {
            self.tell();
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), IndexError> {
        if self.uncommitted > 0 {
            self.writer.commit()?;
            self.uncommitted = 0;
        }
        self.committed = Instant::now();
        Ok(())
    }

    /// Everything is in.
    fn settle(&mut self) -> Result<(), IndexError> {
        self.commit()?;
        self.seen.clear();
        self.index.set_complete(true);
        self.now.phase = Phase::Ready;
        self.tell();
        Ok(())
    }

    fn tell(&mut self) {
        self.count();
        self.told = Instant::now();
        self.sender.send_replace(self.now.clone());
    }

    fn count(&mut self) {
        let mut skipped = BTreeMap::new();
        let mut documents = 0;
        for entry in self.ledger.values() {
            match Skip::from_number(entry.skip) {
                Some(skip) => *skipped.entry(skip).or_default() += 1,
                None => documents += 1,
            }
        }
        for left in self.closed.values() {
            *skipped.entry(left.reason).or_default() += 1;
        }
        let left = self.closed.values().chain(self.named.values()).take(NAMED).cloned().collect();
        self.now.documents = documents;
        self.now.skipped = skipped;
        self.now.left = left;
    }
}

/// Whether a file was changed so recently that its time stamp may not tell the next change.
fn is_fresh(modified: u64) -> bool {
    let changed = std::time::UNIX_EPOCH + Duration::from_nanos(modified);
    changed.elapsed().is_ok_and(|age| age < FRESH)
}
