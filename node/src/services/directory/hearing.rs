//! Who has answered a question of this directory and who has not, as it comes.

use std::sync::{MutexGuard, PoisonError};

use klp::{NodeId, Refusal};
use serde_json::json;
use tokio::time::Instant;

use super::Directory;
use super::pulse::Pulse;
use crate::fault::Fault;

impl Directory {
    pub(super) fn pulse(&self) -> MutexGuard<'_, Pulse> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node has said something.
    pub(crate) fn heard(&self, node: NodeId) {
        let is_back = self.pulse().heard(node, Instant::now());
        if is_back {
            let silent = self.pulse().silent_ones();
            self.outbound.figures().silent(silent);
            self.bus.say("directory.back", json!({ "node": node.to_string() }));
        }
    }

    /// A node was asked and has said nothing.
    fn missed(&self, node: NodeId) {
        let (is_lost, silent) = {
            let mut pulse = self.pulse();
            (pulse.silent(node, Instant::now()), pulse.silent_ones())
        };
        self.outbound.figures().silent(silent);
        if is_lost {
            self.bus.say("directory.lost", json!({ "node": node.to_string() }));
        }
    }
}

/// A question to a node that is under way. One that is given up before its end counts as unanswered.
pub(super) struct Unheard<'a>(Option<(&'a Directory, NodeId)>);

impl<'a> Unheard<'a> {
    pub(super) fn new(directory: &'a Directory, node: NodeId) -> Self {
        Self(Some((directory, node)))
    }

    pub(super) fn came<T>(mut self, answer: &Result<T, Fault>) {
        let Some((directory, node)) = self.0.take() else { return };
        // Whoever refuses is there.
        let is_silent = answer.as_ref().is_err_and(|fault| is_silence(fault.refusal));
        directory.outbound.figures().directory_asked(!is_silent);
        if is_silent { directory.missed(node) } else { directory.heard(node) }
    }
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        if let Some((directory, node)) = self.0 {
            directory.outbound.figures().directory_asked(false);
            directory.missed(node);
        }
    }
}

fn is_silence(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::Unreachable | Refusal::Timeout | Refusal::Interrupted | Refusal::UnknownOutcome)
}
