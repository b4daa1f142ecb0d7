//! Recomputing the log, and naming the first entry that does not hold.

use std::collections::BTreeSet;

use klp::{Cbor as _, Digest};

use super::checkpoint::{self, Anchor, Head, Mark};
use super::entry::{Body, ERASED, Kept, Leaf};
use super::frontier::{Frontier, leaf_hash};
use crate::error::StoreError;
use crate::table::{ROW, Table, number, sequence};
use crate::view::{Order, View, decode};

/// Entries before the head that are recomputed at each start: a tenth of a second. [`verify`] recomputes all.
const RECENT: u64 = 50_000;

/// What is wrong with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// It is not there, but later ones are.
    Missing,
    /// It is not what was written, or lies at another entry's place.
    Altered,
    /// Its body is not what was written, or was erased without an entry that says so.
    Body,
    /// No valid signed checkpoint covers it, though one was made.
    Checkpoint,
    /// The log ends before it, but once did not.
    Truncated,
    /// It stands behind the end of the log.
    Surplus,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Missing => "the entry is missing",
            Self::Altered => "the entry was altered or moved",
            Self::Body => "the entry's body was altered or taken away",
            Self::Checkpoint => "the entry's checkpoint does not hold",
            Self::Truncated => "the log was cut here",
            Self::Surplus => "the entry was added behind the end of the log",
        })
    }
}

/// The first entry that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bad {
    /// Its number, from 0.
    pub seq: u64,
    /// What is wrong.
    pub why: Why,
}

/// What a whole verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Entries that the log has.
    pub entries: u64,
    /// Entries that a signed checkpoint covers.
    pub covered: u64,
    /// RFC 6962 root over all entries.
    pub head: Digest,
    /// The first entry that does not hold; `None` when the log is valid.
    pub bad: Option<Bad>,
}

/// What the log is known to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It holds.
    Sound,
    /// It holds, but is older than what this machine once saw: a restored backup (security rule 22).
    RolledBack {
        /// Entries found.
        found: u64,
        /// What was seen before.
        anchored: Anchor,
    },
    /// It does not hold; nothing is written any more.
    Broken(Bad),
}

/// What ends a walk: damage found, or a failure to read.
enum Stop {
    Bad(Bad),
    Failed(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

fn bad(seq: u64, why: Why) -> Stop {
    Stop::Bad(Bad { seq, why })
}

/// Damage that reading met counts as damage of this entry; any other failure ends the walk.
fn at<T>(seq: u64, why: Why, read: Result<T, StoreError>) -> Result<T, Stop> {
    read.map_err(|error| match error {
        StoreError::Integrity { .. } => bad(seq, why),
        other => Stop::Failed(other),
    })
}

/// What the log is at start.
pub(crate) fn condition(view: &View, anchor: Option<&Anchor>) -> Result<Condition, StoreError> {
    match Walk::new(view, false).run(RECENT) {
        Err(Stop::Failed(error)) => Err(error),
        Err(Stop::Bad(bad)) => Ok(Condition::Broken(bad)),
        Ok(head) => match anchor {
            Some(anchor) if !reaches(view, &head, anchor)? => {
                Ok(Condition::RolledBack { found: head.frontier.size(), anchored: *anchor })
            }
            _ => Ok(Condition::Sound),
        },
    }
}

/// Recomputes every leaf and body.
pub(crate) fn verify(view: &View, anchor: Option<&Anchor>) -> Result<Report, StoreError> {
    let head = match checkpoint::head(view) {
        Err(StoreError::Integrity { .. }) => Head::default(),
        other => other?,
    };
    let (entries, covered, root) = (head.frontier.size(), head.covered.size(), head.frontier.root());
    let found = match Walk::new(view, true).run(u64::MAX) {
        Err(Stop::Failed(error)) => return Err(error),
        Err(Stop::Bad(bad)) => Some(bad),
        Ok(head) => match anchor {
            Some(anchor) if !reaches(view, &head, anchor)? => {
                Some(Bad { seq: entries.min(anchor.size), why: Why::Truncated })
            }
            _ => None,
        },
    };
    Ok(Report { entries, covered, head: root, bad: found })
}

/// Whether the log once had the anchored root. Anchors are taken of checkpoints, so one of that size must be there.
fn reaches(view: &View, head: &Head, anchor: &Anchor) -> Result<bool, StoreError> {
    if head.frontier.size() < anchor.size {
        return Ok(false);
    }
    let mark: Option<Mark> = view.load(Table::AuditCheckpoints, &sequence(anchor.size))?;
    Ok(mark.and_then(|mark| mark.signed.verify().ok()).is_some_and(|checkpoint| checkpoint.root == anchor.root))
}

struct Walk<'a> {
    view: &'a View,
    bodies: bool,
    frontier: Frontier,
    erased: BTreeSet<u64>,
    told: BTreeSet<u64>,
}

impl<'a> Walk<'a> {
    fn new(view: &'a View, bodies: bool) -> Self {
        let (erased, told) = (BTreeSet::new(), BTreeSet::new());
        Self { view, bodies, frontier: Frontier::default(), erased, told }
    }

    /// The newest `recent` entries, or a few more.
    fn run(mut self, recent: u64) -> Result<Head, Stop> {
        let marks = self.marks()?;
        let end = marks.last().copied().unwrap_or_default();
        let head = at(end, Why::Altered, checkpoint::head(self.view))?;
        let size = head.frontier.size();
        if let Some(beyond) = marks.iter().find(|mark| **mark > size) {
            return Err(bad(size.min(*beyond), Why::Truncated));
        }
        let mut started = size <= recent;
        for mark in marks {
            if !started && mark < size - recent {
                continue;
            }
            let signed: Mark = at(self.frontier.size(), Why::Checkpoint, self.load(mark))?;
            if !started {
                self.frontier = signed.before.clone();
                started = true;
            }
            self.mark(mark, &signed)?;
        }
        if head.covered != self.frontier {
            return Err(bad(self.frontier.size(), Why::Checkpoint));
        }
        self.leaves(&head.fresh)?;
        if head.frontier != self.frontier {
            return Err(bad(self.frontier.size(), Why::Altered));
        }
        self.nothing_behind(size)?;
        match self.erased.difference(&self.told).next() {
            Some(seq) => Err(bad(*seq, Why::Body)),
            None => Ok(head),
        }
    }

    /// The sizes of all checkpoints. Keys only: a damaged row is met when it is read.
    fn marks(&self) -> Result<Vec<u64>, Stop> {
        let mut sizes = Vec::new();
        self.view.keys(Table::AuditCheckpoints, Order::Up, |key| {
            sizes.push(number(Table::AuditCheckpoints, key)?);
            Ok(true)
        })?;
        Ok(sizes)
    }

    fn load(&self, mark: u64) -> Result<Mark, StoreError> {
        let table = Table::AuditCheckpoints;
        let key = sequence(mark);
        let bytes = self.view.get(table, &key)?.ok_or_else(|| crate::table::damaged(table, &key))?;
        decode(table, &key, &bytes)
    }

    /// One checkpoint: signature, place, root, then each leaf that it covers.
    fn mark(&mut self, size: u64, mark: &Mark) -> Result<(), Stop> {
        let first = self.frontier.size();
        let checkpoint = mark.signed.verify().map_err(|_| bad(first, Why::Checkpoint))?;
        let mut after = mark.before.clone();
        mark.leaves.iter().for_each(|leaf| after.push(*leaf));
        let holds = mark.before == self.frontier
            && checkpoint.signer() == self.view.shared.audit.did()
            && (checkpoint.size, checkpoint.root) == (size, after.root())
            && after.size() == size;
        if !holds {
            return Err(bad(first, Why::Checkpoint));
        }
        self.leaves(&mark.leaves)
    }

    fn leaves(&mut self, hashes: &[Digest]) -> Result<(), Stop> {
        for hash in hashes {
            self.leaf(*hash)?;
            self.frontier.push(*hash);
        }
        Ok(())
    }

    fn leaf(&mut self, hash: Digest) -> Result<(), Stop> {
        let seq = self.frontier.size();
        let key = sequence(seq);
        let bytes = at(seq, Why::Altered, self.view.get(Table::AuditLeaves, &key))?.ok_or(bad(seq, Why::Missing))?;
        let leaf = Leaf::from_bytes(&bytes, ROW).map_err(|_| bad(seq, Why::Altered))?;
        if leaf_hash(&bytes) != hash || leaf.seq != seq {
            return Err(bad(seq, Why::Altered));
        }
        if !self.bodies {
            return Ok(());
        }
        match at(seq, Why::Body, self.view.load(Table::AuditBodies, &key))? {
            None => Err(bad(seq, Why::Body)),
            Some(Kept::Erased) if leaf.kind == ERASED => Err(bad(seq, Why::Body)),
            Some(Kept::Erased) => {
                self.erased.insert(seq);
                Ok(())
            }
            Some(Kept::Body { salt, body }) => {
                if Kept::digest(&salt, &body) != leaf.body {
                    return Err(bad(seq, Why::Body));
                }
                if leaf.kind == ERASED {
                    let told = Body::from_bytes(&body, ROW).ok().and_then(|body| body.subject.parse::<u64>().ok());
                    self.told.extend(told);
                }
                Ok(())
            }
        }
    }

    fn nothing_behind(&self, size: u64) -> Result<(), Stop> {
        let mut last = None;
        self.view.keys(Table::AuditLeaves, Order::Down, |key| {
            last = Some(number(Table::AuditLeaves, key)?);
            Ok(false)
        })?;
        match last {
            Some(last) if last >= size => Err(bad(last, Why::Surplus)),
            _ => Ok(()),
        }
    }
}
