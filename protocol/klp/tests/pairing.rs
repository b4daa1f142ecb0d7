//! Pairing (security rule 27): nothing but the very run between these two nodes, with this code, ends well.

use klp::message::{PairOpen, PairProve, PairProved};
use klp::pairing::{Code, Issuer, Joiner, Parties};
use klp::{Cbor as _, Refusal};
use proptest::prelude::*;

use crate::cast::*;
use crate::vectors::pairing::{ISSUER_ENTROPY, JOINER_ENTROPY, alice, bob, code, messages, parties};

/// Runs the exchange over a line that may change each message, and says how far it came.
struct Line {
    joiner_code: Code,
    issuer_code: Code,
    /// Whom the joiner believes to talk to, and whom the issuer does.
    joiner_sees: Parties,
    issuer_sees: Parties,
}

impl Default for Line {
    fn default() -> Self {
        Self { joiner_code: code(), issuer_code: code(), joiner_sees: parties(), issuer_sees: parties() }
    }
}

impl Line {
    fn run(
        &self,
        open_change: impl FnOnce(&mut PairOpen),
        prove_change: impl FnOnce(&mut PairProve),
        proved_change: impl FnOnce(&mut PairProved),
    ) -> Result<(), (&'static str, Refusal)> {
        let (seen, told) = (&self.joiner_sees, &self.issuer_sees);
        let (joiner, mut open) = Joiner::begin(&self.joiner_code, seen.issuer, seen.joiner, &JOINER_ENTROPY);
        open_change(&mut open);
        let (issuer, opened) = Issuer::answer(&self.issuer_code.password, told.clone(), &open, &ISSUER_ENTROPY)
            .map_err(|refusal| ("issuer", refusal))?;
        let (proving, mut prove) = joiner.prove(&opened, &alice()).map_err(|refusal| ("joiner", refusal))?;
        prove_change(&mut prove);
        let proven = issuer.check(&prove, NOW).map_err(|refusal| ("issuer", refusal))?;
        let (expecting, mut proved) = proven.answer(&bob()).map_err(|refusal| ("issuer", refusal))?;
        proved_change(&mut proved);
        let (_, finish) = proving.finish(&proved, NOW).map_err(|refusal| ("joiner", refusal))?;
        expecting.finish(&finish).map(drop).map_err(|refusal| ("issuer", refusal))
    }

    fn plain(&self) -> Result<(), (&'static str, Refusal)> {
        self.run(|_| {}, |_| {}, |_| {})
    }
}

#[test]
fn s27_only_the_right_password_is_a_right_try() {
    assert_eq!(Line::default().plain(), Ok(()));
    for typed in ["ocean-4821-river-stone-lady", "ocean-4821-stone-river-lamp", "ocean-4821-lamp-lamp-lamp"] {
        let joiner_code = Code::parse(typed).expect("a code");
        let line = Line { joiner_code, ..Line::default() };
        assert_eq!(line.plain(), Err(("issuer", Refusal::WrongCode)), "{typed}");
    }
}

#[test]
fn s27_a_node_in_the_middle_cannot_be_either_side() {
    // Its own channel to each: both sides see its key in place of the other's.
    let middle = Line { joiner_sees: Parties { issuer: node(CAROL), ..parties() }, ..Line::default() };
    assert_eq!(middle.plain(), Err(("issuer", Refusal::WrongCode)));
    let middle = Line { issuer_sees: Parties { joiner: node(CAROL), ..parties() }, ..Line::default() };
    assert_eq!(middle.plain(), Err(("issuer", Refusal::WrongCode)));
    let elsewhere = Code::parse("ocean-4822-river-stone-lamp").expect("a code");
    let other = Line { issuer_sees: Parties { mailbox: elsewhere.mailbox, ..parties() }, ..Line::default() };
    assert_eq!(other.plain(), Err(("issuer", Refusal::WrongCode)), "the same password in another mailbox");
}

#[test]
fn s27_what_was_swapped_on_the_way_ends_the_run_by_name() {
    let line = Line::default();
    let mine = messages();
    assert_eq!(line.run(|open| open.run[0] ^= 1, |_| {}, |_| {}), Err(("issuer", Refusal::WrongCode)));
    assert_eq!(line.run(|open| open.share = mine.opened.share, |_| {}, |_| {}), Err(("issuer", Refusal::WrongCode)));
    assert_eq!(line.run(|open| open.share = [0; 32], |_| {}, |_| {}), Err(("issuer", Refusal::Malformed)));
    assert_eq!(line.run(|_| {}, |prove| prove.sealed.0[9] ^= 1, |_| {}), Err(("issuer", Refusal::WrongCode)));
    assert_eq!(line.run(|_| {}, |prove| prove.proof[31] ^= 1, |_| {}), Err(("issuer", Refusal::WrongCode)));
    assert_eq!(line.run(|_| {}, |_| {}, |proved| proved.proof[0] ^= 1), Err(("joiner", Refusal::Signature)));
    assert_eq!(line.run(|_| {}, |_| {}, |proved| proved.sealed.0[9] ^= 1), Err(("joiner", Refusal::Signature)));
    // What the joiner sealed, sent back to it: the roles have keys of their own.
    let back = |proved: &mut PairProved| {
        *proved = PairProved { sealed: mine.prove.sealed.clone(), proof: mine.prove.proof };
    };
    assert_eq!(line.run(|_| {}, |_| {}, back), Err(("joiner", Refusal::Signature)));
}

#[test]
fn s27_a_ticket_of_another_node_counts_for_nobody() {
    let (joiner, open) = Joiner::begin(&code(), node(BOB_NODE), node(ALICE_NODE), &JOINER_ENTROPY);
    let (issuer, opened) = Issuer::answer(&code().password, parties(), &open, &ISSUER_ENTROPY).expect("answers");
    // Alice knows the code and says that she is Bob.
    let (_, prove) = joiner.prove(&opened, &bob()).expect("proves");
    assert_eq!(issuer.check(&prove, NOW).err(), Some(Refusal::Signature));
    let late = NOW.after(hours(8 * 24));
    let (joiner, open) = Joiner::begin(&code(), node(BOB_NODE), node(ALICE_NODE), &JOINER_ENTROPY);
    let (issuer, opened) = Issuer::answer(&code().password, parties(), &open, &ISSUER_ENTROPY).expect("answers");
    let (_, prove) = joiner.prove(&opened, &alice()).expect("proves");
    assert_eq!(issuer.check(&prove, late).err(), Some(Refusal::Expired));
}

#[test]
fn s27_what_is_sent_before_the_proof_says_nothing_of_anybody() {
    let m = messages();
    let sent = [m.open.to_bytes(), m.opened.to_bytes(), m.prove.to_bytes(), m.proved.to_bytes(), m.finish.to_bytes()];
    let sent = sent.concat();
    let holds = |bytes: &[u8]| sent.windows(bytes.len()).any(|part| part == bytes);
    assert!(holds(b"ocean-4821"), "the mailbox is no secret");
    for word in ["river", "stone", "lamp", "bob"] {
        assert!(!holds(word.as_bytes()), "{word}");
    }
    for did in [owner(BOB).0, owner(ALICE).0, node(BOB_NODE).0, node(ALICE_NODE).0] {
        assert!(!holds(did.key()));
    }
    assert!(!holds(b"192.168.1"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// One bit of any message that the issuer or the joiner judges.
    #[test]
    fn s27_no_changed_bit_is_overlooked(bit in 0usize..8 * 96, at in 0usize..4096) {
        let line = Line::default();
        let flip = |bytes: &mut [u8]| {
            let place = at % bytes.len();
            bytes[place] ^= 1 << (bit % 8);
        };
        let ends = [
            line.run(|open| flip(&mut open.share), |_| {}, |_| {}),
            line.run(|open| flip(&mut open.run), |_| {}, |_| {}),
            line.run(|_| {}, |prove| flip(&mut prove.sealed.0), |_| {}),
            line.run(|_| {}, |prove| flip(&mut prove.proof), |_| {}),
            line.run(|_| {}, |_| {}, |proved| flip(&mut proved.sealed.0)),
            line.run(|_| {}, |_| {}, |proved| flip(&mut proved.proof)),
        ];
        prop_assert!(ends.iter().all(Result::is_err), "{ends:?}");
    }

    #[test]
    fn s27_every_code_that_is_made_can_be_told(entropy: [u8; 12]) {
        let code = Code::from_entropy(&entropy);
        prop_assert_eq!(Code::parse(&code.expose()), Ok(code.clone()));
        prop_assert_eq!(Code::parse(&code.expose().replace('-', " ").to_uppercase()), Ok(code));
    }
}
