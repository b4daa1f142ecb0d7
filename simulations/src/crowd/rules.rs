//! The rules that decide in the crowd: those of `klp`, the same functions that nodes, relays and bootstrap peers call.

use klp::rule::record::{self, Put, Standing};
use klp::rule::search;
use klp::statement::card::{Card, CardEntry};
use klp::{NodeId, Timestamp, Verified};

/// Judges a record: key, value, and who claims to have put it.
type Judge = fn(&[u8], &[u8], Option<NodeId>, Timestamp) -> Option<Standing>;

/// What decides. Tests put a broken rule in the place of one, to see that the world notices.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    /// Which DHT records hold.
    pub(super) standing: Judge,
    /// Which of two statements counts.
    pub(super) put: fn(Option<&Standing>, &Standing, Timestamp) -> Put,
    /// What is not shown any more.
    pub(super) has_expired: fn(&Standing, Timestamp) -> bool,
    /// Which cards are believed.
    pub(super) believes: fn(&CardEntry, Option<NodeId>, Timestamp) -> Option<Verified<Card>>,
}

impl Rules {
    pub(super) const OURS: Self = Self {
        standing: record::standing,
        put: record::put,
        has_expired: Standing::has_expired,
        believes: |entry, shown_by, now| search::believes(entry, shown_by, now).ok().map(|(card, _)| card),
    };
}
