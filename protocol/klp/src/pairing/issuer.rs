//! The side that made a code. Source: `specs/09-pairing.md`, section 2.

use super::cpace::Half;
use super::keys::{Keys, ROLES, Whole, channel};
use super::{Claim, Own, Parties, Password};
use crate::codec::Bytes;
use crate::message::{PairFinish, PairIdentity, PairOpen, PairOpened, PairProve, PairProved};
use crate::{Refusal, Timestamp};

/// A run that has begun: the joiner's one try is awaited.
pub struct Issuer {
    parties: Parties,
    keys: Keys,
}

/// A run whose joiner has shown that it knows the code.
pub struct Proven {
    keys: Keys,
    them: Claim,
    sealed: Vec<u8>,
}

/// A run in which we have said who we are: the joiner's last proof is awaited.
pub struct Expecting {
    them: Claim,
    proof: [u8; 32],
}

impl Issuer {
    /// Answers the first message of a joiner. `entropy` is 64 random bytes, used once.
    ///
    /// # Errors
    /// `malformed` when the joiner's message is none.
    pub fn answer(
        password: &Password,
        parties: Parties,
        asked: &PairOpen,
        entropy: &[u8; 64],
    ) -> Result<(Self, PairOpened), Refusal> {
        let half = Half::new(password.expose().as_bytes(), &channel(&parties), &asked.run, entropy);
        let key = half.second(&asked.share, &asked.run, ROLES).ok_or(Refusal::Malformed)?;
        let keys = Keys::new(&key, &parties, &asked.run, [&asked.share, &half.share]);
        Ok((Self { parties, keys }, PairOpened { share: half.share }))
    }

    /// The joiner's one try. Whether it was right must be kept, durably, before anything of it is answered.
    ///
    /// # Errors
    /// `wrong_code`, and only then a try was wrong; else what does not hold of the joiner's ticket.
    pub fn check(self, prove: &PairProve, now: Timestamp) -> Result<Proven, Refusal> {
        if !self.keys.is_attempt(&prove.sealed.0, &prove.proof) {
            return Err(Refusal::WrongCode);
        }
        let plain = self.keys.open("joiner", &prove.sealed.0)?;
        let them = Claim::read(&plain, self.parties.joiner, now)?;
        Ok(Proven { keys: self.keys, them, sealed: prove.sealed.0.clone() })
    }
}

impl Proven {
    /// Who they say that they are.
    pub fn them(&self) -> &Claim {
        &self.them
    }

    /// Says who we are, and proves that we know the code too.
    ///
    /// # Errors
    /// `too_large` when what we say of ourselves has no room.
    pub fn answer(self, me: &PairIdentity) -> Result<(Expecting, PairProved), Refusal> {
        let own = Own::of(me)?;
        let sealed = self.keys.seal("issuer", &own.bytes)?;
        let whole = Whole { keys: &self.keys, sealed: [&self.sealed, &sealed], who: [self.them.who(), own.who] };
        let (ours, theirs) = (whole.proof("issuer"), whole.proof("joiner"));
        Ok((Expecting { them: self.them, proof: theirs }, PairProved { sealed: Bytes(sealed), proof: ours }))
    }
}

impl Expecting {
    /// The joiner's last proof: it has seen who we are, and both hold the same transcript.
    ///
    /// # Errors
    /// `signature`
    pub fn finish(&self, finish: &PairFinish) -> Result<&Claim, Refusal> {
        use subtle::ConstantTimeEq as _;
        if bool::from(self.proof.ct_eq(&finish.proof)) { Ok(&self.them) } else { Err(Refusal::Signature) }
    }
}
