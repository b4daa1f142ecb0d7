//! Bodies that are packed for a way on which bytes are dear: raw DEFLATE (RFC 1951), each frame for itself. Source: `specs/03-session.md`,
//! section "Frames".

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::Frame;
use crate::limits;
use crate::refusal::Refusal;

/// Of prose it leaves a twentieth more than the slowest level, in half of the time.
const LEVEL: u32 = 3;

impl Frame {
    /// Packs the body, where its kind allows that, it has at least [`limits::PACKED`] bytes, and an eighth of them is saved. Says how many are.
    pub fn pack(&mut self) -> usize {
        let length = self.body.len();
        if self.packed || !self.kind.packs() || length < limits::PACKED {
            return 0;
        }
        // Room for what is worth it, and for no more: of what does not fit the end is never reached.
        let most = length - length.div_ceil(8);
        let mut out = Vec::with_capacity(most);
        let mut packing = Compress::new(Compression::new(LEVEL), false);
        let ended = packing.compress_vec(&self.body, &mut out, FlushCompress::Finish);
        if !matches!(ended, Ok(Status::StreamEnd)) || out.len() > most {
            return 0;
        }
        self.packed = true;
        self.body = out.into();
        length - self.body.len()
    }

    /// Unpacks the body, if it is packed.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] for more than [`limits::FRAME`] bytes, of which no more is unpacked; [`Refusal::Malformed`] for less than
    /// [`limits::PACKED`], for what is no DEFLATE or has no end, and for bytes after its end.
    pub fn unpack(&mut self) -> Result<(), Refusal> {
        if !self.packed {
            return Ok(());
        }
        // A byte more than may be, so that it is seen.
        let mut out = Vec::with_capacity(limits::FRAME + 1);
        let mut unpacking = Decompress::new(false);
        let ended = unpacking.decompress_vec(&self.body, &mut out, FlushDecompress::Finish);
        if out.len() > limits::FRAME {
            return Err(Refusal::TooLarge);
        }
        let whole = matches!(ended, Ok(Status::StreamEnd)) && unpacking.total_in() == self.body.len() as u64;
        if !whole || out.len() < limits::PACKED {
            return Err(Refusal::Malformed);
        }
        // It may wait for its reader for a while, and is counted by its length.
        out.shrink_to_fit();
        self.packed = false;
        self.body = Bytes::from(out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::Kind;

    fn frame(body: impl Into<Bytes>) -> Frame {
        Frame::new(Kind::Chunk, 7, body.into())
    }

    /// Bytes in which nothing comes back.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn c15_only_what_may_be_packed_and_is_worth_it_is() {
        let text = vec![b'a'; limits::PACKED];
        for (kind, id) in [(Kind::Request, 1), (Kind::Response, 1), (Kind::Chunk, 1)] {
            let mut frame = Frame::new(kind, id, text.clone().into());
            let saved = frame.pack();
            assert!(frame.packed && saved == text.len() - frame.body.len() && saved > 900, "{kind:?}: {saved}");
            assert_eq!(frame.pack(), 0, "and not twice");
        }
        for (kind, id) in [(Kind::Hello, 0), (Kind::Event, 0), (Kind::Error, 1), (Kind::Bye, 0)] {
            let mut frame = Frame::new(kind, id, text.clone().into());
            assert_eq!((frame.pack(), frame.packed), (0, false), "{kind:?}");
        }
        let mut short = frame(text[1..].to_vec());
        assert_eq!((short.pack(), short.packed), (0, false));
        // Six of eight parts are noise, or seven, or all.
        for (part, packs) in [(6, true), (7, false), (8, false)] {
            let whole = 8 * 4096;
            let mut mixed = noise(part * 4096);
            mixed.resize(whole, 0);
            let mut frame = frame(mixed.clone());
            assert_eq!(frame.pack() > 0, packs, "{part}");
            assert_eq!(frame.body == mixed, !packs, "{part}: what is not packed stays as it is");
        }
    }

    #[test]
    fn c15_what_was_unpacked_takes_no_more_than_it_has() {
        let mut frame = frame(vec![0; limits::PACKED]);
        frame.pack();
        frame.unpack().expect("unpacks");
        let body: Vec<u8> = frame.body.into();
        assert!(body.capacity() < 2 * limits::PACKED, "{}", body.capacity());
    }

    proptest! {
        #[test]
        fn any_body_comes_back_as_it_was(seed in prop::collection::vec(any::<u8>(), 1..300), length in 0..=limits::FRAME) {
            let body: Vec<u8> = seed.into_iter().cycle().take(length).collect();
            let mut packed = frame(body.clone());
            let saved = packed.pack();
            prop_assert_eq!(packed.packed, saved > 0);
            prop_assert_eq!(packed.body.len() + saved, length);
            prop_assert!(saved == 0 || saved * 8 >= length);
            packed.unpack().expect("unpacks");
            prop_assert!(!packed.packed && packed.body == body);
        }

        #[test]
        fn damaged_bytes_are_refused_or_unpack_to_a_frame(
            seed in prop::collection::vec(any::<u8>(), 1..300),
            length in limits::PACKED..=limits::FRAME,
            at in any::<prop::sample::Index>(),
            damage in prop::collection::vec(any::<u8>(), 1..8),
        ) {
            let mut bytes: Vec<u8> = seed.into_iter().cycle().take(length).collect();
            let mut whole = frame(bytes);
            whole.pack();
            bytes = whole.body.into();
            let at = at.index(bytes.len());
            bytes.splice(at..at + 1, damage);
            let mut given = Frame { packed: true, ..frame(bytes) };
            match given.unpack() {
                Ok(()) => prop_assert!((limits::PACKED..=limits::FRAME).contains(&given.body.len())),
                Err(refusal) => prop_assert!(matches!(refusal, Refusal::Malformed | Refusal::TooLarge)),
            }
        }

        #[test]
        fn a_packed_body_with_a_byte_more_or_less_is_refused(length in limits::PACKED..=limits::FRAME, more in any::<u8>()) {
            let mut whole = frame(vec![3; length]);
            whole.pack();
            let longer = [&whole.body[..], &[more]].concat();
            let shorter = whole.body.slice(..whole.body.len() - 1);
            for body in [longer.into(), shorter] {
                let mut changed = Frame { body, ..whole.clone() };
                prop_assert_eq!(changed.unpack(), Err(Refusal::Malformed));
            }
        }
    }
}
