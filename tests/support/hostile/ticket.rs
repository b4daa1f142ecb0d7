//! The line that one person hands to another, and the texts of DIDs in it and elsewhere.

use klp::statement::certificate::{Acceptance, Certificate, Introduction};
use klp::statement::ticket::{Ticket, from_line, to_line};
use klp::{Did, Digest, Verified, limits};

use super::cast::{self, BOB, BOB_NODE, NOW, key, node, owner};
use super::input::Input;
use super::{envelope, vectors};

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let cases = vectors::cases(vectors::TICKETS);
    let line = |case: &serde_json::Value| Some([&[0], case["line"].as_str()?.as_bytes()].concat());
    let lines: Vec<_> = cases.iter().filter_map(line).collect();
    let texts = vec![[&[0], key(BOB).did().to_string().as_bytes()].concat()];
    [lines, texts, vectors::payloads("Ticket", &[1]), vectors::payloads("Certificate", &[2])].concat()
}

/// The way, and a line, or what is signed in it.
pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match (input.byte() % 3, input.rest()) {
        (0, line) => {
            let line = String::from_utf8_lossy(line);
            read(&line);
            text(&line);
        }
        (1, payload) => {
            if let Some(ticket) = envelope::signed::<Ticket>(payload, BOB_NODE) {
                read(&to_line(&ticket));
            }
        }
        (_, payload) => {
            let certificate = cast::sign::<Certificate>(payload, BOB);
            let id = certificate.verify().map_or(Digest([0; 32]), |certificate| certificate.id());
            let acceptance = Verified::sign(Acceptance { certificate: id, accepted: NOW }, &key(BOB_NODE));
            let introduction = Introduction { certificate, acceptance: acceptance.signed().clone() };
            let ticket = Ticket {
                node: node(BOB_NODE),
                owner: owner(BOB),
                introduction,
                addresses: vec!["/ip4/192.168.1.5/tcp/4001".to_owned()],
                exchange: klp::sealed::ExchangeSecret::from_seed([5; 32]).public(),
                issued: NOW,
                expires: NOW.after(limits::TICKET_LIFE),
            };
            read(&to_line(&Verified::sign(ticket, &key(BOB_NODE))));
        }
    }
}

fn read(line: &str) {
    let Ok((ticket, credential)) = from_line(line, NOW) else { return };
    assert_eq!(line.trim(), to_line(&ticket), "a ticket has one line");
    envelope::holds(&ticket, ticket.signed().as_bytes());
    assert_eq!((ticket.signer(), credential.owner()), (ticket.node.0, ticket.owner));
    assert!(credential.is_node(&ticket.node) && ticket.addresses.len() <= limits::ADDRESSES);
    assert!(ticket.addresses.iter().all(|address| address.len() <= limits::ADDRESS));
    assert!(ticket.expires.since(NOW) <= limits::TICKET_LIFE.saturating_add(ticket.issued.since(NOW)));
    assert!(NOW <= ticket.expires, "a ticket ends when it says");
}

/// A DID has one text, and is never a key that anybody can sign for.
fn text(text: &str) {
    if let Ok(did) = text.parse::<Did>() {
        assert_eq!(did.to_string(), text);
        assert_eq!(Did::from_key(*did.key()), Ok(did));
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text.to_lowercase());
    }
}
