//! Hello: what two nodes tell each other before anything else, and what they agree on. Source: `specs/03-session.md`, section "Hello".
//!
//! The channel has authenticated the peer; Hello binds a session to both node keys, shows that it is fresh, and carries limits,
//! versions and, to contacts only, who stands behind the node. The listener's Hello names the digest of the dialler's.

use std::collections::{BTreeMap, BTreeSet};

use crate::codec::{Digest, Measure};
use crate::identity::{NodeId, SecretKey};
use crate::message::{Answer, Outcomes};
use crate::refusal::Refusal;
use crate::signed::{Signed, Verified};
use crate::statement::certificate::Introduction;
use crate::time::Timestamp;
use crate::{cbor_struct, limits, statement};

/// The first version of the protocol.
pub const VERSION: u64 = 1;
/// The version that adds packed frames and nothing else. Both are spoken here.
pub const PACKING: u64 = 2;
/// Versions that one Hello may list.
const VERSIONS: usize = 16;

/// Names one session of a pair; it survives a move to another connection.
pub type SessionId = [u8; 16];

/// Names what one side remembers of a session: random, chosen when it begins to remember. A side that has restarted says another one, so
/// that nothing is taken for what it was before.
pub type Memory = [u8; 8];

/// No memory: the other side's was not known yet.
pub const NO_MEMORY: Memory = [0; 8];

cbor_struct! {
    /// What the sender of a Hello accepts from its peer.
    pub struct Limits {
        /// Requests of the peer that run at once.
        1 in_flight: u64;
        /// Bytes of one answer that may wait unread, each chunk counted with its 16-byte header.
        2 unread: u64;
        /// Bytes of one request or response.
        3 message: u64;
    }
}

impl Limits {
    /// Our own.
    pub const OURS: Self =
        Self { in_flight: limits::IN_FLIGHT as u64, unread: limits::UNREAD as u64, message: limits::MESSAGE as u64 };

    /// What a stream starts with before the peer has said its own.
    pub const EARLY: Self = Self { in_flight: limits::EARLY as u64, ..Self::OURS };

    /// The smaller of both, item by item.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            in_flight: self.in_flight.min(other.in_flight),
            unread: self.unread.min(other.unread),
            message: self.message.min(other.message),
        }
    }

    /// Too small to talk: not one request, or not one chunk beside the credit that is on its way.
    fn are_usable(&self) -> bool {
        self.in_flight > 0 && self.unread >= 2 * limits::FRAME as u64 && self.message >= limits::FRAME as u64
    }
}

/// What a session takes from the peer's Hello.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// What the peer accepts.
    pub limits: Limits,
    /// What the peer remembers.
    pub memory: Memory,
    /// Whether the peer speaks [`PACKING`], and so reads packed frames.
    pub packs: bool,
}

statement! {
    "kos/hello/1"
    /// The first frame of each direction of a stream, signed by the sender's node key.
    pub struct Hello {
        /// The sender, which the channel has authenticated too.
        1 from: NodeId;
        /// The receiver.
        2 to: NodeId;
        /// Fresh for each stream.
        3 nonce: [u8; 16];
        /// The sender's wall clock.
        4 time: Timestamp;
        /// Versions that the sender speaks, ascending.
        5 versions: Vec<u64>, max VERSIONS;
        /// The session that this stream carries.
        6 session: SessionId;
        /// What the sender accepts.
        7 limits: Limits;
        /// The listener's answer: digest of the dialler's Hello as it travelled.
        8 answers: Option<Digest>;
        /// To contacts only: whose node this is.
        9 introduction: Option<Introduction>;
        /// To contacts only: the number of the owner's latest revocation.
        10 revocations: Option<u64>;
        /// To contacts only: what the receiver may use here, as `agent.capability`.
        11 offers: BTreeSet<String>, max 2 * limits::NAME;
        /// To contacts only: what the sender would like to use there.
        12 wants: BTreeSet<String>, max 2 * limits::NAME;
        /// The listener's answer to the dialler's wants.
        13 outcomes: Vec<Outcomes>, max limits::OFFERS;
        /// What the sender remembers of the session, it remembers since it chose this number; never all zero.
        14 memory: Memory;
    }
}

/// What a node tells one peer besides what every Hello says. Empty for a stranger.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extras {
    /// Whose node this is.
    pub introduction: Option<Introduction>,
    /// The number of the owner's latest revocation.
    pub revocations: Option<u64>,
    /// What the peer may use here; at most [`limits::OFFERS`] names.
    pub offers: BTreeSet<String>,
    /// What we would like to use there; at most [`limits::OFFERS`] names.
    pub wants: BTreeSet<String>,
}

/// What makes one Hello different from the next; all of it comes from outside.
#[derive(Clone, Copy, Debug)]
pub struct Fresh {
    /// 16 bytes of good entropy.
    pub nonce: [u8; 16],
    /// The wall clock.
    pub now: Timestamp,
    /// The session that the stream will carry.
    pub session: SessionId,
    /// Our memory of it.
    pub memory: Memory,
}

/// The bytes of a Hello that came, and what they say.
#[derive(Clone, Debug)]
pub struct Greeting {
    hello: Verified<Hello>,
    digest: Digest,
}

impl Hello {
    /// What the session takes from it.
    pub fn terms(&self) -> Terms {
        let packs = self.versions.contains(&PACKING);
        Terms { limits: self.limits.clone(), memory: self.memory, packs }
    }

    /// A dialler's Hello, or with `answers` the listener's.
    pub fn make(key: &SecretKey, to: NodeId, fresh: Fresh, extras: Extras, answers: Option<&Greeting>) -> Vec<u8> {
        let outcomes = answers.map(|theirs| negotiate(&theirs.wants, &extras.offers)).unwrap_or_default();
        let hello = Self {
            from: NodeId(key.did()),
            to,
            nonce: fresh.nonce,
            time: fresh.now,
            versions: vec![VERSION, PACKING],
            session: fresh.session,
            limits: Limits::OURS,
            answers: answers.map(|theirs| theirs.digest),
            introduction: extras.introduction,
            revocations: extras.revocations,
            offers: extras.offers,
            wants: extras.wants,
            outcomes,
            memory: fresh.memory,
        };
        Verified::sign(hello, key).signed().as_bytes().to_vec()
    }
}

impl Greeting {
    /// Checks a Hello that came from `peer`, as the channel says, to `me`. `answers` is our own Hello when we dialled.
    ///
    /// # Errors
    /// In this order: `malformed` or `signature`; `not_for_me` when it is signed by or meant for another node; `malformed` when it answers
    /// another Hello, or none where it should, or states unusable limits or no memory; `clock` when it is more than [`limits::SKEW`] off; `replay`
    /// for a seen nonce and `busy` when no more nonces can be remembered; `version` without a common version.
    pub fn check(
        bytes: &[u8],
        peer: NodeId,
        me: NodeId,
        answers: Option<&[u8]>,
        now: Timestamp,
        window: &mut ReplayWindow,
    ) -> Result<Self, Refusal> {
        let hello = Signed::<Hello>::from_bytes(bytes.to_vec()).verify().map_err(|error| Refusal::from(&error))?;
        if hello.signer() != peer.0 || hello.from != peer || hello.to != me {
            return Err(Refusal::NotForMe);
        }
        let listed = hello.wants.measure() <= 2 * limits::NAME
            && hello.wants.len() <= limits::OFFERS
            && hello.offers.len() <= limits::OFFERS;
        if hello.answers != answers.map(|ours| Digest::of(&[ours]))
            || !listed
            || !hello.limits.are_usable()
            || hello.memory == NO_MEMORY
        {
            return Err(Refusal::Malformed);
        }
        if hello.time.since(now).max(now.since(hello.time)) > limits::SKEW {
            return Err(Refusal::Clock);
        }
        window.admit(peer, hello.nonce, hello.time, now)?;
        if ![VERSION, PACKING].iter().any(|version| hello.versions.contains(version)) {
            return Err(Refusal::Version);
        }
        Ok(Self { hello, digest: Digest::of(&[bytes]) })
    }

    /// What the answering side of this stream said, or the side that was answered.
    pub fn hello(&self) -> &Verified<Hello> {
        &self.hello
    }
}

impl std::ops::Deref for Greeting {
    type Target = Hello;

    fn deref(&self) -> &Hello {
        &self.hello
    }
}

/// The nonces of the last minutes: a Hello counts once. One for all sessions of a node.
#[derive(Debug, Default)]
pub struct ReplayWindow {
    by_time: BTreeSet<(Timestamp, NodeId, [u8; 16])>,
    by_peer: BTreeMap<NodeId, BTreeSet<[u8; 16]>>,
}

impl ReplayWindow {
    /// An empty window.
    pub fn new() -> Self {
        Self::default()
    }

    /// Remembers a nonce until the Hello's own time is too old to be accepted anyway.
    ///
    /// # Errors
    /// `replay` for a nonce that is remembered, `busy` when there is no room: a live one is never forgotten for a new one.
    pub fn admit(&mut self, peer: NodeId, nonce: [u8; 16], time: Timestamp, now: Timestamp) -> Result<(), Refusal> {
        let oldest = now.before(limits::SKEW);
        while let Some((time, peer, nonce)) = self.by_time.first().copied().filter(|(time, ..)| *time < oldest) {
            self.by_time.remove(&(time, peer, nonce));
            if let Some(nonces) = self.by_peer.get_mut(&peer) {
                nonces.remove(&nonce);
                if nonces.is_empty() {
                    self.by_peer.remove(&peer);
                }
            }
        }
        let seen = self.by_peer.get(&peer);
        if seen.is_some_and(|nonces| nonces.contains(&nonce)) {
            return Err(Refusal::Replay);
        }
        if self.by_time.len() >= limits::NONCES || seen.is_some_and(|nonces| nonces.len() >= limits::NONCES_PER_PEER) {
            return Err(Refusal::Busy);
        }
        self.by_time.insert((time, peer, nonce));
        self.by_peer.entry(peer).or_default().insert(nonce);
        Ok(())
    }
}

/// Answers each want from what is offered. A name is `agent.capability`; `agent.*` means every capability of the agent. Segments match
/// whole, never as a prefix.
pub fn negotiate(wants: &BTreeSet<String>, offers: &BTreeSet<String>) -> Vec<Outcomes> {
    wants
        .iter()
        .map(|want| {
            let (answer, reason) = judge(want, offers);
            Outcomes { name: want.clone(), answer, reason, calls_left: None, expires: None }
        })
        .collect()
}

fn judge(want: &str, offers: &BTreeSet<String>) -> (Answer, String) {
    let Some((agent, capability)) = want.rsplit_once('.') else {
        return (Answer::Denied, "a wish is written agent.capability".to_owned());
    };
    if offers.contains(want) || offers.contains(&format!("{agent}.*")) {
        return (Answer::Granted, "offered".to_owned());
    }
    let mut others: Vec<&str> = offers
        .iter()
        .filter_map(|offer| offer.rsplit_once('.'))
        .filter(|(other, _)| *other == agent)
        .map(|(_, capability)| capability)
        .collect();
    others.truncate(4);
    match (capability, others.is_empty()) {
        ("*", false) => (Answer::Partial, format!("only {}", others.join(", "))),
        (_, false) => (Answer::Denied, format!("{agent} does not offer {capability} to you")),
        (_, true) => (Answer::Denied, format!("nothing of {agent} is offered to you")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn node(seed: u8) -> NodeId {
        NodeId(key(seed).did())
    }

    fn fresh(nonce: u8) -> Fresh {
        Fresh { nonce: [nonce; 16], now: NOW, session: [9; 16], memory: [1; 8] }
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn s07_k1_both_sides_say_hello_and_the_answer_is_bound_to_the_question() {
        let mut window = ReplayWindow::new();
        let extras = Extras { wants: names(&["guide.ask"]), ..Extras::default() };
        let ours = Hello::make(&key(1), node(2), fresh(1), extras, None);
        let heard = Greeting::check(&ours, node(1), node(2), None, NOW, &mut window).expect("valid");
        let offering = Extras { offers: names(&["guide.ask"]), ..Extras::default() };
        let theirs = Hello::make(&key(2), node(1), fresh(2), offering, Some(&heard));
        let answer = Greeting::check(&theirs, node(2), node(1), Some(&ours), NOW, &mut window).expect("valid");
        assert_eq!(answer.outcomes[0].answer, Answer::Granted);
        assert_eq!(answer.from, node(2));
        let other = Hello::make(&key(1), node(2), fresh(3), Extras::default(), None);
        let mut new = ReplayWindow::new();
        let refused = Greeting::check(&theirs, node(2), node(1), Some(&other), NOW, &mut new);
        assert_eq!(refused.err(), Some(Refusal::Malformed), "an answer to another Hello");
    }

    #[test]
    fn s07_a_wrong_peer_a_seen_nonce_and_a_wrong_clock_are_refused() {
        let hello = Hello::make(&key(1), node(2), fresh(1), Extras::default(), None);
        let check =
            |hello: &[u8], peer, me, now| Greeting::check(hello, peer, me, None, now, &mut ReplayWindow::new()).err();
        let late = NOW.after(limits::SKEW).after(std::time::Duration::from_millis(1));
        let early = Timestamp(2 * NOW.0 - late.0);
        let mut flipped = hello.clone();
        *flipped.last_mut().expect("bytes") ^= 1;
        for (what, refused, expected) in [
            ("as it is", check(&hello, node(1), node(2), NOW), None),
            ("five minutes late", check(&hello, node(1), node(2), NOW.after(limits::SKEW)), None),
            ("another sender", check(&hello, node(3), node(2), NOW), Some(Refusal::NotForMe)),
            ("another receiver", check(&hello, node(1), node(3), NOW), Some(Refusal::NotForMe)),
            ("too late", check(&hello, node(1), node(2), late), Some(Refusal::Clock)),
            ("too early", check(&hello, node(1), node(2), early), Some(Refusal::Clock)),
            ("a flipped bit", check(&flipped, node(1), node(2), NOW), Some(Refusal::Signature)),
            ("no hello", check(b"hello", node(1), node(2), NOW), Some(Refusal::Malformed)),
        ] {
            assert_eq!(refused, expected, "{what}");
        }
        let mut window = ReplayWindow::new();
        assert!(Greeting::check(&hello, node(1), node(2), None, NOW, &mut window).is_ok());
        let again = Greeting::check(&hello, node(1), node(2), None, NOW, &mut window);
        assert_eq!(again.err(), Some(Refusal::Replay));
    }

    #[test]
    fn s08_a_strangers_hello_names_no_owner_and_no_capability() {
        let hello = Hello::make(&key(1), node(2), fresh(1), Extras::default(), None);
        let heard = Greeting::check(&hello, node(1), node(2), None, NOW, &mut ReplayWindow::new()).expect("valid");
        assert_eq!((heard.introduction.clone(), heard.revocations), (None, None));
        assert!(heard.offers.is_empty() && heard.wants.is_empty() && heard.outcomes.is_empty());
    }

    #[test]
    fn s20_the_window_is_bounded_and_forgets_only_what_no_clock_would_accept() {
        let mut window = ReplayWindow::new();
        let nonce = |n: usize| {
            let mut nonce = [0; 16];
            nonce[..8].copy_from_slice(&n.to_be_bytes());
            nonce
        };
        for n in 0..limits::NONCES_PER_PEER {
            assert_eq!(window.admit(node(1), nonce(n), NOW, NOW), Ok(()));
        }
        let full = limits::NONCES_PER_PEER;
        assert_eq!(window.admit(node(1), nonce(full), NOW, NOW), Err(Refusal::Busy));
        assert_eq!(window.admit(node(1), nonce(0), NOW, NOW), Err(Refusal::Replay));
        assert_eq!(window.admit(node(2), nonce(0), NOW, NOW), Ok(()), "another peer has its own room");
        let later = NOW.after(limits::SKEW).after(std::time::Duration::from_millis(1));
        assert_eq!(window.admit(node(1), nonce(full), later, later), Ok(()));
        assert_eq!(window.by_time.len(), 1);
    }

    #[test]
    fn k3_wants_are_granted_partly_granted_or_denied_with_a_reason() {
        let offers = names(&["guide.ask", "guide.find", "notes.*"]);
        let wants = names(&["guide.ask", "guide.*", "guide.as", "notes.read", "other.ask", "guide", "guidex.ask"]);
        let outcomes: Vec<_> = negotiate(&wants, &offers).into_iter().map(|o| (o.name, o.answer, o.reason)).collect();
        for (name, answer, reason) in [
            ("guide.ask", Answer::Granted, "offered"),
            ("guide.*", Answer::Partial, "only ask, find"),
            ("guide.as", Answer::Denied, "guide does not offer as to you"),
            ("notes.read", Answer::Granted, "offered"),
            ("other.ask", Answer::Denied, "nothing of other is offered to you"),
            ("guide", Answer::Denied, "a wish is written agent.capability"),
            ("guidex.ask", Answer::Denied, "nothing of guidex is offered to you"),
        ] {
            assert!(outcomes.contains(&(name.to_owned(), answer, reason.to_owned())), "{name}: {outcomes:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_changed_hello_is_never_taken(at in 0usize..2000, bit in 0u8..8) {
            let mut hello = Hello::make(&key(1), node(2), fresh(1), Extras::default(), None);
            let at = at % hello.len();
            hello[at] ^= 1 << bit;
            let checked = Greeting::check(&hello, node(1), node(2), None, NOW, &mut ReplayWindow::new());
            proptest::prop_assert!(checked.is_err());
        }

        #[test]
        fn any_bytes_are_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let checked = Greeting::check(&bytes, node(1), node(2), None, NOW, &mut ReplayWindow::new());
            proptest::prop_assert!(checked.is_err());
        }
    }
}
