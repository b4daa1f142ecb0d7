//! The answering side of a session: what is owed for one request.

use std::sync::Arc;

use bytes::Bytes;
use klp::Refusal;
use klp::session::{ChunkError, Session};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Link, State};
use crate::answer::Ended;

/// What the answering side of one request watches.
#[derive(Debug, Default)]
pub(crate) struct Job {
    pub(crate) room: Notify,
    pub(crate) ended: CancellationToken,
}

impl Link {
    /// Sends a chunk; gives it back when it must wait for room.
    pub(crate) fn chunk(&self, id: u64, job: &Arc<Job>, chunk: Bytes) -> Result<Option<Bytes>, Ended> {
        let now = self.now();
        let mut state = self.lock();
        if !state.works_on(id, job) {
            return Err(Ended);
        }
        let sent = state.session.chunk(id, chunk, now);
        drop(state);
        match sent {
            Ok(()) => {
                self.wake.notify_one();
                Ok(None)
            }
            Err(ChunkError::Full(chunk)) => Ok(Some(chunk)),
            Err(ChunkError::Ended | ChunkError::TooLarge) => Err(Ended),
        }
    }

    pub(crate) fn respond(&self, id: u64, job: &Arc<Job>, body: Bytes) {
        self.end(id, job, |session| session.respond(id, body));
    }

    pub(crate) fn refuse(&self, id: u64, job: &Arc<Job>, refusal: Refusal, message: &str) {
        self.end(id, job, |session| session.refuse(id, refusal, message.to_owned()));
    }

    fn end(&self, id: u64, job: &Arc<Job>, how: impl FnOnce(&mut Session)) {
        let mut state = self.lock();
        if !state.works_on(id, job) {
            return;
        }
        state.jobs.remove(&id);
        how(&mut state.session);
        let alone = state.jobs.is_empty();
        drop(state);
        self.say(alone);
    }
}

impl State {
    /// Whether this is still the work on that request. A peer that has restarted numbers its requests anew, and work on what it asked before may
    /// end only now.
    fn works_on(&self, id: u64, job: &Arc<Job>) -> bool {
        self.jobs.get(&id).is_some_and(|own| Arc::ptr_eq(own, job))
    }
}
