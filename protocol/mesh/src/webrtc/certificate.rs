//! The certificate of a node's WebRTC connections: made from the node key, so that it is the same after each start and nothing has to be kept.
//!
//! Others find its digest in our addresses, and a certificate that changed would make all of them stale. It proves nothing about the node: Noise does
//! that, inside, over the digests of both certificates. So its key is only derived from the node key, and says nothing about it.

use hkdf::Hkdf;
use klp::SecretKey;
use libp2p_webrtc::tokio::Certificate;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::pkcs8::EncodePrivateKey as _;
use rcgen::{CertificateParams, DistinguishedName, PKCS_ECDSA_P256_SHA256, RemoteKeyPair, SerialNumber};
use sha2::Sha256;
use zeroize::Zeroizing;

/// What the key is derived for.
const DOMAIN: &[u8] = b"kos/webrtc/1";
/// 1 January 2500, in seconds. Nobody looks at the day, only at the digest.
const EXPIRES: u64 = 16_725_225_600;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CertificateError {
    /// No number that is a private key came out of the node key.
    #[error("no key can be derived")]
    Key,
    /// Its key cannot be written down.
    #[error("the key has no form")]
    Form(#[from] p256::pkcs8::Error),
    /// It cannot be signed.
    #[error("the certificate cannot be made")]
    Made(#[from] rcgen::Error),
    /// The transport does not take it.
    #[error("the certificate is not taken")]
    Taken(#[from] libp2p_webrtc::tokio::certificate::Error),
}

/// The certificate of the node with this key.
pub(crate) fn of(node: &SecretKey) -> Result<Certificate, CertificateError> {
    let key = derived(node)?;
    let signer = Signer { public: key.verifying_key().to_encoded_point(false).as_bytes().to_vec(), key: key.clone() };
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(SerialNumber::from(1_u64));
    let made = params.self_signed(&rcgen::KeyPair::from_remote(Box::new(signer))?)?;
    // The form in which the transport takes a certificate: three blocks, the first apart from the others.
    let block = |tag: &str, content: &[u8]| Zeroizing::new(pem::encode(&pem::Pem::new(tag, content)));
    let private = key.to_pkcs8_der()?;
    let expires = block("EXPIRES", &EXPIRES.to_le_bytes());
    let (key, certificate) = (block("PRIVATE_KEY", private.as_bytes()), block("CERTIFICATE", made.der()));
    let text = Zeroizing::new([&expires, "\n", &key, &certificate].concat());
    Ok(Certificate::from_pem(&text)?)
}

/// The key, from the node key and the first number that gives one: nearly always the first.
fn derived(node: &SecretKey) -> Result<SigningKey, CertificateError> {
    let seed = node.seed();
    let root = Hkdf::<Sha256>::new(None, &seed[..]);
    let attempt = |number: u8| {
        let mut bytes = Zeroizing::new([0; 32]);
        root.expand_multi_info(&[DOMAIN, &[number]], &mut bytes[..]).ok()?;
        SigningKey::from_slice(&bytes[..]).ok()
    };
    (0..=u8::MAX).find_map(attempt).ok_or(CertificateError::Key)
}

/// Signs without chance (RFC 6979): another signature would be another certificate.
struct Signer {
    key: SigningKey,
    public: Vec<u8>,
}

impl RemoteKeyPair for Signer {
    fn public_key(&self) -> &[u8] {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature: DerSignature = self.key.sign(message);
        Ok(signature.as_bytes().to_vec())
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}
