use std::collections::BTreeSet;

use klp::codec::decode;
use klp::forward::{End, Forward, Forwarded, Question, SealedQuestion};
use klp::message::*;
use klp::statement::card::{Capability, CardEntry};
use klp::statement::certificate::Introduction;
use klp::statement::grant::Budget;
use klp::statement::receipt::Receipt;
use klp::{Cbor, Verified, limits};
use serde_json::json;

use super::statements::again;
use super::{bytes, hold, text};
use crate::cast::*;

/// How a decoder treats bytes: what it accepts, encoded again.
pub type Again = fn(&[u8]) -> Option<Vec<u8>>;

/// Everything that is decoded and is no statement's payload.
pub const BODIES: &[(&str, Again)] = &[
    ("Request", again::<Request>),
    ("Empty", again::<Empty>),
    ("Pong", again::<Pong>),
    ("Introduction", again::<Introduction>),
    ("Query", again::<Query>),
    ("Cards", again::<Cards>),
    ("CardEntry", again::<CardEntry>),
    ("Capability", again::<Capability>),
    ("Wants", again::<Wants>),
    ("Outcomes", again::<Outcomes>),
    ("Negotiated", again::<Negotiated>),
    ("Call", again::<Call>),
    ("Answered", again::<Answered>),
    ("Grants", again::<Grants>),
    ("Budget", again::<Budget>),
    ("Since", again::<Since>),
    ("Revocations", again::<Revocations>),
    ("Acknowledge", again::<Acknowledge>),
    ("Missing", again::<Missing>),
    ("Acknowledgements", again::<Acknowledgements>),
    ("Relays", again::<Relays>),
    ("PairOpen", again::<PairOpen>),
    ("PairOpened", again::<PairOpened>),
    ("PairProve", again::<PairProve>),
    ("PairProved", again::<PairProved>),
    ("PairFinish", again::<PairFinish>),
    ("PairFinished", again::<PairFinished>),
    ("PairIdentity", again::<PairIdentity>),
    ("Limits", again::<klp::hello::Limits>),
    ("Receipt", again::<Receipt>),
    ("Sealed", again::<klp::sealed::Sealed>),
    ("Forward", again::<Forward>),
    ("Forwarded", again::<Forwarded>),
    ("SealedQuestion", again::<SealedQuestion>),
    ("Question", again::<Question>),
    ("End", again::<End>),
];

pub fn call() -> Call {
    Call {
        order: signed_order().signed().clone(),
        chain: vec![first_grant().signed().clone()],
        salt: [9; 16],
        arguments: arguments(),
        issuers: vec![],
    }
}

fn acknowledge() -> Acknowledge {
    Acknowledge {
        order: signed_order().id(),
        acknowledgement: Verified::sign(acknowledgement(), &key(ALICE_NODE)).signed().clone(),
    }
}

/// One kind of request: the names of the two bodies, and the bytes of the two messages.
pub struct Example {
    pub kind: &'static str,
    pub asks: &'static str,
    pub request: Vec<u8>,
    pub answers: &'static str,
    pub response: Vec<u8>,
}

/// An example of every kind, in the order of the table.
pub fn examples() -> Vec<Example> {
    fn pair(
        kind: &'static str,
        (asks, request): (&'static str, &impl Cbor),
        (answers, response): (&'static str, &impl Cbor),
    ) -> Example {
        Example { kind, asks, request: Request::new(kind, request).to_bytes(), answers, response: response.to_bytes() }
    }
    let empty = ("Empty", &Empty);
    let query = Query { text: Some("pairing".into()), capability: Some("ask".into()), agent: None };
    let cards = Cards { cards: vec![card_entry()] };
    let wants = Wants { wants: BTreeSet::from(["docs.ask".to_owned(), "docs.write".to_owned()]) };
    let outcome = |name: &str, answer: Answer, reason: &str| Outcomes {
        name: name.into(),
        answer,
        reason: reason.into(),
        calls_left: (answer == Answer::Partial).then_some(9),
        expires: (answer == Answer::Partial).then_some(NOW),
    };
    let negotiated = Negotiated {
        outcomes: vec![
            outcome("docs.ask", Answer::Partial, "9 calls are left"),
            outcome("docs.write", Answer::Denied, "not granted"),
        ],
    };
    let answered = Answered { outcome: signed_outcome().signed().clone(), agent: bob_agent() };
    let grants = Grants { chains: vec![vec![first_grant().signed().clone()]] };
    let since = Since { owner: owner(BOB), seq: 0 };
    let revocations = Revocations {
        revocations: vec![Verified::sign(revocation(), &key(BOB)).signed().clone()],
        head: Some(Verified::sign(revocation_head(), &key(BOB)).signed().clone()),
    };
    let missing = Missing { orders: vec![signed_order().id()] };
    let found = Acknowledgements { found: vec![acknowledge()] };
    let relays = Relays { offer: Verified::sign(relay_offer(), &key(BOB_NODE)).signed().clone() };
    let pairing = super::pairing::messages();
    let finished = PairFinished { first: FirstGrant::Asked };
    let said = Verified::sign(exchange_said(), &key(BOB_NODE));
    let key_said = Forwarded { end: None, key: Some(said.signed().clone()) };
    vec![
        pair(kind::PING, empty, ("Pong", &Pong { now: NOW })),
        pair(kind::INTRODUCE, ("Introduction", &bob_node()), empty),
        pair(kind::DIRECTORY, ("Query", &query), ("Cards", &cards)),
        pair(kind::CAPABILITIES, ("Wants", &wants), ("Negotiated", &negotiated)),
        pair(kind::CALL, ("Call", &call()), ("Answered", &answered)),
        pair(kind::GRANTS, empty, ("Grants", &grants)),
        pair(kind::DELIVER_GRANT, ("Grants", &grants), empty),
        pair(kind::REVOCATIONS, ("Since", &since), ("Revocations", &revocations)),
        pair(kind::DELIVER_REVOCATION, ("Revocations", &revocations), empty),
        pair(kind::ACKNOWLEDGE, ("Acknowledge", &acknowledge()), empty),
        pair(kind::MISSING, ("Missing", &missing), ("Acknowledgements", &found)),
        pair(kind::RELAYS, empty, ("Relays", &relays)),
        pair(kind::PAIR_OPEN, ("PairOpen", &pairing.open), ("PairOpened", &pairing.opened)),
        pair(kind::PAIR_PROVE, ("PairProve", &pairing.prove), ("PairProved", &pairing.proved)),
        pair(kind::PAIR_FINISH, ("PairFinish", &pairing.finish), ("PairFinished", &finished)),
        pair(kind::FORWARD, ("Forward", &forward()), ("Forwarded", &key_said)),
    ]
}

#[test]
fn message_vectors() {
    let examples = examples();
    assert_eq!(examples.iter().map(|example| example.kind).collect::<Vec<_>>(), kind::ALL);
    let readable = |bytes: &[u8]| diagnostic(&decode(bytes, limits::MESSAGE).expect("strict"));
    let cases = examples
        .iter()
        .map(|Example { kind, asks, request, answers, response }| {
            json!({
                "kind": kind,
                "request_body": asks, "request": hex(request), "request_diagnostic": readable(request),
                "response_body": answers, "response": hex(response), "response_diagnostic": readable(response),
            })
        })
        .collect();
    let about = "A request and its answer for every kind: the bytes of the messages that the frames carry.";
    for case in hold("messages", "specs/03-session.md, section 6", about, cases) {
        let decoder = |name: &str| BODIES.iter().find(|(body, _)| *body == name).unwrap_or_else(|| panic!("{name}")).1;
        let request = Request::from_bytes(&bytes(&case, "request"), limits::MESSAGE).expect("a request");
        assert_eq!(request.kind, text(&case, "kind"));
        let body = request.body.to_bytes();
        assert_eq!(decoder(text(&case, "request_body"))(&body), Some(body));
        let response = bytes(&case, "response");
        assert_eq!(decoder(text(&case, "response_body"))(&response), Some(response));
    }
}
