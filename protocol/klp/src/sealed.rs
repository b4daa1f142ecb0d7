//! Sealed bodies: HPKE (RFC 9180) base mode with X25519, HKDF-SHA256 and AES-256-GCM.
//!
//! Outside there are only version, recipient key id and ciphertext; the whole `COSE_Sign1` lies inside, and its `aud` must be the
//! opener, so that nobody can re-seal what was said to somebody else. Source: `specs/02-envelope.md`, section 4.

use std::convert::Infallible;
use std::fmt;

use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, Kem as _, OpModeR, OpModeS, Serializable as _};
use rand_core::{TryCryptoRng, TryRng};
use zeroize::Zeroizing;

use crate::codec::{Bytes, Cbor, CodecError, Digest, Fields, Map, Value};
use crate::identity::OwnerId;
use crate::limits;
use crate::signed::{Signed, Statement, Verified, VerifyError};

type PrivateKey = <X25519HkdfSha256 as hpke::Kem>::PrivateKey;

const INFO: &[u8] = b"kos/sealed/1";

/// A statement that is meant for one reader.
pub trait Addressed: Statement {
    /// The only owner who may act on it.
    fn audience(&self) -> OwnerId;
}

/// Why a sealed body could not be sealed or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// Sealed to a key that is not ours, or not any more.
    #[error("sealed to another key")]
    Key,
    /// The ciphertext was changed, or is not one.
    #[error("the sealed body cannot be opened")]
    Cipher,
    /// What was inside is not a verified statement.
    #[error("the statement inside does not verify")]
    Inside(#[from] VerifyError),
    /// What was inside was said to somebody else.
    #[error("the statement inside is addressed to somebody else")]
    Audience,
}

/// A public X25519 key, published in signed records.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExchangeKey(pub [u8; 32]);

impl ExchangeKey {
    /// The first eight bytes of SHA-256 over the key, which name it on the wire.
    pub fn id(&self) -> [u8; 8] {
        let Digest(hash) = Digest::of(&[&self.0]);
        std::array::from_fn(|index| hash[index])
    }
}

impl fmt::Debug for ExchangeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExchangeKey({:02x?})", self.id())
    }
}

impl Cbor for ExchangeKey {
    fn to_value(&self) -> Value {
        self.0.to_value()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        <[u8; 32]>::from_value(value).map(Self)
    }
}

/// A private X25519 key, generated apart from every signing key. It prints as `ExchangeSecret(***)`.
#[derive(Clone)]
pub struct ExchangeSecret(Zeroizing<[u8; 32]>);

impl ExchangeSecret {
    /// From 32 bytes of entropy, or the bytes of [`ExchangeSecret::seed`].
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(Zeroizing::new(seed))
    }

    /// The bytes, for sealing on disk.
    pub fn seed(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its public half.
    pub fn public(&self) -> ExchangeKey {
        let (_, public) = X25519HkdfSha256::derive_keypair(&self.0[..]);
        ExchangeKey(public.to_bytes().into())
    }

    pub(crate) fn private(&self) -> PrivateKey {
        X25519HkdfSha256::derive_keypair(&self.0[..]).0
    }
}

impl fmt::Debug for ExchangeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExchangeSecret(***)")
    }
}

/// A statement that only one key can open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    recipient: [u8; 8],
    encapsulated: [u8; 32],
    ciphertext: Vec<u8>,
}

impl Sealed {
    /// Seals a statement to `recipient`. `entropy` is 32 fresh random bytes.
    ///
    /// # Errors
    /// [`SealError::Key`] when the recipient's key is no X25519 point.
    pub fn seal<T: Addressed>(
        statement: &Verified<T>,
        recipient: &ExchangeKey,
        entropy: [u8; 32],
    ) -> Result<Self, SealError> {
        let public =
            <X25519HkdfSha256 as hpke::Kem>::PublicKey::from_bytes(&recipient.0).map_err(|_| SealError::Key)?;
        let (encapsulated, ciphertext) = hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &public,
            INFO,
            statement.signed().as_bytes(),
            &recipient.id(),
            &mut Once(Zeroizing::new(entropy)),
        )
        .map_err(|_| SealError::Key)?;
        Ok(Self { recipient: recipient.id(), encapsulated: encapsulated.to_bytes().into(), ciphertext })
    }

    /// The id of the key that opens it.
    pub fn recipient(&self) -> [u8; 8] {
        self.recipient
    }

    /// Opens, verifies, and checks that the statement inside is addressed to `opener`.
    ///
    /// # Errors
    /// [`SealError`]
    pub fn open<T: Addressed>(&self, secret: &ExchangeSecret, opener: &OwnerId) -> Result<Verified<T>, SealError> {
        let key_id = secret.public().id();
        if key_id != self.recipient {
            return Err(SealError::Key);
        }
        let encapsulated = <X25519HkdfSha256 as hpke::Kem>::EncappedKey::from_bytes(&self.encapsulated)
            .map_err(|_| SealError::Cipher)?;
        let inside = hpke::single_shot_open::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &secret.private(),
            &encapsulated,
            INFO,
            &self.ciphertext,
            &key_id,
        )
        .map_err(|_| SealError::Cipher)?;
        let statement = Signed::<T>::from_bytes(inside).verify()?;
        if statement.audience() == *opener { Ok(statement) } else { Err(SealError::Audience) }
    }
}

impl Cbor for Sealed {
    fn to_value(&self) -> Value {
        Map::new()
            .with(1, &1u64)
            .with(2, &self.recipient)
            .with(3, &self.encapsulated)
            .with(4, &Bytes(self.ciphertext.clone()))
            .build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        if fields.take::<u64>(1)? != 1 {
            return Err(CodecError::Field { field: 1, expected: "version 1" });
        }
        let sealed = Self {
            recipient: fields.take(2)?,
            encapsulated: fields.take(3)?,
            ciphertext: fields.take_at_most::<Bytes>(4, limits::STATEMENT + 16)?.0,
        };
        fields.end()?;
        Ok(sealed)
    }
}

/// Hands the caller's entropy to HPKE, which draws the 32 bytes of one ephemeral key and no more.
pub(crate) struct Once(pub(crate) Zeroizing<[u8; 32]>);

impl TryRng for Once {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for chunk in out.chunks_mut(32) {
            chunk.copy_from_slice(&self.0[..chunk.len()]);
            // Should a later HPKE draw again, it gets other bytes that still nobody can foresee.
            *self.0 = Digest::of(&[b"kos/sealed/more", &self.0[..]]).0;
        }
        Ok(())
    }
}

impl TryCryptoRng for Once {}
