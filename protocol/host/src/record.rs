//! Which records a server program stores for others: the rule of `klp`, by the clock of this machine.

use klp::rule::record::{Standing, standing};
use klp::{NodeId, Timestamp};

use crate::health;

/// The standing of a DHT record that holds now.
pub fn standing_now(key: &[u8], value: &[u8], publisher: Option<NodeId>) -> Option<Standing> {
    standing(key, value, publisher, Timestamp(health::now_ms()))
}
