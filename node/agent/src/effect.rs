//! What goes into an agent and what comes out: calls in, effects and answers out.

use std::collections::BTreeMap;

use klp::Refusal;

use crate::passage::Passage;

/// One call of one capability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The caller's number for this call; it only comes back in logs.
    pub id: u64,
    /// Which capability.
    pub capability: String,
    /// Arguments by name, as the permit rule has seen them.
    pub args: BTreeMap<String, String>,
}

/// What a call has used, for budgets and receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Usage {
    /// Chunks sent.
    pub chunks: u64,
    /// Bytes of all chunks.
    pub bytes: u64,
}

/// Why a call ended without an answer: the numbered refusal, and one sentence that is safe to show to whoever asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{refusal}: {detail}")]
pub struct Failure {
    /// The numbered refusal.
    pub refusal: Refusal,
    /// What happened, without paths or names of this machine.
    pub detail: String,
}

impl Failure {
    /// A refusal with its sentence.
    pub fn new(refusal: Refusal, detail: impl Into<String>) -> Self {
        Self { refusal, detail: detail.into() }
    }
}

/// A part of an answer, in order: chunks, then exactly one `Done` or `Failed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Text that belongs behind the chunk before it.
    Chunk(String),
    /// The answer is complete.
    Done(Usage),
    /// The answer ended early; `usage` is what had been sent.
    Failed {
        /// Why.
        failure: Failure,
        /// What had been used by then.
        usage: Usage,
    },
}

/// What an agent wants done. The runtime does it and feeds the result back as a [`Step`].
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Find the passages that fit a question, at most `candidates` of them.
    Rank {
        /// The question as it was asked.
        question: String,
        /// How many.
        candidates: usize,
    },
    /// Fetch the passage at this rank, with its best lines.
    Load(usize),
    /// Send text to the caller.
    Say(String),
    /// The answer is complete.
    Done,
    /// The call cannot be answered.
    Refuse(Failure),
}

/// What has happened to an agent.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Somebody calls.
    Call(Input),
    /// [`Effect::Rank`] is done: so many passages fit; `complete` is false while the folder is still being indexed.
    Ranked {
        /// Passages found.
        found: usize,
        /// Whether everything has been indexed.
        complete: bool,
    },
    /// [`Effect::Load`] is done.
    Loaded(Passage),
}
