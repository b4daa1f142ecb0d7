//! How far a librarian is, and what it had to leave out.

use std::collections::BTreeMap;

use crate::extract::Skip;

/// Files left out that are named; the rest is counted.
pub(super) const NAMED: usize = 100;

/// What the librarian is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Phase {
    /// Counting files.
    #[default]
    Scanning,
    /// Reading what has changed.
    Indexing,
    /// Up to date, watching.
    Ready,
    /// Stopped by itself; `failure` says why.
    Failed,
    /// Closed by the caller.
    Closed,
}

/// A file or folder that is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its path below the folder.
    pub path: String,
    /// Which kind of reason.
    pub reason: Skip,
    /// The cause in words; empty when it was found in an earlier run.
    pub cause: String,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// Files looked at in this pass.
    pub files_done: u64,
    /// Files to look at in this pass.
    pub files_total: u64,
    /// Files read since the librarian was opened; those that were in the index already are not.
    pub files_read: u64,
    /// Bytes of the files read.
    pub bytes: u64,
    /// Files that are in the index and answer.
    pub documents: u64,
    /// Files left out, by reason.
    pub skipped: BTreeMap<Skip, u64>,
    /// The first hundred of them, by name.
    pub left: Vec<Left>,
    /// Whether changes are noticed at once; otherwise the folder is looked through every half minute.
    pub watching: bool,
    /// What is wrong, for the owner.
    pub failure: Option<String>,
}
