//! The loop around the swarm.
//!
//! Commands and notes are always read; the swarm is polled only while the events that it causes have room. Nobody on the way up waits
//! for the way down: an owner that reads its events late, or waits for an answer while it reads, cannot lock the loop.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use klp::rule::address::Cidr;
use klp::{Digest, NodeId};
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{Multiaddr, PeerId, Swarm, mdns, metrics};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::behaviour::Behaviour;
use crate::blob::Opened;
use crate::config::{Config, Role};
use crate::dial::{DialError, Dialled, Dials, OF_ONE};
use crate::doorway::Doorway;
use crate::event::{Event, Topic, Verdict};
use crate::ladder::Ladder;
use crate::lookups::{GLANCE, LookupError, Lookups};
use crate::mesh::MeshError;
use crate::peer::peer_of;
use crate::reach::shown::Upnp;
use crate::reach::{Addresses, Probes, Punches, Relays, Sightings, Watch};
use crate::session::{self, Attached, Link, Note, Shared};
use crate::state::State;
use crate::swarm::only_loopback;
use crate::topics::{self, Message, PublishError};

mod dialling;
mod door;
mod feeling;
mod heard;
mod nearing;
mod reaching;

/// Events that wait for their reader before the swarm has to wait; a gossip message more is passed over.
const PENDING: usize = 256;
/// How often what is due is looked for.
const TICK: Duration = Duration::from_millis(500);
/// How long connections may take to close when the mesh stops.
const CLOSE: Duration = Duration::from_secs(1);
/// How long sessions may take to end when the mesh stops: two seconds for what is open, and their goodbyes.
const STOP: Duration = Duration::from_secs(8);
/// Between two attempts to reach a bootstrap peer, at most: the first ones come after 1, 2, 4 and 8 seconds.
const BOOTSTRAP: Duration = Duration::from_secs(10);
const FIRST_BOOTSTRAP: Duration = Duration::from_secs(1);

use feeling::Feeling;
use nearing::Nearing;

/// Who has something, and where they are.
type Found = Vec<(NodeId, Vec<Multiaddr>)>;
type Reply<T, E> = oneshot::Sender<Result<T, E>>;

/// What the handle asks.
#[derive(Debug)]
pub(crate) enum Command {
    Dial { node: NodeId, addresses: Vec<Multiaddr>, reply: Reply<Dialled, DialError> },
    Open { link: Arc<Link>, streams: mpsc::Receiver<Box<Attached>> },
    Put { key: Digest, value: Vec<u8>, reply: Reply<(), LookupError> },
    Get { key: Digest, reply: Reply<Option<Vec<u8>>, LookupError> },
    Provide { key: Digest, reply: Option<Reply<(), LookupError>> },
    Providers { key: Digest, reply: Reply<Found, LookupError> },
    Publish { topic: Topic, body: Bytes, reply: Reply<(), PublishError> },
    Subscribe { topic: Topic, on: bool },
    Judge { message: Message, verdict: Verdict },
    Mdns { on: bool, reply: Reply<(), MeshError> },
    Upnp { on: bool },
    Relays { addresses: Vec<Multiaddr> },
    Blob { node: NodeId, want: oneshot::Sender<Opened> },
    Known { reply: oneshot::Sender<Vec<Multiaddr>> },
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
    known: Vec<Multiaddr>,
    doorway: Arc<Doorway>,
    addresses: Addresses,
    relays: Relays,
    dials: Dials,
    lookups: Lookups,
    trusted: Vec<Cidr>,
    sightings: Sightings,
    watch: Watch,
    probes: Probes,
    punches: Punches,
    feeling: Feeling,
    nearing: Nearing,
    upnp: Upnp,
    /// Who can tell us whether we can be dialled, the last one first.
    servers: VecDeque<PeerId>,
    /// A question to the directory for relays.
    search: Option<oneshot::Receiver<Result<Found, LookupError>>>,
    says_relay: bool,
    ladder: Ladder,
    metrics: metrics::Metrics,
}

impl Driver {
    #[expect(clippy::too_many_arguments, reason = "each is made by `open` and given once")]
    pub(crate) fn new(
        swarm: Swarm<Behaviour>,
        shared: Arc<Shared>,
        doorway: Arc<Doorway>,
        commands: mpsc::Receiver<Command>,
        notes: mpsc::Receiver<Note>,
        state: watch::Sender<State>,
        config: &Config,
        (metrics, ladder): (metrics::Metrics, Ladder),
    ) -> Self {
        let now = Instant::now();
        let mut dials = Dials::new();
        for address in &config.relays {
            if let Some(relay) = crate::peer::relay_in(address) {
                dials.learn(relay, address.clone());
            }
        }
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
            bootstrap_wait: FIRST_BOOTSTRAP,
            known: config.known.clone(),
            doorway,
            addresses: Addresses::new(config.trust_cidr.clone(), config.external.clone(), now),
            relays: Relays::new(config.relays.clone(), now),
            dials,
            lookups: Lookups::new(config.check_record.clone(), config.wall.clone(), config.limits.record_life),
            trusted: config.trust_cidr.clone(),
            sightings: Sightings::default(),
            watch: Watch::new(now, (config.wall)()),
            probes: Probes::new(now),
            punches: Punches::default(),
            feeling: Feeling::new(config.limits.incoming, now),
            nearing: Nearing::new(now),
            upnp: Upnp::default(),
            servers: VecDeque::new(),
            search: None,
            says_relay: false,
            ladder,
            metrics,
        }
    }

    /// Drives until the last handle is gone or the mesh is stopped, then drains.
    pub(crate) async fn run(mut self) {
        let (stop, events) = (self.shared.stop.clone(), self.shared.events.clone());
        let mut tick = tokio::time::interval(TICK);
        let mut glance = tokio::time::interval(GLANCE);
        glance.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
                _ = glance.tick(), if self.lookups.is_asked() => {
                    self.lookups.glance(&mut self.swarm.behaviour_mut().kad, Instant::now());
                }
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
        let _in_time = tokio::time::timeout(CLOSE, closed).await;
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
                self.judge(&message, verdict);
            }
            Command::Known { reply } => {
                let _gone = reply.send(crate::lookups::known(&mut self.swarm.behaviour_mut().kad));
            }
            Command::Mdns { on, reply } => {
                let _gone = reply.send(self.set_mdns(on));
            }
            Command::Upnp { on } => self.set_upnp(on),
            Command::Relays { addresses } => self.relays_offered(addresses),
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
        if let Some((_, path)) = self.swarm.behaviour().session.best(&peer).filter(|(_, path)| !path.is_relayed()) {
            let _gone = reply.send(Ok(Dialled { path: path.clone(), attempts: Vec::new() }));
            for address in addresses.into_iter().take(OF_ONE) {
                self.dials.learn(peer, address);
            }
            return;
        }
        self.dials.wait(peer, reply);
        self.connect_at(peer, addresses.into_iter().take(OF_ONE));
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
            Note::SentAway { peer } => self.send_away(Some(peer_of(peer))),
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

    /// Moves the sessions that we dialled from a circuit to a better connection. One that waits for its first Hello moves after it: what
    /// rode with it could not be sent again.
    fn move_sessions(&mut self, node: NodeId) {
        let peer = peer_of(node);
        let needless = self.swarm.behaviour().session.needless(&peer);
        let links = self.shared.table.with(node);
        let should_move = |link: &Link| link.carrier().is_some_and(|carrier| needless.contains(&carrier));
        for link in links.iter().filter(|link| link.ours && link.is_open() && should_move(link)) {
            self.swarm.behaviour_mut().session.open(peer, link.id);
        }
        if !links.iter().any(|link| should_move(link)) {
            self.drop_circuits(needless);
        }
    }

    /// What is due.
    fn tick(&mut self) {
        let now = Instant::now();
        self.feel(now);
        self.near(now);
        self.reach(now);
        self.dial_farther(now);
        self.shared.shelf.tidy();
        self.doorway.tick(now);
    }
}
