use klp::{Did, KeyError, SecretKey};
use serde_json::{Value as Json, json};

use super::{bytes, hold, text};
use crate::cast::{hex, unhex};

fn words(did: &Did) -> Vec<&'static str> {
    let list = bip39::Language::English.word_list();
    did.fingerprint().iter().map(|number| list[usize::from(*number)]).collect()
}

fn key_case(seed: [u8; 32]) -> Json {
    let did = SecretKey::from_seed(&seed).did();
    let peer = bs58::encode([&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20][..], did.key()].concat()).into_string();
    json!({
        "seed": hex(&seed), "public_key": hex(did.key()), "did": did.to_string(), "peer_id": peer,
        "fingerprint": did.fingerprint(), "fingerprint_words": words(&did),
    })
}

fn name(error: KeyError) -> &'static str {
    match error {
        KeyError::Form => "form",
        KeyError::Point => "point",
        KeyError::Weak => "weak",
        _ => "other",
    }
}

fn refused_key(why: &str, key: &str) -> Json {
    let error = Did::from_key(unhex(key).try_into().expect("32 bytes")).expect_err(why);
    json!({ "refused_key": key, "error": name(error), "why": why })
}

fn refused_text(why: &str, did: &str) -> Json {
    let error = did.parse::<Did>().expect_err(why);
    json!({ "refused_did": did, "error": name(error), "why": why })
}

fn encoded(prefix: &[u8], key: &[u8]) -> String {
    format!("did:key:z{}", bs58::encode([prefix, key].concat()).into_string())
}

#[test]
fn l0_1_did_key_vectors() {
    let good = SecretKey::from_seed(&[1; 32]).did();
    let mut first = [0; 32];
    first.copy_from_slice(&unhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"));
    let zeros = |count: usize| "00".repeat(count);
    let cases = vec![
        key_case(first),
        key_case([1; 32]),
        key_case([2; 32]),
        key_case([0xff; 32]),
        refused_key("the neutral point", &format!("01{}", zeros(31))),
        refused_key("order 2", &format!("ec{}7f", "ff".repeat(30))),
        refused_key("order 4", &zeros(32)),
        refused_key("order 4, sign set", &format!("{}80", zeros(31))),
        refused_key("order 8", "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
        refused_key("order 8", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
        refused_key("the neutral point in a second form, y = p + 1", &format!("ee{}7f", "ff".repeat(30))),
        refused_key("a zero x with its sign set", &format!("01{}80", zeros(30))),
        refused_key("y = p + 3, a second form of y = 3", &format!("f0{}7f", "ff".repeat(30))),
        refused_key("no point has this y", &format!("02{}", zeros(31))),
        refused_text("another method", "did:web:example.org"),
        refused_text("no multibase z", &good.to_string().replace(":z6", ":6")),
        refused_text("a character that base58 does not have", &good.to_string().replace("z6Mk", "z6M0")),
        refused_text("an X25519 key", &encoded(&[0xec, 0x01], good.key())),
        refused_text("31 bytes", &encoded(&[0xed, 0x01], &good.key()[..31])),
        refused_text("33 bytes", &encoded(&[0xed, 0x01], &[&good.key()[..], &[0]].concat())),
        refused_text("a fragment", &format!("{good}#{}", &good.to_string()[8..])),
        refused_text("a space before", &format!(" {good}")),
    ];
    let about =
        "Ed25519 seeds with their public key, DID, libp2p peer id and fingerprint; keys and texts that are refused.";
    for case in hold("did_key", "specs/01-identity.md, sections 1 and 2", about, cases) {
        if case["seed"].is_string() {
            let did: Did = text(&case, "did").parse().expect("a DID");
            assert_eq!(did.key()[..], bytes(&case, "public_key"));
            assert_eq!(did.to_string(), text(&case, "did"));
        }
    }
}
