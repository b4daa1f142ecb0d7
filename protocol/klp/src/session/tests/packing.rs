//! Packed frames: agreed on in the Hellos, counted as what they unpack to.

use super::*;

fn open(packs: bool) -> Pair {
    let mut pair = Pair::new();
    let terms = |memory| Terms { packs, ..terms(memory) };
    pair.b.accept(bytes("hello too"), &terms(A), pair.now);
    while let Some(frame) = pair.b.next_frame() {
        pair.a.receive(frame, pair.now);
    }
    pair.a.greeted(&terms(B));
    while pair.a.next_delivery().is_some() {}
    assert_eq!((pair.a.packs(), pair.b.packs()), (packs, packs));
    pair
}

/// Carries everything that waits at `from`, packed. Says how many frames were.
fn carry(from: &mut Session, to: &mut Session) -> usize {
    let frames = std::iter::from_fn(|| from.next_frame());
    let packed = frames.map(|mut frame| {
        let saved = frame.pack();
        to.receive(frame, START);
        saved > 0
    });
    packed.filter(|packed| *packed).count()
}

fn end(session: &mut Session) -> Option<Refusal> {
    let deliveries = std::iter::from_fn(|| session.next_delivery());
    let ends = deliveries.filter_map(|d| if let Delivery::Closed { refusal, .. } = d { Some(refusal) } else { None });
    ends.last().expect("it is over")
}

#[test]
fn c15_packed_frames_are_what_they_unpack_to_for_messages_windows_and_credit() {
    let mut pair = open(true);
    let long = Bytes::from(vec![b'q'; 3 * limits::FRAME + 5]);
    let id = pair.a.request(long.clone()).expect("room");
    assert_eq!(carry(&mut pair.a, &mut pair.b), 3, "the last fragment is too short");
    assert_eq!(pair.b.next_delivery(), Some(Delivery::Request { id, body: long.clone() }));

    let chunk = Bytes::from(vec![b'c'; limits::FRAME - HEADER]);
    for _ in 0..4 {
        pair.b.chunk(id, chunk.clone(), pair.now).expect("a quarter of the window");
    }
    assert!(pair.b.chunk(id, chunk.clone(), pair.now).is_err(), "the window is full, however little was written");
    assert_eq!(carry(&mut pair.b, &mut pair.a), 4);
    for _ in 0..4 {
        assert_eq!(pair.a.next_delivery(), Some(Delivery::Chunk { id, bytes: chunk.clone() }));
        pair.a.taken(id, &chunk);
    }
    let credits: Vec<_> = std::iter::from_fn(|| pair.a.next_frame()).collect();
    assert_eq!(credits.last(), Some(&Frame::credit(id, 4 * limits::FRAME as u64)));
    credits.into_iter().for_each(|credit| pair.b.receive(credit, pair.now));
    pair.b.respond(id, long.clone());
    assert_eq!(carry(&mut pair.b, &mut pair.a), 3);
    assert_eq!(pair.a.next_delivery(), Some(Delivery::Response { id, body: long }));
    // What was sent before goes again as it was meant, packed or not.
    let next = pair.a.request(vec![b'q'; 2000].into()).expect("room");
    carry(&mut pair.a, &mut pair.b);
    pair.b.chunk(next, chunk.clone(), pair.now).expect("room");
    carry(&mut pair.b, &mut pair.a);
    pair.cut();
    pair.connect();
    pair.run();
    pair.b.respond(next, bytes("done"));
    pair.run();
    assert_eq!(pair.chunks(), [chunk], "the first one, once");
    assert!(pair.seen_a.contains(&Delivery::Response { id: next, body: bytes("done") }), "{:?}", pair.seen_a);
}

#[test]
fn c15_a_packed_frame_that_was_not_agreed_ends_the_session() {
    let packed = || {
        let mut frame = Frame::new(Kind::Request, 1, vec![b'q'; limits::PACKED].into());
        assert!(frame.pack() > 0);
        frame
    };
    for (packs, ends) in [(true, false), (false, true)] {
        let mut pair = open(packs);
        pair.b.receive(packed(), pair.now);
        assert_eq!(pair.b.is_closed(), ends);
    }
    let mut pair = open(false);
    pair.b.receive(packed(), pair.now);
    assert_eq!(end(&mut pair.b), Some(Refusal::Malformed));
    // The agreement is that of one stream: a peer that comes back as an older program is spoken to as one.
    let mut pair = open(true);
    pair.cut();
    pair.connect();
    pair.run();
    assert!(!pair.a.packs() && !pair.b.packs());
    pair.b.receive(packed(), pair.now);
    assert_eq!(end(&mut pair.b), Some(Refusal::Malformed));
    // And nothing comes packed before the listener's Hello.
    let mut dialler = Session::new([1; 16], A, START);
    dialler.dial(bytes("hello"), START);
    let mut frame = packed();
    frame.kind = Kind::Response;
    dialler.receive(frame, START);
    assert_eq!(end(&mut dialler), Some(Refusal::Malformed));
}

#[test]
fn c15_a_packed_frame_is_refused_for_what_is_in_it() {
    let mut long = Frame::new(Kind::Request, 1, vec![0; limits::FRAME + 1].into());
    long.pack();
    let damaged = Frame { packed: true, ..Frame::new(Kind::Request, 1, bytes("what is this")) };
    for (frame, refusal) in [(long, Refusal::TooLarge), (damaged, Refusal::Malformed)] {
        assert!(frame.packed && frame.body.len() < 100);
        let mut pair = open(true);
        pair.b.receive(frame, pair.now);
        assert_eq!(end(&mut pair.b), Some(refusal));
    }
    // Chunks that are short on the wire and long in memory still have no more room than others.
    let mut pair = open(true);
    let id = pair.ask("stream");
    carry(&mut pair.a, &mut pair.b);
    let chunk = Frame::new(Kind::Chunk, id, vec![b'c'; limits::FRAME - HEADER].into());
    for _ in 0..5 {
        let mut frame = chunk.clone();
        frame.pack();
        pair.a.receive(frame, pair.now);
    }
    assert_eq!(end(&mut pair.a), Some(Refusal::TooLarge));
}
