//! Agents on this node.

mod describe;
mod mind;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent::registry::Event;
use agent::{Registration, Registry, Runtime, State, Visibility};
use klp::codec::Bytes;
use klp::statement::card::{Capability, Card, CardEntry};
use klp::statement::certificate::Introduction;
use klp::{AgentId, Cbor as _, Refusal, SecretKey, Statement, Verified, cbor_struct, limits};
use serde_json::json;
use store::Store;
use store::audit::Entry;

use super::vaults::Vaults;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::fault::Fault;
use crate::keys::Keys;
use crate::life::Life;
use crate::me::{Me, agent_id};
use crate::view;

/// The agent over kOS's own documentation, which every node has.
const GUIDE: &str = "guide";

/// How long a call waits for an agent that is just starting.
const AWAKENING: Duration = Duration::from_secs(10);

/// What `serve` asks for.
#[derive(Clone, Debug)]
pub struct Serve {
    /// The folder; made absolute by the caller.
    pub path: PathBuf,
    /// Name of the agent.
    pub name: String,
    /// `private`, `listed` or `public`.
    pub visibility: String,
    /// Words it is found by, besides its name.
    pub tags: Vec<String>,
}

cbor_struct! {
    /// What is stored of an agent: its manifest and the owner's certificate for it.
    pub struct Kept {
        /// The manifest as JSON.
        1 manifest: String, max limits::STATEMENT;
        /// Certificate and acceptance.
        2 introduction: Bytes, max limits::RECORD;
    }
}

/// Agents on this node.
#[derive(Clone)]
pub struct Agents {
    store: Store,
    clock: Clock,
    bus: Bus,
    me: Me,
    keys: Keys,
    vaults: Vaults,
    runtime: Runtime,
    home: PathBuf,
    /// How long a card holds.
    pub(super) life: Life,
    live: Arc<Mutex<Live>>,
}

#[derive(Default)]
struct Live {
    registry: Registry,
    minds: BTreeMap<AgentId, mind::Running>,
    introductions: BTreeMap<AgentId, Introduction>,
    /// Whether the node is stopping: nothing is started any more.
    closed: bool,
}

/// What agents are made of.
pub(crate) struct Needs {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) bus: Bus,
    pub(crate) me: Me,
    pub(crate) keys: Keys,
    pub(crate) vaults: Vaults,
    pub(crate) home: PathBuf,
    pub(crate) life: Life,
}

impl Agents {
    pub(crate) fn new(needs: Needs) -> Self {
        let Needs { store, clock, bus, me, keys, vaults, home, life } = needs;
        let runtime = Runtime::new(agent::runtime::Limits::default());
        Self { store, clock, bus, me, keys, vaults, runtime, home, life, live: Arc::default() }
    }

    /// Starts every agent that was registered before, and the guide.
    pub(crate) async fn open(&self) -> Result<(), Fault> {
        let rows = self.store.read(store::agents::list).await?;
        let mut entries = Vec::new();
        for row in rows {
            let kept = Kept::from_bytes(&row.manifest, limits::MESSAGE)
                .map_err(|_| Fault::new(Refusal::Integrity, format!("the stored agent {} cannot be read", row.name)))?;
            let manifest = describe::from_json(&kept.manifest)?;
            let introduction = Introduction::from_slice(&kept.introduction.0).map_err(|_| {
                Fault::new(Refusal::Integrity, format!("the stored agent {} has no certificate", row.name))
            })?;
            self.lock().introductions.insert(row.id, introduction);
            let state = if row.state == store::agents::State::Paused { State::Paused } else { State::Starting };
            let (registered, changed) = (row.added, row.added);
            entries.push(Registration { id: row.id, manifest, state, reason: None, registered, changed });
        }
        let registry = Registry::restore(entries).map_err(describe::refused)?;
        self.lock().registry = registry;
        if self.named(GUIDE).is_none() && self.vaults.owner().is_ok() {
            self.register(agent::Manifest::guide(GUIDE)).await?;
        }
        let all: Vec<Registration> = self.lock().registry.snapshot();
        for entry in all.into_iter().filter(|entry| entry.state != State::Paused) {
            self.start(entry);
        }
        Ok(())
    }

    /// Stops every agent; indexes keep what they have.
    pub(crate) async fn close(&self) {
        let minds = {
            let mut live = self.lock();
            live.closed = true;
            std::mem::take(&mut live.minds)
        };
        for (id, mind) in minds {
            self.runtime.remove(&id);
            mind.close().await;
        }
    }

    /// Turns a folder into an agent; returns as soon as it is registered.
    ///
    /// # Errors
    /// `exists`, `invalid`, `not_found` (no such folder), `locked`.
    pub async fn serve(&self, serve: Serve) -> Result<view::Served, Fault> {
        let path = self.folder(&serve.path)?;
        let visibility = describe::visibility(&serve.visibility)?;
        let mut manifest = agent::Manifest::librarian(&serve.name, path, visibility);
        manifest.tags = serve.tags.into_iter().map(|tag| tag.to_lowercase()).collect();
        let entry = self.register(manifest).await?;
        self.start(entry.clone());
        let shown = self.shown(&entry);
        Ok(view::Served { agent: shown.name, did: shown.did, documents: shown.documents, state: shown.state })
    }

    /// The folder, absolute and readable, and none of the node's own.
    fn folder(&self, path: &Path) -> Result<PathBuf, Fault> {
        let named = |refusal, why: &str| Fault::new(refusal, format!("{} cannot be served: {why}", path.display()));
        let real = path.canonicalize().map_err(|error| named(Refusal::NotFound, &error.to_string()))?;
        if !real.is_dir() {
            return Err(named(Refusal::Invalid, "it is not a folder"));
        }
        std::fs::read_dir(&real).map_err(|error| {
            named(Refusal::Invalid, &error.to_string()).hint("make it readable for you, then try again")
        })?;
        if real.starts_with(&self.home) || real.to_str().is_none() {
            return Err(named(Refusal::Invalid, "it is the node's own folder, or its name is no text"));
        }
        Ok(real)
    }

    /// Registers an agent from the text of a manifest, TOML or JSON.
    ///
    /// # Errors
    /// `invalid` naming the field, `exists`, `locked`.
    pub async fn add(&self, manifest: &str) -> Result<view::Agent, Fault> {
        let mut manifest = describe::parse(manifest)?;
        if let Some(path) = &manifest.path {
            manifest.path = Some(self.folder(path)?);
        }
        let entry = self.register(manifest).await?;
        self.start(entry.clone());
        Ok(self.shown(&entry))
    }

    /// Key, certificate, row and entry: from here on a crash loses nothing.
    async fn register(&self, manifest: agent::Manifest) -> Result<Registration, Fault> {
        manifest.check().map_err(describe::invalid)?;
        let owner = self.vaults.owner()?;
        if self.named(&manifest.name).is_some() {
            return Err(Fault::new(Refusal::Exists, format!("there is an agent \"{}\" already", manifest.name)));
        }
        let name = manifest.name.clone();
        let key = self.keys.add_agent(&name)?;
        let now = self.clock.now();
        let introduction = self.me.certify_agent(&owner, &key, now);
        let kept = Kept { manifest: describe::to_json(&manifest), introduction: Bytes(introduction.to_bytes()) };
        let row = store::agents::Registered {
            name: name.clone(),
            id: agent_id(&key),
            manifest: kept.to_bytes(),
            state: store::agents::State::Active,
            added: now,
        };
        let standing = (manifest.visibility == Visibility::Public)
            .then(|| super::grants::standing(&self.me, &owner, agent_id(&key), &manifest, now));
        let (actor, visibility) = (self.me.owner().0, manifest.visibility.as_str());
        let written = self.store.write(move |tx| {
            store::agents::add(tx, &row).map_err(describe::not_stored)?;
            for grant in standing.into_iter().flatten() {
                super::grants::keep(tx, &grant, store::grants::Side::Issued, now)?;
            }
            let entry = Entry::new("agent", "registered", now).by(Some(actor)).on(&row.name);
            tx.audit(entry.with("did", row.id).with("visibility", visibility))?;
            Ok::<_, Fault>(())
        });
        if let Err(fault) = written.await {
            self.keys.remove_agent(&name)?;
            return Err(fault);
        }
        let mut live = self.lock();
        live.introductions.insert(agent_id(&key), introduction);
        let event = live.registry.register(agent_id(&key), manifest, now).map_err(describe::refused)?;
        let entry = live.registry.get(&name).map_err(describe::refused)?.clone();
        drop(live);
        self.tell(&event);
        Ok(entry)
    }

    /// All agents, or those of a role.
    ///
    /// # Errors
    /// `internal`
    pub async fn list(&self, role: Option<&str>) -> Result<Vec<view::Agent>, Fault> {
        let entries: Vec<Registration> = self.lock().registry.list(role).into_iter().cloned().collect();
        Ok(entries.iter().map(|entry| self.shown(entry)).collect())
    }

    /// One agent by name or DID.
    ///
    /// # Errors
    /// `not_found`
    pub async fn show(&self, name: &str) -> Result<view::Agent, Fault> {
        let found = self.named(name).or_else(|| name.parse().ok().and_then(|did| self.by_id(&did)));
        Ok(self.shown(&found.ok_or_else(|| Fault::not_found("agent", name))?))
    }

    /// Pauses an agent.
    ///
    /// # Errors
    /// `not_found`, `state`
    pub async fn pause(&self, name: &str) -> Result<view::Agent, Fault> {
        let entry = self.change(name, State::Paused).await?;
        self.runtime.remove(&entry.id);
        let mind = self.lock().minds.remove(&entry.id);
        if let Some(mind) = mind {
            mind.close().await;
        }
        Ok(self.shown(&entry))
    }

    /// Resumes an agent.
    ///
    /// # Errors
    /// `not_found`, `state`
    pub async fn resume(&self, name: &str) -> Result<view::Agent, Fault> {
        let entry = self.change(name, State::Starting).await?;
        self.start(entry.clone());
        Ok(self.shown(&entry))
    }

    /// A change of state that the owner asked for: legal, stored, audited, told.
    async fn change(&self, name: &str, to: State) -> Result<Registration, Fault> {
        let now = self.clock.now();
        let entry = self.named(name).ok_or_else(|| Fault::not_found("agent", name))?;
        if entry.state == to || !entry.state.allows(to) {
            let (is, to) = (entry.state.as_str(), to.as_str());
            return Err(Fault::new(Refusal::State, format!("agent \"{name}\" is {is}, so that it cannot become {to}")));
        }
        let (row, actor) = (name.to_owned(), self.me.owner().0);
        let stored = if to == State::Paused { store::agents::State::Paused } else { store::agents::State::Active };
        self.store
            .write(move |tx| {
                store::agents::set_state(tx, &row, stored).map_err(describe::not_stored)?;
                tx.audit(Entry::new("agent", "state_updated", now).by(Some(actor)).on(&row).with("to", to.as_str()))?;
                Ok::<_, Fault>(())
            })
            .await?;
        let mut live = self.lock();
        let event = live.registry.update(name, to, None, now).map_err(describe::refused)?;
        let entry = live.registry.get(name).map_err(describe::refused)?.clone();
        drop(live);
        event.iter().for_each(|event| self.tell(event));
        Ok(entry)
    }

    /// Removes an agent; its receipts and audit entries stay.
    ///
    /// # Errors
    /// `not_found`, `state` for the agent that the node ships.
    pub async fn remove(&self, name: &str) -> Result<view::Agent, Fault> {
        let entry = self.named(name).ok_or_else(|| Fault::not_found("agent", name))?;
        if name == GUIDE {
            return Err(Fault::new(Refusal::State, "the guide comes with the node and stays").hint("pause it instead"));
        }
        let (row, actor, now) = (name.to_owned(), self.me.owner().0, self.clock.now());
        self.store
            .write(move |tx| {
                store::agents::remove(tx, &row).map_err(describe::not_stored)?;
                tx.audit(Entry::new("agent", "removed", now).by(Some(actor)).on(&row))?;
                Ok::<_, Fault>(())
            })
            .await?;
        self.runtime.remove(&entry.id);
        let (event, mind) = {
            let mut live = self.lock();
            let event = live.registry.update(name, State::Removed, None, now).map_err(describe::refused)?;
            live.introductions.remove(&entry.id);
            (event, live.minds.remove(&entry.id))
        };
        if let Some(mind) = mind {
            mind.close().await;
        }
        mind::discard(&self.home, &entry.id).await?;
        self.keys.remove_agent(name)?;
        event.iter().for_each(|event| self.tell(event));
        Ok(view::Agent { state: State::Removed.as_str().to_owned(), ..self.shown(&entry) })
    }

    /// Makes a new exchange key when the present one is old.
    pub(crate) fn rotate_exchange(&self) -> Result<bool, Fault> {
        self.keys.rotate_exchange(self.clock.now())
    }

    /// By name.
    pub(crate) fn named(&self, name: &str) -> Option<Registration> {
        self.lock().registry.get(name).ok().cloned()
    }

    /// By key.
    pub(crate) fn by_id(&self, id: &AgentId) -> Option<Registration> {
        self.lock().registry.by_id(id).cloned()
    }

    /// Everybody.
    pub(crate) fn all(&self) -> Vec<Registration> {
        self.lock().registry.snapshot()
    }

    /// Why this agent would not answer this capability now, for those who may know.
    pub(crate) fn hindrance(&self, id: &AgentId, capability: &str) -> Option<Refusal> {
        match self.by_id(id) {
            None => Some(Refusal::NotFound),
            Some(entry) if !entry.state.answers() => Some(Refusal::State),
            Some(entry) if !entry.manifest.capabilities.iter().any(|one| one.name == capability) => {
                Some(Refusal::Capability)
            }
            Some(_) => None,
        }
    }

    /// Waits for an agent that is on its way to its work, which may be right after the start of the node; for others not at all.
    pub(crate) async fn awake(&self, id: &AgentId) {
        if self.by_id(id).is_some_and(|entry| entry.state == State::Starting) {
            // One that takes longer is refused as it is.
            let _late = tokio::time::timeout(AWAKENING, self.runtime.is_at_work(id)).await;
        }
    }

    /// What runs the agents.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Signs in an agent's name, and says by whose certificate.
    pub(crate) fn sign<T: Statement>(&self, id: &AgentId, statement: T) -> Result<(Verified<T>, Introduction), Fault> {
        let gone = || Fault::new(Refusal::NotFound, "the agent was removed");
        let key = self.key(id).ok_or_else(gone)?;
        let introduction = self.lock().introductions.get(id).cloned().ok_or_else(gone)?;
        Ok((Verified::sign(statement, &key), introduction))
    }

    fn key(&self, id: &AgentId) -> Option<SecretKey> {
        self.by_id(id).and_then(|entry| self.keys.agent(&entry.manifest.name))
    }

    /// The card of an agent as it is now.
    pub(crate) fn card(&self, entry: &Registration) -> Result<CardEntry, Fault> {
        let now = self.clock.now();
        let mut tags = entry.manifest.tags.clone();
        tags.insert(entry.manifest.name.clone());
        tags.insert(entry.manifest.kind.as_str().to_owned());
        let capabilities = entry.manifest.capabilities.iter();
        let card = Card {
            agent: entry.id,
            owner: self.me.owner(),
            node: self.me.node(),
            name: entry.manifest.name.clone(),
            description: entry.manifest.description.clone(),
            kind: entry.manifest.kind.as_str().to_owned(),
            capabilities: capabilities
                .map(|one| Capability { name: one.name.clone(), arguments: one.arguments.clone() })
                .collect(),
            tags: tags.into_iter().take(limits::TAGS).collect(),
            seq: now.0,
            issued: now,
            expires: now.after(self.life.now()),
        };
        let (card, introduction) = self.sign(&entry.id, card)?;
        Ok(CardEntry { card: card.signed().clone(), introduction })
    }

    fn tell(&self, event: &Event) {
        let data = match event {
            Event::Registered { id, name, kind, capabilities } => json!({
                "id": id.to_string(),
                "name": name,
                "type": kind.as_str(),
                "capabilities": capabilities.iter().map(|one| &one.name).collect::<Vec<_>>(),
            }),
            Event::StateUpdated { id, name, from, to, reason } => json!({
                "id": id.to_string(), "name": name, "from": from.as_str(), "to": to.as_str(), "reason": reason,
            }),
            Event::Removed { id, name } => json!({ "id": id.to_string(), "name": name }),
        };
        self.bus.say(event.topic(), data);
    }

    fn shown(&self, entry: &Registration) -> view::Agent {
        describe::shown(entry, self.lock().minds.get(&entry.id).map(mind::Running::progress))
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        // Nothing is left half done under this lock.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
