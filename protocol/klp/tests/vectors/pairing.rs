use klp::message::{PairFinish, PairFinished, PairIdentity, PairOpen, PairOpened, PairProve, PairProved};
use klp::pairing::{Code, Issuer, Joiner, Mailbox, Parties, Slot};
use klp::statement::ticket::Ticket;
use klp::{Cbor as _, Timestamp, Verified, limits};
use serde_json::{Value as Json, json};

use super::{hold, text};
use crate::cast::*;

/// The code of every example.
pub const CODE: &str = "ocean-4821-river-stone-lamp";
pub const JOINER_ENTROPY: [u8; 80] = [0x33; 80];
pub const ISSUER_ENTROPY: [u8; 64] = [0x44; 64];

pub fn code() -> Code {
    Code::parse(CODE).expect("a code")
}

/// Bob has made the code, Alice was told it.
pub fn parties() -> Parties {
    Parties { mailbox: code().mailbox, issuer: node(BOB_NODE), joiner: node(ALICE_NODE) }
}

pub fn bob() -> PairIdentity {
    PairIdentity { ticket: Verified::sign(ticket(), &key(BOB_NODE)).signed().clone(), name: Some("bob".into()) }
}

pub fn alice() -> PairIdentity {
    let alice = Ticket {
        node: node(ALICE_NODE),
        owner: owner(ALICE),
        introduction: alice_node(),
        addresses: vec![format!("/ip4/192.168.1.7/tcp/4001/p2p/{}", peer_id(ALICE_NODE))],
        exchange: exchange(ALICE_EXCHANGE).public(),
        ..ticket()
    };
    PairIdentity { ticket: Verified::sign(alice, &key(ALICE_NODE)).signed().clone(), name: None }
}

/// The five messages of one pairing.
pub struct Messages {
    pub open: PairOpen,
    pub opened: PairOpened,
    pub prove: PairProve,
    pub proved: PairProved,
    pub finish: PairFinish,
}

/// A pairing that succeeds, the same every time.
pub fn messages() -> Messages {
    let code = code();
    let (joiner, open) = Joiner::begin(&code, node(BOB_NODE), node(ALICE_NODE), &JOINER_ENTROPY);
    let (issuer, opened) = Issuer::answer(&code.password, parties(), &open, &ISSUER_ENTROPY).expect("answers");
    let (proving, prove) = joiner.prove(&opened, &alice()).expect("proves");
    let proven = issuer.check(&prove, NOW).expect("is right");
    let (expecting, proved) = proven.answer(&bob()).expect("answers");
    let (them, finish) = proving.finish(&proved, NOW).expect("is proved");
    assert_eq!((them.ticket.owner, them.name.as_deref()), (owner(BOB), Some("bob")));
    assert_eq!(expecting.finish(&finish).expect("the same transcript").ticket.owner, owner(ALICE));
    Messages { open, opened, prove, proved, finish }
}

fn typed(what: &str, typed: &str) -> Json {
    match Code::parse(typed) {
        Ok(code) => json!({
            "what": what, "typed": typed, "accepted": true, "mailbox": code.mailbox.as_str(),
            "password": code.password.expose(), "dht_key": code.mailbox.key().to_string(),
        }),
        Err(error) => json!({ "what": what, "typed": typed, "accepted": false, "error": error.to_string() }),
    }
}

/// A code lives through tries at moments; `true` is a right one that is carried to the end.
fn life(what: &str, tries: &[(u64, bool)]) -> Json {
    let mut slot = Slot::new(NOW.after(limits::PAIR_LIFE));
    let steps: Vec<Json> = tries
        .iter()
        .map(|(after, right)| {
            let now = Timestamp(NOW.0 + after);
            let verdict = match slot.admit(now) {
                Err(refusal) => refusal.to_string(),
                Ok(()) if *right => {
                    slot.end(klp::pairing::End::Used);
                    "paired".to_owned()
                }
                Ok(()) => format!("wrong_code, {} left", slot.wrong()),
            };
            json!({ "now": now.0, "right": right, "verdict": verdict })
        })
        .collect();
    json!({ "what": what, "made": NOW.0, "tries": steps })
}

#[test]
fn s27_pairing_vectors() {
    let m = messages();
    let run = json!({
        "what": "a pairing: Bob made the code, Alice was told it",
        "code": CODE, "now": NOW.0, "issuer": node(BOB_NODE).to_string(), "joiner": node(ALICE_NODE).to_string(),
        "joiner_entropy": hex(&JOINER_ENTROPY), "issuer_entropy": hex(&ISSUER_ENTROPY),
        "joiner_identity": hex(&alice().to_bytes()), "issuer_identity": hex(&bob().to_bytes()),
        "open": hex(&m.open.to_bytes()), "opened": hex(&m.opened.to_bytes()), "prove": hex(&m.prove.to_bytes()),
        "proved": hex(&m.proved.to_bytes()), "finish": hex(&m.finish.to_bytes()),
    });
    let last = u64::try_from(limits::PAIR_LIFE.as_millis()).expect("small") - 1;
    let cases = vec![
        run,
        typed("as it is shown", CODE),
        typed("with spaces and capitals", " Ocean 4821  RIVER stone lamp"),
        typed("by the first four letters of each word", "ocea 4821 rive ston lamp"),
        typed("a word of three letters", "ocean 4821 zoo stone lamp"),
        typed("three letters are not enough for a longer word", "oce 4821 river stone lamp"),
        typed("a word that is not in the list", "ocean-4821-river-stonne-lamp"),
        typed("a word is missing", "ocean-4821-river-stone"),
        typed("a word too many", "ocean-4821-river-stone-lamp-lamp"),
        typed("a number that is too high", "ocean-10000-river-stone-lamp"),
        typed("the number zero", "ocean-0-river-stone-lamp"),
        life("a right try in the last millisecond, then another", &[(last, true), (last, true)]),
        life("a right try too late", &[(last + 1, true)]),
        life("two wrong tries, then a right one", &[(1, false), (2, false), (3, true), (4, false)]),
        life("three wrong tries burn it", &[(1, false), (2, false), (3, false), (4, true)]),
    ];
    let about =
        "Codes as people type them, one whole pairing with everything that goes into it, and what becomes of a code.";
    for case in hold("pairing", "specs/09-pairing.md", about, cases) {
        if case["typed"].is_string() {
            assert_eq!(typed(text(&case, "what"), text(&case, "typed")), case);
            if case["accepted"] == true {
                assert!(Mailbox::parse(text(&case, "mailbox")).is_ok());
            }
        }
    }
}

#[test]
fn the_messages_of_a_pairing_are_small() {
    let m = messages();
    let sizes = [m.open.to_bytes(), m.opened.to_bytes(), m.prove.to_bytes(), m.proved.to_bytes(), m.finish.to_bytes()];
    let sizes = sizes.map(|bytes| bytes.len());
    assert!(sizes.iter().all(|size| *size < 1200), "{sizes:?}");
    let finished = PairFinished { first: klp::message::FirstGrant::Asked };
    assert!(finished.to_bytes().len() < 8);
}
