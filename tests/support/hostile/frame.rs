//! A stream of bytes, read as frames.

use bytes::{Bytes, BytesMut};
use klp::frame::{Frame, HEADER, Header, Kind};
use klp::{Refusal, limits};

use super::vectors;

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let sessions = vectors::led(vectors::SESSIONS, "bytes", &[]);
    let whole = sessions.concat();
    let [frames, packed] = [vectors::FRAMES, vectors::PACKED].map(|file| vectors::led(file, "bytes", &[]));
    [frames, packed, sessions, vec![whole]].concat()
}

pub(super) fn run(bytes: &[u8]) {
    let (at_once, left) = read(bytes, bytes.len().max(1));
    let (byte_by_byte, rest) = read(bytes, 1 + bytes.len() / 40);
    assert_eq!(at_once, byte_by_byte, "how the bytes are cut makes no difference");
    assert_eq!(left, rest, "nor to what is left");

    let mut written = BytesMut::new();
    at_once.iter().for_each(|frame| frame.write(&mut written));
    assert!(bytes.starts_with(&written), "what was read is written as it came");
    for frame in &at_once {
        check(frame);
    }
}

/// All frames, handed over in pieces, and what comes after them: a refusal, or bytes of a frame that has not wholly come.
fn read(bytes: &[u8], step: usize) -> (Vec<Frame>, Result<usize, Refusal>) {
    let (mut waiting, mut frames) = (BytesMut::new(), Vec::new());
    for piece in bytes.chunks(step) {
        waiting.extend_from_slice(piece);
        loop {
            match Frame::read(&mut waiting) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(refusal) => return (frames, Err(refusal)),
            }
        }
    }
    (frames, Ok(waiting.len()))
}

fn check(frame: &Frame) {
    let header: [u8; HEADER] = frame.header();
    let decoded = Header::decode(&header).expect("what was accepted once is accepted again");
    assert_eq!((decoded.kind, decoded.id, decoded.length), (frame.kind, frame.id, frame.body.len()));
    if frame.packed {
        unpacked(frame.clone());
    }
    match frame.kind {
        Kind::Error | Kind::Bye => {
            if let Ok((refusal, text)) = frame.reason() {
                let again = Frame::refusal(frame.kind, frame.id, refusal, &text);
                assert_eq!(again.reason(), Ok((refusal, text)), "a reason is kept");
            }
        }
        Kind::Request | Kind::Response => {
            let body: Bytes = std::iter::repeat_n(&frame.body[..], 3).collect::<Vec<_>>().concat().into();
            let (mut joined, mut ended) = (Vec::new(), false);
            for part in Frame::fragments(frame.kind, frame.id, frame.again, body.clone()) {
                assert!(!ended, "nothing follows the last fragment");
                assert!(Header::decode(&part.header()).is_ok(), "every fragment is a frame");
                joined.extend_from_slice(&part.body);
                ended = !part.more;
            }
            assert!(ended && joined == body, "a message that was cut is whole again");
        }
        _ => {}
    }
}

/// What a packed body says is bounded, and whoever packs it anew is understood.
fn unpacked(mut frame: Frame) {
    assert!(matches!(frame.kind, Kind::Request | Kind::Response | Kind::Chunk), "no other kind is packed");
    match frame.unpack() {
        Err(refusal) => assert!(matches!(refusal, Refusal::Malformed | Refusal::TooLarge), "{refusal}"),
        Ok(()) => {
            assert!((limits::PACKED..=limits::FRAME).contains(&frame.body.len()) && !frame.packed);
            let mut again = frame.clone();
            let saved = again.pack();
            assert_eq!(again.body.len() + saved, frame.body.len());
            assert!(Header::decode(&again.header()).is_ok(), "what was packed is a frame");
            again.unpack().expect("what was packed is unpacked");
            assert_eq!(again, frame);
        }
    }
}
