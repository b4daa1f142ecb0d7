//! The handle.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use klp::blob::Held;
use klp::{Digest, NodeId, Refusal, limits};
use libp2p::Multiaddr;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, Refused};
use crate::blob::{Fetch, Shelf, Source};
use crate::dial::{DialError, Dialled};
use crate::doorway::{Doorway, Service};
use crate::driver::Command;
use crate::event::{Gossip, Topic, Verdict};
use crate::lookups::LookupError;
use crate::path::Path;
use crate::peer::peer_of;
use crate::session::{Link, Table};
use crate::state::State;
use crate::tally::{Tally, Traffic};
use crate::topics::PublishError;

/// Something could not be asked of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MeshError {
    /// It has been stopped.
    #[error("the mesh is stopped")]
    Stopped,
    /// The operating system gives no multicast socket.
    #[error("looking around in the local network is not possible here")]
    NoMulticast,
}

#[derive(Debug)]
struct Inner {
    me: NodeId,
    commands: mpsc::Sender<Command>,
    table: Arc<Table>,
    shelf: Arc<Shelf>,
    doorway: Arc<Doorway>,
    tally: Arc<Tally>,
    state: watch::Receiver<State>,
    stop: CancellationToken,
}

/// A handle to a mesh. Clones are cheap; the mesh ends with the last of them.
#[derive(Clone, Debug)]
pub struct Mesh(Arc<Inner>);

impl Mesh {
    #[expect(clippy::too_many_arguments, reason = "each is made by `open` and given once")]
    pub(crate) fn new(
        me: NodeId,
        commands: mpsc::Sender<Command>,
        table: Arc<Table>,
        shelf: Arc<Shelf>,
        doorway: Arc<Doorway>,
        tally: Arc<Tally>,
        state: watch::Receiver<State>,
        stop: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner { me, commands, table, shelf, doorway, tally, state, stop }))
    }

    /// Who we are.
    pub fn node(&self) -> NodeId {
        self.0.me
    }

    /// What can be seen at the moment, and a way to wait for changes.
    pub fn state(&self) -> watch::Receiver<State> {
        self.0.state.clone()
    }

    /// What this program gives to others at the moment.
    pub fn service(&self) -> Service {
        self.0.doorway.service(std::time::Instant::now())
    }

    /// Addresses of the peers in the routing table, each ending in `/p2p/PEER`: what [`Config::known`](crate::Config::known) is for.
    ///
    /// # Errors
    /// [`MeshError::Stopped`]
    pub async fn known(&self) -> Result<Vec<Multiaddr>, MeshError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Known { reply }).await?;
        answer.await.map_err(|_| MeshError::Stopped)
    }

    /// How a peer is reached at the moment.
    pub fn path(&self, node: NodeId) -> Option<Path> {
        self.0.state.borrow().peers.get(&node).and_then(|peer| peer.paths.first().cloned())
    }

    /// What has gone to and from a peer since it was connected, through relays and without.
    pub fn traffic(&self, node: NodeId) -> Traffic {
        self.0.tally.of(&peer_of(node))
    }

    /// Connects to a node. The addresses are remembered for later requests too; without any, those that are known are tried. A node
    /// that is connected directly already is not dialled again.
    ///
    /// # Errors
    /// [`DialError`], naming what was tried.
    pub async fn dial(&self, node: NodeId, addresses: Vec<Multiaddr>) -> Result<Dialled, DialError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Dial { node, addresses, reply }).await.map_err(|_| DialError::Stopped)?;
        answer.await.unwrap_or(Err(DialError::Stopped))
    }

    /// Asks a node over its session, which is opened when there is none. `timeout` is for the whole answer, its chunks included. An empty
    /// body is a ping, which the other side's session answers by itself.
    pub async fn request(&self, node: NodeId, body: Bytes, timeout: Duration) -> Answer {
        // A session may end between being found and being asked; the second one is new.
        for _ in 0..2 {
            let link = match self.link(node).await {
                Ok(link) => link,
                Err(refused) => return Answer::refused(refused),
            };
            match link.request(body.clone()) {
                Ok(id) => return Answer::waiting(link, id, timeout),
                Err(Refusal::Unreachable) => {}
                Err(refusal) => return Answer::refused(Refused::new(refusal, "")),
            }
        }
        Answer::refused(Refused::new(Refusal::Unreachable, "the session ended at once"))
    }

    async fn link(&self, node: NodeId) -> Result<Arc<Link>, Refused> {
        if let Some(link) = self.0.table.preferred(node) {
            return Ok(link);
        }
        if node == self.0.me {
            return Err(Refused::new(Refusal::Invalid, "this is the node itself"));
        }
        let (mut id, mut memory) = ([0; 16], [0; 8]);
        let filled = getrandom::fill(&mut id).and_then(|()| getrandom::fill(&mut memory));
        filled.map_err(|_| Refused::new(Refusal::Internal, "no entropy"))?;
        let stopped = |_| Refused::new(Refusal::Unreachable, "the mesh is stopped");
        let permit = self.0.commands.reserve().await.map_err(stopped)?;
        let (link, streams) = Link::new(node, id, memory, true);
        // Somebody else may have made one while this one waited for room.
        let (link, is_new) = self.0.table.preferred_or(link);
        if is_new {
            permit.send(Command::Open { link: link.clone(), streams });
        }
        Ok(link)
    }

    /// Tells a node something over an open session, without knowing whether it arrives. At most 64 KiB.
    ///
    /// # Errors
    /// `too_large`, `unreachable` without an open session, `busy` when too much waits to be written.
    pub fn tell(&self, node: NodeId, body: Bytes) -> Result<(), Refusal> {
        self.0.table.preferred(node).ok_or(Refusal::Unreachable)?.tell(body)
    }

    /// Measures a round trip over the session.
    ///
    /// # Errors
    /// [`Refused`], when the node cannot be reached or is too slow.
    pub async fn ping(&self, node: NodeId, timeout: Duration) -> Result<Duration, Refused> {
        // The first one may open the session; the second is the measure.
        self.request(node, Bytes::new(), timeout).await.finish().await?;
        let start = tokio::time::Instant::now();
        self.request(node, Bytes::new(), timeout).await.finish().await?;
        Ok(start.elapsed())
    }

    /// Lets a node that has a session with us fetch something, until then or until the session ends, and at most for a day. All of it is
    /// read once, for its digest. Nobody else may fetch it, and to everybody else it looks as if it did not exist.
    ///
    /// # Errors
    /// `unreachable` without an open session, `too_large` over [`limits::BLOB`], `busy` when too much is offered already, `failed` when it
    /// cannot be read.
    pub async fn offer(&self, node: NodeId, source: Source, until: Instant) -> Result<Digest, Refused> {
        self.0.shelf.offer(node, source, until).await
    }

    /// Fetches what a node has offered us, over the best connection that there is. It goes on after what is held already, and gets at most
    /// `most` bytes; `u64::MAX` gets the rest.
    ///
    /// # Errors
    /// [`Refused`] by the other side: `not_found` for everything that is not offered to us now, `busy`, `too_large` when the relay in
    /// between does not carry as much, `invalid` when more is held than there is. Or here: `unreachable` without a connection, `busy`.
    pub async fn fetch(&self, node: NodeId, digest: Digest, held: Held, most: u64) -> Result<Fetch, Refused> {
        let shelf = self.0.shelf.clone();
        let permit = shelf.permit()?;
        let (want, stream) = oneshot::channel();
        let stopped = |_| Refused::new(Refusal::Unreachable, "the mesh is stopped");
        self.send(Command::Blob { node, want }).await.map_err(stopped)?;
        Fetch::ask(shelf, permit, stream, digest, held, most).await
    }

    /// Puts a record into the DHT for [`limits::RECORD_LIFE`]; put it again at half of that. It answers when three others have confirmed
    /// it, or all that there are; the rest of the closest get it too.
    ///
    /// # Errors
    /// [`LookupError`], also when no other node has stored it.
    pub async fn put(&self, key: Digest, value: Vec<u8>) -> Result<(), LookupError> {
        if value.len() > limits::RECORD {
            return Err(LookupError::TooLarge);
        }
        self.look(|reply| Command::Put { key, value, reply }).await
    }

    /// The record with this key that counts: of those that hold, as `Config::check_record` says, the newest.
    ///
    /// # Errors
    /// [`LookupError`]; finding none is no error.
    pub async fn get(&self, key: Digest) -> Result<Option<Vec<u8>>, LookupError> {
        self.look(|reply| Command::Get { key, reply }).await
    }

    /// Says in the DHT that this node has something, and keeps saying it until [`Mesh::stop_providing`]. It answers when all has been said:
    /// the protocol knows no confirmation of this.
    ///
    /// # Errors
    /// [`LookupError`]. Without peers it is said as soon as there are some.
    pub async fn provide(&self, key: Digest) -> Result<(), LookupError> {
        self.look(|reply| Command::Provide { key, reply: Some(reply) }).await
    }

    /// Stops saying so. What others have stored runs out by itself within [`limits::RECORD_LIFE`].
    ///
    /// # Errors
    /// [`MeshError::Stopped`]
    pub async fn stop_providing(&self, key: Digest) -> Result<(), MeshError> {
        self.send(Command::Provide { key, reply: None }).await
    }

    /// Nodes that say they have something, at most 64, and where they are. Nothing of it is proven until such a node is asked. Who is
    /// silent while others have answered is not waited for.
    ///
    /// # Errors
    /// [`LookupError`]; finding none is no error.
    pub async fn find_providers(&self, key: Digest) -> Result<Vec<(NodeId, Vec<Multiaddr>)>, LookupError> {
        self.look(|reply| Command::Providers { key, reply }).await
    }

    async fn look<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, LookupError>>) -> Command,
    ) -> Result<T, LookupError> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply)).await.map_err(|_| LookupError::Stopped)?;
        answer.await.unwrap_or(Err(LookupError::Stopped))
    }

    /// Takes part in a topic, or no longer.
    ///
    /// # Errors
    /// [`MeshError::Stopped`]
    pub async fn subscribe(&self, topic: Topic, on: bool) -> Result<(), MeshError> {
        self.send(Command::Subscribe { topic, on }).await
    }

    /// Publishes to a topic. At most [`limits::GOSSIP`] bytes.
    ///
    /// # Errors
    /// [`PublishError`]; without peers in the topic nobody has received it.
    pub async fn publish(&self, topic: Topic, body: Bytes) -> Result<(), PublishError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Publish { topic, body, reply }).await.map_err(|_| PublishError::Stopped)?;
        answer.await.unwrap_or(Err(PublishError::Stopped))
    }

    /// Says what to do with a gossip message.
    ///
    /// # Errors
    /// [`MeshError::Stopped`]
    pub async fn judge(&self, gossip: &Gossip, verdict: Verdict) -> Result<(), MeshError> {
        self.send(Command::Judge { message: gossip.message.clone(), verdict }).await
    }

    /// Looks for peers in the local network, or no longer. It has no effect while all listeners are loopback.
    ///
    /// # Errors
    /// [`MeshError`]
    pub async fn set_mdns(&self, on: bool) -> Result<(), MeshError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Mdns { on, reply }).await?;
        answer.await.unwrap_or(Err(MeshError::Stopped))
    }

    /// Asks the router in front of this machine to open our ports, or no longer. It has no effect while all listeners are loopback.
    ///
    /// # Errors
    /// [`MeshError::Stopped`]
    pub async fn set_upnp(&self, on: bool) -> Result<(), MeshError> {
        self.send(Command::Upnp { on }).await
    }

    /// The relays that contacts offer, each ending in `/p2p/PEER`, instead of those of before. They are used while nobody can dial us.
    ///
    /// # Errors
    /// [`MeshError::Stopped`]
    pub async fn set_relays(&self, addresses: Vec<Multiaddr>) -> Result<(), MeshError> {
        self.send(Command::Relays { addresses }).await
    }

    /// Ends the mesh: sessions get two seconds for what is open, then say goodbye. The driver's future resolves when all is done.
    pub fn stop(&self) {
        self.0.stop.cancel();
    }

    async fn send(&self, command: Command) -> Result<(), MeshError> {
        self.0.commands.send(command).await.map_err(|_| MeshError::Stopped)
    }
}
