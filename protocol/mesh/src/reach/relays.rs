//! The relays that we wait behind: which ones, when to try again, and when to take another.
//!
//! Relays that the user has configured are always wanted. Others, found in the directory or offered by contacts, step in while no third
//! party can dial us: two, in different networks where that can be had. Entropy is an argument: a number below 2^32 for each draw.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::shown::{RelayPhase, RelaySource, RelayView};
use crate::peer::{ip_in, node_of};

/// The first wait after a loss; it doubles up to [`LONGEST`], and each is drawn between half and one and a half of that.
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(10 * 60);
/// No wait is longer than this while no relay at all holds a place for us.
const HUNGRY: Duration = Duration::from_secs(15);
/// Nor than this shortly after the network has changed.
const EAGER: Duration = Duration::from_secs(2);
/// How long a relay that refuses us is left alone, and how long when there is no other.
const REFUSED: Duration = Duration::from_secs(10 * 60);
const REFUSED_ALONE: Duration = Duration::from_secs(60);
/// A dial or a reservation that has not succeeded by then is tried again.
const PATIENCE: Duration = Duration::from_secs(15);
/// Places that we want while nobody can dial us, in different networks.
const TARGET: usize = 2;
/// Places that we hold at most.
const MOST: usize = 3;
/// Relays that are remembered, of each source.
const KNOWN: usize = 32;
/// How long an own address must have been confirmed before places that nobody asked for are given up.
const SETTLED: Duration = Duration::from_secs(5 * 60);
/// Between the first two questions to the directory while places are missing; it doubles up to [`SEARCH_LONGEST`].
const SEARCH: Duration = Duration::from_secs(5);
const SEARCH_LONGEST: Duration = Duration::from_secs(60);
/// A relay of which no round trip is known counts as this far.
const UNMEASURED: Duration = Duration::from_millis(200);

/// A network that one operator is likely to have to itself: the /16 of IPv4, the /32 of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Network(u32, bool);

/// Where one relay stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not needed.
    Spare,
    /// Nothing is under way until then; refused or not.
    Waiting { until: Instant, refused: bool },
    /// A connection is being made.
    Dialling,
    /// A reservation was asked for.
    Reserving(ListenerId),
    /// The relay holds a place for us.
    Active(ListenerId),
}

#[derive(Debug)]
struct Relay {
    peer: PeerId,
    address: Multiaddr,
    /// Further addresses that the user has given.
    more: Vec<Multiaddr>,
    source: RelaySource,
    network: Option<Network>,
    phase: Phase,
    since: Instant,
    failures: u32,
    /// Refusals and losses, halved by each success.
    trouble: u32,
    rtt: Option<Duration>,
    lost: Option<String>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Connect to it.
    Dial(PeerId, Multiaddr),
    /// Listen there: that asks for a reservation.
    Listen(PeerId, Multiaddr),
    /// Give up this listener.
    Drop(ListenerId),
    /// Ask the directory for relays.
    Search,
}

/// Why a reservation has ended or was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The relay is full, or does not want us.
    Refused(String),
    /// Anything else.
    Broken(String),
}

/// All relays that we know.
#[derive(Debug)]
pub(crate) struct Relays {
    relays: Vec<Relay>,
    /// When the directory was asked, and how long before it is asked again.
    searched: Option<(Instant, Duration)>,
    /// The network has changed: until then nothing waits for long.
    eager: Option<Instant>,
}

impl Relays {
    /// Each address ends in `/p2p/PEER`; others were refused when the mesh was opened.
    pub(crate) fn new(addresses: Vec<Multiaddr>, now: Instant) -> Self {
        let mut relays = Self { relays: Vec::new(), searched: None, eager: None };
        for address in addresses {
            relays.add(address, RelaySource::Configured, now);
        }
        relays
    }

    /// A relay, unless it is known already or there are too many. A better source takes over a worse one.
    fn add(&mut self, address: Multiaddr, source: RelaySource, now: Instant) {
        let Some(Protocol::P2p(peer)) = address.iter().last() else { return };
        if let Some(known) = self.relays.iter_mut().find(|relay| relay.peer == peer) {
            known.source = known.source.min(source);
            if source == RelaySource::Configured && known.more.len() < KNOWN {
                known.more.push(address);
            }
            return;
        }
        if self.relays.iter().filter(|relay| relay.source == source).count() < KNOWN {
            let network = network_of(&address);
            self.relays.push(Relay {
                peer,
                address,
                more: Vec::new(),
                source,
                network,
                phase: Phase::Spare,
                since: now,
                failures: 0,
                trouble: 0,
                rtt: None,
                lost: None,
            });
        }
    }

    /// Relays that say in the directory that they are some.
    pub(crate) fn found(&mut self, addresses: impl IntoIterator<Item = Multiaddr>, now: Instant) {
        for address in addresses {
            self.add(address, RelaySource::Directory, now);
        }
    }

    /// The directory could not be asked: there is nobody to ask yet.
    pub(crate) fn not_asked(&mut self) {
        self.searched = None;
    }

    /// The relays that contacts offer; those of before that are not among them are given up.
    pub(crate) fn offered(&mut self, addresses: impl IntoIterator<Item = Multiaddr>, now: Instant) -> Vec<Step> {
        let mut offered = BTreeSet::new();
        for address in addresses {
            if let Some(Protocol::P2p(peer)) = address.iter().last() {
                offered.insert(peer);
            }
            self.add(address, RelaySource::Contact, now);
        }
        let is_over = |relay: &mut Relay| relay.source == RelaySource::Contact && !offered.contains(&relay.peer);
        let place = |relay: Relay| match relay.phase {
            Phase::Reserving(listener) | Phase::Active(listener) => Some(Step::Drop(listener)),
            _ => None,
        };
        self.relays.extract_if(.., is_over).filter_map(place).collect()
    }

    /// What is due. `hidden`: no third party can dial us; `public_since`: since when one can.
    pub(crate) fn tick(
        &mut self,
        hidden: bool,
        public_since: Option<Instant>,
        now: Instant,
        dice: &mut dyn FnMut() -> u32,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        for relay in &mut self.relays {
            let late = now.saturating_duration_since(relay.since) > PATIENCE;
            match relay.phase {
                Phase::Dialling if late => relay.lose("no connection in time", now, dice()),
                Phase::Reserving(listener) if late => {
                    steps.push(Step::Drop(listener));
                    relay.lose("no answer to the reservation in time", now, dice());
                }
                _ => {}
            }
        }
        while let Some(at) = self.next_wanted(hidden, now, dice) {
            let relay = &mut self.relays[at];
            relay.enter(Phase::Dialling, now);
            steps.push(Step::Dial(relay.peer, relay.address.clone()));
        }
        if public_since.is_some_and(|since| now.saturating_duration_since(since) > SETTLED) {
            for relay in self.relays.iter_mut().filter(|relay| relay.source != RelaySource::Configured) {
                if let Phase::Active(listener) = relay.phase {
                    steps.push(Step::Drop(listener));
                    relay.enter(Phase::Spare, now);
                }
            }
        }
        let asked = self.searched.is_some_and(|(at, wait)| now.saturating_duration_since(at) < wait);
        if self.is_content() {
            self.searched = None;
        } else if hidden && !asked {
            let wait = self.searched.map_or(SEARCH, |(_, wait)| (wait * 2).min(SEARCH_LONGEST));
            self.searched = Some((now, wait));
            steps.push(Step::Search);
        }
        steps
    }

    /// Which relay to try now, if one is wanted.
    fn next_wanted(&self, hidden: bool, now: Instant, dice: &mut dyn FnMut() -> u32) -> Option<usize> {
        let busy = self.relays.iter().filter(|relay| relay.phase.is_busy()).count();
        if busy >= MOST {
            return None;
        }
        let hungry = !self.relays.iter().any(|relay| matches!(relay.phase, Phase::Active(_)));
        let refused = |relay: &Relay| matches!(relay.phase, Phase::Waiting { refused: true, .. });
        let alone = self.relays.iter().all(refused);
        let due = |relay: &Relay| match relay.phase {
            Phase::Spare => true,
            Phase::Waiting { until, refused } => {
                let soonest = match (refused, alone, hungry) {
                    (true, false, _) | (_, _, false) => until,
                    (true, true, true) => until.min(relay.since + REFUSED_ALONE),
                    (false, _, true) if self.eager.is_some_and(|until| now < until) => until.min(relay.since + EAGER),
                    (false, _, true) => until.min(relay.since + HUNGRY),
                };
                soonest <= now
            }
            _ => false,
        };
        let configured = |relay: &Relay| relay.source == RelaySource::Configured;
        if let Some(at) = self.relays.iter().position(|relay| configured(relay) && due(relay)) {
            return Some(at);
        }
        if !hidden || self.is_content() {
            return None;
        }
        let busy_ones = self.relays.iter().filter(|relay| relay.phase.is_busy());
        let taken: Vec<Network> = busy_ones.filter_map(|relay| relay.network).collect();
        let elsewhere = |relay: &Relay| relay.network.is_none_or(|network| !taken.contains(&network));
        let mut choice: Vec<usize> = (0..self.relays.len())
            .filter(|at| self.relays.get(*at).is_some_and(|relay| due(relay) && elsewhere(relay)))
            .collect();
        if choice.is_empty() && busy < TARGET {
            choice = (0..self.relays.len()).filter(|at| self.relays.get(*at).is_some_and(&due)).collect();
        }
        // Of two that chance has drawn the better one: the load spreads, and nobody herds to the best.
        let count = choice.len();
        let mut draw = || choice.get(dice() as usize % count.max(1)).copied();
        let (one, other) = (draw()?, draw()?);
        Some(if self.relays[one].score() <= self.relays[other].score() { one } else { other })
    }

    /// Whether places enough are held or asked for, in different networks as far as we know.
    fn is_content(&self) -> bool {
        let busy: Vec<_> = self.relays.iter().filter(|relay| relay.phase.is_busy()).collect();
        let networks: BTreeSet<_> = busy.iter().filter_map(|relay| relay.network).collect();
        let unknown = busy.iter().filter(|relay| relay.network.is_none()).count();
        busy.len() >= MOST || (busy.len() >= TARGET && networks.len() + unknown >= TARGET)
    }

    /// A relay is connected and has told us that it carries circuits. Only now do we know how it sees us, which hole punching needs.
    /// `address`: where we have dialled it, which is what others are told, unless the user has named the relay in other words.
    pub(crate) fn identified(&mut self, peer: PeerId, address: Option<&Multiaddr>) -> Option<Step> {
        let relay = self.relays.iter_mut().find(|relay| relay.peer == peer && relay.phase == Phase::Dialling)?;
        if let Some(address) = address {
            relay.network = network_of(address).or(relay.network);
            if let Ok(address) = address.clone().with_p2p(peer)
                && (relay.source != RelaySource::Configured || relay.more.contains(&address))
            {
                relay.address = address;
            }
        }
        Some(Step::Listen(peer, relay.address.clone().with(Protocol::P2pCircuit)))
    }

    /// A peer that we took for a relay says that it is none.
    pub(crate) fn is_none(&mut self, peer: PeerId, now: Instant, dice: u32) {
        for relay in self.of(peer).filter(|relay| relay.phase == Phase::Dialling) {
            relay.lose("it does not carry circuits", now, dice);
        }
    }

    /// A reservation was asked for.
    pub(crate) fn asked(&mut self, peer: PeerId, listener: ListenerId, now: Instant) {
        for relay in self.of(peer) {
            relay.enter(Phase::Reserving(listener), now);
        }
    }

    /// The relay has agreed.
    pub(crate) fn accepted(&mut self, peer: PeerId, now: Instant) {
        for relay in self.of(peer) {
            if let Phase::Reserving(listener) = relay.phase {
                relay.enter(Phase::Active(listener), now);
                relay.failures = 0;
                relay.trouble /= 2;
            }
        }
    }

    /// A listener has ended; it may be one of these.
    pub(crate) fn closed(&mut self, listener: ListenerId, loss: &Loss, now: Instant, dice: u32) -> bool {
        let mut was_active = false;
        for relay in &mut self.relays {
            if matches!(relay.phase, Phase::Reserving(id) | Phase::Active(id) if id == listener) {
                was_active = matches!(relay.phase, Phase::Active(_));
                match loss {
                    Loss::Broken(why) => relay.lose(why, now, dice),
                    Loss::Refused(why) => {
                        relay.lose(why, now, dice);
                        relay.phase = Phase::Waiting { until: now + REFUSED, refused: true };
                    }
                }
            }
        }
        was_active
    }

    /// No connection could be made.
    pub(crate) fn failed(&mut self, peer: PeerId, why: &str, now: Instant, dice: u32) {
        for relay in self.of(peer).filter(|relay| relay.phase == Phase::Dialling) {
            relay.lose(why, now, dice);
        }
    }

    /// The connection to a relay is gone, and its place with it. Says which listener hung on it.
    pub(crate) fn disconnected(&mut self, peer: PeerId, now: Instant, dice: u32) -> Option<ListenerId> {
        let mut hung = None;
        for relay in self.of(peer) {
            if let Phase::Reserving(listener) | Phase::Active(listener) = relay.phase {
                hung = Some(listener);
                relay.lose("the connection to it is gone", now, dice);
            }
        }
        hung
    }

    /// A round trip to a peer that may be a relay.
    pub(crate) fn measured(&mut self, peer: PeerId, rtt: Duration) {
        for relay in self.of(peer) {
            relay.rtt = Some(relay.rtt.map_or(rtt, |before| (before * 3 + rtt) / 4));
        }
    }

    /// The network has changed: what waits is tried at once.
    pub(crate) fn changed(&mut self, now: Instant) {
        for relay in &mut self.relays {
            if let Phase::Waiting { refused: false, .. } = relay.phase {
                relay.phase = Phase::Waiting { until: now, refused: false };
                relay.failures = 0;
            }
        }
        (self.searched, self.eager) = (None, Some(now + HUNGRY));
    }

    /// Relays that hold a place for us.
    pub(crate) fn active(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.relays.iter().filter(|relay| matches!(relay.phase, Phase::Active(_))).map(|relay| relay.peer)
    }

    /// Relays that hold a place for us, or were asked for one.
    pub(crate) fn held(&self) -> impl Iterator<Item = PeerId> + '_ {
        let holds = |relay: &&Relay| matches!(relay.phase, Phase::Reserving(_) | Phase::Active(_));
        self.relays.iter().filter(holds).map(|relay| relay.peer)
    }

    /// All of them, as people want to see them.
    pub(crate) fn shown(&self) -> Vec<RelayView> {
        self.relays.iter().filter_map(Relay::shown).collect()
    }

    fn of(&mut self, peer: PeerId) -> impl Iterator<Item = &mut Relay> {
        self.relays.iter_mut().filter(move |relay| relay.peer == peer)
    }
}

impl Phase {
    fn is_busy(self) -> bool {
        matches!(self, Self::Dialling | Self::Reserving(_) | Self::Active(_))
    }
}

impl Relay {
    fn enter(&mut self, phase: Phase, now: Instant) {
        (self.phase, self.since) = (phase, now);
    }

    fn lose(&mut self, why: &str, now: Instant, dice: u32) {
        let wait = FIRST.saturating_mul(1 << self.failures.min(8)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.trouble = self.trouble.saturating_add(1);
        self.lost = Some(why.chars().take(200).collect());
        self.enter(Phase::Waiting { until: now + jitter(wait, dice), refused: false }, now);
    }

    fn score(&self) -> Duration {
        self.rtt.unwrap_or(UNMEASURED) + UNMEASURED.saturating_mul(self.trouble.min(100))
    }

    fn shown(&self) -> Option<RelayView> {
        let mut address = self.address.clone();
        address.pop();
        Some(RelayView {
            node: node_of(&self.peer)?,
            address,
            source: self.source,
            phase: match self.phase {
                Phase::Spare => RelayPhase::Spare,
                Phase::Waiting { .. } => RelayPhase::Waiting,
                Phase::Dialling => RelayPhase::Dialling,
                Phase::Reserving(_) => RelayPhase::Reserving,
                Phase::Active(_) => RelayPhase::Active,
            },
            since: self.since,
            failures: self.failures,
            lost: self.lost.clone(),
            rtt: self.rtt,
        })
    }
}

/// Between half and one and a half.
fn jitter(wait: Duration, dice: u32) -> Duration {
    wait.mul_f64(0.5 + f64::from(dice) / f64::from(u32::MAX))
}

fn network_of(address: &Multiaddr) -> Option<Network> {
    match ip_in(address)? {
        IpAddr::V4(ip) => Some(Network(ip.to_bits() >> 16, true)),
        IpAddr::V6(ip) => u32::try_from(ip.to_bits() >> 96).ok().map(|network| Network(network, false)),
    }
}

#[cfg(test)]
mod tests;
