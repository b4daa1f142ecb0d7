//! Bytes a second for many: each peer in turn gets a slice, so that one who wants all leaves the others theirs.
//!
//! A deficit round robin over peers, not over their streams or connections. Who wants little finds what it wants at once; what it leaves is
//! shared by the others. Without a bound nothing is counted here.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::task::Waker;
use std::time::{Duration, Instant};

use libp2p::PeerId;

/// What a peer gets in its turn.
const SLICE: u64 = 16 * 1024;
/// What may be saved up, as a time: a timer is never more exact than this.
const SAVED: Duration = Duration::from_millis(20);
/// Streams of one peer that wait for its turn; further ones are woken with the next.
const WAITING: usize = 1024;

#[derive(Debug)]
struct Flow {
    connections: usize,
    /// Bytes that it may take now.
    credit: u64,
    /// When everything that it has taken would have come at its own bound.
    due: Instant,
    /// Whether it stands in the queue, or rests.
    waits: bool,
    wakers: Vec<Waker>,
}

/// The bytes of all.
#[derive(Debug)]
pub(crate) struct Shares {
    /// Bytes a second of all together, and of one peer; 0 is without bound.
    total: u64,
    each: u64,
    tokens: u64,
    filled_at: Instant,
    flows: HashMap<PeerId, Flow>,
    queue: VecDeque<PeerId>,
    resting: BTreeSet<(Instant, PeerId)>,
}

impl Shares {
    pub(crate) fn new(total: u64, each: u64, now: Instant) -> Self {
        let mut shares = Self {
            total,
            each,
            tokens: 0,
            filled_at: now,
            flows: HashMap::new(),
            queue: VecDeque::new(),
            resting: BTreeSet::new(),
        };
        shares.tokens = shares.most();
        shares
    }

    /// Whether there is no bound at all.
    pub(crate) fn is_free(&self) -> bool {
        self.total == 0 && self.each == 0
    }

    fn most(&self) -> u64 {
        bytes_in(self.total, SAVED).max(4 * SLICE)
    }

    /// A connection of this peer has begun.
    pub(crate) fn open(&mut self, peer: PeerId, now: Instant) {
        let fresh = || Flow { connections: 0, credit: 0, due: now, waits: false, wakers: Vec::new() };
        self.flows.entry(peer).or_insert_with(fresh).connections += 1;
    }

    /// A connection of this peer is over.
    pub(crate) fn close(&mut self, peer: PeerId) {
        if let Some(flow) = self.flows.get_mut(&peer) {
            flow.connections -= 1;
            if flow.connections == 0 {
                // Where it stands in the queue nobody will be found, and the turn goes on.
                self.flows.remove(&peer);
            }
        }
    }

    /// Bytes that this peer may take now. Without any its turn will wake it.
    pub(crate) fn ask(&mut self, peer: PeerId, waker: &Waker, now: Instant) -> Option<u64> {
        self.fill(now);
        let (total, each, tokens) = (self.total, self.each, self.tokens);
        let first = self.queue.is_empty();
        let flow = self.flows.get_mut(&peer)?;
        if flow.credit == 0 && !flow.waits {
            let rests_until = rests(flow, each, now);
            if rests_until.is_none() && (total == 0 || first && tokens >= SLICE) {
                flow.credit = SLICE;
                self.tokens -= if total == 0 { 0 } else { SLICE };
            } else {
                flow.waits = true;
                match rests_until {
                    Some(until) => drop(self.resting.insert((until, peer))),
                    None => self.queue.push_back(peer),
                }
            }
        }
        if flow.credit == 0 {
            if flow.wakers.len() < WAITING && !flow.wakers.iter().any(|known| known.will_wake(waker)) {
                flow.wakers.push(waker.clone());
            }
            return None;
        }
        Some(flow.credit)
    }

    /// It has taken so many of them.
    pub(crate) fn took(&mut self, peer: PeerId, bytes: u64, now: Instant) {
        if let Some(flow) = self.flows.get_mut(&peer) {
            flow.credit = flow.credit.saturating_sub(bytes);
            if self.each > 0 {
                flow.due = flow.due.max(now) + time_of(bytes, self.each);
            }
        }
    }

    /// Whose turn it is now.
    pub(crate) fn turn(&mut self, now: Instant) -> Vec<Waker> {
        self.fill(now);
        while let Some((until, peer)) = self.resting.first().copied().filter(|(until, _)| *until <= now) {
            self.resting.remove(&(until, peer));
            self.queue.push_back(peer);
        }
        let mut woken = Vec::new();
        while self.total == 0 || self.tokens >= SLICE {
            let Some(peer) = self.queue.pop_front() else { break };
            let Some(flow) = self.flows.get_mut(&peer).filter(|flow| flow.waits) else { continue };
            if let Some(until) = rests(flow, self.each, now) {
                self.resting.insert((until, peer));
                continue;
            }
            flow.waits = false;
            flow.credit = SLICE;
            woken.append(&mut flow.wakers);
            self.tokens -= if self.total == 0 { 0 } else { SLICE };
        }
        woken
    }

    /// When it will be somebody's turn, if anybody waits.
    pub(crate) fn next(&self) -> Option<Instant> {
        let missing = SLICE.saturating_sub(self.tokens);
        let filled = (!self.queue.is_empty()).then(|| match self.total {
            0 => self.filled_at,
            total => self.filled_at + time_of(missing, total),
        });
        let rested = self.resting.first().map(|(until, _)| *until);
        [filled, rested].into_iter().flatten().min()
    }

    fn fill(&mut self, now: Instant) {
        let more = bytes_in(self.total, now.saturating_duration_since(self.filled_at));
        if more > 0 || self.total == 0 {
            self.tokens = self.tokens.saturating_add(more).min(self.most());
            self.filled_at = now;
        }
    }
}

/// Until when a peer has had its own.
fn rests(flow: &Flow, each: u64, now: Instant) -> Option<Instant> {
    (each > 0 && flow.due > now + SAVED).then(|| flow.due - SAVED)
}

fn bytes_in(rate: u64, time: Duration) -> u64 {
    u64::try_from(u128::from(rate) * time.as_micros() / 1_000_000).unwrap_or(u64::MAX)
}

fn time_of(bytes: u64, rate: u64) -> Duration {
    Duration::from_micros(bytes.saturating_mul(1_000_000).div_ceil(rate.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const STEP: Duration = Duration::from_millis(1);

    /// Lets peers that want so many bytes a second, or all, take what they get for two seconds.
    fn run(total: u64, each: u64, wants: &[Option<u64>]) -> Vec<f64> {
        let start = Instant::now();
        let mut shares = Shares::new(total, each, start);
        let peers: Vec<PeerId> = wants.iter().map(|_| PeerId::random()).collect();
        for peer in &peers {
            shares.open(*peer, start);
        }
        let (mut taken, mut owed) = (vec![0; wants.len()], vec![0; wants.len()]);
        for step in 1..=2000 {
            let now = start + STEP * step;
            shares.turn(now);
            for (number, peer) in peers.iter().enumerate() {
                owed[number] = wants[number].map_or(u64::MAX, |want| owed[number] + want / 1000);
                while owed[number] > 0
                    && let Some(credit) = shares.ask(*peer, Waker::noop(), now)
                {
                    let bytes = credit.min(8192).min(owed[number]);
                    shares.took(*peer, bytes, now);
                    taken[number] += bytes;
                    owed[number] = wants[number].map_or(u64::MAX, |_| owed[number] - bytes);
                }
            }
        }
        taken.into_iter().map(|bytes| bytes as f64 / 2.0 / MIB as f64).collect()
    }

    #[test]
    fn x2_the_greedy_share_what_the_modest_leave() {
        let rates = run(10 * MIB, 0, &[None, Some(MIB), None, Some(MIB / 2)]);
        let near = |rate: f64, wanted: f64| (rate - wanted).abs() < wanted * 0.05;
        assert!(near(rates[1], 1.0) && near(rates[3], 0.5), "the modest have all they want: {rates:?}");
        assert!(near(rates[0], 4.25) && near(rates[2], 4.25), "the others are equal: {rates:?}");
    }

    #[test]
    fn x2_nobody_exceeds_its_own_bound_and_alone_it_has_all_of_it() {
        let rates = run(0, 2 * MIB, &[None, Some(MIB)]);
        assert!((1.9..2.1).contains(&rates[0]) && (0.95..1.05).contains(&rates[1]), "{rates:?}");
        let rates = run(10 * MIB, 2 * MIB, &[None, None, None]);
        assert!(rates.iter().all(|rate| (1.9..2.1).contains(rate)), "{rates:?}");
        let alone = run(10 * MIB, 0, &[None]);
        assert!((9.5..10.3).contains(&alone[0]), "{alone:?}");
    }

    #[test]
    fn x2_one_peer_among_many_has_its_share_whatever_they_want() {
        let wants: Vec<Option<u64>> = (0..64).map(|_| None).collect();
        let rates = run(32 * MIB, 0, &wants);
        // What was saved up before anybody came is the first one's.
        assert!(rates[0] > 0.47 && rates[1..].iter().all(|rate| (0.47..0.53).contains(rate)), "{rates:?}");
    }

    #[test]
    fn x2_who_leaves_while_it_waits_holds_nobody_up() {
        let start = Instant::now();
        let mut shares = Shares::new(SLICE, 0, start);
        let (gone, here) = (PeerId::random(), PeerId::random());
        for peer in [gone, here] {
            shares.open(peer, start);
            while let Some(credit) = shares.ask(peer, Waker::noop(), start) {
                shares.took(peer, credit, start);
            }
        }
        shares.close(gone);
        let next = shares.next().expect("somebody waits");
        assert!(next > start && next <= start + Duration::from_secs(1));
        assert_eq!(shares.turn(next).len(), 1);
        assert_eq!(shares.ask(here, Waker::noop(), next), Some(SLICE));
        shares.close(here);
        assert!(shares.flows.is_empty());
    }
}
