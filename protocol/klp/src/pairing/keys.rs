//! The keys of one run, what is sealed with them, and what is proved with them. Source: `specs/09-pairing.md`, section 4.

use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::cpace::{Key, Share, joined};
use super::{Parties, Who};
use crate::{Refusal, limits};

/// The domain of everything here.
pub(super) const DOMAIN: &[u8] = b"kos/pair/1";
/// What each side says of itself in the exchange: its role, so that nobody can be made to talk to themselves.
pub(super) const ROLES: [&[u8]; 2] = [b"joiner", b"issuer"];

/// A proof that its sender has the key: HMAC-SHA256.
pub(super) type Proof = [u8; 32];

/// The channel of the exchange: which mailbox, and between which nodes.
pub(super) fn channel(parties: &Parties) -> Zeroizing<Vec<u8>> {
    joined(&[DOMAIN, parties.mailbox.as_str().as_bytes(), parties.issuer.0.key(), parties.joiner.0.key()])
}

/// What one run has come to: the key, and everything both sides have seen.
pub(super) struct Keys {
    key: Hkdf<Sha256>,
    transcript: Zeroizing<Vec<u8>>,
}

impl Keys {
    /// `shares` are the joiner's and the issuer's.
    pub(super) fn new(key: &Key, parties: &Parties, run: &[u8; 16], shares: [&Share; 2]) -> Self {
        let (mailbox, issuer, joiner) = (parties.mailbox.as_str(), parties.issuer.0, parties.joiner.0);
        let parts: [&[u8]; 7] = [DOMAIN, mailbox.as_bytes(), issuer.key(), joiner.key(), run, shares[0], shares[1]];
        Self { key: Hkdf::new(Some(DOMAIN), &key[..]), transcript: joined(&parts) }
    }

    fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        // 32 bytes are within the 8160 that HKDF-SHA256 can give, so this cannot fail.
        let _within = self.key.expand(purpose.as_bytes(), &mut key[..]);
        key
    }

    /// A key seals one message, so it needs no nonce of its own.
    fn cipher(&self, role: &str) -> Aes256Gcm {
        let key = self.derive(&format!("{role} seal"));
        Aes256Gcm::new(&(*key).into())
    }

    /// Seals what this role says of itself.
    pub(super) fn seal(&self, role: &str, plain: &[u8]) -> Result<Vec<u8>, Refusal> {
        let payload = Payload { msg: plain, aad: &self.transcript };
        self.cipher(role).encrypt(&Nonce::from([0; 12]), payload).map_err(|_| Refusal::TooLarge)
    }

    /// Opens what that role says of itself.
    pub(super) fn open(&self, role: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        if sealed.len() > limits::PAIR_IDENTITY + 16 {
            return Err(Refusal::TooLarge);
        }
        let payload = Payload { msg: sealed, aad: &self.transcript };
        let opened = self.cipher(role).decrypt(&Nonce::from([0; 12]), payload);
        opened.map(Zeroizing::new).map_err(|_| Refusal::Signature)
    }

    fn mac(&self, purpose: &str, parts: &[&[u8]]) -> Hmac<Sha256> {
        let key = self.derive(purpose);
        let mut block = Zeroizing::new([0; 64]);
        block[..32].copy_from_slice(&key[..]);
        let mut mac = Hmac::<Sha256>::new(&(*block).into());
        mac.update(&self.transcript);
        mac.update(&joined(parts));
        mac
    }

    /// The joiner's first proof: the one try that a run has.
    pub(super) fn attempt(&self, sealed: &[u8]) -> Proof {
        self.mac("attempt", &[sealed]).finalize().into_bytes().into()
    }

    /// Whether it is right, in constant time.
    pub(super) fn is_attempt(&self, sealed: &[u8], proof: &Proof) -> bool {
        self.mac("attempt", &[sealed]).verify_slice(proof).is_ok()
    }
}

/// The whole transcript: who both sides are besides.
pub(super) struct Whole<'a> {
    /// The run.
    pub(super) keys: &'a Keys,
    /// What the joiner and the issuer have sealed.
    pub(super) sealed: [&'a [u8]; 2],
    /// The joiner and the issuer.
    pub(super) who: [Who; 2],
}

impl Whole<'_> {
    fn mac(&self, role: &str) -> Hmac<Sha256> {
        let [joiner, issuer] = &self.who;
        let [owner, next] = [joiner.owner.0.key(), &joiner.next.0];
        let parts: [&[u8]; 6] = [self.sealed[0], self.sealed[1], owner, next, issuer.owner.0.key(), &issuer.next.0];
        self.keys.mac(&format!("{role} proof"), &parts)
    }

    /// The proof of this role.
    pub(super) fn proof(&self, role: &str) -> Proof {
        self.mac(role).finalize().into_bytes().into()
    }

    /// Whether that role's proof is right, in constant time.
    pub(super) fn is_proof(&self, role: &str, proof: &Proof) -> bool {
        self.mac(role).verify_slice(proof).is_ok()
    }
}
