//! Runs agents: a call goes in, a bounded stream of outputs comes out, and dropping the stream stops the work.

mod answer;
mod call;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use klp::{AgentId, Refusal};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::effect::{Failure, Input};
use crate::guide::Guide;
use crate::index::Index;
use crate::librarian::Librarian;
use crate::script::Script;

pub use answer::Answer;

/// Outputs that wait for a slow reader: enough to keep the wire busy, few enough that a cancelled call has done little more.
const OUTPUTS: usize = 4;

/// How much runs at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls of one agent that run at once.
    pub running: usize,
    /// Calls of one agent that wait; further ones are `busy`.
    pub waiting: usize,
    /// Reads of an index at once, over all agents: twice the cores of a small machine.
    pub reads: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { running: 4, waiting: 64, reads: 4 }
    }
}

/// How much is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Load {
    /// Calls that run.
    pub running: usize,
    /// Calls that wait.
    pub waiting: usize,
}

/// The engine behind an agent.
#[derive(Clone)]
pub enum Mind {
    /// Over a folder.
    Librarian(Librarian),
    /// Over documents in memory.
    Guide(Guide),
    /// Elsewhere in this process.
    Script(Script),
}

impl Mind {
    fn index(&self) -> Option<&Index> {
        match self {
            Self::Librarian(librarian) => Some(librarian.index()),
            Self::Guide(guide) => Some(guide.index()),
            Self::Script(_) => None,
        }
    }
}

/// The agents that are at work. Clones share everything.
#[derive(Clone)]
pub struct Runtime {
    limits: Limits,
    reads: Arc<Semaphore>,
    lanes: Arc<Mutex<BTreeMap<AgentId, Lane>>>,
    installed: Arc<Notify>,
}

/// One agent with its own bounds, so that a busy one leaves the others alone.
#[derive(Clone)]
struct Lane {
    mind: Mind,
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Runtime {
    /// A runtime without agents.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            reads: Arc::new(Semaphore::new(limits.reads.max(1))),
            lanes: Arc::default(),
            installed: Arc::default(),
        }
    }

    fn lanes(&self) -> MutexGuard<'_, BTreeMap<AgentId, Lane>> {
        // Nothing is left half done under this lock.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an agent to work, in place of an earlier one with this key, whose calls end `interrupted`.
    pub fn install(&self, id: AgentId, mind: Mind) {
        let lane = Lane {
            mind,
            admitted: Arc::new(Semaphore::new(self.limits.running.max(1) + self.limits.waiting)),
            running: Arc::new(Semaphore::new(self.limits.running.max(1))),
            stop: CancellationToken::new(),
        };
        if let Some(earlier) = self.lanes().insert(id, lane) {
            earlier.stop.cancel();
        }
        self.installed.notify_waiters();
    }

    /// Waits until an agent is at work. It may never be: bound it.
    pub async fn is_at_work(&self, id: &AgentId) {
        loop {
            let installed = self.installed.notified();
            tokio::pin!(installed);
            // From here on no installation is missed.
            installed.as_mut().enable();
            if self.lanes().contains_key(id) {
                return;
            }
            installed.await;
        }
    }

    /// Takes an agent from its work; its calls end `interrupted`. Whether it was there.
    pub fn remove(&self, id: &AgentId) -> bool {
        let removed = self.lanes().remove(id);
        removed.inspect(|lane| lane.stop.cancel()).is_some()
    }

    /// Calls an agent. Returns at once; must be called within a tokio runtime. The call stops when `cancel` is cancelled or the
    /// answer is dropped.
    ///
    /// # Errors
    /// `not_found` when no such agent is at work, `busy` when its queue is full.
    pub fn call(&self, id: &AgentId, input: Input, cancel: &CancellationToken) -> Result<Answer, Failure> {
        let lane = self.lanes().get(id).cloned();
        let lane = lane.ok_or_else(|| Failure::new(Refusal::NotFound, "no such agent is at work here"))?;
        let admitted = Arc::clone(&lane.admitted)
            .try_acquire_owned()
            .map_err(|_| Failure::new(Refusal::Busy, "this agent has too many calls waiting"))?;
        let (sender, outputs) = mpsc::channel(OUTPUTS + 1);
        let cancel = cancel.child_token();
        let answer = Answer::new(outputs, cancel.clone());
        // The last word has its place from the start, so that no reader can hold a finished call open.
        let last = sender
            .clone()
            .try_reserve_owned()
            .map_err(|_| Failure::new(Refusal::Internal, "an empty channel was full"))?;
        let work = call::Call::new(lane.mind, Arc::clone(&self.reads), sender, cancel);
        tokio::spawn(async move {
            let output = work.run(input, &lane.running, &lane.stop).await;
            drop(admitted);
            last.send(output);
        });
        Ok(answer)
    }

    /// How much is going on, over all agents.
    pub fn load(&self) -> Load {
        let mut load = Load::default();
        for lane in self.lanes().values() {
            let running = self.limits.running.max(1) - lane.running.available_permits();
            let admitted = self.limits.running.max(1) + self.limits.waiting - lane.admitted.available_permits();
            load.running += running;
            load.waiting += admitted.saturating_sub(running);
        }
        load
    }
}
