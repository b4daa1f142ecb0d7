//! RFC 9180's vectors, opened as sealed bodies are opened. Appendix A prints X25519 with AES-128-GCM (A.1); our suite, with AES-256-GCM, is in the
//! file that the appendix cites, `test-vectors.json`, under mode 0, KEM 32, KDF 1, AEAD 2.

use hpke::aead::{Aead, AesGcm128, AesGcm256};
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, Kem as _, OpModeR, Serializable as _};
use klp::sealed::ExchangeSecret;

use crate::cast::unhex;

const INFO: &str = "4f6465206f6e2061204772656369616e2055726e";
const PLAIN: &str = "4265617574792069732074727574682c20747275746820626561757479";

struct Vector {
    /// Input of DeriveKeyPair for the recipient, and what follows from it.
    ikm: &'static str,
    private: &'static str,
    public: &'static str,
    encapsulated: &'static str,
    /// The messages 0, 1 and 2; the additional data is `Count-` and the number.
    sealed: [&'static str; 3],
    /// Exported secrets for the contexts "", 00 and "TestContext".
    exported: [&'static str; 3],
}

/// A.1.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-128-GCM, base mode.
const PRINTED: Vector = Vector {
    ikm: "6db9df30aa07dd42ee5e8181afdb977e538f5e1fec8a06223f33f7013e525037",
    private: "4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8",
    public: "3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d",
    encapsulated: "37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431",
    sealed: [
        "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a",
        "af2d7e9ac9ae7e270f46ba1f975be53c09f8d875bdc8535458c2494e8a6eab251c03d0c22a56b8ca42c2063b84",
        "498dfcabd92e8acedc281e85af1cb4e3e31c7dc394a1ca20e173cb72516491588d96a19ad4a683518973dcc180",
    ],
    exported: [
        "3853fe2b4035195a573ffc53856e77058e15d9ea064de3e59f4961d0095250ee",
        "2e8f0b54673c7029649d4eb9d5e33bf1872cf76d623ff164ac185da9e88c21a5",
        "e9e43065102c3836401bed8c3c3c75ae46be1639869391d62c61f1ec7af54931",
    ],
};

/// The same with AES-256-GCM: the suite of `specs/02-envelope.md`, section 4.
const OURS: Vector = Vector {
    ikm: "dac33b0e9db1b59dbbea58d59a14e7b5896e9bdf98fad6891e99d1686492b9ee",
    private: "497b4502664cfea5d5af0b39934dac72242a74f8480451e1aee7d6a53320333d",
    public: "430f4b9859665145a6b1ba274024487bd66f03a2dd577d7753c68d7d7d00c00c",
    encapsulated: "6c93e09869df3402d7bf231bf540fadd35cd56be14f97178f0954db94b7fc256",
    sealed: [
        "e5d84cd531cfb583096e7cfa9641bd3079cf3a91cda813c52deb5f512be9931980a41de125a925cdad859d5b7a",
        "2c43aff25343fdbff864506f0818b9d87df84ea01b1a2144d23b4d40c26bf655fdf197fe40297a8aebeed5cc2d",
        "e0a8f2cf92ff61215edbb8c55dc31fe9e2eb42a5685867bb6854211542099f9e940c4b41c192bc390835b1a5f7",
    ],
    exported: [
        "ded6cffafaea6b812cbf3e241e88332adbc077aca81512914213810ee291770a",
        "04d3cb6cc116b28ffd22ad5bc276c60d31fec71ceb87ae24db811c64b7507339",
        "7c5ded445732c14fe09727d29b4251c0fd38455fe8440571e687f0886aac94d2",
    ],
};

fn opens<A: Aead>(vector: &Vector) {
    let private = <X25519HkdfSha256 as hpke::Kem>::PrivateKey::from_bytes(&unhex(vector.private)).expect("a key");
    let encapsulated = unhex(vector.encapsulated);
    let encapsulated = <X25519HkdfSha256 as hpke::Kem>::EncappedKey::from_bytes(&encapsulated).expect("a point");
    let receiver = || {
        hpke::setup_receiver::<A, HkdfSha256, X25519HkdfSha256>(&OpModeR::Base, &private, &encapsulated, &unhex(INFO))
            .expect("set up")
    };
    let mut context = receiver();
    for (number, sealed) in vector.sealed.iter().enumerate() {
        let aad = format!("Count-{number}");
        let plain = context.open(&unhex(sealed), aad.as_bytes()).expect("opens");
        assert_eq!(plain, unhex(PLAIN), "message {number}");
        let mut changed = unhex(sealed);
        changed[number] ^= 1;
        assert!(receiver().open(&changed, b"Count-0").is_err(), "a changed message {number}");
    }
    assert!(receiver().open(&unhex(vector.sealed[0]), b"Count-1").is_err(), "other additional data");
    for (named, expected) in [&b""[..], &[0], b"TestContext"].into_iter().zip(vector.exported) {
        let mut secret = [0; 32];
        context.export(named, &mut secret).expect("short");
        assert_eq!(secret.to_vec(), unhex(expected));
    }
}

#[test]
fn rfc_9180_vectors_open_with_our_suite_and_with_the_printed_one() {
    opens::<AesGcm128>(&PRINTED);
    opens::<AesGcm256>(&OURS);
}

/// An exchange key is DeriveKeyPair of 32 random bytes (RFC 9180, section 7.1.3).
#[test]
fn an_exchange_key_is_the_derived_key_pair_of_rfc_9180() {
    for vector in [PRINTED, OURS] {
        let secret = ExchangeSecret::from_seed(unhex(vector.ikm).try_into().expect("32 bytes"));
        assert_eq!(secret.public().0.to_vec(), unhex(vector.public));
        let (private, public) = X25519HkdfSha256::derive_keypair(&unhex(vector.ikm));
        assert_eq!(public.to_bytes().to_vec(), unhex(vector.public));
        // The RFC writes the private key as it was derived; the library writes it clamped (RFC 7748, section 5), which is the same key.
        let mut clamped = unhex(vector.private);
        clamped[0] &= 0xf8;
        clamped[31] = (clamped[31] & 0x7f) | 0x40;
        let written = private.to_bytes().to_vec();
        assert!(written == unhex(vector.private) || written == clamped);
    }
}
