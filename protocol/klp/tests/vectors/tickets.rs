use klp::statement::ticket::{Ticket, TicketError, from_line, to_line};
use klp::{Timestamp, Verified, limits};
use serde_json::{Value as Json, json};

use super::{hold, text};
use crate::cast::*;

fn word(error: &TicketError) -> String {
    match error {
        TicketError::Form => "form".into(),
        TicketError::Damaged => "damaged".into(),
        TicketError::Certificate(refusal) => format!("certificate: {refusal}"),
        TicketError::Expired => "expired".into(),
        _ => "other".into(),
    }
}

pub fn line(change: impl FnOnce(&mut Ticket), seed: u8) -> String {
    let mut ticket = ticket();
    change(&mut ticket);
    to_line(&Verified::sign(ticket, &key(seed)))
}

fn case(what: &str, line: &str, now: Timestamp) -> Json {
    match from_line(line, now) {
        Ok((ticket, credential)) => json!({
            "what": what, "line": line, "now": now.0, "accepted": true,
            "node": ticket.node.to_string(), "owner": credential.owner().to_string(), "addresses": ticket.addresses,
            "expires": ticket.expires.0, "next_key": credential.certificate().next_key.to_string(),
            "exchange": hex(&ticket.exchange.0), "statement": hex(ticket.signed().as_bytes()),
        }),
        Err(error) => json!({ "what": what, "line": line, "now": now.0, "accepted": false, "error": word(&error) }),
    }
}

#[test]
fn s26_ticket_vectors() {
    let good = line(|_| (), BOB_NODE);
    let flipped = {
        let mut letters: Vec<char> = good.chars().collect();
        letters[40] = if letters[40] == 'A' { 'B' } else { 'A' };
        letters.into_iter().collect::<String>()
    };
    let end = NOW.after(limits::TICKET_LIFE);
    let late = Timestamp(end.0 + 1);
    let other_owner = line(|ticket| ticket.owner = owner(CAROL), BOB_NODE);
    let other_node = line(|ticket| ticket.introduction = alice_node(), BOB_NODE);
    let agents = line(|ticket| ticket.introduction = bob_agent(), BOB_NODE);
    let endless = line(|ticket| ticket.expires = Timestamp(late.0), BOB_NODE);
    let many = line(|ticket| ticket.addresses = vec!["/ip4/10.0.0.1/tcp/1".into(); limits::ADDRESSES + 1], BOB_NODE);
    let long = line(|ticket| ticket.addresses = vec!["/".repeat(limits::ADDRESS + 1)], BOB_NODE);
    let cases = vec![
        case("a good ticket", &good, NOW),
        case("the same with spaces around it", &format!("  {good}\n"), NOW),
        case("in its last millisecond", &good, end),
        case("a millisecond too late", &good, late),
        case("a changed character", &flipped, NOW),
        case("a lost character", &good[..good.len() - 1], NOW),
        case("a character too many", &format!("{good}1"), NOW),
        case("no prefix", &good[4..], NOW),
        case("a DID", &owner(BOB).to_string(), NOW),
        case("longer than any ticket", &format!("kos1{}", "1".repeat(2 * limits::RECORD + 1)), NOW),
        case("a life of more than seven days", &endless, NOW),
        case("signed by the owner in place of the node", &line(|_| (), BOB), NOW),
        case("naming another owner than its certificate", &other_owner, NOW),
        case("with the certificate of another node", &other_node, NOW),
        case("with the certificate of an agent", &agents, NOW),
        case("17 addresses", &many, NOW),
        case("an address of 257 bytes", &long, NOW),
        case("from a clock that is far ahead", &good, NOW.before(limits::SKEW + std::time::Duration::from_millis(1))),
    ];
    assert_eq!(cases.iter().filter(|case| case["accepted"] == true).count(), 3, "only the first three hold");
    let about = "Ticket lines, read at the moment `now` (Unix milliseconds).";
    for found in hold("tickets", "specs/01-identity.md, section 5", about, cases) {
        let now = Timestamp(found["now"].as_u64().expect("a number"));
        assert_eq!(case(text(&found, "what"), text(&found, "line"), now), found);
    }
}
