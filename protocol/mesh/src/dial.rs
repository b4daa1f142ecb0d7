//! Making a connection, and saying what was tried.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::Duration;

use klp::NodeId;
use klp::rule::address::Cidr;
use libp2p::swarm::behaviour::PeerAddresses;
use libp2p::swarm::{ConnectionId, DialError as SwarmDialError};
use libp2p::{Multiaddr, PeerId, TransportError};
use tokio::sync::oneshot;

use crate::path::{Kind, Path};
use crate::patience::Failed;
use crate::peer::node_of;

/// Callers that wait for one peer; further ones are told to ask again.
const WAITING: usize = 64;
/// Peers whose addresses are remembered between being told and being dialled.
const REMEMBERED: usize = 1024;

/// One address that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Where.
    pub address: Multiaddr,
    /// Which way.
    pub kind: Kind,
    /// What went wrong there.
    pub error: String,
    /// How long it took to go wrong; nothing when it was not even begun.
    pub took: Option<Duration>,
}

/// A connection, and what was tried in vain before it.
#[derive(Clone, Debug)]
pub struct Dialled {
    /// The best path there is now.
    pub path: Path,
    /// What failed.
    pub attempts: Vec<Attempt>,
}

/// Why no connection was made.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Nobody has said where the node is.
    #[error("no address of this node is known")]
    NoAddress,
    /// Somebody else answered there; nothing was said to them.
    #[error("another node answered at {address}")]
    WrongNode {
        /// Where.
        address: Multiaddr,
        /// Who answered, unless their key is none of ours.
        found: Option<NodeId>,
    },
    /// No address answered.
    #[error("none of {} addresses answered", attempts.len())]
    Unreachable {
        /// What was tried, in order.
        attempts: Vec<Attempt>,
    },
    /// We ourselves are meant, or a limit of ours is reached.
    #[error("this connection is not allowed: {0}")]
    Denied(String),
    /// The mesh has been stopped.
    #[error("the mesh is stopped")]
    Stopped,
}

impl DialError {
    /// What the swarm says, in words of our own.
    pub(crate) fn of(error: SwarmDialError, trusted: &[Cidr]) -> Self {
        match error {
            SwarmDialError::NoAddresses => Self::NoAddress,
            SwarmDialError::WrongPeerId { obtained, address } => Self::WrongNode { address, found: node_of(&obtained) },
            SwarmDialError::Transport(errors) => Self::Unreachable { attempts: attempts(&errors, trusted) },
            SwarmDialError::LocalPeerId { .. } => Self::Denied("it is this node itself".to_owned()),
            SwarmDialError::Denied { cause } => Self::Denied(cause.to_string()),
            other => Self::Denied(other.to_string()),
        }
    }
}

/// What a failed or a raced dial tells about each address.
pub(crate) fn attempts(errors: &[(Multiaddr, TransportError<io::Error>)], trusted: &[Cidr]) -> Vec<Attempt> {
    let attempt = |(address, error): &(Multiaddr, TransportError<io::Error>)| Attempt {
        kind: Kind::of(address, trusted),
        address: address.clone(),
        error: chain(error),
        took: if let TransportError::Other(error) = error { Failed::took(error) } else { None },
    };
    errors.iter().map(attempt).collect()
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if text.is_empty() {
            text = cause_text;
        } else if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    // libp2p writes a list of causes in several lines.
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Dials under way, and the addresses that others have told us.
pub(crate) struct Dials {
    waiting: HashMap<PeerId, Vec<oneshot::Sender<Result<Dialled, DialError>>>>,
    told: PeerAddresses,
    crossed: HashSet<PeerId>,
    /// Dials of ours that have not ended: nobody is told of a failure while another one may succeed.
    begun: HashMap<PeerId, HashSet<ConnectionId>>,
}

impl Dials {
    pub(crate) fn new() -> Self {
        // SAFETY: a constant above zero.
        let remembered = std::num::NonZeroUsize::new(REMEMBERED).expect("above zero");
        let (waiting, crossed, begun) = (HashMap::new(), HashSet::new(), HashMap::new());
        Self { waiting, told: PeerAddresses::new(remembered), crossed, begun }
    }

    /// Remembers where a peer may be. Says whether that is news.
    pub(crate) fn learn(&mut self, peer: PeerId, address: Multiaddr) -> bool {
        self.told.add(peer, address)
    }

    /// A dial of ours has begun.
    pub(crate) fn begin(&mut self, peer: PeerId, dial: ConnectionId) {
        self.begun.entry(peer).or_default().insert(dial);
    }

    /// A dial has ended, which may be somebody else's. Says whether none of ours is under way now.
    pub(crate) fn over(&mut self, peer: &PeerId, dial: ConnectionId) -> bool {
        let Some(begun) = self.begun.get_mut(peer) else { return true };
        begun.remove(&dial);
        let none = begun.is_empty();
        if none {
            self.begun.remove(peer);
        }
        none
    }

    /// Whether a dial of ours is under way.
    pub(crate) fn is_dialling(&self, peer: &PeerId) -> bool {
        self.begun.contains_key(peer)
    }

    /// Where a peer may be, as far as we were told.
    pub(crate) fn addresses(&mut self, peer: &PeerId) -> Vec<Multiaddr> {
        self.told.get(peer).collect()
    }

    pub(crate) fn wait(&mut self, peer: PeerId, answer: oneshot::Sender<Result<Dialled, DialError>>) {
        let waiting = self.waiting.entry(peer).or_default();
        if waiting.len() < WAITING {
            waiting.push(answer);
        } else {
            let _gone = answer.send(Err(DialError::Denied("too many wait for this node already".to_owned())));
        }
    }

    /// Whether this dial has met the peer's own dial in the middle: both came from the port that they listen on, TCP made one connection
    /// of the two, and in it both spoke first. It is worth one more try, from another port; a second failure is one.
    pub(crate) fn has_crossed(&mut self, peer: PeerId, error: &SwarmDialError) -> bool {
        let SwarmDialError::Transport(errors) = error else { return false };
        let crossed = attempts(errors, &[]).iter().any(|attempt| attempt.error.contains("Handshake failed"));
        crossed && self.waiting.contains_key(&peer) && self.crossed.insert(peer)
    }

    /// The mesh stops.
    pub(crate) fn stop(&mut self) {
        for (_, waiting) in self.waiting.drain() {
            waiting.into_iter().for_each(|answer| drop(answer.send(Err(DialError::Stopped))));
        }
    }

    /// Tells everybody who waits for this peer.
    pub(crate) fn end(&mut self, peer: &PeerId, result: &Result<Dialled, DialError>) {
        self.crossed.remove(peer);
        for answer in self.waiting.remove(peer).unwrap_or_default() {
            let _gone = answer.send(result.clone());
        }
    }
}
