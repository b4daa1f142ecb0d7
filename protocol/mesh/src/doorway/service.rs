//! What a server program gives to others at the moment, for those who run it.

use std::collections::BTreeMap;

/// What is in use. Nobody is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Connections from addresses that are counted.
    pub open: usize,
    /// Addresses that are sent away for a while.
    pub banned_addresses: usize,
    /// Peers that are sent away for a while.
    pub banned_peers: usize,
    /// Of a relay.
    pub places: Option<Places>,
    /// What was refused since the start, by what was wanted and why.
    pub refusals: BTreeMap<(&'static str, &'static str), u64>,
    /// Bytes that others have sent through this program since the start.
    pub carried: u64,
    /// The same in a second, over the last few.
    pub bytes_per_second: u64,
}

/// What a relay has given away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Nodes that wait behind it.
    pub reservations: usize,
    /// How many may.
    pub most_reservations: usize,
    /// Above this newcomers are refused; the rest is for nodes that had a place lately.
    pub for_newcomers: usize,
    /// Circuits.
    pub circuits: usize,
    /// How many there may be.
    pub most_circuits: usize,
}

impl Places {
    /// Whether so much is in use that more room should be made: four fifths of the places or of the circuits.
    pub fn alarm(&self) -> bool {
        let nearly = |used: usize, most: usize| used.saturating_mul(5) >= most.saturating_mul(4);
        nearly(self.reservations, self.most_reservations) || nearly(self.circuits, self.most_circuits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x2_the_alarm_sounds_at_four_fifths() {
        let at = |reservations, circuits| {
            Places { reservations, most_reservations: 10, circuits, most_circuits: 5, ..Places::default() }.alarm()
        };
        assert!(!at(7, 3) && at(8, 0) && at(0, 4));
    }
}
