//! Sealing between the two ends: HPKE to the answering node, and HPKE back to a key that the asker made for this one answer.
//!
//! The way back is keyed by both: by the asker's fresh key, whose private half is forgotten with the answer, and by a secret that only
//! whoever opened the question knows. So nobody else can answer, and a node key that is stolen later opens no old answer.
//! Source: `specs/11-forwarding.md`, section 4.

use std::fmt;

use hpke::aead::{AeadCtxR, AeadCtxS, AesGcm256};
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, Kem, OpModeR, OpModeS, PskBundle, Serializable as _};
use zeroize::Zeroizing;

use super::{End, Question};
use crate::codec::{Bytes, Cbor as _};
use crate::sealed::{ExchangeKey, ExchangeSecret, Once, SealError};
use crate::{cbor_struct, limits};

const QUESTION: &[u8] = b"kos/forward/1";
const ANSWER: &[u8] = b"kos/forward/answer/1";
const CHUNK: &[u8] = b"chunk";
const END: &[u8] = b"end";
/// Bytes of an encapsulated key.
const LEAD: usize = 32;

cbor_struct! {
    /// A question that only one node can open.
    pub struct SealedQuestion {
        /// The id of the key that opens it.
        1 recipient: [u8; 8];
        /// The encapsulated key.
        2 encapsulated: [u8; 32];
        /// The sealed [`Question`].
        3 ciphertext: Bytes, max limits::ERRAND + 8 * 1024;
    }
}

/// What both ends know and nobody else. It prints as `Export(***)`.
#[derive(Clone)]
pub struct Export(Zeroizing<[u8; 32]>);

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Export(***)")
    }
}

impl Export {
    fn psk(&self) -> Result<PskBundle<'_>, SealError> {
        PskBundle::new(&self.0[..], ANSWER).map_err(|_| SealError::Key)
    }
}

impl Question {
    /// Seals it to a node. `answer` is the private half of the key that the errand names, `entropy` 32 fresh random bytes.
    ///
    /// # Errors
    /// [`SealError::Key`] when the node's key is no X25519 point.
    pub fn seal(
        &self,
        to: &ExchangeKey,
        answer: ExchangeSecret,
        entropy: [u8; 32],
    ) -> Result<(SealedQuestion, Reader), SealError> {
        let public = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&to.0).map_err(|_| SealError::Key)?;
        let mut once = Once(Zeroizing::new(entropy));
        let (encapsulated, mut sealer) = hpke::setup_sender_with_rng::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &public,
            QUESTION,
            &mut once,
        )
        .map_err(|_| SealError::Key)?;
        let ciphertext = sealer.seal(&self.to_bytes(), &to.id()).map_err(|_| SealError::Cipher)?;
        let mut export = Zeroizing::new([0; 32]);
        sealer.export(ANSWER, &mut export[..]).map_err(|_| SealError::Cipher)?;
        let sealed = SealedQuestion {
            recipient: to.id(),
            encapsulated: encapsulated.to_bytes().into(),
            ciphertext: Bytes(ciphertext),
        };
        Ok((sealed, Reader { export: Export(export), secret: answer, opener: None }))
    }
}

impl SealedQuestion {
    /// Opens it. What is inside is not checked yet: [`Question::verify`] does that.
    ///
    /// # Errors
    /// [`SealError::Key`] when it is sealed to another key, [`SealError::Cipher`] when it was changed.
    pub fn open(&self, secret: &ExchangeSecret) -> Result<(Question, Export), SealError> {
        let key_id = secret.public().id();
        if key_id != self.recipient {
            return Err(SealError::Key);
        }
        let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&self.encapsulated);
        let mut opener = hpke::setup_receiver::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &secret.private(),
            &encapsulated.map_err(|_| SealError::Cipher)?,
            QUESTION,
        )
        .map_err(|_| SealError::Cipher)?;
        let inside = opener.open(&self.ciphertext.0, &key_id).map_err(|_| SealError::Cipher)?;
        let mut export = Zeroizing::new([0; 32]);
        opener.export(ANSWER, &mut export[..]).map_err(|_| SealError::Cipher)?;
        let question = Question::from_bytes(&inside, limits::MESSAGE).map_err(|_| SealError::Cipher)?;
        Ok((question, Export(export)))
    }
}

/// Seals an answer, piece by piece.
pub struct Writer {
    sealer: AeadCtxS<AesGcm256, HkdfSha256, X25519HkdfSha256>,
    lead: Vec<u8>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer(***)")
    }
}

impl Writer {
    /// The most that one piece may hold, so that a frame has room for it.
    pub const PIECE: usize = limits::FRAME - LEAD - 16;

    /// To the key that the errand names. `entropy` is 32 fresh random bytes.
    ///
    /// # Errors
    /// [`SealError::Key`] when that key is no X25519 point.
    pub fn new(export: &Export, answer: &ExchangeKey, entropy: [u8; 32]) -> Result<Self, SealError> {
        let public = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&answer.0).map_err(|_| SealError::Key)?;
        let mut once = Once(Zeroizing::new(entropy));
        let (encapsulated, sealer) = hpke::setup_sender_with_rng::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Psk(export.psk()?),
            &public,
            ANSWER,
            &mut once,
        )
        .map_err(|_| SealError::Key)?;
        Ok(Self { sealer, lead: encapsulated.to_bytes().to_vec() })
    }

    /// The next piece, of at most [`Writer::PIECE`] bytes.
    ///
    /// # Errors
    /// [`SealError::Cipher`]
    pub fn chunk(&mut self, piece: &[u8]) -> Result<Vec<u8>, SealError> {
        self.piece(piece, CHUNK)
    }

    /// The last piece.
    ///
    /// # Errors
    /// [`SealError::Cipher`]
    pub fn end(mut self, end: &End) -> Result<Vec<u8>, SealError> {
        self.piece(&end.to_bytes(), END)
    }

    fn piece(&mut self, piece: &[u8], what: &[u8]) -> Result<Vec<u8>, SealError> {
        let sealed = self.sealer.seal(piece, what).map_err(|_| SealError::Cipher)?;
        Ok(if self.lead.is_empty() { sealed } else { [std::mem::take(&mut self.lead), sealed].concat() })
    }
}

/// Opens an answer, piece by piece and in order. Whoever gets an error reads no more of it.
pub struct Reader {
    export: Export,
    secret: ExchangeSecret,
    opener: Option<AeadCtxR<AesGcm256, HkdfSha256, X25519HkdfSha256>>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader(***)")
    }
}

impl Reader {
    /// The next piece.
    ///
    /// # Errors
    /// [`SealError::Cipher`] when it was changed, is out of order, comes twice, or is the end.
    pub fn chunk(&mut self, piece: &[u8]) -> Result<Vec<u8>, SealError> {
        self.piece(piece, CHUNK)
    }

    /// The last piece. There is none after it.
    ///
    /// # Errors
    /// [`SealError::Cipher`] when it was changed, a piece before it is missing, or it is not the end.
    pub fn end(mut self, piece: &[u8]) -> Result<End, SealError> {
        let end = self.piece(piece, END)?;
        let end = End::from_bytes(&end, limits::MESSAGE).map_err(|_| SealError::Cipher)?;
        if end.answer.is_some() == end.refusal.is_some() { Err(SealError::Cipher) } else { Ok(end) }
    }

    fn piece(&mut self, piece: &[u8], what: &[u8]) -> Result<Vec<u8>, SealError> {
        let (opener, sealed) = match &mut self.opener {
            Some(opener) => (opener, piece),
            None => {
                let (lead, sealed) = piece.split_at_checked(LEAD).ok_or(SealError::Cipher)?;
                let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(lead);
                let opener = hpke::setup_receiver::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
                    &OpModeR::Psk(self.export.psk()?),
                    &self.secret.private(),
                    &encapsulated.map_err(|_| SealError::Cipher)?,
                    ANSWER,
                )
                .map_err(|_| SealError::Cipher)?;
                (self.opener.insert(opener), sealed)
            }
        };
        opener.open(sealed, what).map_err(|_| SealError::Cipher)
    }
}
