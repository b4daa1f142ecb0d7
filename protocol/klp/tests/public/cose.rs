//! The COSE working group's examples (`cose-wg/Examples`, made for RFC 8152 and RFC 9052). Each is a good or a deliberately bad COSE_Sign1, and none
//! is a statement: they are tagged, name their key where nobody has signed it, and use other algorithms. The profile refuses each by name.

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use klp::codec::{CodecError, Value, decode, encode};
use klp::statement::certificate::Acceptance;
use klp::{Cbor as _, Digest, Signed, VerifyError, limits};

use crate::cast::{NOW, unhex};
use crate::vectors::statements::{parts, sig_structure};

/// Name and bytes, as in the folders `RFC8152`, `ecdsa-examples`, `eddsa-examples` and `sign1-tests`.
const EXAMPLES: [(&str, &str); 16] = [
    (
        "rfc8152 c.2.1",
        "d28443a10126a10442313154546869732069732074686520636f6e74656e742e58408eb33e4ca31d1c465ab05aac34cc6b23d58fef5c083106c4d25a91aef0b0117e2af9a291aa32e14ab834dc56ed2a223444547e01f11d3b0916e5a4c345cacb36",
    ),
    (
        "ecdsa-sig-01",
        "d28445a201260300a10442313154546869732069732074686520636f6e74656e742e58406520bbaf2081d7e0ed0f95f76eb0733d667005f7467cec4b87b9381a6ba1ede8e00df29f32a37230f39a842a54821fdd223092819d7728efb9d3a0080b75380b",
    ),
    (
        "ecdsa-sig-02",
        "d28444a1013822a104445033383454546869732069732074686520636f6e74656e742e58605f150abd1c7d25b32065a14e05d6cb1f665d10769ff455ea9a2e0adab5de63838db257f0949c41e13330e110eba7b912f34e1546fb1366a2568faa91ec3e6c8d42f4a67a0edf731d88c9aead52258b2e2c4740ef614f02e9d91e9b7b59622a3c",
    ),
    (
        "ecdsa-sig-03",
        "d28444a1013823a104581e62696c626f2e62616767696e7340686f626269746f6e2e6578616d706c6554546869732069732074686520636f6e74656e742e588401664dd6962091b5100d6e1833d503539330ec2bc8fd3e8996950ce9f70259d9a30f73794f603b0d3e7c5e9c4c2a57e10211f76e79df8ffd1b79d7ef5b9fa7da109001965fa2d37e093bb13c040399c467b3b9908c09db2b0f1f4996fe07bb02aaa121a8e1c671f3f997ade7d651081017057bd3a8a5fbf394972ea71cfdc15e6f8fe2e1",
    ),
    (
        "ecdsa-sig-04",
        "d28444a1013823a10442313154546869732069732074686520636f6e74656e742e5840eb18b84ed674284e5ed861c3943e101bed5db9f560c0f0292b34362990d1c59b10df7946cbc6ca3dcbd6c17a6dd1d711f50337baa6b4fcfae0efc70e52c1de0f",
    ),
    (
        "eddsa-sig-01",
        "d28445a201270300a10442313154546869732069732074686520636f6e74656e742e58407142fd2ff96d56db85bee905a76ba1d0b7321a95c8c4d3607c5781932b7afb8711497dfa751bf40b58b3bcc32300b1487f3db34085eef013bf08f4a44d6fef0d",
    ),
    (
        "eddsa-sig-02",
        "d28443a10127a10445656434343854546869732069732074686520636f6e74656e742e5872988240a3a2f189bd486de14aa77f54686c576a09f2e7ed9bae910df9139c2ac3be7c27b7e10a20fa17c9d57d3510a2cf1f634bc0345ab9be00849842171d1e9e98b2674c0e38bfcf6c557a1692b01b71015a47ac9f7748840cad1da80cbb5b349309febb912672b377c8b2072af1598b3700",
    ),
    (
        "sign-fail-01",
        "d903e68443a10126a10442313154546869732069732074686520636f6e74656e742e58408eb33e4ca31d1c465ab05aac34cc6b23d58fef5c083106c4d25a91aef0b0117e2af9a291aa32e14ab834dc56ed2a223444547e01f11d3b0916e5a4c345cacb36",
    ),
    (
        "sign-fail-02",
        "d28443a10126a10442313154546869732069732074686520636f6e74656e742f58408eb33e4ca31d1c465ab05aac34cc6b23d58fef5c083106c4d25a91aef0b0117e2af9a291aa32e14ab834dc56ed2a223444547e01f11d3b0916e5a4c345cacb36",
    ),
    (
        "sign-fail-03",
        "d28445a1013903e6a10442313154546869732069732074686520636f6e74656e742e58408eb33e4ca31d1c465ab05aac34cc6b23d58fef5c083106c4d25a91aef0b0117e2af9a291aa32e14ab834dc56ed2a223444547e01f11d3b0916e5a4c345cacb36",
    ),
    (
        "sign-fail-04",
        "d2844aa10167756e6b6e6f776ea10442313154546869732069732074686520636f6e74656e742e58408eb33e4ca31d1c465ab05aac34cc6b23d58fef5c083106c4d25a91aef0b0117e2af9a291aa32e14ab834dc56ed2a223444547e01f11d3b0916e5a4c345cacb36",
    ),
    (
        "sign-fail-06",
        "d28445a201260300a10442313154546869732069732074686520636f6e74656e742e58408eb33e4ca31d1c465ab05aac34cc6b23d58fef5c083106c4d25a91aef0b0117e2af9a291aa32e14ab834dc56ed2a223444547e01f11d3b0916e5a4c345cacb36",
    ),
    (
        "sign-fail-07",
        "d28443a10126a10442313154546869732069732074686520636f6e74656e742e58406520bbaf2081d7e0ed0f95f76eb0733d667005f7467cec4b87b9381a6ba1ede8e00df29f32a37230f39a842a54821fdd223092819d7728efb9d3a0080b75380b",
    ),
    (
        "sign-pass-01",
        "d28441a0a201260442313154546869732069732074686520636f6e74656e742e584087db0d2e5571843b78ac33ecb2830df7b6e0a4d5b7376de336b23c591c90c425317e56127fbe04370097ce347087b233bf722b64072beb4486bda4031d27244f",
    ),
    (
        "sign-pass-02",
        "d28443a10126a10442313154546869732069732074686520636f6e74656e742e584010729cd711cb3813d8d8e944a8da7111e7b258c9bdca6135f7ae1adbee9509891267837e1e33bd36c150326ae62755c6bd8e540c3e8f92d7d225e8db72b8820b",
    ),
    (
        "sign-pass-03",
        "8443a10126a10442313154546869732069732074686520636f6e74656e742e58408eb33e4ca31d1c465ab05aac34cc6b23d58fef5c083106c4d25a91aef0b0117e2af9a291aa32e14ab834dc56ed2a223444547e01f11d3b0916e5a4c345cacb36",
    ),
];

/// `eddsa-examples/eddsa-01`: a COSE_Sign with one signature, which is another structure.
const SIGN: &str = "d8628443a10300a054546869732069732074686520636f6e74656e742e818343a10127a104423131584077f3eacd11852c4bf9cb1d72fabe6b26fba1d76092b2b5b7ec83b83557652264e69690dbc1172ddc0bf88411c0d25a507fdb247a20c40d5e245fabd3fc9ec106";

/// The private key of the EdDSA examples: that of RFC 8032, section 7.1, test 1.
const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";

const TAG: VerifyError = VerifyError::Form(CodecError::NotCanonical("a tag"));
const UNPROTECTED: VerifyError = VerifyError::Header("the unprotected header is not empty");
const ALGORITHM: VerifyError = VerifyError::Header("the algorithm is not -19 (Ed25519)");
const KEY_ID: VerifyError = VerifyError::Header("the key id is not a 32-byte key");
const BESIDES: VerifyError = VerifyError::Header("a protected header besides algorithm and key id");

fn refused(bytes: &[u8]) -> Option<VerifyError> {
    Signed::<Acceptance>::from_bytes(bytes.to_vec()).verify().err()
}

/// Without the tag in front: one byte for 18, two for 98, three for 998.
fn untagged(bytes: &[u8]) -> &[u8] {
    match bytes[0] {
        0xd2 => &bytes[1..],
        0xd8 => &bytes[2..],
        0xd9 => &bytes[3..],
        _ => bytes,
    }
}

#[test]
fn every_example_of_the_working_group_is_refused_for_each_reason_by_itself() {
    for (name, hex) in EXAMPLES {
        let example = unhex(hex);
        let plain = untagged(&example);
        if plain.len() < example.len() {
            assert_eq!(refused(&example), Some(TAG), "{name} as it is");
        }
        assert_eq!(refused(plain), Some(UNPROTECTED), "{name} without its tag");
        let [protected, _, payload, signature] = parts(plain);
        let bare = [protected, Value::Map(vec![]), payload, signature];
        assert_eq!(
            refused(&encode(&Value::Array(bare.to_vec()))),
            Some(ALGORITHM),
            "{name} with no unprotected header"
        );
    }
    assert_eq!(refused(&unhex(SIGN)), Some(TAG));
    assert!(matches!(refused(untagged(&unhex(SIGN))), Some(VerifyError::Form(CodecError::Field { .. }))));
}

/// Nothing is wrong with the example's signature: it is the profile that says no, one reason after the other, until nothing is left of it.
#[test]
fn the_eddsa_example_becomes_a_statement_only_when_every_lax_part_is_gone() {
    let key = SigningKey::from_bytes(&unhex(SEED).try_into().expect("32 bytes"));
    let public = key.verifying_key();
    let (_, hex) = EXAMPLES.into_iter().find(|(name, _)| *name == "eddsa-sig-01").expect("there");
    let [protected, _, payload, signature] = parts_of_lax(untagged(&unhex(hex)));
    let to_be_signed = sig_structure("", &protected, &payload);
    let published = "846a5369676e61747572653145a2012703004054546869732069732074686520636f6e74656e742e";
    assert_eq!(to_be_signed, unhex(published), "our Sig_structure is theirs");
    let signature: [u8; 64] = signature.as_bytes().expect("bytes")[..].try_into().expect("64 bytes");
    VerifyingKey::verify_strict(&public, &to_be_signed, &Signature::from_bytes(&signature)).expect("theirs verifies");

    let header = |entries: &[(i64, Value)]| {
        let entries = entries.iter().map(|(label, value)| (Value::from(*label), value.clone()));
        Value::Bytes(encode(&Value::Map(entries.collect())))
    };
    let make = |domain: &str, protected: &Value, payload: &Value| {
        let signature = key.sign(&sig_structure(domain, protected, payload)).to_bytes().to_vec();
        let parts = [protected.clone(), Value::Map(vec![]), payload.clone(), Value::Bytes(signature)];
        encode(&Value::Array(parts.to_vec()))
    };
    let ctyp = (3, Value::from(0));
    let (old, new) = ((1, Value::from(-8)), (1, Value::from(-19)));
    let (short, whole) = ((4, Value::Bytes(b"11".to_vec())), (4, Value::Bytes(public.to_bytes().to_vec())));
    let domain = "kos/acceptance/1";
    for (protected, reason) in [
        (header(&[old.clone(), ctyp.clone()]), ALGORITHM),
        (header(&[old, whole.clone()]), ALGORITHM),
        (header(&[new.clone(), ctyp.clone()]), KEY_ID),
        (header(&[new.clone(), short]), KEY_ID),
        (header(&[new.clone(), ctyp, whole.clone()]), BESIDES),
    ] {
        assert_eq!(refused(&make(domain, &protected, &payload)), Some(reason));
    }
    let protected = header(&[new, whole]);
    assert_eq!(refused(&make("", &protected, &payload)), Some(VerifyError::Signature), "signed under no domain");
    let text = refused(&make(domain, &protected, &payload));
    assert!(matches!(text, Some(VerifyError::Form(CodecError::Malformed(_)))), "the content is no structure: {text:?}");
    let acceptance = Acceptance { certificate: Digest([7; 32]), accepted: NOW };
    let statement = make(domain, &protected, &Value::Bytes(acceptance.to_bytes()));
    assert_eq!(refused(&statement), None, "and now it is one");
}

/// The four parts of an array that need not be a statement.
fn parts_of_lax(bytes: &[u8]) -> [Value; 4] {
    let value = decode(bytes, limits::STATEMENT).expect("strict CBOR, though no statement");
    value.into_array().expect("an array").try_into().expect("four parts")
}
