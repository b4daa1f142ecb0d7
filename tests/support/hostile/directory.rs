//! Which records a node, a relay or a bootstrap peer stores for others and believes.

use klp::statement::card::{NodeRecord, node_key};
use klp::{Cbor as _, NodeId, Signed, Timestamp, limits};

use super::cast::{self, ALICE_NODE, BOB_NODE, NOW, node};
use super::input::Input;
use super::vectors;

/// Key (0: the record's own), publisher, a moment (3 bytes, in seconds, 8000000 being the moment of the vectors), then the record: as it
/// travels, or by way 1 its payload.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let lead = |key: u8, publisher: u8, way: u8| [&[key, publisher][..], &[0x7a, 0x12, 0x00], &[way]].concat();
    let mut seeds = Vec::new();
    for (key, publisher) in [(0, 0), (0, 1), (0, 2), (1, 0)] {
        seeds.extend(vectors::statements("NodeRecord", &lead(key, publisher, 0)));
        seeds.extend(vectors::payloads("NodeRecord", &lead(key, publisher, 1)));
    }
    seeds
}

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (which, publisher, moment, way) = (input.byte(), input.byte(), input.number(3), input.byte());
    let value = match way % 2 {
        0 => input.rest().to_vec(),
        _ => cast::sign::<NodeRecord>(input.rest(), BOB_NODE).as_bytes().to_vec(),
    };
    let publisher = [None, Some(BOB_NODE), Some(ALICE_NODE)][usize::from(publisher) % 3].map(node);
    let now = Timestamp((NOW.0 + 1000 * moment).saturating_sub(8_000_000_000));
    let key = match which % 3 {
        0 => node_key(&node(BOB_NODE)).0.to_vec(),
        1 => node_key(&node(ALICE_NODE)).0.to_vec(),
        _ => value.iter().copied().take(32).collect(),
    };
    let holds = klp::rule::record::standing(&key, &value, publisher, now).is_some();
    assert_eq!(holds, oracle(&key, &value, publisher, now), "specs/04-records.md, section 1");
}

/// `specs/04-records.md`, section 1, read once more.
fn oracle(key: &[u8], value: &[u8], publisher: Option<NodeId>, now: Timestamp) -> bool {
    let Ok(record) = Signed::<NodeRecord>::from_bytes(value.to_vec()).verify() else { return false };
    let at_most = |moment: Timestamp, minutes: u64| moment.0 <= now.0.saturating_add(60_000 * minutes);
    let refused = [
        value.len() > limits::RECORD,
        record.signer() != record.node.0,
        publisher.is_some() && publisher != Some(record.node),
        key != node_key(&record.node).0,
        record.expires < now,
        !at_most(record.issued, 5),
        !at_most(record.expires, 65),
        record.to_bytes().is_empty(),
    ];
    !refused.contains(&true)
}
