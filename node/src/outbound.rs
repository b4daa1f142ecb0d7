//! The one way out: every request to another node leaves through here.

mod carried;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};
use klp::hello::SessionId;
use klp::message::{Empty, Request, kind};
use klp::rule::address::{Audience, Scope, may_tell};
use klp::statement::card::{NodeRecord, did_key, node_key};
use klp::{Cbor, Digest, NodeId, Refusal, Signed, limits};
use mesh::{DialError, Mesh, Multiaddr, Topic};
use store::Store;
use tokio::time::Instant;

use crate::answer::Answer;
use crate::clock::Clock;
use crate::fault::Fault;
use crate::figures::Figures;
use crate::me::Me;
use crate::people::People;
use crate::view;
use crate::ways::Ways;
use carried::Way;

pub(crate) use carried::Carrier;

/// How long a small question to another node may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to reach a node at all: several addresses, then the DHT.
const REACHING: Duration = Duration::from_secs(15);
/// How long what is known of a node's addresses is tried alone.
const HEAD_START: Duration = Duration::from_secs(1);
/// Addresses at which a node was met that are tried before those in its ticket: more could crowd these out.
const SEEN: usize = 4;
/// Nodes whose addresses are remembered from searches.
const NEARBY: usize = 1024;
/// Sessions in which we have introduced ourselves; more than a node has connections.
const INTRODUCED: usize = 4096;

/// The way out.
#[derive(Clone)]
pub(crate) struct Outbound {
    mesh: Mesh,
    me: Me,
    people: People,
    store: Store,
    figures: Figures,
    introduced: Arc<Mutex<BTreeSet<(NodeId, SessionId)>>>,
    nearby: Arc<Mutex<BTreeMap<NodeId, Vec<Multiaddr>>>>,
    lan: Arc<Mutex<BTreeSet<NodeId>>>,
    clock: Clock,
    ways: Ways,
    forwards: bool,
}

impl Outbound {
    /// Over this mesh, in this node's name; through others too if it `forwards`.
    pub(crate) fn new(
        mesh: Mesh,
        me: Me,
        people: People,
        store: Store,
        figures: Figures,
        clock: Clock,
        forwards: bool,
    ) -> Self {
        let (introduced, nearby, lan) = (Arc::default(), Arc::default(), Arc::default());
        Self { mesh, me, people, store, figures, introduced, nearby, lan, clock, ways: Ways::default(), forwards }
    }

    /// Where it is counted what others say and this node does not believe.
    pub(crate) fn figures(&self) -> &Figures {
        &self.figures
    }

    /// This node's libp2p peer id.
    pub(crate) fn peer_id(&self) -> String {
        let address = mesh::with_node(Multiaddr::empty(), self.mesh.node()).to_string();
        address.trim_start_matches("/p2p/").to_owned()
    }

    /// The mesh below.
    pub(crate) fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// Asks for one body and gets one.
    ///
    /// # Errors
    /// `unreachable`, what the other side refuses, or `malformed` when its answer is not what was asked for.
    pub(crate) async fn ask<R: Cbor>(&self, node: NodeId, kind: &str, body: &impl Cbor) -> Result<R, Fault> {
        let answer = self.open(node, kind, body, PATIENCE).await?;
        self.read(kind, answer.finish().await)
    }

    fn read<R: Cbor>(&self, kind: &str, answer: Result<Bytes, mesh::Refused>) -> Result<R, Fault> {
        R::from_bytes(&answer.map_err(fault)?, limits::MESSAGE).map_err(|error| {
            self.figures.refused("answer", Refusal::Malformed);
            Fault::new(Refusal::Malformed, format!("the other node's answer to {kind} is not valid: {error}"))
        })
    }

    /// Sends a request, reaching the node first if need be, and through others if it cannot be reached. The answer is still on its way.
    ///
    /// # Errors
    /// `unreachable`; of a carried request also what the other side refuses, and `tampered`.
    pub(crate) async fn open(
        &self,
        node: NodeId,
        kind: &str,
        body: &impl Cbor,
        timeout: Duration,
    ) -> Result<Answer, Fault> {
        let way = self.way(node, kind).await?;
        let request = Bytes::from(Request::new(kind, body).to_bytes());
        match way {
            Way::Session => Ok(self.mesh.request(node, request, timeout).await.into()),
            Way::Carried => self.carry(node, request, timeout).await,
        }
    }

    /// Says whose node this is, once a session, and only when we want something that is not for strangers.
    ///
    /// # Errors
    /// `unreachable`, or what the other side says.
    pub(crate) async fn introduce(&self, node: NodeId) -> Result<(), Fault> {
        match self.way(node, kind::DIRECTORY).await? {
            Way::Session => self.introduce_directly(node).await,
            // What is carried says itself whose it is.
            Way::Carried => Ok(()),
        }
    }

    /// The same over a session and in no other way.
    ///
    /// # Errors
    /// `unreachable`, or what the other side says.
    pub(crate) async fn introduce_directly(&self, node: NodeId) -> Result<(), Fault> {
        self.reach(node).await?;
        let session = self.session(node);
        if session.is_some_and(|session| self.remembered().contains(&(node, session))) {
            return Ok(());
        }
        let request = Bytes::from(Request::new(kind::INTRODUCE, &self.me.introduction()).to_bytes());
        let say = async || {
            let answer = self.mesh.request(node, request.clone(), PATIENCE).await.finish().await;
            self.read::<Empty>(kind::INTRODUCE, answer)
        };
        match say().await {
            // It rode with the first Hello of a path that broke. It may be said twice, as nothing else may that rides there.
            Err(fault) if fault.refusal == Refusal::UnknownOutcome => say().await?,
            said => said?,
        };
        if let Some(session) = self.session(node) {
            let mut introduced = self.remembered();
            if introduced.len() >= INTRODUCED {
                introduced.clear();
            }
            introduced.insert((node, session));
        }
        Ok(())
    }

    /// Whoever lost what we asked may have lost who we are: it is said again before the next thing that is not for strangers.
    pub(crate) fn introduce_anew(&self, node: NodeId) {
        self.remembered().retain(|(known, _)| *known != node);
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, BTreeSet<(NodeId, SessionId)>> {
        self.introduced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session(&self, node: NodeId) -> Option<SessionId> {
        self.mesh.state().borrow().peers.get(&node).and_then(|peer| peer.hello.as_ref()).map(|hello| hello.session)
    }

    /// Makes sure that there is a connection, and says what was tried.
    ///
    /// # Errors
    /// `unreachable`, naming each attempt.
    pub(crate) async fn reach(&self, node: NodeId) -> Result<Vec<view::Attempt>, Fault> {
        let (reached, attempts) = self.climb(node).await;
        if reached { Ok(attempts) } else { Err(unreached(node, &attempts)) }
    }

    /// The same, for those who have another way when there is none. Whether there is one, and what was tried.
    pub(crate) async fn climb(&self, node: NodeId) -> (bool, Vec<view::Attempt>) {
        if let Some(path) = self.mesh.state().borrow().peers.get(&node).and_then(|peer| peer.paths.first()) {
            return (true, vec![attempt("session", &path.address, "ok", Duration::ZERO)]);
        }
        let first = self.dial("known", node, self.known(node));
        let second = async { self.dial("dht", node, self.locate(node).await).await };
        tokio::pin!(first, second);
        let (mut attempts, left) = match tokio::time::timeout(HEAD_START, &mut first).await {
            Ok((true, attempts)) => return (true, attempts),
            Ok((false, attempts)) => (attempts, Either::Left(second)),
            // What is known may be old and lead nowhere, which takes long to notice: the DHT is asked beside it.
            Err(_) => match select(first, second).await {
                Either::Left(((true, attempts), _)) | Either::Right(((true, attempts), _)) => return (true, attempts),
                Either::Left(((false, attempts), left)) => (attempts, Either::Left(left)),
                Either::Right(((false, attempts), left)) => (attempts, Either::Right(left)),
            },
        };
        let (reached, more) = left.await;
        attempts.extend(more);
        (reached, attempts)
    }

    /// Connects, and says what was tried.
    async fn dial(&self, step: &str, node: NodeId, addresses: Vec<Multiaddr>) -> (bool, Vec<view::Attempt>) {
        if addresses.is_empty() {
            return (false, Vec::new());
        }
        let begun = Instant::now();
        let dialled = tokio::time::timeout(REACHING, self.mesh.dial(node, addresses.clone())).await;
        let took = begun.elapsed();
        let failed = |tried: Vec<mesh::Attempt>| -> Vec<view::Attempt> {
            tried.iter().map(|one| attempt(step, &one.address, &one.error, one.took.unwrap_or(took))).collect()
        };
        let each = |result: &str| addresses.iter().map(|address| attempt(step, address, result, took)).collect();
        match dialled {
            Ok(Ok(dialled)) => {
                let mut attempts = failed(dialled.attempts);
                attempts.push(attempt(step, &dialled.path.address, "ok", took));
                (true, attempts)
            }
            Ok(Err(DialError::Unreachable { attempts })) => (false, failed(attempts)),
            Ok(Err(error)) => (false, each(&error.to_string())),
            Err(_) => (false, each("no answer in time")),
        }
    }

    /// Where the DHT says that a node is.
    async fn locate(&self, node: NodeId) -> Vec<Multiaddr> {
        let (providers, record) =
            tokio::join!(self.mesh.find_providers(did_key(&node.0)), self.mesh.get(node_key(&node)));
        let provided = providers.unwrap_or_default().into_iter().filter(|(found, _)| *found == node);
        let mut addresses: Vec<Multiaddr> = provided.flat_map(|(_, addresses)| addresses).collect();
        if let Ok(Some(bytes)) = record
            && let Ok(record) = Signed::<NodeRecord>::from_bytes(bytes).verify()
            && record.node == node
            && record.signer() == node.0
        {
            addresses.extend(record.addresses.iter().filter_map(|text| text.parse().ok()));
        }
        addresses.truncate(limits::ADDRESSES);
        addresses
    }

    /// Nodes that say in the DHT that they have something. What they say they are is remembered for dialling.
    pub(crate) async fn providers(&self, key: Digest) -> Vec<NodeId> {
        let found = self.mesh.find_providers(key).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the DHT was not asked");
            Vec::new()
        });
        tracing::debug!(key = key.short(), found = found.len(), "the DHT was asked");
        let mut known = self.found();
        for (node, addresses) in &found {
            if !addresses.is_empty() && (known.len() < NEARBY || known.contains_key(node)) {
                known.insert(*node, addresses.iter().take(limits::ADDRESSES).cloned().collect());
            }
        }
        found.into_iter().map(|(node, _)| node).collect()
    }

    /// A node was seen on the local network.
    pub(crate) fn saw(&self, node: NodeId, addresses: Vec<Multiaddr>) {
        self.lan.lock().unwrap_or_else(PoisonError::into_inner).insert(node);
        self.told_of(node, addresses);
    }

    /// Somebody says where a node is.
    pub(crate) fn told_of(&self, node: NodeId, addresses: Vec<Multiaddr>) {
        let mut known = self.found();
        if known.len() < NEARBY || known.contains_key(&node) {
            known.insert(node, addresses.into_iter().take(limits::ADDRESSES).collect());
        }
    }

    /// Nodes that were seen on the local network.
    pub(crate) fn nearby(&self) -> Vec<NodeId> {
        self.lan.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    fn found(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, Vec<Multiaddr>>> {
        self.nearby.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a node is a contact's.
    pub(crate) fn is_contact(&self, node: &NodeId) -> bool {
        self.people.knows(node)
    }

    /// Nodes with an open session.
    pub(crate) fn connected(&self) -> Vec<NodeId> {
        let state = self.mesh.state();
        let state = state.borrow();
        state.peers.iter().filter(|(_, peer)| peer.hello.is_some()).map(|(node, _)| *node).collect()
    }

    /// How a node is reached over a session now: `lan`, `direct` or `relayed`.
    pub(crate) fn path_now(&self, node: NodeId) -> Option<String> {
        self.mesh.path(node).map(|path| path.kind.as_str().to_owned())
    }

    /// The same of a node that was just asked something.
    pub(crate) fn path(&self, node: NodeId) -> String {
        self.path_now(node).or_else(|| self.carried_path(node)).unwrap_or_else(|| "direct".to_owned())
    }

    /// Publishes to a topic, in the background.
    pub(crate) fn publish(&self, topic: Topic, body: Bytes) {
        let mesh = self.mesh.clone();
        tokio::spawn(async move {
            if let Err(error) = mesh.publish(topic, body).await {
                tracing::debug!(%error, ?topic, "nobody heard it");
            }
        });
    }

    /// Addresses for a ticket.
    pub(crate) fn ticket_addresses(&self) -> Vec<String> {
        let state = self.mesh.state();
        let state = state.borrow();
        let only_loopback = state.listen.iter().all(mesh::is_loopback);
        let mut told: Vec<String> = state.external.iter().map(ToString::to_string).collect();
        for address in state.listen.iter().map(ToString::to_string) {
            // An address behind a relay begins with the relay's, which is not ours to judge.
            let scope = ip_of(&address).filter(|_| !address.contains("/p2p-circuit")).map(|ip| Scope::of(ip, &[]));
            let tell = scope.is_none_or(|scope| may_tell(scope, false, Audience::Ticket { only_loopback }));
            if tell && !told.contains(&address) {
                told.push(address);
            }
        }
        told.truncate(limits::ADDRESSES);
        told
    }

    /// Addresses that everybody may hear.
    pub(crate) fn public_addresses(&self) -> Vec<String> {
        let state = self.mesh.state();
        let state = state.borrow();
        let public = state.external.iter().filter(|address| !mesh::is_loopback(address));
        public.map(ToString::to_string).take(limits::ADDRESSES).collect()
    }

    /// Addresses from the contact's ticket and from what was seen later.
    fn known(&self, node: NodeId) -> Vec<Multiaddr> {
        let mut texts: Vec<String> = Vec::new();
        if let Ok(view) = self.store.view()
            && let Ok(seen) = store::addresses::of(&view, &node)
        {
            texts.extend(seen.into_iter().take(SEEN).map(|seen| seen.address));
        }
        if let Some(contact) = self.people.node(&node) {
            let device = contact.nodes.into_iter().find(|device| device.node == node);
            texts.extend(device.map(|device| device.addresses).unwrap_or_default());
        }
        let mut known: Vec<Multiaddr> = self.found().get(&node).cloned().unwrap_or_default();
        for address in texts.iter().filter_map(|text| text.parse().ok()) {
            if !known.contains(&address) {
                known.push(address);
            }
        }
        known.truncate(limits::ADDRESSES);
        known
    }
}

/// The IP address at the beginning of a multiaddr.
pub(crate) fn ip_of(address: &str) -> Option<IpAddr> {
    address.split('/').nth(2)?.parse().ok()
}

/// That nothing of what was tried led to a node.
pub(crate) fn unreached(node: NodeId, attempts: &[view::Attempt]) -> Fault {
    let tried: Vec<String> = attempts.iter().map(|one| format!("{} ({})", one.address, one.result)).collect();
    let why = if tried.is_empty() {
        "no address of it is known, and the DHT knows none".to_owned()
    } else {
        format!("tried {}", tried.join(", "))
    };
    Fault::new(Refusal::Unreachable, format!("the node {} cannot be reached: {why}", node.0.short()))
        .hint("check that it is up; a fresh ticket from its owner brings fresh addresses")
}

fn attempt(step: &str, address: &Multiaddr, result: &str, took: Duration) -> view::Attempt {
    view::Attempt {
        step: step.to_owned(),
        address: address.to_string(),
        result: result.to_owned(),
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    }
}

/// What the other side refused, in its words; the hint is ours.
pub(crate) fn fault(refused: mesh::Refused) -> Fault {
    if refused.refusal == Refusal::Full {
        let message = "the disk of the other node is full, so that it did not do it";
        return Fault::new(Refusal::Full, message).hint("tell its owner, and try again later");
    }
    if refused.message.is_empty() {
        refused.refusal.into()
    } else {
        Fault::new(refused.refusal, agent::plain::line(&refused.message))
    }
}
