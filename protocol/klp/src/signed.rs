//! Statements: what is signed, and the one place where a signature is checked.
//!
//! A statement travels as an untagged `COSE_Sign1` (RFC 9052) with algorithm -19 (Ed25519, RFC 9864), the signer's 32-byte key as
//! `kid`, an empty unprotected header, and the statement's domain as external data. Its id is the SHA-256 of the `Sig_structure`.
//! Source: `specs/02-envelope.md`.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use coset::iana::{self, EnumI64 as _};
use coset::{
    CborSerializable as _, CoseSign1Builder, Header, HeaderBuilder, ProtectedHeader, RegisteredLabelWithPrivate,
    SignatureContext, sig_structure_data,
};

use crate::codec::{self, Cbor, CodecError, Digest, Value};
use crate::identity::{Did, Key, SecretKey};
use crate::limits;

/// The algorithm's number: Ed25519, fully specified (RFC 9864).
const ED25519: i64 = -19;

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
        let Parts { protected, payload, signature } = Parts::of(&self.bytes)?;
        let key = key_of(&protected)?;
        let signature = <[u8; 64]>::try_from(signature).map_err(|_| VerifyError::Signature)?;
        let signed = to_be_signed(protected, T::DOMAIN, payload.as_deref().unwrap_or_default());
        if !key.verifies(&signed, &signature) {
            return Err(VerifyError::Signature);
        }
        let payload = payload.ok_or(VerifyError::Header("the payload is detached"))?;
        let statement = T::from_bytes(&payload, limits::STATEMENT)?;
        Ok(Verified { statement, signer: key.did(), id: Digest::of(&[&signed]), signed: self.clone() })
    }
}

/// A `COSE_Sign1`, taken apart.
struct Parts {
    protected: Vec<u8>,
    payload: Option<Vec<u8>>,
    signature: Vec<u8>,
}

impl Parts {
    /// coset never reads what strangers send: it accepts indefinite lengths, and follows countersignatures inside countersignatures, each in
    /// a byte string where no limit on nesting sees it, until the stack ends.
    fn of(bytes: &[u8]) -> Result<Self, VerifyError> {
        const FORM: CodecError = CodecError::Field { field: -1, expected: "a COSE_Sign1: an array of four" };
        let Value::Array(parts) = codec::decode(bytes, limits::STATEMENT)? else { return Err(FORM.into()) };
        let [protected, unprotected, payload, signature] = <[Value; 4]>::try_from(parts).map_err(|_| FORM)?;
        let (Value::Bytes(protected), Value::Map(unprotected)) = (protected, unprotected) else {
            return Err(FORM.into());
        };
        if !unprotected.is_empty() {
            return Err(VerifyError::Header("the unprotected header is not empty"));
        }
        let payload = match payload {
            Value::Bytes(payload) => Some(payload),
            Value::Null => None,
            _ => return Err(FORM.into()),
        };
        let signature = signature.into_bytes().map_err(|_| FORM)?;
        Ok(Self { protected, payload, signature })
    }
}

/// The key that a protected header names, when it has algorithm and key id and nothing else.
fn key_of(protected: &[u8]) -> Result<Key, VerifyError> {
    let Value::Map(header) = codec::decode(protected, limits::STATEMENT)? else {
        return Err(CodecError::Field { field: -1, expected: "a map of headers" }.into());
    };
    let of = |label: i64| header.iter().find(|(key, _)| *key == Value::from(label)).map(|(_, value)| value);
    if of(1) != Some(&Value::from(ED25519)) {
        return Err(VerifyError::Header("the algorithm is not -19 (Ed25519)"));
    }
    let key = of(4).and_then(Value::as_bytes).and_then(|key| <[u8; 32]>::try_from(key.as_slice()).ok());
    let key = key.ok_or(VerifyError::Header("the key id is not a 32-byte key"))?;
    let key = Key::admit(key).map_err(|_| VerifyError::Header("the key id is not a usable public key"))?;
    if header.len() != 2 {
        return Err(VerifyError::Header("a protected header besides algorithm and key id"));
    }
    Ok(key)
}

/// The `Sig_structure` (RFC 9052, section 4.4) over the protected header and the payload as they travel.
fn to_be_signed(protected: Vec<u8>, domain: &str, payload: &[u8]) -> Vec<u8> {
    let protected = ProtectedHeader { original_data: Some(protected), header: Header::default() };
    sig_structure_data(SignatureContext::CoseSign1, protected, None, domain.as_bytes(), payload)
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

fn header_of(signer: &Did) -> Header {
    let algorithm = iana::Algorithm::from_i64(ED25519)
        .map_or(RegisteredLabelWithPrivate::PrivateUse(ED25519), RegisteredLabelWithPrivate::Assigned);
    HeaderBuilder::new().algorithm_label(algorithm).key_id(signer.key().to_vec()).build()
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
        let mut cose = coset::CoseSign1::from_slice(made.signed().as_bytes()).expect("cose");
        cose.unprotected = HeaderBuilder::new().key_id(vec![1]).build();
        let changed = Signed::<Note>::from_bytes(cose.to_vec().expect("encodes"));
        assert!(matches!(changed.verify(), Err(VerifyError::Header(_))));
    }
}
