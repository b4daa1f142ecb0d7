//! One person's node: its parts, started in order and stopped in the opposite one.

mod events;
mod identity;
mod start;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use host::{Health, Stop};
use klp::Timestamp;
use store::Store;
use tokio::sync::watch;

use crate::bus::Bus;
use crate::clock::Clock;
use crate::config::Config;
use crate::doctor::{self, Living, Patient};
use crate::fault::Fault;
use crate::inbound::Inbound;
use crate::me::Me;
use crate::outbound::Outbound;
use crate::services;
use crate::{show, view, words};

pub(crate) use start::closed_home;
pub use start::{Start, StartFault};

/// A running node. Cheap to clone; every clone is the same node.
#[derive(Clone)]
pub struct Node {
    /// People I know.
    pub contacts: services::contacts::Contacts,
    /// Agents here.
    pub agents: services::agents::Agents,
    /// Finding agents.
    pub directory: services::directory::Directory,
    /// Asking agents.
    pub calls: services::calls::Calls,
    /// Questions that wait for others.
    pub queue: services::queue::Queue,
    /// Grants.
    pub grants: services::grants::Grants,
    /// Pairing.
    pub pairing: services::pairing::Pairing,
    /// Receipts.
    pub receipts: services::receipts::Receipts,
    /// The audit log.
    pub audit: services::audit::Audit,
    /// Vaults.
    pub vaults: services::vaults::Vaults,
    /// Reaching others.
    pub reach: services::reach::Reach,
    /// Settings.
    pub settings: services::settings::Settings,
    /// Events.
    pub bus: Bus,
    /// What each part of the node says of itself.
    pub health: Health,
    me: Me,
    store: Store,
    config: Arc<Config>,
    clock: Clock,
    forwarding: services::forwarding::Forwarding,
    relays: services::relays::Relays,
    inbound: Inbound,
    outbound: Outbound,
    started: Timestamp,
    api: Arc<Mutex<String>>,
    metrics: Arc<Mutex<Option<SocketAddr>>>,
    stop: Stop,
    stopped: watch::Receiver<bool>,
}

impl Node {
    /// One look at everything.
    ///
    /// # Errors
    /// `internal`
    pub async fn status(&self) -> Result<view::Status, Fault> {
        let state = self.outbound.mesh().state();
        let (listen, reach, peers) = {
            let state = state.borrow();
            let addresses = state.external.iter().map(ToString::to_string).collect();
            let via = state.reservations.first().map(ToString::to_string);
            let reach = view::Reach { state: state.reach.as_str().to_owned(), via, addresses };
            let listen: Vec<String> = state.listen.iter().map(ToString::to_string).collect();
            (listen, reach, state.peers.len() as u64)
        };
        let load = self.agents.runtime().load();
        let reports = self.health.reports();
        let health: BTreeMap<String, String> = reports
            .iter()
            .map(|report| {
                let text = match report.state {
                    host::State::Ok => "ok".to_owned(),
                    state => format!("{}: {}", format!("{state:?}").to_lowercase(), report.text),
                };
                (report.component.to_owned(), text)
            })
            .collect();
        Ok(view::Status {
            did: self.me.owner().to_string(),
            node: self.me.node().to_string(),
            peer_id: self.outbound.peer_id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: self.clock.now().since(self.started).as_secs(),
            vault: if self.vaults.is_open() { "unlocked" } else { "locked" }.to_owned(),
            reach,
            peers,
            agents: self.agents.list(None).await?,
            queue: view::Queue {
                running: load.running as u64,
                waiting: load.waiting as u64,
                later: self.queue.len() as u64,
            },
            health,
            listen,
            api: self.api.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            ui: None,
            metrics: self.metrics.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.to_string()),
            pid: std::process::id(),
            handlers: self.inbound.table().into_iter().map(|(kind, _)| kind).collect(),
        })
    }

    /// Who I am.
    ///
    /// # Errors
    /// `internal`
    pub async fn whoami(&self) -> Result<view::Whoami, Fault> {
        let agents = self.agents.list(None).await?;
        Ok(view::Whoami {
            owner: self.me.owner().to_string(),
            node: self.me.node().to_string(),
            peer_id: self.outbound.peer_id(),
            agents: agents.into_iter().map(|agent| view::AgentName { name: agent.name, did: agent.did }).collect(),
            fingerprint: words::of(&self.me.owner().0),
            created: show::time(self.me.created()),
            algorithm: "Ed25519".to_owned(),
        })
    }

    /// Looks for faults, in here and out there.
    ///
    /// # Errors
    /// `internal`
    pub async fn examine(&self) -> Result<view::Doctor, Fault> {
        let living = Some(self.living().await?);
        let (home, settings) = (self.config.basics.home.clone(), Ok((*self.config).clone()));
        Ok(doctor::examine(Patient { home, settings, living, clock: self.clock.clone() }).await)
    }

    /// How this node is reached, in one line, and the facts behind it.
    ///
    /// # Errors
    /// `internal`
    pub async fn netcheck(&self) -> Result<view::Netcheck, Fault> {
        let living = self.living().await?;
        let checks = doctor::look_out(&self.config, None, Some(&living), &self.clock).await;
        Ok(self.reach.netcheck(checks))
    }

    async fn living(&self) -> Result<Living, Fault> {
        let relays = self.outbound.mesh().state().borrow().relays.clone();
        Ok(Living { status: self.status().await?, relays })
    }

    /// The door through which peers come, for whoever wants to answer a kind of request of their own.
    pub fn inbound(&self) -> &Inbound {
        &self.inbound
    }

    /// Sends a request of a kind that this node knows nothing of, to a node that is connected or can be reached.
    ///
    /// # Errors
    /// What the other side refuses, or `unreachable`.
    pub async fn raw_request(&self, node: klp::NodeId, body: bytes::Bytes) -> Result<bytes::Bytes, klp::Refusal> {
        self.outbound.reach(node).await.map_err(|fault| fault.refusal)?;
        let answer = self.outbound.mesh().request(node, body, crate::outbound::PATIENCE).await;
        answer.finish().await.map_err(|refused| refused.refusal)
    }

    /// The local API says where it listens.
    pub fn api_is_at(&self, address: &str) {
        address.clone_into(&mut self.api.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Asks the node to drain and stop; returns at once. [`Node::stopped`] resolves when it has.
    pub fn stop(&self) {
        self.stop.request();
    }

    /// Resolves when the node was asked to stop, by [`Node::stop`] or by a signal.
    pub async fn stopping(&self) {
        self.stop.requested().await;
    }

    /// Resolves when the node has stopped.
    pub async fn stopped(&self) {
        let mut stopped = self.stopped.clone();
        // The sender goes away only after it has said so.
        let _said = stopped.wait_for(|stopped| *stopped).await;
    }
}
