//! Agents of this node: their manifests and whether they work.

use klp::codec::{Bytes, CodecError, Fields, Map, Value};
use klp::{AgentId, Cbor, Timestamp, limits};

use crate::error::StoreError;
use crate::table::Table;
use crate::view::{Tx, View};

/// Agents of one node.
const AGENTS: usize = 1000;

/// Whether an agent works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It answers.
    Active,
    /// Its owner paused it.
    Paused,
}

/// One agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Its name on this node: 1 to 64 letters, digits, `-` and `_`.
    pub name: String,
    /// Its key.
    pub id: AgentId,
    /// What it is, as the agent floor encodes it.
    pub manifest: Vec<u8>,
    /// Whether it works.
    pub state: State,
    /// When it was registered.
    pub added: Timestamp,
}

/// Why an agent was not registered or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// No name.
    #[error("an agent's name has 1 to 64 letters, digits, dashes and underscores")]
    Name,
    /// There is one of this name.
    #[error("there is an agent named {name} already")]
    Exists {
        /// The name.
        name: String,
    },
    /// There is none of this name.
    #[error("no agent is named {name}")]
    Unknown {
        /// The name.
        name: String,
    },
    /// It is in this state already.
    #[error("{name} is {state:?} already")]
    State {
        /// The name.
        name: String,
        /// The state that it is in.
        state: State,
    },
    /// There are as many as one node has.
    #[error("more than {AGENTS} agents")]
    TooMany,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Registers an agent.
///
/// # Errors
/// [`AgentError`]
pub fn add(tx: &mut Tx, agent: &Registered) -> Result<(), AgentError> {
    let letters = agent.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if agent.name.is_empty() || agent.name.len() > limits::NAME || !letters {
        return Err(AgentError::Name);
    }
    let known = list(tx)?;
    if known.iter().any(|known| known.name == agent.name) {
        return Err(AgentError::Exists { name: agent.name.clone() });
    }
    if known.len() >= AGENTS {
        return Err(AgentError::TooMany);
    }
    save(tx, agent);
    Ok(())
}

/// Replaces the manifest.
///
/// # Errors
/// [`AgentError`]
pub fn set_manifest(tx: &mut Tx, name: &str, manifest: Vec<u8>) -> Result<(), AgentError> {
    let agent = known(tx, name)?;
    save(tx, &Registered { manifest, ..agent });
    Ok(())
}

/// Pauses or resumes.
///
/// # Errors
/// [`AgentError::State`] when it is in this state already.
pub fn set_state(tx: &mut Tx, name: &str, state: State) -> Result<Registered, AgentError> {
    let agent = known(tx, name)?;
    if agent.state == state {
        return Err(AgentError::State { name: name.to_owned(), state });
    }
    let agent = Registered { state, ..agent };
    save(tx, &agent);
    Ok(agent)
}

/// Removes an agent and returns what it was.
///
/// # Errors
/// [`AgentError`]
pub fn remove(tx: &mut Tx, name: &str) -> Result<Registered, AgentError> {
    let agent = known(tx, name)?;
    let key = tx.hidden(Table::Agents, &[name.as_bytes()]);
    tx.remove(Table::Agents, &key);
    Ok(agent)
}

/// By name.
///
/// # Errors
/// [`StoreError`]
pub fn get(view: &View, name: &str) -> Result<Option<Registered>, StoreError> {
    view.load(Table::Agents, &view.hidden(Table::Agents, &[name.as_bytes()]))
}

/// All, by name.
///
/// # Errors
/// [`StoreError`]
pub fn list(view: &View) -> Result<Vec<Registered>, StoreError> {
    let mut all: Vec<Registered> = view.all(Table::Agents, AGENTS)?;
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

fn known(view: &View, name: &str) -> Result<Registered, AgentError> {
    get(view, name)?.ok_or_else(|| AgentError::Unknown { name: name.to_owned() })
}

fn save(tx: &mut Tx, agent: &Registered) {
    let key = tx.hidden(Table::Agents, &[agent.name.as_bytes()]);
    tx.save(Table::Agents, &key, agent);
}

impl Cbor for Registered {
    fn to_value(&self) -> Value {
        Map::new()
            .with(1, &self.name)
            .with(2, &self.id)
            .with(3, &Bytes(self.manifest.clone()))
            .with(4, &(self.state == State::Active))
            .with(5, &self.added)
            .build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let agent = Self {
            name: fields.text(1, limits::NAME)?,
            id: fields.take(2)?,
            manifest: fields.bytes(3, limits::MESSAGE)?,
            state: if fields.take(4)? { State::Active } else { State::Paused },
            added: fields.take(5)?,
        };
        fields.end()?;
        Ok(agent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{self, did};

    fn agent(name: &str) -> Registered {
        Registered {
            name: name.into(),
            id: AgentId(did(1)),
            manifest: vec![1],
            state: State::Active,
            added: Timestamp(1),
        }
    }

    #[test]
    fn a3_an_illegal_change_of_state_is_refused() {
        bench::on_each(|tx| {
            add(tx, &agent("docs")).expect("adds");
            assert!(matches!(add(tx, &agent("docs")), Err(AgentError::Exists { .. })));
            assert!(matches!(add(tx, &agent("a/b")), Err(AgentError::Name)));
            assert!(matches!(set_state(tx, "docs", State::Active), Err(AgentError::State { .. })));
            assert_eq!(set_state(tx, "docs", State::Paused).expect("pauses").state, State::Paused);
            assert!(matches!(set_state(tx, "other", State::Paused), Err(AgentError::Unknown { .. })));
            set_manifest(tx, "docs", vec![2]).expect("changes");
            let kept = get(tx, "docs").expect("reads").expect("there");
            assert_eq!((kept.state, kept.manifest), (State::Paused, vec![2]));
            remove(tx, "docs").expect("removes");
            assert!(list(tx).expect("lists").is_empty());
        });
    }
}
