//! The people of every example: Bob serves, Alice calls, Carol holds a delegation. Keys are one byte, repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use klp::codec::{Bytes, Value};
use klp::forward::{Errand, Exchange, Forward, Question};
use klp::hello::{Extras, Fresh, Greeting, Hello, ReplayWindow};
use klp::sealed::ExchangeSecret;
use klp::statement::card::{Capability, Card, CardEntry, NodeRecord, RelayOffer};
use klp::statement::certificate::{Certificate, Introduction, Kind, Right};
use klp::statement::grant::{Budget, Grant, Window};
use klp::statement::receipt::{Acknowledgement, Order, Outcome, Receipt, Status, request_digest};
use klp::statement::revocation::{Revocation, RevocationHead, Target, root};
use klp::statement::ticket::Ticket;
use klp::{AgentId, Digest, NodeId, OwnerId, SecretKey, Timestamp, Verified};

/// 2027-01-15T08:00:00Z.
pub const NOW: Timestamp = Timestamp(1_800_000_000_000);

pub const BOB: u8 = 0x01;
pub const BOB_NODE: u8 = 0x02;
pub const BOB_AGENT: u8 = 0x03;
pub const BOB_NEXT: u8 = 0x04;
pub const BOB_EXCHANGE: u8 = 0x05;
pub const ALICE: u8 = 0x11;
pub const ALICE_NODE: u8 = 0x12;
pub const ALICE_NEXT: u8 = 0x14;
pub const ALICE_EXCHANGE: u8 = 0x15;
pub const CAROL: u8 = 0x21;
pub const CAROL_NODE: u8 = 0x22;

pub const ANSWER: &[u8] = b"1. pairing.md:3-5\nRun `kos contact ticket`.\n";

pub fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

pub fn owner(seed: u8) -> OwnerId {
    OwnerId(key(seed).did())
}

pub fn node(seed: u8) -> NodeId {
    NodeId(key(seed).did())
}

pub fn agent(seed: u8) -> AgentId {
    AgentId(key(seed).did())
}

pub fn exchange(seed: u8) -> ExchangeSecret {
    ExchangeSecret::from_seed([seed; 32])
}

pub fn next_key(seed: u8) -> Digest {
    Digest::of(&[key(seed).did().key()])
}

pub fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3600)
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits");
    assert_eq!(text.len() % 2, 0, "an even number of hex digits");
    (0..text.len() / 2).map(|index| digit(2 * index)).collect()
}

/// CBOR diagnostic notation (RFC 8949, section 8), so that a reader sees what the hex says.
pub fn diagnostic(value: &Value) -> String {
    let list = |items: Vec<String>| items.join(", ");
    match value {
        Value::Integer(number) => i128::from(*number).to_string(),
        Value::Bytes(bytes) => format!("h'{}'", hex(bytes)),
        Value::Text(text) => format!("{text:?}"),
        Value::Bool(yes) => yes.to_string(),
        Value::Null => "null".into(),
        Value::Array(items) => format!("[{}]", list(items.iter().map(diagnostic).collect())),
        Value::Map(entries) => {
            let pairs = entries.iter().map(|(key, value)| format!("{}: {}", diagnostic(key), diagnostic(value)));
            format!("{{{}}}", list(pairs.collect()))
        }
        other => format!("{other:?}"),
    }
}

pub fn arguments() -> BTreeMap<String, String> {
    BTreeMap::from([("text".to_owned(), "how do I pair?".to_owned()), ("limit".to_owned(), "1".to_owned())])
}

/// The certificate of a device of `owner`; `change` makes the variants.
pub fn certificate(owner_seed: u8, subject: u8, next: u8) -> Certificate {
    Certificate {
        subject: key(subject).did(),
        kind: Kind::Node,
        owner: owner(owner_seed),
        node: None,
        rights: vec![Right::Grant, Right::Call, Right::Serve],
        issued: NOW,
        expires: NOW.after(hours(365 * 24)),
        seq: NOW.0,
        next_key: next_key(next),
    }
}

pub fn agent_certificate() -> Certificate {
    Certificate {
        kind: Kind::Agent,
        node: Some(node(BOB_NODE)),
        rights: vec![Right::Serve],
        seq: NOW.0 + 1,
        ..certificate(BOB, BOB_AGENT, BOB_NEXT)
    }
}

pub fn bob_node() -> Introduction {
    Introduction::make(certificate(BOB, BOB_NODE, BOB_NEXT), &key(BOB), &key(BOB_NODE), NOW)
}

pub fn bob_agent() -> Introduction {
    Introduction::make(agent_certificate(), &key(BOB), &key(BOB_AGENT), NOW)
}

pub fn alice_node() -> Introduction {
    Introduction::make(certificate(ALICE, ALICE_NODE, ALICE_NEXT), &key(ALICE), &key(ALICE_NODE), NOW)
}

pub fn ticket() -> Ticket {
    Ticket {
        node: node(BOB_NODE),
        owner: owner(BOB),
        introduction: bob_node(),
        addresses: vec![format!("/ip4/192.168.1.5/tcp/4001/p2p/{}", peer_id(BOB_NODE))],
        exchange: exchange(BOB_EXCHANGE).public(),
        issued: NOW,
        expires: NOW.after(hours(7 * 24)),
    }
}

/// The libp2p peer id of a node key: the identity multihash of its protobuf form.
pub fn peer_id(seed: u8) -> String {
    let prefix = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];
    bs58::encode([&prefix[..], key(seed).did().key()].concat()).into_string()
}

pub fn record() -> NodeRecord {
    NodeRecord {
        node: node(BOB_NODE),
        addresses: vec![format!("/ip4/93.184.216.34/udp/4001/quic-v1/p2p/{}", peer_id(BOB_NODE))],
        exchange: exchange(BOB_EXCHANGE).public(),
        seq: NOW.0,
        issued: NOW,
        expires: NOW.after(hours(1)),
    }
}

pub fn relay_offer() -> RelayOffer {
    RelayOffer {
        node: node(BOB_NODE),
        relays: vec![format!("/ip4/93.184.216.35/tcp/4711/p2p/{}", peer_id(CAROL))],
        seq: NOW.0,
        issued: NOW,
        expires: NOW.after(hours(7 * 24)),
    }
}

pub fn card() -> Card {
    Card {
        agent: agent(BOB_AGENT),
        owner: owner(BOB),
        node: node(BOB_NODE),
        name: "docs".into(),
        description: "Answers from a folder of documents.".into(),
        kind: "librarian".into(),
        capabilities: vec![Capability {
            name: "ask".into(),
            arguments: BTreeSet::from(["text".to_owned(), "limit".to_owned()]),
        }],
        tags: BTreeSet::from(["docs".to_owned(), "rust".to_owned()]),
        seq: NOW.0,
        issued: NOW,
        expires: NOW.after(hours(24)),
    }
}

pub fn card_entry() -> CardEntry {
    CardEntry { card: Verified::sign(card(), &key(BOB_AGENT)).signed().clone(), introduction: bob_agent() }
}

/// From Bob to Alice; a later one in a chain names its parent.
pub fn grant(issuer: u8, holder: Option<u8>, parent: Option<&Verified<Grant>>) -> Grant {
    Grant {
        issuer: owner(issuer),
        holder: holder.map(owner),
        node: node(BOB_NODE),
        agent: agent(BOB_AGENT),
        capability: "ask".into(),
        arguments: None,
        budget: Budget { calls: Some(10), bytes: None, window: Window::Total },
        issued: NOW,
        expires: NOW.after(hours(30 * 24)),
        parent: parent.map(Verified::id),
        seq: NOW.0,
    }
}

pub fn first_grant() -> Verified<Grant> {
    Verified::sign(grant(BOB, Some(ALICE), None), &key(BOB))
}

pub fn revocation() -> Revocation {
    Revocation { issuer: owner(BOB), kind: Target::Grant, target: first_grant().id(), seq: 1, issued: NOW }
}

pub fn revocation_head() -> RevocationHead {
    RevocationHead { owner: owner(BOB), seq: 1, root: root([&first_grant().id()]), issued: NOW }
}

pub fn order() -> Order {
    Order {
        caller: owner(ALICE),
        node: node(BOB_NODE),
        agent: agent(BOB_AGENT),
        capability: "ask".into(),
        grant: Some(first_grant().id()),
        request: request_digest(&[9; 16], "ask", &arguments()),
        max_bytes: 65_536,
        issued: NOW,
        expires: NOW.after(Duration::from_secs(600)),
        nonce: [8; 16],
    }
}

pub fn signed_order() -> Verified<Order> {
    Verified::sign(order(), &key(ALICE_NODE))
}

pub fn outcome() -> Outcome {
    Outcome {
        order: signed_order().id(),
        agent: agent(BOB_AGENT),
        status: Status::Answered,
        answer: Digest::of(&[ANSWER]),
        bytes: ANSWER.len() as u64,
        took_ms: 12,
        finished: NOW.after(Duration::from_secs(1)),
    }
}

pub fn signed_outcome() -> Verified<Outcome> {
    Verified::sign(outcome(), &key(BOB_AGENT))
}

pub fn acknowledgement() -> Acknowledgement {
    Acknowledgement {
        outcome: signed_outcome().id(),
        bytes: ANSWER.len() as u64,
        at: NOW.after(Duration::from_secs(2)),
    }
}

/// A whole receipt, signed by both sides and acknowledged.
pub fn receipt() -> Receipt {
    Receipt {
        version: 1,
        order: signed_order().signed().clone(),
        caller: alice_node(),
        outcome: Some(signed_outcome().signed().clone()),
        agent: Some(bob_agent()),
        acknowledgement: Some(Verified::sign(acknowledgement(), &key(ALICE_NODE)).signed().clone()),
        salt: [9; 16],
        arguments: arguments(),
        answer: Some(Bytes(ANSWER.to_vec())),
    }
}

pub fn fresh(nonce: u8) -> Fresh {
    Fresh { nonce: [nonce; 16], now: NOW, session: [6; 16], memory: [nonce; 8] }
}

/// What Alice's and Bob's nodes tell each other once they are contacts.
pub fn extras(seed: u8) -> Extras {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    if seed == ALICE_NODE {
        let wants = names(&["docs.ask", "docs.write"]);
        Extras { introduction: Some(alice_node()), revocations: Some(0), wants, ..Extras::default() }
    } else {
        let offers = names(&["docs.ask"]);
        Extras { introduction: Some(bob_node()), revocations: Some(1), offers, ..Extras::default() }
    }
}

/// The Hello with which one node dials another.
pub fn dialling(from: u8, to: u8) -> Vec<u8> {
    Hello::make(&key(from), node(to), fresh(from), extras(from), None)
}

/// The listener's Hello, which answers the dialler's.
pub fn answering(from: u8, to: u8, theirs: &[u8]) -> Vec<u8> {
    let heard = Greeting::check(theirs, node(to), node(from), None, NOW, &mut ReplayWindow::new()).expect("a Hello");
    Hello::make(&key(from), node(to), fresh(from), extras(from), Some(&heard))
}

/// The seed of the key that Alice makes for the answer to [`question`].
pub const ANSWER_EXCHANGE: u8 = 0x16;

/// Alice's node asks Bob's for something, whoever carries it.
pub fn errand(request: &[u8]) -> Errand {
    Errand {
        caller: owner(ALICE),
        node: node(BOB_NODE),
        request: Digest::of(&[request]),
        answer: exchange(ANSWER_EXCHANGE).public(),
        issued: NOW,
        expires: NOW.after(Duration::from_secs(600)),
        nonce: [5; 16],
    }
}

/// The same as it is sealed.
pub fn question(request: &[u8]) -> Question {
    let errand = Verified::sign(errand(request), &key(ALICE_NODE));
    Question { errand: errand.signed().clone(), caller: alice_node(), request: Bytes(request.to_vec()) }
}

/// What Bob's node says of the key to seal to.
pub fn exchange_said() -> Exchange {
    let expires = NOW.after(Duration::from_secs(600));
    Exchange { node: node(BOB_NODE), exchange: exchange(BOB_EXCHANGE).public(), issued: NOW, expires }
}

/// The grant by which Carol's node carries what Alice asks.
pub fn forward_grant() -> Grant {
    Grant {
        node: node(CAROL_NODE),
        agent: AgentId(key(CAROL_NODE).did()),
        capability: klp::forward::CAPABILITY.into(),
        ..grant(CAROL, Some(ALICE), None)
    }
}

/// What Carol's node is handed by Alice's.
pub fn forward() -> Forward {
    let ping = klp::message::Request::new("ping", &klp::message::Empty);
    let sealed = question(&klp::Cbor::to_bytes(&ping)).seal(
        &exchange(BOB_EXCHANGE).public(),
        exchange(ANSWER_EXCHANGE),
        [0x66; 32],
    );
    Forward {
        to: node(BOB_NODE),
        ttl: klp::limits::HOPS,
        path: vec![node(ALICE_NODE)],
        chain: vec![Verified::sign(forward_grant(), &key(CAROL)).signed().clone()],
        issuers: vec![],
        question: Some(sealed.expect("seals").0),
    }
}
