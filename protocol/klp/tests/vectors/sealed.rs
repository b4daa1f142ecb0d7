use hpke::kem::X25519HkdfSha256;
use hpke::{Kem as _, Serializable as _};
use klp::sealed::{Addressed, SealError, Sealed};
use klp::{Cbor as _, OwnerId, Verified, cbor_struct, limits};
use serde_json::json;

use super::{bytes, hold, text};
use crate::cast::*;

cbor_struct! {
    /// A statement with a reader, in the smallest form; only these vectors use it.
    pub struct Letter {
        /// The reader.
        1 audience: OwnerId;
        /// What is said.
        2 text: String, max 64;
    }
}

impl klp::Statement for Letter {
    const DOMAIN: &'static str = "kos/test-letter/1";
}

impl Addressed for Letter {
    fn audience(&self) -> OwnerId {
        self.audience
    }
}

pub fn letter(audience: u8) -> Verified<Letter> {
    Verified::sign(Letter { audience: owner(audience), text: "come at eight".into() }, &key(BOB))
}

fn name(error: &SealError) -> &'static str {
    match error {
        SealError::Key => "key",
        SealError::Cipher => "cipher",
        SealError::Inside(_) => "inside",
        SealError::Audience => "audience",
        _ => "other",
    }
}

#[test]
fn sealed_vectors() {
    let secret = exchange(ALICE_EXCHANGE);
    let entropy = [0x77; 32];
    let good = Sealed::seal(&letter(ALICE), &secret.public(), entropy).expect("seals");
    let (private, _) = X25519HkdfSha256::derive_keypair(secret.seed());
    let case = |what: &str, sealed: &[u8], opener: u8, seed: u8| {
        let opened = Sealed::from_bytes(sealed, limits::MESSAGE)
            .map_err(|_| "form")
            .and_then(|sealed| sealed.open::<Letter>(&exchange(seed), &owner(opener)).map_err(|error| name(&error)));
        json!({
            "what": what, "sealed": hex(sealed), "exchange_seed": hex(&[seed; 32]), "opener": owner(opener).to_string(),
            "opens": opened.is_ok(), "error": opened.as_ref().err(),
        })
    };
    let bytes_of = |sealed: &Sealed| sealed.to_bytes();
    let flipped = |at: usize| {
        let mut bytes = bytes_of(&good);
        bytes[at] ^= 1;
        bytes
    };
    let wrong_reader = Sealed::seal(&letter(CAROL), &secret.public(), entropy).expect("seals");
    let length = bytes_of(&good).len();
    let mut first = case("sealed to Alice by Bob", &bytes_of(&good), ALICE, ALICE_EXCHANGE);
    for (key, value) in [
        ("inside", hex(letter(ALICE).signed().as_bytes())),
        ("entropy", hex(&entropy)),
        ("exchange_private", hex(&private.to_bytes())),
        ("exchange_public", hex(&secret.public().0)),
        ("exchange_id", hex(&secret.public().id())),
    ] {
        first[key] = value.into();
    }
    let cases = vec![
        first,
        case("opened with another key", &bytes_of(&good), ALICE, BOB_EXCHANGE),
        case("opened by somebody who shares the key but is not meant", &bytes_of(&good), CAROL, ALICE_EXCHANGE),
        case("what was said to Carol, sealed anew to Alice", &bytes_of(&wrong_reader), ALICE, ALICE_EXCHANGE),
        case("a bit of the version", &flipped(2), ALICE, ALICE_EXCHANGE),
        case("a bit of the key id", &flipped(5), ALICE, ALICE_EXCHANGE),
        case("a bit of the encapsulated key", &flipped(20), ALICE, ALICE_EXCHANGE),
        case("a bit of the ciphertext", &flipped(80), ALICE, ALICE_EXCHANGE),
        case("a bit of the tag", &flipped(length - 1), ALICE, ALICE_EXCHANGE),
        case("a byte after it", &[bytes_of(&good), vec![0]].concat(), ALICE, ALICE_EXCHANGE),
    ];
    assert_eq!(cases.iter().filter(|case| case["opens"] == true).count(), 1, "only the first one opens");
    let about = "Sealed bodies. The statement inside has the domain kos/test-letter/1: {1: reader's key, 2: text}.";
    for case in hold("sealed", "specs/02-envelope.md, section 4", about, cases) {
        let Ok(sealed) = Sealed::from_bytes(&bytes(&case, "sealed"), limits::MESSAGE) else {
            assert_eq!(text(&case, "error"), "form");
            continue;
        };
        let secret = klp::sealed::ExchangeSecret::from_seed(bytes(&case, "exchange_seed").try_into().expect("32"));
        let opener = text(&case, "opener").parse().expect("a DID");
        match sealed.open::<Letter>(&secret, &opener) {
            Ok(letter) => assert_eq!(letter.signed().as_bytes(), bytes(&case, "inside")),
            Err(error) => assert_eq!(name(&error), text(&case, "error")),
        }
    }
}
