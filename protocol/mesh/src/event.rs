//! What a mesh tells its owner.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use klp::hello::{Greeting, SessionId};
use klp::message::Outcomes;
use klp::statement::certificate::Introduction;
use klp::{NodeId, Refusal};
use libp2p::Multiaddr;

use crate::answer::Reply;
use crate::path::Path;
use crate::state::Reach;
use crate::topics::Message;

/// Something happened out there. Whoever reads events must not wait for the mesh while reading: it hands them on.
#[derive(Debug)]
pub enum Event {
    /// A peer asks. Dropping the reply refuses `failed`.
    Request(Request),
    /// A session is open, or goes on over another connection, or the peer has said a newer Hello.
    Opened {
        /// What the peer said.
        hello: Arc<PeerHello>,
        /// The connection that carries it.
        path: Path,
    },
    /// A session is over.
    Closed {
        /// With whom.
        peer: NodeId,
        /// Which.
        session: SessionId,
        /// Why, unless all was well.
        refusal: Option<Refusal>,
    },
    /// A peer tells something in a session, unasked and unacknowledged.
    Told {
        /// What the peer said of itself.
        hello: Arc<PeerHello>,
        /// What it tells.
        body: Bytes,
    },
    /// A gossip message that waits for a verdict.
    Gossip(Gossip),
    /// A node in the local network.
    Found {
        /// Which.
        node: NodeId,
        /// Where.
        addresses: Vec<Multiaddr>,
    },
    /// Our own reachability changed.
    Reach(Reach),
}

/// A peer's question.
#[derive(Debug)]
pub struct Request {
    /// Who asks, and in which session.
    pub hello: Arc<PeerHello>,
    /// What.
    pub body: Bytes,
    /// How to answer.
    pub reply: Reply,
}

/// What a peer said of itself in its latest Hello, and what was agreed.
#[derive(Clone, Debug)]
pub struct PeerHello {
    /// The peer; the channel and its signature prove it.
    pub node: NodeId,
    /// The session.
    pub session: SessionId,
    /// Whose node it says to be. The certificate is not checked here: that takes revocations and is done for every request.
    pub introduction: Option<Introduction>,
    /// The number of its owner's latest revocation.
    pub revocations: Option<u64>,
    /// What it offers us.
    pub offers: BTreeSet<String>,
    /// What it would like of us.
    pub wants: BTreeSet<String>,
    /// Its answer to what we want.
    pub granted: Vec<Outcomes>,
    /// Our answer to what it wants.
    pub granting: Vec<Outcomes>,
}

impl PeerHello {
    pub(crate) fn new(theirs: &Greeting, granted: Vec<Outcomes>, granting: Vec<Outcomes>) -> Self {
        Self {
            node: theirs.from,
            session: theirs.session,
            introduction: theirs.introduction.clone(),
            revocations: theirs.revocations,
            offers: theirs.offers.clone(),
            wants: theirs.wants.clone(),
            granted,
            granting,
        }
    }
}

/// Where gossip is about one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Records of listed nodes and agents.
    Directory,
    /// Revocations: grant id and issuer only.
    Revocations,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Directory, Self::Revocations];

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Directory => "/kos/1/directory",
            Self::Revocations => "/kos/1/revocations",
        }
    }
}

/// A gossip message. It travels on only after [`Mesh::judge`](crate::Mesh::judge).
#[derive(Clone, Debug)]
pub struct Gossip {
    /// What about.
    pub topic: Topic,
    /// Who published it, as its signature proves; of the statement inside nothing is proven here.
    pub source: NodeId,
    /// Who passed it to us.
    pub from: NodeId,
    /// At most `klp::limits::GOSSIP` bytes.
    pub body: Bytes,
    /// Names it in the verdict.
    pub(crate) message: Message,
}

/// What to do with a gossip message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds: pass it on.
    Accept,
    /// It is of no use, and nobody's fault: do not pass it on.
    Ignore,
    /// It is wrong: do not pass it on, and think less of whoever did.
    Reject,
}
