//! Small changes to good inputs. Everything follows from one number, so that a finding can be had again.

use super::Entry;

/// Pieces of input that break decoders: lengths at their bounds, CBOR of forms that the profile forbids, kinds of frames.
pub const TOKENS: &[&[u8]] = &[
    &[0x00],
    &[0xff],
    &[0x7f],
    &[0x80],
    &[0x18, 0x18],
    &[0x19, 0xff, 0xff],
    &[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x40],
    &[0x5a, 0xff, 0xff, 0xff, 0xff],
    &[0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x5f],
    &[0x60],
    &[0x7b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x84],
    &[0x9a, 0xff, 0xff, 0xff, 0xff],
    &[0x9f],
    &[0xa0],
    &[0xa1, 0x07, 0x83],
    &[0xba, 0xff, 0xff, 0xff, 0xff],
    &[0xbf],
    &[0xc2, 0x49, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00],
    &[0xd2],
    &[0xf4],
    &[0xf6],
    &[0xf7],
    &[0xf9, 0x7e, 0x00],
    &[0x26],
    &[0x27],
    &[0x32],
    &[0x00, 0x01, 0x00, 0x00],
    &[0x00, 0x00, 0x00, 0x10, 0x02, 0x02, 0x00, 0x00],
    b"*",
    b"/",
    b".",
    b"\n",
    b"\"",
    b"[a.a]\n",
    b"'''",
    b"\\u0000",
];

/// SplitMix64.
pub struct Dice(u64);

impl Dice {
    /// A row of throws for each number.
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below this one, and 0 below 0.
    pub fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.throw() % (most.max(1) as u64)).unwrap_or_default()
    }

    fn byte(&mut self) -> u8 {
        self.throw().to_le_bytes()[0]
    }

    /// One of these.
    fn of<'i, T: ?Sized>(&mut self, items: &'i [&'i T]) -> &'i T {
        items[self.below(items.len())]
    }
}

/// The mutation of this number: one of the seeds, changed in one to eight places.
pub fn mutated(entry: &Entry, seeds: &[Vec<u8>], number: u64) -> Vec<u8> {
    let mut dice = Dice::new(number);
    let mut bytes = seeds[dice.below(seeds.len())].clone();
    for _ in 0..1 << dice.below(4) {
        change(&mut bytes, seeds, &mut dice);
    }
    bytes.truncate(entry.longest);
    bytes
}

fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], dice: &mut Dice) {
    let (at, end) = (dice.below(bytes.len() + 1), bytes.len());
    let to = (at + dice.below(64)).min(end);
    match dice.below(12) {
        0 | 1 => with(bytes, at, |byte| *byte ^= 1 << dice.below(8)),
        2 => with(bytes, at, |byte| *byte = dice.byte()),
        3 => with(bytes, at, |byte| *byte = byte.wrapping_add(1)),
        4 => with(bytes, at, |byte| *byte = byte.wrapping_sub(1)),
        5 => drop(bytes.splice(at..at, dice.of(TOKENS).iter().copied())),
        6 => {
            let token = dice.of(TOKENS);
            drop(bytes.splice(at..(at + token.len()).min(end), token.iter().copied()));
        }
        7 => drop(bytes.drain(at..to)),
        8 => {
            let again = bytes[at..to].to_vec();
            drop(bytes.splice(at..at, again));
        }
        9 => {
            let other = &seeds[dice.below(seeds.len())];
            let from = dice.below(other.len());
            let until = (from + dice.below(256)).min(other.len());
            drop(bytes.splice(at..to, other[from..until].iter().copied()));
        }
        10 => bytes.truncate(at),
        _ => bytes.extend((0..dice.below(16)).map(|_| dice.byte())),
    }
}

fn with(bytes: &mut [u8], at: usize, change: impl FnOnce(&mut u8)) {
    if let Some(byte) = bytes.get_mut(at) {
        change(byte);
    }
}
