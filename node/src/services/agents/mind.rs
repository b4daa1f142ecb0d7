//! What thinks behind an agent: started, watched, and put away.

use std::path::{Path, PathBuf};
use std::time::Duration;

use agent::librarian::{self, Phase, Progress};
use agent::{Guide, Kind, Librarian, Mind, Registration, Script, State};
use klp::{AgentId, Digest, SecretKey, Timestamp};
use serde_json::json;
use tokio::sync::watch;

use super::Agents;
use crate::fault::Fault;
use crate::handbook;

/// The hidden verb by which this program reads risky files in a child.
pub(crate) const EXTRACT: &str = "__extract";

/// Between the failure of an agent and another try, at first; each failure doubles it.
const AGAIN: Duration = Duration::from_secs(5);
/// The same at most: each try is told to whoever listens, and a listed agent's to the mesh.
const SELDOM: Duration = Duration::from_secs(300);
/// Progress is told at most so often.
const TOLD: Duration = Duration::from_millis(500);

/// A mind at work.
pub(super) enum Running {
    /// Over a folder.
    Librarian(Box<Librarian>),
    /// Over the handbook.
    Guide,
}

impl Running {
    /// How far it is.
    pub(super) fn progress(&self) -> Progress {
        match self {
            Self::Librarian(librarian) => librarian.progress().borrow().clone(),
            Self::Guide => {
                Progress { phase: Phase::Ready, documents: handbook::DOCUMENTS.len() as u64, ..Progress::default() }
            }
        }
    }

    /// Stops it, keeping what it has.
    pub(super) async fn close(self) {
        if let Self::Librarian(librarian) = self {
            // It ends by itself if this task is dropped.
            let _closed = tokio::task::spawn_blocking(move || librarian.close()).await;
        }
    }
}

/// Where the index of an agent lies.
fn place(home: &Path, id: &AgentId) -> PathBuf {
    home.join("index").join(Digest::of(&[b"kos/index/1", id.0.key()]).short())
}

/// Removes what an agent has indexed.
pub(super) async fn discard(home: &Path, id: &AgentId) -> Result<(), Fault> {
    let index = place(home, id);
    let removed = tokio::task::spawn_blocking(move || librarian::discard(&index)).await.map_err(Fault::internal)?;
    removed.map_err(Fault::internal)
}

/// The key of an index follows from the agent's own, so that it needs no place of its own.
fn index_key(key: &SecretKey) -> agent::sealed::IndexKey {
    agent::sealed::IndexKey::new(Digest::of(&[b"kos/index-key/1", &key.seed()[..]]).0)
}

impl Agents {
    /// Lets another part of this process speak for a registered agent, until it is paused, removed or started again. Permission,
    /// budget and receipt are as for every agent.
    ///
    /// # Errors
    /// `not_found`
    pub fn speak_for(&self, name: &str, script: Script) -> Result<(), Fault> {
        let entry = self.named(name).ok_or_else(|| Fault::not_found("agent", name))?;
        self.runtime.install(entry.id, Mind::Script(script));
        Ok(())
    }

    /// Puts an agent to work in the background. What goes wrong becomes its state.
    pub(super) fn start(&self, entry: Registration) {
        let agents = self.clone();
        tokio::spawn(async move {
            let name = entry.manifest.name.clone();
            let mut wait = AGAIN;
            loop {
                if let Err(reason) = agents.run(entry.clone()).await {
                    agents.become_state(&name, State::Failed, Some(reason));
                }
                // A disk that was full, or a folder that was away, comes back by itself.
                let Some(failed) = agents.failed_at(&entry.id) else { return };
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(SELDOM);
                if agents.failed_at(&entry.id) != Some(failed) {
                    return;
                }
                agents.become_state(&name, State::Starting, None);
            }
        });
    }

    /// When this agent broke off by itself, if nobody has put it away or started it since.
    fn failed_at(&self, id: &AgentId) -> Option<Timestamp> {
        let live = self.lock();
        let entry = live.registry.by_id(id).filter(|entry| entry.state == State::Failed && !live.closed);
        entry.map(|entry| entry.changed)
    }

    async fn run(&self, entry: Registration) -> Result<(), String> {
        let name = entry.manifest.name.clone();
        let (mind, running, progress) = match (entry.manifest.kind, entry.manifest.path.clone()) {
            (Kind::Librarian, Some(root)) => {
                let key = self.key(&entry.id).ok_or("its key is gone")?;
                let config = librarian::Config {
                    root,
                    index: place(&self.home, &entry.id),
                    key: index_key(&key),
                    exclude: vec![self.home.clone()],
                    extractor: agent::extract::Extractor {
                        arguments: vec![EXTRACT.into()],
                        ..agent::extract::Extractor::default()
                    },
                };
                let opened = tokio::task::spawn_blocking(move || Librarian::open(config)).await;
                let librarian = opened.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
                let progress = librarian.progress();
                (Mind::Librarian(librarian.clone()), Running::Librarian(Box::new(librarian)), Some(progress))
            }
            (Kind::Guide, _) => {
                let opened = tokio::task::spawn_blocking(|| Guide::open(handbook::DOCUMENTS.iter().copied())).await;
                let guide = opened.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
                (Mind::Guide(guide), Running::Guide, None)
            }
            (Kind::Librarian, None) => return Err("it has no folder".to_owned()),
        };
        self.runtime.install(entry.id, mind);
        self.lock().minds.insert(entry.id, running);
        match progress {
            Some(progress) => self.follow(&name, progress).await,
            None => self.become_state(&name, State::Ready, None),
        }
        Ok(())
    }

    /// Turns the librarian's progress into states and events, until it is closed.
    async fn follow(&self, name: &str, mut progress: watch::Receiver<Progress>) {
        loop {
            let now = progress.borrow_and_update().clone();
            match now.phase {
                Phase::Scanning | Phase::Indexing => self.become_state(name, State::Indexing, None),
                Phase::Ready => self.become_state(name, State::Ready, None),
                Phase::Failed => self.become_state(name, State::Failed, now.failure.clone()),
                Phase::Closed => return,
            }
            self.bus.say(
                "agent.progress",
                json!({ "name": name, "done": now.files_done, "total": now.files_total, "documents": now.documents }),
            );
            tokio::time::sleep(TOLD).await;
            if progress.changed().await.is_err() {
                return;
            }
        }
    }

    /// A change of state that came about by itself: told, and not stored.
    fn become_state(&self, name: &str, to: State, reason: Option<String>) {
        let updated = self.lock().registry.update(name, to, reason, self.clock.now());
        match updated {
            Ok(Some(event)) => self.tell(&event),
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, name, "a state that came too late"),
        }
    }
}
