//! The first frame of a stream, judged as the listener and as the dialler.

use klp::hello::{Extras, Fresh, Greeting, Hello, Limits, NO_MEMORY, PACKING, ReplayWindow, VERSION, negotiate};
use klp::{Cbor, Refusal, Timestamp, Verified, limits};

use super::cast::{self, ALICE_NODE, BOB_NODE, NOW, key, node};
use super::input::Input;
use super::{envelope, vectors};

/// Who listens, how the Hello comes, and how far off the clock is (2 bytes, in tenths of a second, 30000 being none).
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let lead = |way: u8| [&[way][..], &30_000u16.to_be_bytes()].concat();
    let payload = |hello: &[u8]| {
        let hello = klp::Signed::<Hello>::from_bytes(hello.to_vec()).verify().expect("our own");
        (*hello).to_bytes()
    };
    let dialled = dialled();
    let heard = Greeting::check(&dialled, node(ALICE_NODE), node(BOB_NODE), None, NOW, &mut ReplayWindow::new());
    let answered = Hello::make(&key(BOB_NODE), node(ALICE_NODE), fresh(BOB_NODE), extras(), heard.as_ref().ok());
    let ours = [
        [lead(0), dialled.clone()].concat(),
        [lead(1), answered.clone()].concat(),
        [lead(2), payload(&dialled)].concat(),
        [lead(3), payload(&answered)].concat(),
    ];
    let others = [vectors::led(vectors::HELLOS, "hello", &lead(0)), vectors::led(vectors::HELLOS, "hello", &lead(1))];
    [ours.to_vec(), others.concat(), vectors::payloads("Hello", &lead(2))].concat()
}

fn fresh(seed: u8) -> Fresh {
    Fresh { nonce: [seed; 16], now: NOW, session: [6; 16], memory: [seed; 8] }
}

fn extras() -> Extras {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Extras {
        introduction: Some(cast::bob_node()),
        revocations: Some(1),
        offers: names(&["docs.ask", "notes.*"]),
        wants: names(&["diary.read"]),
    }
}

/// The Hello with which Alice's node has dialled Bob's.
fn dialled() -> Vec<u8> {
    Hello::make(&key(ALICE_NODE), node(BOB_NODE), fresh(ALICE_NODE), Extras::default(), None)
}

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (way, clock) = (input.byte() % 4, input.number(2));
    let (from, to) = if way % 2 == 0 { (ALICE_NODE, BOB_NODE) } else { (BOB_NODE, ALICE_NODE) };
    let hello = match way {
        0 | 1 => input.rest().to_vec(),
        _ => match envelope::signed::<Hello>(input.rest(), from) {
            Some(hello) => hello.signed().as_bytes().to_vec(),
            None => return,
        },
    };
    let now = Timestamp((NOW.0 + 100 * clock).saturating_sub(3_000_000));
    let dialled = (way % 2 == 1).then(dialled);
    let answers = dialled.as_deref();
    let mut window = ReplayWindow::new();
    let Ok(greeting) = Greeting::check(&hello, node(from), node(to), answers, now, &mut window) else { return };

    let verified: &Verified<Hello> = greeting.hello();
    envelope::holds(verified, &hello);
    assert_eq!((greeting.from, greeting.to, verified.signer()), (node(from), node(to), key(from).did()));
    assert_eq!(greeting.answers.is_some(), answers.is_some(), "a dialler answers nobody");
    assert!(greeting.time.0.abs_diff(now.0) <= 300_000);
    assert!([VERSION, PACKING].iter().any(|version| greeting.versions.contains(version)));
    assert_ne!(greeting.memory, NO_MEMORY);
    assert!(greeting.wants.len() <= limits::OFFERS && greeting.offers.len() <= limits::OFFERS);
    let agreed = Limits::OURS.and(&greeting.terms().limits);
    assert!(agreed.in_flight >= 1 && agreed.unread >= 2 * limits::FRAME as u64);
    assert!(agreed.in_flight <= limits::IN_FLIGHT as u64 && agreed.message <= limits::MESSAGE as u64);
    let again = Greeting::check(&hello, node(from), node(to), answers, now, &mut window);
    assert_eq!(again.err(), Some(Refusal::Replay), "a Hello counts once");
    if let Some(introduction) = &greeting.introduction {
        super::record::introduction(introduction, now);
    }
    answer(&greeting, now);
}

/// Whatever it wants, our answer to it is a Hello that a node like ours accepts.
fn answer(greeting: &Greeting, now: Timestamp) {
    let outcomes = negotiate(&greeting.wants, &extras().offers);
    assert_eq!(outcomes.len(), greeting.wants.len());
    if greeting.answers.is_some() {
        return;
    }
    let theirs = greeting.hello().signed().as_bytes();
    let ours = Hello::make(&key(BOB_NODE), node(ALICE_NODE), Fresh { now, ..fresh(7) }, extras(), Some(greeting));
    let heard = Greeting::check(&ours, node(BOB_NODE), node(ALICE_NODE), Some(theirs), now, &mut ReplayWindow::new());
    assert_eq!(heard.expect("our answer is accepted").outcomes, outcomes);
}
