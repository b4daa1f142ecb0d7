//! The messages of a pairing, to both sides of it, and codes as somebody types them.

use klp::message::{PairFinish, PairIdentity, PairOpen, PairOpened, PairProve, PairProved};
use klp::pairing::{Claim, Code, Issuer, Joiner, Mailbox, Parties, Password, Proving};
use klp::statement::ticket::Ticket;
use klp::{Cbor as _, Refusal, Verified, limits};

use super::cast::{
    ALICE, ALICE_EXCHANGE, ALICE_NEXT, ALICE_NODE, BOB, BOB_NEXT, BOB_NODE, NOW, certificate, key, node, owner,
};
use super::input::Input;
use super::vectors;

const CODE: &str = "ocean-4821-river-stone-lamp";

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let cases = vectors::cases(vectors::PAIRING);
    let ways = ["open", "prove", "opened", "proved", "finish", "joiner_identity", "issuer_identity"];
    let led = |(way, name): (u8, &&str)| {
        let found = cases.iter().filter_map(|case| vectors::bytes(case, name));
        found.map(|bytes| [&[way][..], &bytes].concat()).collect::<Vec<_>>()
    };
    let messages = (0u8..).zip(&ways).flat_map(led);
    let typed = cases.iter().filter_map(|case| Some([&[7][..], case["typed"].as_str()?.as_bytes()].concat()));
    messages.chain(typed).collect()
}

fn code() -> Code {
    Code::parse(CODE).expect("a code")
}

fn parties() -> Parties {
    Parties { mailbox: code().mailbox, issuer: node(BOB_NODE), joiner: node(ALICE_NODE) }
}

fn identity(person: u8, device: u8, next: u8) -> PairIdentity {
    let introduction = klp::statement::certificate::Introduction::make(
        certificate(person, device, next),
        &key(person),
        &key(device),
        NOW,
    );
    let ticket = Ticket {
        node: node(device),
        owner: owner(person),
        introduction,
        addresses: vec!["/ip4/192.168.1.7/tcp/4001".to_owned()],
        exchange: klp::sealed::ExchangeSecret::from_seed([ALICE_EXCHANGE; 32]).public(),
        issued: NOW,
        expires: NOW.after(limits::TICKET_LIFE),
    };
    PairIdentity { ticket: Verified::sign(ticket, &key(device)).signed().clone(), name: None }
}

fn begin() -> (Joiner, PairOpen) {
    Joiner::begin(&code(), node(BOB_NODE), node(ALICE_NODE), &[0x35; 80])
}

fn answer(open: &PairOpen) -> Result<(Issuer, PairOpened), Refusal> {
    Issuer::answer(&code().password, parties(), open, &[0x45; 64])
}

/// Both sides as far as the joiner's try.
fn tried(me: &PairIdentity) -> Result<(Issuer, Proving, PairProve), Refusal> {
    let (joiner, open) = begin();
    let (issuer, opened) = answer(&open)?;
    let (proving, prove) = joiner.prove(&opened, me)?;
    Ok((issuer, proving, prove))
}

/// The way, and a message, what is sealed in it, or a text.
pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (way, rest) = (input.byte() % 8, input.rest());
    let alice = || identity(ALICE, ALICE_NODE, ALICE_NEXT);
    match way {
        0 => {
            if let Ok(open) = PairOpen::from_bytes(rest, limits::MESSAGE) {
                let _answered = answer(&open);
            }
        }
        1 => {
            let Ok(prove) = PairProve::from_bytes(rest, limits::MESSAGE) else { return };
            let (issuer, _, honest) = tried(&alice()).expect("an honest run");
            if let Ok(proven) = issuer.check(&prove, NOW) {
                assert_eq!((prove.sealed, prove.proof), (honest.sealed, honest.proof), "nobody else has the key");
                honest_claim(proven.them());
            }
        }
        2 => {
            if let Ok(opened) = PairOpened::from_bytes(rest, limits::MESSAGE) {
                let _proved = begin().0.prove(&opened, &alice());
            }
        }
        3 => {
            let Ok(proved) = PairProved::from_bytes(rest, limits::MESSAGE) else { return };
            let (_, proving, _) = tried(&alice()).expect("an honest run");
            // The vectors' own answer is sealed for the vectors' own request.
            assert!(proving.finish(&proved, NOW).is_err(), "nobody else has the key");
        }
        4 => {
            let Ok(finish) = PairFinish::from_bytes(rest, limits::MESSAGE) else { return };
            let (issuer, _, prove) = tried(&alice()).expect("an honest run");
            let proven = issuer.check(&prove, NOW).expect("is right");
            let (expecting, _) = proven.answer(&identity(BOB, BOB_NODE, BOB_NEXT)).expect("answers");
            assert!(expecting.finish(&finish).is_err(), "nobody else has the key");
        }
        // Somebody who knows the code says anything of themselves.
        5 | 6 => {
            let Ok(said) = PairIdentity::from_bytes(rest, limits::PAIR_IDENTITY) else { return };
            if let Ok((issuer, _, prove)) = tried(&said)
                && let Ok(proven) = issuer.check(&prove, NOW)
            {
                let them = proven.them();
                assert_eq!((them.ticket.node, them.ticket.signer()), (node(ALICE_NODE), node(ALICE_NODE).0));
                assert_eq!(them.credential.owner(), them.ticket.owner);
                assert!(them.credential.is_node(&them.ticket.node));
            }
        }
        _ => {
            let typed = String::from_utf8_lossy(rest);
            if let Ok(code) = Code::parse(&typed) {
                assert_eq!(Code::parse(&code.expose()), Ok(code.clone()));
                assert_eq!(Mailbox::parse(code.mailbox.as_str()), Ok(code.mailbox));
                assert_eq!(Password::parse(code.password.expose()), Ok(code.password));
            }
            if let Ok(mailbox) = Mailbox::parse(&typed) {
                assert_eq!(mailbox.as_str(), typed, "a mailbox has one form");
            }
        }
    }
}

fn honest_claim(claim: &Claim) {
    assert_eq!((claim.ticket.owner, claim.ticket.node), (owner(ALICE), node(ALICE_NODE)));
}
