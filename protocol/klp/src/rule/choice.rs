//! Which of several equal providers gets the next call: two are drawn, and the one that costs less is likelier.
//!
//! Drawing two instead of taking the best keeps many callers from running to the same one. A coin that is weighted by cost instead of a
//! comparison keeps equals equal: whoever measures a little slower gets a little less, not nothing.

use std::time::Duration;

/// How much of a new measure enters the mean: one in this many.
const WEIGHT: u32 = 5;
/// What one costs that nobody has measured yet: it is tried soon, and does not get everything.
const UNMEASURED: Duration = Duration::from_millis(50);
/// Below this, differences are noise of the measuring machine.
const LEAST: Duration = Duration::from_millis(2);
/// How much worse each failure in a row makes a provider, as a power of two, up to this many.
const FAILURES: u32 = 6;

/// What a caller knows of one provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Calls of ours that it has not ended.
    pub in_flight: u32,
    /// The mean time to its answer.
    pub latency: Option<Duration>,
    /// Failures since the last answer.
    pub failures: u32,
}

impl Load {
    /// A call goes there.
    pub fn begin(&mut self) {
        self.in_flight = self.in_flight.saturating_add(1);
    }

    /// It was answered after so long.
    pub fn answered(&mut self, took: Duration) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.failures = 0;
        self.latency =
            Some(self.latency.map_or(took, |mean| mean.saturating_mul(WEIGHT - 1).saturating_add(took) / WEIGHT));
    }

    /// It was not.
    pub fn failed(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.failures = self.failures.saturating_add(1);
    }

    /// What a call there costs, in microseconds: the time to an answer, once for each call that is before it.
    fn cost(&self) -> u64 {
        let latency = self.latency.unwrap_or(UNMEASURED).max(LEAST);
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).min(1 << 40);
        micros.saturating_mul(u64::from(self.in_flight) + 1).saturating_mul(1 << self.failures.min(FAILURES))
    }
}

/// One of them, by two random numbers; none of none.
pub fn choose(loads: &[Load], random: [u64; 2]) -> Option<usize> {
    let count = u64::try_from(loads.len()).ok().filter(|count| *count > 0)?;
    let at = |index: u64| usize::try_from(index).unwrap_or(0);
    let [pair, coin] = random;
    let first = pair % count;
    if count == 1 {
        return Some(at(first));
    }
    // Any other one, each as likely.
    let second = (first + 1 + (pair / count) % (count - 1)) % count;
    let costs = [loads[at(first)].cost(), loads[at(second)].cost()];
    let total = u128::from(costs[0]) + u128::from(costs[1]);
    let takes_first = u128::from(coin) % total.max(1) < u128::from(costs[1]);
    Some(at(if takes_first { first } else { second }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers from a seed: the finaliser of SplitMix64.
    fn dice(seed: &mut u64) -> u64 {
        *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// How many of so many calls each gets, with up to eight under way, when an answer takes them this many milliseconds, give or take a fifth.
    fn split(seed: u64, calls: usize, millis: [u64; 3]) -> [usize; 3] {
        let (mut seed, mut loads, mut got) = (seed, [Load::default(); 3], [0; 3]);
        let (mut now, mut under_way) = (0, Vec::<(u64, usize, u64)>::new());
        for _ in 0..calls {
            while under_way.len() >= 8 {
                let next = under_way.iter().enumerate().min_by_key(|(_, one)| one.0).map(|(at, _)| at).expect("some");
                let (end, which, took) = under_way.swap_remove(next);
                now = end;
                loads[which].answered(Duration::from_micros(took));
            }
            let which = choose(&loads, [dice(&mut seed), dice(&mut seed)]).expect("some");
            loads[which].begin();
            got[which] += 1;
            let took = millis[which] * (800 + dice(&mut seed) % 401);
            under_way.push((now + took, which, took));
        }
        got
    }

    #[test]
    fn k18_a_thousand_calls_to_three_equals_split_within_fifteen_in_a_hundred() {
        for seed in 0..100 {
            let got = split(seed, 1000, [20, 20, 20]);
            assert!(got.iter().all(|calls| (284..=383).contains(calls)), "seed {seed}: {got:?}");
        }
    }

    #[test]
    fn k18_a_slow_one_gets_less_and_not_nothing() {
        for seed in 0..100 {
            let got = split(seed, 1000, [20, 20, 100]);
            assert!((20..200).contains(&got[2]), "seed {seed}: {got:?}");
            assert!(got[0].abs_diff(got[1]) < 120, "seed {seed}: {got:?}");
        }
    }

    #[test]
    fn k18_one_that_fails_is_tried_less_and_less_and_comes_back() {
        let mut loads = [Load { latency: Some(Duration::from_millis(20)), ..Load::default() }; 2];
        let share = |loads: &[Load; 2]| {
            let mut seed = 7;
            (0..1000).filter(|_| choose(loads, [dice(&mut seed), dice(&mut seed)]) == Some(0)).count()
        };
        assert!((450..550).contains(&share(&loads)));
        for _ in 0..20 {
            loads[0].begin();
            loads[0].failed();
        }
        assert!((1..60).contains(&share(&loads)), "{}", share(&loads));
        loads[0].begin();
        loads[0].answered(Duration::from_millis(20));
        assert!((450..550).contains(&share(&loads)));
    }

    #[test]
    fn none_of_none_and_the_only_one_of_one() {
        assert_eq!(choose(&[], [1, 2]), None);
        assert_eq!(choose(&[Load::default()], [u64::MAX, 2]), Some(0));
        let busy = Load { in_flight: u32::MAX, latency: Some(Duration::MAX), failures: u32::MAX };
        assert!(choose(&[busy, busy], [3, u64::MAX]).is_some(), "no number is too large");
    }
}
