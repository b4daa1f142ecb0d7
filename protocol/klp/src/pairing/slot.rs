//! What becomes of one code: it ends by success, by three wrong tries, by time, or because its owner says so.
//! Source: `specs/09-pairing.md`, section 5.

use crate::{Refusal, Timestamp, cbor_enum, cbor_struct, limits};

cbor_enum! {
    /// How a code ended before its time.
    pub enum End {
        /// Somebody has paired with it.
        1 Used "used";
        /// Three wrong tries were made.
        2 Burnt "burnt";
        /// Its owner took it back.
        3 Cancelled "cancelled";
    }
}

cbor_struct! {
    /// The life of one code.
    pub struct Slot {
        /// Until when it holds.
        1 expires: Timestamp;
        /// Wrong tries so far.
        2 wrong: u64;
        /// How it ended, if it did.
        3 end: Option<End>;
    }
}

impl Slot {
    /// A code that is made now.
    pub fn new(expires: Timestamp) -> Self {
        Self { expires, wrong: 0, end: None }
    }

    /// Whether somebody may try it now.
    ///
    /// # Errors
    /// `burnt` when it was used, burnt or taken back, `expired` when its time is over.
    pub fn admit(&self, now: Timestamp) -> Result<(), Refusal> {
        match self.end {
            Some(_) => Err(Refusal::Burnt),
            None if now >= self.expires => Err(Refusal::Expired),
            None => Ok(()),
        }
    }

    /// A wrong try was made; how many are left. Call it only for what [`Slot::admit`] lets in.
    pub fn wrong(&mut self) -> u64 {
        self.wrong = self.wrong.saturating_add(1);
        let left = limits::PAIR_TRIES.saturating_sub(self.wrong);
        if left == 0 {
            self.end = Some(End::Burnt);
        }
        left
    }

    /// Ends it; the first end counts.
    pub fn end(&mut self, end: End) {
        self.end.get_or_insert(end);
    }

    /// Tries that are left, while it is open.
    pub fn left(&self) -> u64 {
        limits::PAIR_TRIES.saturating_sub(self.wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s27_three_wrong_tries_burn_a_code_and_its_first_end_counts() {
        let mut slot = Slot::new(Timestamp(1000));
        assert_eq!(slot.admit(Timestamp(999)), Ok(()));
        assert_eq!((slot.wrong(), slot.wrong()), (2, 1));
        assert_eq!(slot.admit(Timestamp(999)), Ok(()), "two wrong tries leave it open");
        assert_eq!(slot.wrong(), 0);
        assert_eq!((slot.admit(Timestamp(0)), slot.end), (Err(Refusal::Burnt), Some(End::Burnt)));
        slot.end(End::Used);
        assert_eq!(slot.end, Some(End::Burnt));
    }

    #[test]
    fn s27_a_code_ends_with_its_time_and_with_its_use() {
        let mut slot = Slot::new(Timestamp(1000));
        assert_eq!(slot.admit(Timestamp(1000)), Err(Refusal::Expired));
        slot.end(End::Used);
        assert_eq!(slot.admit(Timestamp(1)), Err(Refusal::Burnt));
    }
}
