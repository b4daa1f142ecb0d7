//! From one stream to the next: nothing is lost, and nothing runs twice.

use super::*;

const RESTARTED: Memory = [3; 8];

#[test]
fn s10_a_move_loses_no_chunk_and_repeats_none() {
    // Whatever was read, credited or lost when the stream broke, the reader sees each chunk once, in order.
    for (sent, delivered, taken) in [(5, 5, 5), (5, 0, 0), (5, 3, 0), (9, 9, 4), (9, 7, 7), (1, 1, 1)] {
        let mut pair = Pair::new();
        let id = pair.ask("stream");
        pair.run();
        let chunk = |n: usize| Bytes::from(vec![u8::try_from(n).expect("small"); 20_000]);
        for n in 0..sent {
            pair.b.chunk(id, chunk(n), pair.now).expect("room");
        }
        for _ in 0..delivered {
            Pair::step(&mut pair.b, &mut pair.a, pair.now);
        }
        while let Some(delivery) = pair.a.next_delivery() {
            pair.seen_a.push(delivery);
        }
        for seen in pair.chunks().iter().take(taken) {
            pair.a.taken(id, seen);
        }
        pair.cut();
        pair.b.chunk(id, chunk(sent), pair.now).expect("room while there is no stream");
        pair.b.respond(id, bytes("done"));
        pair.connect();
        pair.run();
        assert_eq!(pair.chunks(), (0..=sent).map(chunk).collect::<Vec<_>>(), "{sent} {delivered} {taken}");
        assert_eq!(pair.seen_a.last(), Some(&Delivery::Response { id, body: bytes("done") }));
        assert_eq!(pair.asked(), [id], "it ran once");
        assert!(pair.a.is_idle() && pair.b.is_idle());
    }
}

#[test]
fn s10_a_request_sent_again_runs_once_whether_it_arrived_or_not() {
    // It arrived and was answered; only the answer was lost.
    let mut pair = Pair::new();
    pair.run();
    let id = pair.ask("work");
    pair.run();
    pair.b.respond(id, bytes("done"));
    pair.cut();
    pair.connect();
    pair.run();
    assert_eq!(pair.asked(), [id]);
    assert_eq!(pair.seen_a, [Delivery::Response { id, body: bytes("done") }]);
    // It never arrived.
    let id = pair.ask("lost");
    pair.cut();
    pair.connect();
    pair.run();
    assert_eq!(pair.asked().last(), Some(&id));
    assert_eq!(pair.asked().len(), 2);
    // Both sides ask over the new stream.
    let back = pair.b.request(bytes("back")).expect("room");
    pair.cut();
    pair.connect();
    pair.run();
    assert!(pair.seen_a.contains(&Delivery::Request { id: back, body: bytes("back") }));
    assert!(pair.wire.iter().any(|(from_a, frame)| *from_a && frame.again));
}

#[test]
fn s10_a_forgotten_request_is_not_run_a_second_time() {
    let mut pair = Pair::new();
    pair.run();
    pair.ask("work");
    pair.run();
    // The responder restarts and has forgotten the session.
    pair.a.detach(pair.now);
    pair.b = Session::new([1; 16], RESTARTED, START);
    pair.connect();
    pair.run();
    assert_eq!(pair.refusals(), [Refusal::UnknownOutcome]);
    assert_eq!(pair.asked().len(), 1);
}

#[test]
fn s10_a_listener_that_restarted_asks_anew() {
    let mut pair = Pair::new();
    pair.run();
    let before = pair.b.request(bytes("before")).expect("room");
    pair.run();
    pair.a.detach(pair.now);
    pair.b = Session::new([1; 16], RESTARTED, START);
    pair.connect();
    let anew = pair.b.request(bytes("anew")).expect("room");
    pair.run();
    assert_eq!(anew, before, "its numbers begin again");
    let seen = &pair.seen_a[1..];
    assert_eq!(seen, [Delivery::Cancelled { id: before }, Delivery::Request { id: anew, body: bytes("anew") }]);
    assert!(!pair.a.is_closed());
}

#[test]
fn s10_a_request_sent_to_one_who_forgot_is_not_run_by_a_later_stream_either() {
    let mut pair = Pair::new();
    pair.run();
    pair.ask("work");
    pair.run();
    // The responder restarts; the stream that tells so breaks before the request has been sent again.
    pair.cut();
    pair.b = Session::new([1; 16], RESTARTED, START);
    pair.connect();
    let hello = pair.b.next_frame().expect("hello");
    pair.a.receive(hello, pair.now);
    assert!(matches!(pair.a.next_delivery(), Some(Delivery::Hello(_))));
    pair.a.greeted(&terms(RESTARTED));
    pair.cut();
    pair.connect();
    pair.run();
    assert_eq!(pair.refusals(), [Refusal::UnknownOutcome]);
    assert_eq!(pair.asked().len(), 1, "it ran once, before the restart");
}

#[test]
fn s10_a_request_whose_first_receiver_is_not_known_is_not_run_blindly() {
    let mut pair = Pair::new();
    pair.ask("rode with a Hello that was lost");
    pair.cut();
    pair.connect();
    pair.run();
    assert_eq!((pair.refusals(), pair.asked()), (vec![Refusal::UnknownOutcome], Vec::new()));
    // Later streams know who is there, so what waits for one is sent when it is greeted, and may be sent again.
    pair.cut();
    pair.a.dial(bytes("hello"), pair.now);
    pair.ask("waits for the greeting");
    let kinds: Vec<_> = std::iter::from_fn(|| pair.a.next_frame()).map(|frame| frame.kind).collect();
    assert_eq!(kinds, [Kind::Hello]);
}

#[test]
fn s10_kept_answers_are_bounded_and_a_dropped_one_is_an_unknown_outcome() {
    let mut pair = Pair::new();
    pair.run();
    let ids: Vec<_> = (0..4).map(|_| pair.ask("large")).collect();
    pair.run();
    for id in &ids {
        pair.b.respond(*id, Bytes::from(vec![0; limits::MESSAGE]));
    }
    pair.cut();
    pair.connect();
    pair.run();
    assert_eq!(pair.refusals(), [Refusal::UnknownOutcome, Refusal::UnknownOutcome]);
    let answered = pair.seen_a.iter().filter(|d| matches!(d, Delivery::Response { .. })).count();
    assert_eq!(answered, limits::KEPT / limits::MESSAGE);
}

#[test]
fn s10_a_cancel_survives_a_move() {
    let mut pair = Pair::new();
    pair.run();
    let id = pair.ask("work");
    pair.run();
    pair.cut();
    pair.a.cancel(id);
    pair.connect();
    pair.run();
    assert!(pair.seen_b.contains(&Delivery::Cancelled { id }));
    assert!(pair.a.is_idle() && pair.b.is_idle());
}

proptest::proptest! {
    #[test]
    fn cut_anywhere_every_request_ends_once(cuts in proptest::collection::vec(0usize..30, 1..5), asked in 1u64..20) {
        let mut pair = Pair::new();
        pair.run();
        for n in 0..asked {
            pair.ask(&format!("request {n}"));
        }
        let mut served = 0;
        let mut serve = |pair: &mut Pair| {
            while let Some(delivery) = pair.b.next_delivery() {
                if let Delivery::Request { id, body } = &delivery {
                    served += 1;
                    let _room = pair.b.chunk(*id, body.clone(), pair.now);
                    pair.b.respond(*id, body.clone());
                }
            }
            while let Some(delivery) = pair.a.next_delivery() {
                match delivery {
                    Delivery::Hello(_) => pair.a.greeted(&terms(pair.b.memory())),
                    other => pair.seen_a.push(other),
                }
            }
        };
        for steps in cuts {
            for _ in 0..steps {
                Pair::step(&mut pair.a, &mut pair.b, pair.now);
                serve(&mut pair);
                Pair::step(&mut pair.b, &mut pair.a, pair.now);
                serve(&mut pair);
            }
            pair.cut();
            pair.connect();
        }
        while Pair::step(&mut pair.a, &mut pair.b, pair.now).is_some() | Pair::step(&mut pair.b, &mut pair.a, pair.now).is_some() {
            serve(&mut pair);
        }
        serve(&mut pair);
        let answers = pair.seen_a.iter().filter(|d| matches!(d, Delivery::Response { .. })).count() as u64;
        proptest::prop_assert_eq!((served, answers, pair.chunks().len() as u64), (asked, asked, asked));
        proptest::prop_assert!(pair.a.is_idle() && !pair.a.is_closed() && !pair.b.is_closed());
    }
}
