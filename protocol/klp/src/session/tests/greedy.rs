//! A peer that asks and never reads: what waits for it is bounded.

use super::*;

/// Frames that wait at b when it has been given these, and how it ended.
fn waiting(pair: &mut Pair, frames: impl IntoIterator<Item = Frame>) -> (usize, Option<Refusal>) {
    for frame in frames {
        pair.b.receive(frame, pair.now);
    }
    let waiting: Vec<_> = std::iter::from_fn(|| pair.b.next_frame()).collect();
    let end = waiting.last().filter(|frame| frame.kind == Kind::Bye);
    (waiting.len(), end.and_then(|frame| frame.reason().expect("reads").0))
}

fn request(id: u64, body: Bytes) -> Frame {
    Frame::new(Kind::Request, id, body)
}

fn again(id: u64, memory: Memory) -> Frame {
    Frame { again: true, ..request(id, [&[0; 8][..], &memory, b"work"].concat().into()) }
}

#[test]
fn s11_pings_that_are_not_read_end_the_session_instead_of_filling_memory() {
    let most = limits::IN_FLIGHT + 16 + 1;
    for cancelled in [false, true] {
        let mut pair = Pair::new();
        pair.run();
        let ask = |id| {
            let body = if cancelled { bytes("work") } else { Bytes::new() };
            let cancel = cancelled.then(|| Frame::new(Kind::Cancel, id, Bytes::new()));
            [Some(request(id, body)), cancel].into_iter().flatten()
        };
        let (waiting, end) = waiting(&mut pair, (1..10_000).flat_map(ask));
        assert_eq!((waiting, end), (most, Some(Refusal::Busy)), "cancelled: {cancelled}");
    }
    // Read, they may go on for ever.
    let mut pair = Pair::new();
    pair.run();
    for id in 1..10_000 {
        pair.b.receive(request(id, Bytes::new()), pair.now);
        assert!(pair.b.next_frame().is_some_and(|frame| frame.kind == Kind::Response));
    }
}

#[test]
fn s10_a_request_is_sent_again_once_on_a_stream() {
    let mut pair = Pair::new();
    let id = pair.ask("stream");
    pair.run();
    while pair.b.chunk(id, bytes("x"), pair.now).is_ok() {}
    let (_, end) = waiting(&mut pair, [again(id, B)]);
    assert_eq!(end, Some(Refusal::Malformed), "on the stream on which it was first sent");

    let mut pair = Pair::new();
    let id = pair.ask("stream");
    pair.run();
    while pair.b.chunk(id, bytes("x"), pair.now).is_ok() {}
    let all = std::iter::from_fn(|| pair.b.next_frame()).count();
    pair.cut();
    pair.connect();
    pair.b.receive(again(id, B), pair.now);
    let hello_and_all = 1 + all;
    let (waiting, end) = waiting(&mut pair, [again(id, B)]);
    assert_eq!((waiting, end), (hello_and_all + 1, Some(Refusal::Malformed)), "and a second time on the next one");
}

#[test]
fn s10_what_is_forgotten_is_said_to_so_many_requests_and_no_more() {
    let mut pair = Pair::new();
    pair.run();
    let (waiting, end) = waiting(&mut pair, (1..10_000).map(|id| again(id, [7; 8])));
    assert_eq!((waiting, end), (limits::IN_FLIGHT + 16 + 1, Some(Refusal::Busy)));
}
