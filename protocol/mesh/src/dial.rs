//! Making a connection, and saying what was tried.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::{Duration, Instant};

use klp::NodeId;
use klp::rule::address::Cidr;
use libp2p::swarm::behaviour::PeerAddresses;
use libp2p::swarm::{ConnectionId, DialError as SwarmDialError};
use libp2p::{Multiaddr, PeerId, TransportError};
use tokio::sync::oneshot;

use crate::path::{Kind, Path};
use crate::patience::Failed;
use crate::peer::{is_relayed, is_webrtc, node_of, relay_in};

/// Callers that wait for one peer; further ones are told to ask again.
const WAITING: usize = 64;
/// Peers whose addresses are remembered between being told and being dialled.
const REMEMBERED: usize = 1024;
/// Addresses that libp2p keeps of one peer. One more pushes out the first.
pub(crate) const OF_ONE: usize = 10;

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
        error: if is_unbuilt(address) { UNBUILT.to_owned() } else { chain(error) },
        took: if let TransportError::Other(error) = error { Failed::took(error) } else { None },
    };
    errors.iter().map(attempt).collect()
}

/// What there is to say of an address that this program does not speak because of how it was built.
const UNBUILT: &str = "this program was built without WebRTC Direct, the cargo feature `webrtc`";

/// Whether an address is of that kind.
pub(crate) fn is_unbuilt(address: &Multiaddr) -> bool {
    cfg!(not(feature = "webrtc")) && is_webrtc(address) && !is_relayed(address)
}

/// The heading of several causes, also when there is only one.
const LIST: &str = "Multiple dial errors occurred:";

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
    // libp2p writes a list of causes in several lines, below a heading.
    let causes = text.replace(LIST, "");
    let causes = causes.lines().map(|line| line.trim().trim_start_matches("- ")).filter(|line| !line.is_empty());
    causes.collect::<Vec<_>>().join("; ")
}

/// Parts the addresses of a peer: direct ones and those through the nearest relay are for now, those through relays farther off for later.
pub(crate) fn nearest(
    addresses: Vec<Multiaddr>,
    distance: impl Fn(&PeerId) -> Duration,
) -> (Vec<Multiaddr>, Vec<Multiaddr>) {
    let through = |address: &Multiaddr| relay_in(address).filter(|_| is_relayed(address)).map(|relay| distance(&relay));
    let least = addresses.iter().filter_map(through).min();
    addresses.into_iter().partition(|address| through(address).is_none() || through(address) == least)
}

/// Dials under way, and the addresses that others have told us.
pub(crate) struct Dials {
    waiting: HashMap<PeerId, Vec<oneshot::Sender<Result<Dialled, DialError>>>>,
    told: PeerAddresses,
    crossed: HashSet<PeerId>,
    /// Dials of ours that have not ended: nobody is told of a failure while another one may succeed.
    begun: HashMap<PeerId, HashSet<ConnectionId>>,
    /// Addresses that wait behind a dial of ours, and until when.
    later: HashMap<PeerId, (Instant, Vec<Multiaddr>)>,
}

impl Dials {
    pub(crate) fn new() -> Self {
        // SAFETY: a constant above zero.
        let remembered = std::num::NonZeroUsize::new(REMEMBERED).expect("above zero");
        let (waiting, crossed, begun, later) = Default::default();
        Self { waiting, told: PeerAddresses::new(remembered), crossed, begun, later }
    }

    /// Remembers where a peer may be. Says whether that is news.
    pub(crate) fn learn(&mut self, peer: PeerId, address: Multiaddr) -> bool {
        self.told.add(peer, address)
    }

    /// A dial of ours has begun.
    pub(crate) fn begin(&mut self, peer: PeerId, dial: ConnectionId) {
        self.begun.entry(peer).or_default().insert(dial);
    }

    /// These are dialled too, unless the dial of ours that has just begun brings a connection by then.
    pub(crate) fn postpone(&mut self, peer: PeerId, until: Instant, addresses: Vec<Multiaddr>) {
        if !addresses.is_empty() {
            self.later.insert(peer, (until, addresses));
        }
    }

    /// What has waited for this peer's dial, which waits no more.
    pub(crate) fn postponed(&mut self, peer: &PeerId) -> Vec<Multiaddr> {
        self.later.remove(peer).map(|(_, addresses)| addresses).unwrap_or_default()
    }

    /// What has waited for long enough.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let due = self.later.extract_if(|_, (until, _)| *until <= now);
        due.map(|(peer, (_, addresses))| (peer, addresses)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c14_of_two_relays_the_nearer_one_is_dialled_first_and_of_equals_both() {
        let [near, far, also_near] =
            [(); 3].map(|()| libp2p::identity::Keypair::generate_ed25519().public().to_peer_id());
        let address = |text: String| -> Multiaddr { text.parse().expect("address") };
        let direct = address("/ip4/8.8.8.8/tcp/1".to_owned());
        let through = |relay: PeerId, port: u16| address(format!("/ip4/9.9.9.9/tcp/{port}/p2p/{relay}/p2p-circuit"));
        let all = vec![through(far, 1), direct.clone(), through(near, 2), through(near, 3), through(also_near, 4)];
        let distance = |relay: &PeerId| Duration::from_millis(if *relay == far { 80 } else { 20 });
        let (now, later) = nearest(all.clone(), distance);
        assert_eq!(now, [&all[1], &all[2], &all[3], &all[4]].map(Clone::clone));
        assert_eq!(later, [all[0].clone()]);
        assert_eq!(nearest(all.clone(), |_| Duration::from_millis(20)), (all, Vec::new()), "nobody knows better");
        let named = vec![address(format!("/ip4/8.8.8.8/tcp/1/p2p/{far}")), through(near, 2)];
        assert_eq!(
            nearest(named.clone(), distance),
            (named, Vec::new()),
            "a direct address ends with a peer, and that is no relay"
        );
    }

    #[test]
    fn causes_stand_in_one_line() {
        let [one, two] = ["Connection refused", "Host is unreachable"].map(io::Error::other);
        let text = format!("{LIST}\n - {one}");
        assert_eq!(chain(&io::Error::other(text.clone())), "Connection refused");
        assert_eq!(chain(&io::Error::other(format!("{text}\n - {two}"))), "Connection refused; Host is unreachable");
    }

    #[test]
    fn c14_what_waits_is_dialled_when_its_time_has_come_or_the_first_dial_has_failed() {
        let (mut dials, start) = (Dials::new(), Instant::now());
        let [one, other] = [(); 2].map(|()| libp2p::identity::Keypair::generate_ed25519().public().to_peer_id());
        let address: Multiaddr = "/ip4/9.9.9.9/tcp/1".parse().expect("address");
        for peer in [one, other] {
            dials.postpone(peer, start + Duration::from_secs(1), vec![address.clone()]);
        }
        assert_eq!(dials.due(start), []);
        assert_eq!(dials.postponed(&one), std::slice::from_ref(&address));
        assert_eq!(dials.due(start + Duration::from_secs(1)), [(other, vec![address])]);
        assert!(dials.postponed(&other).is_empty() && dials.later.is_empty(), "once");
    }
}
