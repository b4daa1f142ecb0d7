//! What waits for the stream.

use std::collections::VecDeque;

use crate::frame::{Frame, Kind};

/// Frames in the order in which they will be written, and how many of them are final answers: those a peer can cause without end, as long as it
/// asks and does not read.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    frames: VecDeque<Frame>,
    answers: usize,
}

impl Outbox {
    pub(super) fn push(&mut self, frame: Frame) {
        self.answers += usize::from(is_final(&frame));
        self.frames.push_back(frame);
    }

    pub(super) fn extend(&mut self, frames: impl IntoIterator<Item = Frame>) {
        frames.into_iter().for_each(|frame| self.push(frame));
    }

    pub(super) fn pop(&mut self) -> Option<Frame> {
        let frame = self.frames.pop_front()?;
        self.answers -= usize::from(is_final(&frame));
        Some(frame)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Final answers that the peer has certainly not seen.
    pub(super) fn answers(&self) -> usize {
        self.answers
    }
}

/// The end of an answer, whether it is one or a refusal.
fn is_final(frame: &Frame) -> bool {
    frame.kind == Kind::Error || (frame.kind == Kind::Response && !frame.more)
}
