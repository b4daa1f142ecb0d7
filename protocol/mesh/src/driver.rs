//! The loop around the swarm.
//!
//! Commands and notes are always read; the swarm is polled only while the events that it causes have room. Nobody on the way up waits
//! for the way down: an owner that reads its events late, or waits for an answer while it reads, cannot lock the loop.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use klp::{Digest, NodeId, limits};
use libp2p::core::transport::ListenerId;
use libp2p::swarm::ConnectionId;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::dial_opts::PeerCondition;
use libp2p::{Multiaddr, PeerId, Swarm, mdns, metrics};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::behaviour::Behaviour;
use crate::blob::Opened;
use crate::config::{Config, Role};
use crate::dial::{DialError, Dialled, Dials};
use crate::event::{Event, Topic, Verdict};
use crate::lookups::{LookupError, Lookups};
use crate::mesh::MeshError;
use crate::peer::{node_of, peer_of};
use crate::reach::{Addresses, Relays, Step};
use crate::session::{self, Attached, Link, Note, Shared};
use crate::state::State;
use crate::swarm::only_loopback;
use crate::topics::{self, Message, PublishError};

mod dialling;
mod heard;

/// Events that wait for their reader before the swarm has to wait; a gossip message more is passed over.
const PENDING: usize = 256;
/// How often what is due is looked for.
const TICK: Duration = Duration::from_secs(1);
/// How long a circuit may still carry what is on its way after a session has moved to a direct connection.
const CIRCUIT_GRACE: Duration = Duration::from_secs(5);
/// How long sessions may take to end when the mesh stops: two seconds for what is open, and their goodbyes.
const STOP: Duration = Duration::from_secs(8);
/// Between two attempts to reach a bootstrap peer, at most: the first ones come after 1, 2, 4 and 8 seconds.
const BOOTSTRAP: Duration = Duration::from_secs(10);

type Reply<T, E> = oneshot::Sender<Result<T, E>>;

/// What the handle asks.
#[derive(Debug)]
pub(crate) enum Command {
    Dial { node: NodeId, addresses: Vec<Multiaddr>, reply: Reply<Dialled, DialError> },
    Open { link: Arc<Link>, streams: mpsc::Receiver<Box<Attached>> },
    Put { key: Digest, value: Vec<u8>, reply: Reply<(), LookupError> },
    Get { key: Digest, reply: Reply<Option<Vec<u8>>, LookupError> },
    Provide { key: Digest, reply: Option<Reply<(), LookupError>> },
    Providers { key: Digest, reply: Reply<Vec<(NodeId, Vec<Multiaddr>)>, LookupError> },
    Publish { topic: Topic, body: Bytes, reply: Reply<(), PublishError> },
    Subscribe { topic: Topic, on: bool },
    Judge { message: Message, verdict: Verdict },
    Mdns { on: bool, reply: Reply<(), MeshError> },
    Blob { node: NodeId, want: oneshot::Sender<Opened> },
}

/// The loop around the swarm.
pub(crate) struct Driver {
    swarm: Swarm<Behaviour>,
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    notes: mpsc::Receiver<Note>,
    pending: VecDeque<Event>,
    tasks: JoinSet<()>,
    state: watch::Sender<State>,
    role: Role,
    on_loopback: bool,
    mdns: bool,
    bootstrap: Vec<Multiaddr>,
    bootstrap_at: Instant,
    bootstrap_wait: Duration,
    refill_at: Instant,
    addresses: Addresses,
    relays: Relays,
    dials: Dials,
    lookups: Lookups,
    circuits: HashMap<ConnectionId, Instant>,
    metrics: metrics::Metrics,
}

impl Driver {
    pub(crate) fn new(
        swarm: Swarm<Behaviour>,
        shared: Arc<Shared>,
        commands: mpsc::Receiver<Command>,
        notes: mpsc::Receiver<Note>,
        state: watch::Sender<State>,
        config: &Config,
        metrics: metrics::Metrics,
    ) -> Self {
        let now = Instant::now();
        Self {
            swarm,
            shared,
            commands,
            notes,
            pending: VecDeque::new(),
            tasks: JoinSet::new(),
            state,
            role: config.role,
            on_loopback: only_loopback(config),
            mdns: config.mdns,
            bootstrap: config.bootstrap.clone(),
            bootstrap_at: now,
            bootstrap_wait: TICK,
            refill_at: now + limits::RECORD_LIFE,
            addresses: Addresses::new(config.trust_cidr.clone(), config.external.clone()),
            relays: Relays::new(config.relays.clone(), now),
            dials: Dials::new(),
            lookups: Lookups::new(config.check_record.clone(), config.wall.clone(), config.limits.record_life),
            circuits: HashMap::new(),
            metrics,
        }
    }

    /// Drives until the last handle is gone or the mesh is stopped, then drains.
    pub(crate) async fn run(mut self) {
        let (stop, events) = (self.shared.stop.clone(), self.shared.events.clone());
        let mut tick = tokio::time::interval(TICK);
        let wanted = self.mdns;
        if let Err(error) = self.set_mdns(wanted) {
            tracing::warn!(%error, "the local network is not looked at");
        }
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => break,
                },
                Some(note) = self.notes.recv() => self.noted(note),
                _ = tick.tick() => self.tick(),
                permit = events.reserve(), if !self.pending.is_empty() => {
                    let event = self.pending.pop_front();
                    // Without a reader events are for nobody; the mesh still answers its handles.
                    if let (Ok(permit), Some(event)) = (permit, event) {
                        permit.send(event);
                    }
                }
                Some(_) = self.tasks.join_next() => {}
                event = self.swarm.select_next_some(), if self.pending.len() < PENDING => self.heard(event),
            }
        }
        self.drain().await;
    }

    /// Sessions end, with the swarm still carrying their last words.
    async fn drain(mut self) {
        self.shared.stop.cancel();
        self.lookups.end();
        self.dials.stop();
        let deadline = tokio::time::sleep(STOP);
        tokio::pin!(deadline);
        while !self.tasks.is_empty() {
            tokio::select! {
                Some(_) = self.tasks.join_next() => {}
                // What happens now concerns nobody; polling moves the bytes.
                _ = self.swarm.select_next_some() => {}
                () = &mut deadline => break,
            }
        }
        for link in self.shared.table.all() {
            link.close(None, "this node has stopped");
            link.deliver();
        }
        // A connection that is closed in order takes with it what was written last.
        for peer in self.swarm.connected_peers().copied().collect::<Vec<_>>() {
            let _gone = self.swarm.disconnect_peer_id(peer);
        }
        let closed = async { while self.swarm.network_info().num_peers() > 0 && self.swarm.next().await.is_some() {} };
        let _in_time = tokio::time::timeout(TICK, closed).await;
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Dial { node, addresses, reply } => self.dial(node, addresses, reply),
            Command::Open { link, streams } => {
                self.tasks.spawn(session::run(link.clone(), streams, self.shared.clone()));
                self.open(&link, true);
            }
            Command::Put { key, value, reply } => {
                self.lookups.put(&mut self.swarm.behaviour_mut().kad, key, value, reply);
            }
            Command::Get { key, reply } => self.lookups.get(&mut self.swarm.behaviour_mut().kad, key, reply),
            Command::Provide { key, reply: Some(reply) } => {
                self.lookups.provide(&mut self.swarm.behaviour_mut().kad, key, reply);
            }
            Command::Provide { key, reply: None } => {
                self.lookups.stop_providing(&mut self.swarm.behaviour_mut().kad, key);
            }
            Command::Providers { key, reply } => {
                self.lookups.providers(&mut self.swarm.behaviour_mut().kad, key, reply);
            }
            Command::Publish { topic, body, reply } => {
                let gossip = self.swarm.behaviour_mut().gossip.as_mut();
                let published = gossip.map_or(Err(PublishError::Off), |gossip| topics::publish(gossip, topic, &body));
                let _gone = reply.send(published);
            }
            Command::Subscribe { topic, on } => {
                if let Some(gossip) = self.swarm.behaviour_mut().gossip.as_mut() {
                    topics::subscribe(gossip, topic, on);
                }
            }
            Command::Judge { message, verdict } => {
                if let Some(gossip) = self.swarm.behaviour_mut().gossip.as_mut() {
                    topics::judge(gossip, &message, verdict);
                }
            }
            Command::Mdns { on, reply } => {
                let _gone = reply.send(self.set_mdns(on));
            }
            Command::Blob { node, want } => {
                let peer = peer_of(node);
                let behaviour = self.swarm.behaviour_mut();
                if let Some((connection, _)) = behaviour.session.best(&peer) {
                    behaviour.blob.open(peer, connection, want);
                }
            }
        }
    }

    fn set_mdns(&mut self, on: bool) -> Result<(), MeshError> {
        self.mdns = on;
        let on = on && !self.on_loopback;
        if on == self.swarm.behaviour().mdns.is_enabled() {
            return Ok(());
        }
        let me = *self.swarm.local_peer_id();
        let behaviour = if on {
            let made = mdns::tokio::Behaviour::new(mdns::Config::default(), me);
            Some(made.map_err(|_| MeshError::NoMulticast)?)
        } else {
            None
        };
        self.swarm.behaviour_mut().mdns.replace(Toggle::from(behaviour));
        Ok(())
    }

    fn dial(&mut self, node: NodeId, addresses: Vec<Multiaddr>, reply: Reply<Dialled, DialError>) {
        let peer = peer_of(node);
        if node == self.shared.me {
            let _gone = reply.send(Err(DialError::Denied("it is this node itself".to_owned())));
            return;
        }
        for address in addresses.into_iter().take(limits::ADDRESSES) {
            self.dials.learn(peer, address);
        }
        if let Some((_, path)) = self.swarm.behaviour().session.best(&peer).filter(|(_, path)| !path.is_relayed()) {
            let _gone = reply.send(Ok(Dialled { path: path.clone(), attempts: Vec::new() }));
            return;
        }
        self.dials.wait(peer, reply);
        self.connect(peer, PeerCondition::NotDialing);
    }

    fn noted(&mut self, note: Note) {
        match note {
            Note::Open { link, dial } => self.open(&link, dial),
            Note::Opened { hello } => {
                let node = hello.node;
                self.state.send_modify(|state| {
                    if let Some(peer) = state.peers.get_mut(&node) {
                        peer.hello = Some(hello);
                    }
                });
                self.move_sessions(node);
            }
            Note::Over { peer } => {
                if self.shared.table.preferred(peer).is_none() {
                    self.state.send_modify(|state| {
                        if let Some(peer) = state.peers.get_mut(&peer) {
                            peer.hello = None;
                        }
                    });
                }
            }
        }
    }

    /// Moves the sessions that we dialled from a circuit to a direct connection. One that waits for its first Hello moves after it: what
    /// rode with it could not be sent again.
    fn move_sessions(&mut self, node: NodeId) {
        let peer = peer_of(node);
        if self.swarm.behaviour().session.best(&peer).is_none_or(|(_, path)| path.is_relayed()) {
            return;
        }
        for link in self.shared.table.with(node) {
            if link.ours && link.is_relayed() && link.is_open() {
                self.swarm.behaviour_mut().session.open(peer, link.id);
            }
        }
        self.drop_circuits(node);
    }

    /// A circuit that no session uses any more is closed a little later: it costs its relay, and it is limited.
    fn drop_circuits(&mut self, node: NodeId) {
        if self.shared.table.with(node).iter().any(|link| link.is_relayed()) {
            return;
        }
        let until = Instant::now() + CIRCUIT_GRACE;
        for connection in self.swarm.behaviour().session.needless(&peer_of(node)) {
            self.circuits.entry(connection).or_insert(until);
        }
    }

    /// What is due.
    fn tick(&mut self) {
        let now = Instant::now();
        let due: Vec<_> = self.circuits.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect();
        for connection in due {
            self.circuits.remove(&connection);
            self.swarm.close_connection(connection);
        }
        self.shared.shelf.tidy();
        for step in self.relays.tick(now) {
            self.relay(step, now);
        }
        if self.bootstrap_at <= now {
            self.join(now);
        }
        if self.refill_at <= now {
            self.refill_at = now + limits::RECORD_LIFE;
            self.lookups.refill();
        }
    }

    /// Connects to the bootstrap peers while nobody is in the routing table: soon again when it fails, and then less often.
    fn join(&mut self, now: Instant) {
        let routing = crate::lookups::size(&mut self.swarm.behaviour_mut().kad);
        self.state.send_if_modified(|state| std::mem::replace(&mut state.routing, routing) != routing);
        if routing > 0 {
            (self.bootstrap_at, self.bootstrap_wait) = (now + BOOTSTRAP, TICK);
            return;
        }
        self.bootstrap_at = now + self.bootstrap_wait;
        self.bootstrap_wait = (self.bootstrap_wait * 2).min(BOOTSTRAP);
        for address in self.bootstrap.clone() {
            if let Some(libp2p::multiaddr::Protocol::P2p(peer)) = address.iter().last()
                && !self.swarm.is_connected(&peer)
            {
                self.dials.learn(peer, address);
                self.connect(peer, PeerCondition::DisconnectedAndNotDialing);
            }
        }
    }

    fn relay(&mut self, step: Step, now: Instant) {
        match step {
            Step::Dial(peer, address) => {
                self.dials.learn(peer, address);
                if self.swarm.is_connected(&peer) {
                    self.reserve(peer, now);
                } else {
                    self.connect(peer, PeerCondition::DisconnectedAndNotDialing);
                }
            }
            Step::Listen(peer, address) => match self.swarm.listen_on(address) {
                Ok(listener) => self.relays.asked(peer, listener, now),
                Err(error) => {
                    tracing::debug!(%peer, %error, "no reservation");
                    self.relays.failed(peer, now);
                }
            },
            Step::Drop(listener) => {
                self.swarm.remove_listener(listener);
            }
        }
    }

    /// A relay is connected and identified.
    fn reserve(&mut self, peer: PeerId, now: Instant) {
        if self.role == Role::Node
            && let Some(step) = self.relays.identified(peer)
        {
            self.relay(step, now);
        }
    }

    fn listener_closed(&mut self, listener: ListenerId) {
        self.relays.closed(listener, Instant::now());
        self.publish_addresses();
    }

    /// Tells everybody who watches where we are.
    fn publish_addresses(&mut self) {
        let me = self.shared.me;
        let named = |addresses: &std::collections::BTreeSet<Multiaddr>| {
            addresses.iter().map(|address| crate::peer::with_node(address.clone(), me)).collect::<Vec<_>>()
        };
        let reach = self.addresses.reach();
        let reservations: Vec<NodeId> = self.relays.active().filter_map(|peer| node_of(&peer)).collect();
        let (listen, external) = (named(&self.addresses.listen), named(&self.addresses.external));
        let mut changed = false;
        self.state.send_modify(|state| {
            changed = std::mem::replace(&mut state.reach, reach) != reach;
            (state.listen, state.external, state.reservations) = (listen, external, reservations);
        });
        if changed {
            self.pending.push_back(Event::Reach(reach));
        }
    }
}
