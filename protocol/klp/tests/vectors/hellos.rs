use klp::hello::{Extras, Greeting, Hello, Limits, ReplayWindow};
use klp::{NodeId, Timestamp, Verified, limits};
use serde_json::{Value as Json, json};

use super::{bytes, hold, text};
use crate::cast::*;

/// What the receiver makes of a Hello.
fn check(case: &Json) -> Json {
    let did = |key: &str| NodeId(text(case, key).parse().expect("a DID"));
    let hello = bytes(case, "hello");
    let answers = case["answers"].as_str().map(unhex);
    let now = Timestamp(case["now"].as_u64().expect("a number"));
    let mut window = ReplayWindow::new();
    let (peer, me) = (did("channel_peer"), did("receiver"));
    if case["seen"] == true {
        let _first = Greeting::check(&hello, peer, me, answers.as_deref(), now, &mut window);
    }
    match Greeting::check(&hello, peer, me, answers.as_deref(), now, &mut window) {
        Err(refusal) => json!({ "refused": refusal.code() }),
        Ok(hello) => {
            let outcomes = hello.outcomes.iter();
            let outcomes = outcomes.map(|outcome| json!([outcome.name, outcome.answer.as_str(), outcome.reason]));
            json!({ "accepted": true, "owner_shown": hello.introduction.is_some(), "outcomes": outcomes.collect::<Vec<_>>() })
        }
    }
}

fn case(what: &str, hello: &[u8], change: impl FnOnce(&mut Json)) -> Json {
    let mut case = json!({
        "what": what, "hello": hex(hello), "answers": null, "seen": false, "now": NOW.0,
        "channel_peer": node(ALICE_NODE).to_string(), "receiver": node(BOB_NODE).to_string(),
    });
    change(&mut case);
    case["read"] = check(&case);
    case
}

/// Alice's Hello to Bob with something changed, signed by `seed`.
fn changed(seed: u8, change: impl FnOnce(&mut Hello)) -> Vec<u8> {
    let good = klp::Signed::<Hello>::from_bytes(dialling(ALICE_NODE, BOB_NODE)).verify().expect("verifies");
    let mut hello = Hello::clone(&good);
    change(&mut hello);
    Verified::sign(hello, &key(seed)).signed().as_bytes().to_vec()
}

fn cases() -> Vec<Json> {
    let good = dialling(ALICE_NODE, BOB_NODE);
    let stranger = Hello::make(&key(ALICE_NODE), node(BOB_NODE), fresh(1), Extras::default(), None);
    let answer = answering(BOB_NODE, ALICE_NODE, &good);
    let to_alice = |answers: Json| {
        move |case: &mut Json| {
            case["answers"] = answers;
            case["channel_peer"] = json!(node(BOB_NODE).to_string());
            case["receiver"] = json!(node(ALICE_NODE).to_string());
        }
    };
    let at = |now: u64| move |case: &mut Json| case["now"] = json!(now);
    let skew = u64::try_from(limits::SKEW.as_millis()).expect("fits");
    let small = |change: fn(&mut Limits)| changed(ALICE_NODE, |hello| change(&mut hello.limits));
    let names = |count: usize| (0..count).map(|number| format!("docs.a{number}")).collect();
    vec![
        case("a contact dials", &good, |_| ()),
        case("a stranger dials: no owner, no capabilities", &stranger, |_| ()),
        case("the contact's answer", &answer, to_alice(json!(hex(&good)))),
        case("an answer to another Hello", &answer, to_alice(json!(hex(&stranger)))),
        case("an answer where a question is due", &answer, to_alice(Json::Null)),
        case("a question where an answer is due", &good, |case| case["answers"] = json!(hex(&stranger))),
        case("five minutes old", &good, at(NOW.0 + skew)),
        case("a millisecond more", &good, at(NOW.0 + skew + 1)),
        case("five minutes ahead", &good, at(NOW.0 - skew)),
        case("a millisecond further ahead", &good, at(NOW.0 - skew - 1)),
        case("a second time", &good, |case| case["seen"] = json!(true)),
        case("over a channel of another node", &good, |case| case["channel_peer"] = json!(node(CAROL).to_string())),
        case("to another node", &good, |case| case["receiver"] = json!(node(CAROL).to_string())),
        case("signed by the owner in place of the node", &changed(ALICE, |_| ()), |_| ()),
        case("from another node than its signer", &changed(ALICE_NODE, |hello| hello.from = node(CAROL)), |_| ()),
        case("without a common version", &changed(ALICE_NODE, |hello| hello.versions = vec![3]), |_| ()),
        case("with a second, unknown version", &changed(ALICE_NODE, |hello| hello.versions = vec![1, 3]), |_| ()),
        case("of the second version alone", &changed(ALICE_NODE, |hello| hello.versions = vec![2]), |_| ()),
        case("no request at once", &small(|limits| limits.in_flight = 0), |_| ()),
        case("less unread than two frames", &small(|limits| limits.unread = 131_071), |_| ()),
        case("messages of less than a frame", &small(|limits| limits.message = 65_535), |_| ()),
        case(
            "the smallest limits",
            &small(|limits| *limits = Limits { in_flight: 1, unread: 131_072, message: 65_536 }),
            |_| (),
        ),
        case("64 wants", &changed(ALICE_NODE, |hello| hello.wants = names(limits::OFFERS)), |_| ()),
        case("65 wants", &changed(ALICE_NODE, |hello| hello.wants = names(limits::OFFERS + 1)), |_| ()),
    ]
}

#[test]
fn s07_hello_vectors() {
    let about = "Hellos as a receiver sees them: who the channel says the peer is, our own Hello when we dialled, and our clock.";
    for case in hold("hellos", "specs/03-session.md, section 3", about, cases()) {
        assert_eq!(check(&case), case["read"], "{}", case["what"]);
    }
}
