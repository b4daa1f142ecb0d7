//! What hostile bytes once did, each as the smallest input that did it.

use std::iter::repeat_n;

use klp::statement::certificate::Acceptance;
use klp::{Refusal, Signed};

/// A byte string, as CBOR writes it.
fn byte_string(bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len();
    let head = match length {
        0..24 => vec![0x40 + length.to_le_bytes()[0]],
        24..256 => vec![0x58, length.to_le_bytes()[0]],
        _ => [&[0x59][..], &u16::try_from(length).expect("short").to_be_bytes()].concat(),
    };
    [head, bytes.to_vec()].concat()
}

/// A header whose only entry is a countersignature (label 7), whose protected header is such a header again, and so on. Each lies in a
/// byte string, so the nesting of the CBOR items is never more than two.
fn nested(levels: usize) -> Vec<u8> {
    repeat_n((), levels)
        .fold(vec![0xa0], |inside, ()| [&[0xa1, 0x07, 0x83][..], &byte_string(&inside), &[0xa0, 0x40]].concat())
}

/// With coset's own parser 8 KiB of this, in a Hello, a record or a message of gossip, ended the process: its stack was full.
#[test]
fn countersignatures_inside_countersignatures_are_refused_and_never_followed() {
    for levels in [1, 2, 1000, 8000] {
        let protected = byte_string(&nested(levels));
        let statement = [&[0x84][..], &protected, &[0xa0, 0x41, 0x00, 0x41, 0x00]].concat();
        let refused = Signed::<Acceptance>::from_bytes(statement).verify().expect_err("refused");
        assert_eq!(Refusal::from(&refused), Refusal::Malformed, "{levels} levels: {refused}");
    }
}
