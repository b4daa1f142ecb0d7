//! Statements: what is signed, and the one place where a signature is checked.
//!
//! A statement travels as an untagged `COSE_Sign1` (RFC 9052) with algorithm -19 (Ed25519, RFC 9864), the signer's 32-byte key as
//! `kid`, an empty unprotected header, and the statement's domain as external data. Its id is the SHA-256 of the `Sig_structure`.
//! Source: `specs/02-envelope.md`.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use coset::iana::{self, EnumI64 as _};
use coset::{CborSerializable as _, CoseSign1, CoseSign1Builder, HeaderBuilder, RegisteredLabelWithPrivate};

use crate::codec::{self, Cbor, CodecError, Digest, Value};
use crate::identity::{Did, SecretKey};
use crate::limits;

/// Something that one key says under one domain.
pub trait Statement: Cbor {
    /// The domain, `kos/<name>/1`: a signature under one domain means nothing under another.
    const DOMAIN: &'static str;
}

/// Why bytes are not a verified statement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// Not a strict `COSE_Sign1`, or its payload is not the expected statement.
    #[error("not a well-formed statement")]
    Form(#[from] CodecError),
    /// A header that the profile forbids.
    #[error("a header that the profile forbids: {0}")]
    Header(&'static str),
    /// The signature is not the named key's, under this domain, over these bytes.
    #[error("the signature does not verify")]
    Signature,
}

impl From<&VerifyError> for crate::Refusal {
    fn from(error: &VerifyError) -> Self {
        match error {
            VerifyError::Form(CodecError::TooLarge { .. }) => Self::TooLarge,
            VerifyError::Form(_) | VerifyError::Header(_) => Self::Malformed,
            VerifyError::Signature => Self::Signature,
        }
    }
}

/// The bytes of a statement that nobody has checked yet.
#[derive(PartialEq, Eq)]
pub struct Signed<T> {
    bytes: Vec<u8>,
    kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Signed<T> {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes.clone(), kind: PhantomData }
    }
}

impl<T> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signed({} bytes)", self.bytes.len())
    }
}

impl<T: Statement> Signed<T> {
    /// Takes bytes as they came.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes, kind: PhantomData }
    }

    /// The bytes as they came.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Checks form, headers and signature, strictly.
    ///
    /// # Errors
    /// [`VerifyError`]; nothing of an unverified statement is ever shown.
    pub fn verify(&self) -> Result<Verified<T>, VerifyError> {
        // The outer item is checked first: coset itself accepts indefinite lengths and re-orders nothing.
        codec::decode(&self.bytes, limits::STATEMENT)?;
        let cose = CoseSign1::from_slice(&self.bytes).map_err(|error| CodecError::Malformed(error.to_string()))?;
        if !cose.unprotected.is_empty() {
            return Err(VerifyError::Header("the unprotected header is not empty"));
        }
        let protected = cose.protected.original_data.as_deref().unwrap_or_default();
        codec::decode(protected, limits::STATEMENT)?;
        let header = &cose.protected.header;
        if header.alg != Some(algorithm()) {
            return Err(VerifyError::Header("the algorithm is not -19 (Ed25519)"));
        }
        let key = <[u8; 32]>::try_from(header.key_id.as_slice())
            .map_err(|_| VerifyError::Header("the key id is not a 32-byte key"))?;
        let signer = Did::from_key(key).map_err(|_| VerifyError::Header("the key id is not a usable public key"))?;
        if *header != header_of(&signer) {
            return Err(VerifyError::Header("a protected header besides algorithm and key id"));
        }
        let signature = <[u8; 64]>::try_from(cose.signature.as_slice()).map_err(|_| VerifyError::Signature)?;
        let signed = cose.tbs_data(T::DOMAIN.as_bytes());
        if !signer.verifies(&signed, &signature) {
            return Err(VerifyError::Signature);
        }
        let payload = cose.payload.as_deref().ok_or(VerifyError::Header("the payload is detached"))?;
        let statement = T::from_bytes(payload, limits::STATEMENT)?;
        Ok(Verified { statement, signer, id: Digest::of(&[&signed]), signed: self.clone() })
    }
}

impl<T> Cbor for Signed<T> {
    fn to_value(&self) -> Value {
        Value::Bytes(self.bytes.clone())
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let codec::Bytes(bytes) = codec::Bytes::from_value(value)?;
        if bytes.len() > limits::STATEMENT {
            return Err(CodecError::TooLarge { size: bytes.len(), limit: limits::STATEMENT });
        }
        Ok(Self { bytes, kind: PhantomData })
    }
}

/// A statement whose signature holds. Only this file makes one.
pub struct Verified<T> {
    statement: T,
    signer: Did,
    id: Digest,
    signed: Signed<T>,
}

impl<T: Statement> Verified<T> {
    /// Signs a statement.
    pub fn sign(statement: T, key: &SecretKey) -> Self {
        let signer = key.did();
        let mut id = Digest([0; 32]);
        let cose = CoseSign1Builder::new()
            .protected(header_of(&signer))
            .payload(statement.to_bytes())
            .create_signature(T::DOMAIN.as_bytes(), |signed| {
                id = Digest::of(&[signed]);
                key.sign(signed).to_vec()
            })
            .build();
        // Encoding values that were just built cannot fail.
        let bytes = cose.to_vec().unwrap_or_default();
        Self { statement, signer, id, signed: Signed::from_bytes(bytes) }
    }
}

impl<T> Verified<T> {
    /// Whose key signed.
    pub fn signer(&self) -> Did {
        self.signer
    }

    /// The statement's id: SHA-256 of its `Sig_structure`.
    pub fn id(&self) -> Digest {
        self.id
    }

    /// The bytes to store or send.
    pub fn signed(&self) -> &Signed<T> {
        &self.signed
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.statement
    }
}

impl<T: Clone> Clone for Verified<T> {
    fn clone(&self) -> Self {
        Self { statement: self.statement.clone(), signer: self.signer, id: self.id, signed: self.signed.clone() }
    }
}

impl<T: fmt::Debug> fmt::Debug for Verified<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verified({:?} by {:?})", self.statement, self.signer)
    }
}

fn algorithm() -> RegisteredLabelWithPrivate<iana::Algorithm> {
    iana::Algorithm::from_i64(-19)
        .map_or(RegisteredLabelWithPrivate::PrivateUse(-19), RegisteredLabelWithPrivate::Assigned)
}

fn header_of(signer: &Did) -> coset::Header {
    let mut header = HeaderBuilder::new().key_id(signer.key().to_vec()).build();
    header.alg = Some(algorithm());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Note(u64);

    impl Cbor for Note {
        fn to_value(&self) -> Value {
            codec::Map::new().with(1, &self.0).build()
        }

        fn from_value(value: Value) -> Result<Self, CodecError> {
            let mut fields = codec::Fields::of(value)?;
            let note = Self(fields.take(1)?);
            fields.end()?;
            Ok(note)
        }
    }

    impl Statement for Note {
        const DOMAIN: &'static str = "kos/note/1";
    }

    struct Other;

    impl Cbor for Other {
        fn to_value(&self) -> Value {
            Value::Null
        }

        fn from_value(_: Value) -> Result<Self, CodecError> {
            Ok(Self)
        }
    }

    impl Statement for Other {
        const DOMAIN: &'static str = "kos/other/1";
    }

    #[test]
    fn what_is_signed_verifies_and_keeps_its_id() {
        let key = SecretKey::from_seed(&[1; 32]);
        let made = Verified::sign(Note(5), &key);
        let seen = made.signed().verify().expect("verifies");
        assert_eq!((&*seen, seen.id(), seen.signer()), (&Note(5), made.id(), key.did()));
    }

    #[test]
    fn another_domain_does_not_verify() {
        let made = Verified::sign(Note(5), &SecretKey::from_seed(&[1; 32]));
        let moved = Signed::<Other>::from_bytes(made.signed().as_bytes().to_vec());
        assert_eq!(moved.verify().err(), Some(VerifyError::Signature));
    }

    #[test]
    fn no_flipped_bit_verifies() {
        let made = Verified::sign(Note(5), &SecretKey::from_seed(&[1; 32]));
        let bytes = made.signed().as_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Signed::<Note>::from_bytes(changed).verify().is_err(), "bit {bit}");
        }
    }

    #[test]
    fn an_unprotected_header_is_refused() {
        let made = Verified::sign(Note(5), &SecretKey::from_seed(&[1; 32]));
        let mut cose = CoseSign1::from_slice(made.signed().as_bytes()).expect("cose");
        cose.unprotected = HeaderBuilder::new().key_id(vec![1]).build();
        let changed = Signed::<Note>::from_bytes(cose.to_vec().expect("encodes"));
        assert!(matches!(changed.verify(), Err(VerifyError::Header(_))));
    }
}
