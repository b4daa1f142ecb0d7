//! The agents of one node: pure book-keeping, events as values. The caller persists [`Registry::snapshot`].

use std::collections::BTreeMap;

use klp::{AgentId, Refusal, Timestamp};

use crate::manifest::{Capability, Kind, Manifest, ManifestError};

/// Agents on one node. An agent costs a watcher, an index and a key; more than this is a mistake.
pub const AGENTS: usize = 256;

/// What an agent is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Registered, not yet at work.
    Starting,
    /// At work; what is indexed so far answers.
    Indexing,
    /// Everything is indexed.
    Ready,
    /// Stopped by its owner.
    Paused,
    /// Stopped by itself; the reason is beside it.
    Failed,
    /// Gone.
    Removed,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 6] = [Self::Starting, Self::Indexing, Self::Ready, Self::Paused, Self::Failed, Self::Removed];

    /// The word in answers and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Indexing => "indexing",
            Self::Ready => "ready",
            Self::Paused => "paused",
            Self::Failed => "failed",
            Self::Removed => "removed",
        }
    }

    /// The state with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether an agent may go from here to `next`.
    pub fn allows(self, next: Self) -> bool {
        match self {
            Self::Starting => {
                matches!(next, Self::Indexing | Self::Ready | Self::Paused | Self::Failed | Self::Removed)
            }
            Self::Indexing => matches!(next, Self::Ready | Self::Paused | Self::Failed | Self::Removed),
            Self::Ready => matches!(next, Self::Indexing | Self::Paused | Self::Failed | Self::Removed),
            Self::Paused | Self::Failed => matches!(next, Self::Starting | Self::Removed),
            Self::Removed => false,
        }
    }

    /// Whether an agent in this state answers.
    pub fn answers(self) -> bool {
        matches!(self, Self::Starting | Self::Indexing | Self::Ready)
    }
}

/// One agent of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The agent's own key.
    pub id: AgentId,
    /// What registered it.
    pub manifest: Manifest,
    /// What it is doing.
    pub state: State,
    /// Why it failed.
    pub reason: Option<String>,
    /// Since when it is here.
    pub registered: Timestamp,
    /// Since when it is in this state.
    pub changed: Timestamp,
}

/// What happened; the caller publishes it after it has persisted the change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// `agent.registered`
    Registered {
        /// The agent.
        id: AgentId,
        /// Its name here.
        name: String,
        /// Its kind.
        kind: Kind,
        /// What it can do.
        capabilities: Vec<Capability>,
    },
    /// `agent.state.updated`
    StateUpdated {
        /// The agent.
        id: AgentId,
        /// Its name here.
        name: String,
        /// From.
        from: State,
        /// To.
        to: State,
        /// Why, when it failed.
        reason: Option<String>,
    },
    /// `agent.removed`
    Removed {
        /// The agent.
        id: AgentId,
        /// Its name here.
        name: String,
    },
}

impl Event {
    /// Its name on the event bus.
    pub fn topic(&self) -> &'static str {
        match self {
            Self::Registered { .. } => "agent.registered",
            Self::StateUpdated { .. } => "agent.state.updated",
            Self::Removed { .. } => "agent.removed",
        }
    }
}

/// Why the registry refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The manifest is not valid.
    #[error("the manifest is not valid")]
    Manifest(#[from] ManifestError),
    /// Name or key are taken.
    #[error("there is an agent named `{0}` already")]
    Exists(String),
    /// More than [`AGENTS`].
    #[error("there are {AGENTS} agents already")]
    Full,
    /// No such agent.
    #[error("there is no agent `{0}`")]
    Unknown(String),
    /// The agent cannot go there from where it is.
    #[error("agent `{name}` is {from}, so that it cannot become {to}", from = from.as_str(), to = to.as_str())]
    Transition {
        /// The agent.
        name: String,
        /// Where it is.
        from: State,
        /// Where it should have gone.
        to: State,
    },
    /// The agent does not answer in its present state.
    #[error("agent `{name}` is {state}", state = state.as_str())]
    Silent {
        /// The agent.
        name: String,
        /// Where it is.
        state: State,
    },
}

impl From<&RegistryError> for Refusal {
    fn from(error: &RegistryError) -> Self {
        match error {
            RegistryError::Manifest(_) => Self::Invalid,
            RegistryError::Exists(_) => Self::Exists,
            RegistryError::Full => Self::TooLarge,
            RegistryError::Unknown(_) => Self::NotFound,
            RegistryError::Transition { .. } | RegistryError::Silent { .. } => Self::State,
        }
    }
}

/// The agents of one node, by name.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    agents: BTreeMap<String, Registration>,
}

impl Registry {
    /// From what [`Registry::snapshot`] once gave. Whatever ran or had failed starts afresh; what was paused stays paused.
    ///
    /// # Errors
    /// [`RegistryError`] when an entry is not valid or is there twice.
    pub fn restore(entries: Vec<Registration>) -> Result<Self, RegistryError> {
        let mut registry = Self::default();
        for mut entry in entries {
            entry.manifest.check()?;
            registry.vacant(&entry.manifest.name, &entry.id)?;
            if entry.state != State::Paused {
                entry.state = State::Starting;
                entry.reason = None;
            }
            registry.agents.insert(entry.manifest.name.clone(), entry);
        }
        Ok(registry)
    }

    /// Everything, for the caller to persist.
    pub fn snapshot(&self) -> Vec<Registration> {
        self.agents.values().cloned().collect()
    }

    /// Registers an agent under its own fresh key.
    ///
    /// # Errors
    /// [`RegistryError`] when the manifest is not valid, name or key are taken, or there are too many.
    pub fn register(&mut self, id: AgentId, manifest: Manifest, now: Timestamp) -> Result<Event, RegistryError> {
        manifest.check()?;
        self.vacant(&manifest.name, &id)?;
        let event = Event::Registered {
            id,
            name: manifest.name.clone(),
            kind: manifest.kind,
            capabilities: manifest.capabilities.clone(),
        };
        let name = manifest.name.clone();
        let entry = Registration { id, manifest, state: State::Starting, reason: None, registered: now, changed: now };
        self.agents.insert(name, entry);
        Ok(event)
    }

    fn vacant(&self, name: &str, id: &AgentId) -> Result<(), RegistryError> {
        if self.agents.contains_key(name) || self.by_id(id).is_some() {
            return Err(RegistryError::Exists(name.to_owned()));
        }
        if self.agents.len() >= AGENTS { Err(RegistryError::Full) } else { Ok(()) }
    }

    /// The agent of this name.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`].
    pub fn get(&self, name: &str) -> Result<&Registration, RegistryError> {
        self.agents.get(name).ok_or_else(|| RegistryError::Unknown(name.to_owned()))
    }

    /// The agent with this key.
    pub fn by_id(&self, id: &AgentId) -> Option<&Registration> {
        self.agents.values().find(|entry| entry.id == *id)
    }

    /// The agent of this name, if it answers at present.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`] or [`RegistryError::Silent`]; only its owner may be told which.
    pub fn answering(&self, name: &str) -> Result<&Registration, RegistryError> {
        let entry = self.get(name)?;
        if entry.state.answers() {
            Ok(entry)
        } else {
            Err(RegistryError::Silent { name: name.to_owned(), state: entry.state })
        }
    }

    /// The agents that play this role, or all, by name.
    pub fn list(&self, role: Option<&str>) -> Vec<&Registration> {
        self.agents.values().filter(|entry| role.is_none_or(|role| entry.manifest.role == role)).collect()
    }

    /// Moves an agent to another state. To its present one: nothing happens and there is no event. To `Removed`: it is gone.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`] or [`RegistryError::Transition`].
    pub fn update(
        &mut self,
        name: &str,
        to: State,
        reason: Option<String>,
        now: Timestamp,
    ) -> Result<Option<Event>, RegistryError> {
        let entry = self.agents.get_mut(name).ok_or_else(|| RegistryError::Unknown(name.to_owned()))?;
        let (id, from) = (entry.id, entry.state);
        if from == to {
            return Ok(None);
        }
        if !from.allows(to) {
            return Err(RegistryError::Transition { name: name.to_owned(), from, to });
        }
        if to == State::Removed {
            self.agents.remove(name);
            return Ok(Some(Event::Removed { id, name: name.to_owned() }));
        }
        entry.state = to;
        entry.reason.clone_from(&reason);
        entry.changed = now;
        Ok(Some(Event::StateUpdated { id, name: name.to_owned(), from, to, reason }))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use klp::SecretKey;

    use super::*;
    use crate::manifest::Visibility;

    const NOW: Timestamp = Timestamp(1_000);

    fn id(seed: u8) -> AgentId {
        AgentId(SecretKey::from_seed(&[seed; 32]).did())
    }

    fn notes() -> Manifest {
        Manifest::librarian("notes", PathBuf::from("/notes"), Visibility::Private)
    }

    #[test]
    fn a1_register_lists_emits_and_survives_restart() {
        let mut registry = Registry::default();
        let event = registry.register(id(1), notes(), NOW).expect("registered");
        assert_eq!(event.topic(), "agent.registered");
        let expected = Event::Registered {
            id: id(1),
            name: "notes".into(),
            kind: Kind::Librarian,
            capabilities: vec![Capability::ask()],
        };
        assert_eq!(event, expected);
        assert_eq!(registry.register(id(2), notes(), NOW), Err(RegistryError::Exists("notes".into())));
        assert!(registry.register(id(1), Manifest::guide("guide"), NOW).is_err(), "one key, one agent");
        let nameless = Manifest { name: String::new(), ..notes() };
        assert!(matches!(registry.register(id(3), nameless, NOW), Err(RegistryError::Manifest(_))));

        registry.register(id(4), Manifest::guide("guide"), NOW).expect("guide");
        assert_eq!(registry.list(Some("librarian")).len(), 1);
        assert_eq!(registry.list(None).len(), 2);

        registry.update("notes", State::Ready, None, NOW).expect("ready");
        registry.update("guide", State::Paused, None, NOW).expect("paused");
        let restored = Registry::restore(registry.snapshot()).expect("restored");
        assert_eq!(restored.get("notes").expect("notes").state, State::Starting);
        assert_eq!(restored.get("guide").expect("guide").state, State::Paused);
    }

    #[test]
    fn a2_known_is_shown_and_unknown_is_not_found() {
        let mut registry = Registry::default();
        registry.register(id(1), notes(), NOW).expect("registered");
        assert_eq!(registry.get("notes").expect("known").id, id(1));
        assert_eq!(registry.by_id(&id(1)).expect("known").manifest.name, "notes");
        let error = registry.get("other").expect_err("unknown");
        assert_eq!(Refusal::from(&error), Refusal::NotFound);
    }

    #[test]
    fn a3_pause_emits_and_illegal_transitions_are_errors() {
        let mut registry = Registry::default();
        registry.register(id(1), notes(), NOW).expect("registered");
        let event = registry.update("notes", State::Paused, None, Timestamp(2_000)).expect("legal").expect("event");
        assert_eq!(event.topic(), "agent.state.updated");
        assert!(matches!(event, Event::StateUpdated { from: State::Starting, to: State::Paused, .. }));
        assert_eq!(registry.get("notes").expect("known").changed, Timestamp(2_000));
        assert_eq!(registry.update("notes", State::Paused, None, NOW), Ok(None));
        let error = registry.update("notes", State::Ready, None, NOW).expect_err("illegal");
        assert_eq!(Refusal::from(&error), Refusal::State);
        assert!(matches!(registry.answering("notes"), Err(RegistryError::Silent { state: State::Paused, .. })));
        assert!(matches!(registry.update("x", State::Paused, None, NOW), Err(RegistryError::Unknown(_))));

        let event = registry.update("notes", State::Removed, None, NOW).expect("legal").expect("event");
        assert_eq!(event.topic(), "agent.removed");
        registry.register(id(1), notes(), NOW).expect("the name is free again");
        assert!(State::ALL.into_iter().all(|next| !State::Removed.allows(next)));
    }
}
