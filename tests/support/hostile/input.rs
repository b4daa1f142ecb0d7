//! A byte string, taken apart from the front. Where it ends early, zeros follow, so that every byte string means something.

/// What is left of it.
#[derive(Clone, Copy)]
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number of so many bytes, the first one being the highest.
    pub(super) fn number(&mut self, bytes: usize) -> u64 {
        (0..bytes).fold(0, |number, _| (number << 8) | u64::from(self.byte()))
    }

    /// At most so many bytes.
    pub(super) fn some(&mut self, most: usize) -> &'a [u8] {
        let (some, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        some
    }

    /// Bytes that are led by their number, which has two bytes itself.
    pub(super) fn part(&mut self) -> &'a [u8] {
        let length = self.number(2);
        self.some(usize::try_from(length).unwrap_or_default())
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// What [`Input::part`] reads.
pub(super) fn part(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes()[..], bytes].concat()
}
