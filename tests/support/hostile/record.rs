//! What nodes and agents say about themselves: node records, and cards with the certificate of their agent.

use klp::statement::card::{Card, CardEntry, NodeRecord};
use klp::statement::certificate::{Acceptance, Certificate, Introduction, Kind};
use klp::{Cbor as _, Signed, Timestamp, Verified, limits};

use super::cast::{self, BOB, BOB_AGENT, BOB_NODE, NOW, key};
use super::input::Input;
use super::{envelope, vectors};

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let card = vectors::payloads("Card", &[BOB_AGENT]);
    let entry = |payload: &Vec<u8>| {
        let card = cast::sign::<Card>(&payload[1..], BOB_AGENT);
        [&[2][..], &CardEntry { card, introduction: cast::bob_agent() }.to_bytes()].concat()
    };
    let entries: Vec<_> = card.iter().map(entry).collect();
    [
        vectors::statements("NodeRecord", &[0]),
        vectors::payloads("NodeRecord", &[1]),
        entries,
        vectors::payloads("Card", &[3]),
        vectors::payloads("Certificate", &[4]),
        vectors::payloads("Acceptance", &[5]),
    ]
    .concat()
}

/// The way, and a record, an entry, or what is signed in it.
pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match (input.byte() % 6, input.rest()) {
        (0, record) => {
            if let Ok(verified) = Signed::<NodeRecord>::from_bytes(record.to_vec()).verify() {
                envelope::holds(&verified, record);
                bounded(&verified);
            }
        }
        (1, payload) => {
            if let Some(verified) = envelope::signed::<NodeRecord>(payload, BOB_NODE) {
                bounded(&verified);
            }
        }
        (2, bytes) => {
            if let Ok(entry) = CardEntry::from_bytes(bytes, limits::GOSSIP) {
                assert_eq!(entry.to_bytes(), bytes, "an entry has one encoding");
                card(&entry);
            }
        }
        (3, payload) => {
            let card_of = cast::sign::<Card>(payload, BOB_AGENT);
            card(&CardEntry { card: card_of, introduction: cast::bob_agent() });
        }
        (4, payload) => {
            let certificate = cast::sign::<Certificate>(payload, BOB);
            let Ok(verified) = certificate.verify() else { return };
            let accepted = Acceptance { certificate: verified.id(), accepted: NOW };
            for subject in [BOB_NODE, BOB_AGENT] {
                let acceptance = Verified::sign(accepted.clone(), &key(subject)).signed().clone();
                introduction(&Introduction { certificate: certificate.clone(), acceptance }, NOW);
            }
        }
        (_, payload) => {
            let certificate = cast::bob_node().certificate;
            let acceptance = cast::sign::<Acceptance>(payload, BOB_NODE);
            introduction(&Introduction { certificate, acceptance }, NOW);
        }
    }
}

fn bounded(record: &NodeRecord) {
    assert!(record.addresses.len() <= limits::ADDRESSES);
}

fn card(entry: &CardEntry) {
    let Ok((card, credential)) = entry.verify(NOW) else { return };
    envelope::holds(&card, entry.card.as_bytes());
    assert_eq!((card.signer(), credential.subject(), credential.owner()), (card.agent.0, card.agent.0, card.owner));
    assert!(credential.is_agent_on(&card.node) && card.tags.len() <= limits::TAGS && NOW <= card.expires);
    assert!(card.name.len() <= limits::NAME && card.description.len() <= limits::TEXT);
}

/// What is true of an introduction that holds: two signatures that name each other, and a time that ends.
pub(super) fn introduction(introduction: &Introduction, now: Timestamp) {
    let bytes = introduction.to_bytes();
    assert_eq!(Introduction::from_bytes(&bytes, 2 * limits::STATEMENT).expect("its own encoding"), *introduction);
    let Ok(credential) = introduction.verify(now) else { return };
    let certificate = credential.certificate();
    let acceptance = introduction.acceptance.verify().expect("both halves verify");
    assert_eq!(certificate.signer(), certificate.owner.0, "an owner certifies");
    assert_eq!(acceptance.signer(), certificate.subject, "a subject accepts");
    assert_eq!(acceptance.certificate, certificate.id(), "what was certified");
    assert_eq!(certificate.kind == Kind::Agent, certificate.node.is_some(), "an agent lives on one node");
    assert!(credential.holds_at(now) && certificate.rights.len() <= 8);
    assert!(!credential.holds_at(Timestamp(certificate.expires.0 + 1)), "it ends when it says");
}
