//! Inputs that once were findings, each with what it did. They are given for ever. What a vector of `specs/vectors` shows is a seed already.

use kos_tests::hostile::entry;

/// Entry, what happened, and what makes the input.
type Finding = (&'static str, &'static str, fn() -> Vec<u8>);

const FINDINGS: &[Finding] = &[
    ("envelope", "ended the process: each countersignature holds a header, which holds a countersignature", nested),
    ("session", "waited in memory without end: answers to pings that nobody reads", pings),
    ("session", "waited in memory a thousandfold: the same request again and again", again),
];

fn byte_string(bytes: &[u8]) -> Vec<u8> {
    [&[0x59][..], &u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn nested() -> Vec<u8> {
    let wrap = |inside: Vec<u8>, _| [&[0xa1, 0x07, 0x83][..], &byte_string(&inside), &[0xa0, 0x40]].concat();
    let protected = (0..6000).fold(vec![0xa0], wrap);
    [&[1, 0, 0x84][..], &byte_string(&protected), &[0xa0, 0x41, 0x00, 0x41, 0x00]].concat()
}

/// Both sides with usual limits, and an open stream.
const OPEN: [u8; 7] = [63, 3, 63, 3, 11, 0x80 | 12, 3];

fn pings() -> Vec<u8> {
    let pings = (1..=255).flat_map(|id| [0x80 | 16, 2, 0, id, 0]);
    OPEN.into_iter().chain(pings).collect()
}

fn again() -> Vec<u8> {
    let request = [0x80 | 16, 2, 0, 1, 1, 7];
    let chunks = (0..200).flat_map(|_| [0x80 | 4, 0, 1]);
    let again = (0..200).flat_map(|_| [0x80 | 17, 1, 0, 0, 0, 0, 0]);
    OPEN.into_iter().chain(request).chain(chunks).chain(again).collect()
}

#[test]
fn what_was_found_once_is_not_found_again() {
    for (name, what, input) in FINDINGS {
        super::give(entry(name).unwrap(), what, &input());
    }
}
