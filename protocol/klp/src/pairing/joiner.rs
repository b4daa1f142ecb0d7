//! The side that was told a code. Source: `specs/09-pairing.md`, section 2.

use super::cpace::{Half, Share};
use super::keys::{Keys, ROLES, Whole, channel};
use super::{Claim, Code, Own, Parties};
use crate::codec::Bytes;
use crate::message::{PairFinish, PairIdentity, PairOpen, PairOpened, PairProve, PairProved};
use crate::{NodeId, Refusal, Timestamp};

/// A run that has begun: the issuer's message is awaited.
pub struct Joiner {
    parties: Parties,
    run: [u8; 16],
    half: Half,
}

/// A run whose key is made: the issuer's proof is awaited.
pub struct Proving {
    parties: Parties,
    run: [u8; 16],
    keys: Keys,
    own: Own,
    sealed: Vec<u8>,
}

impl Joiner {
    /// Begins a run with a node that may have made this code. `entropy` is 80 random bytes, used once.
    pub fn begin(code: &Code, issuer: NodeId, me: NodeId, entropy: &[u8; 80]) -> (Self, PairOpen) {
        let parties = Parties { mailbox: code.mailbox.clone(), issuer, joiner: me };
        let (mut run, mut secret) = ([0; 16], zeroize::Zeroizing::new([0; 64]));
        run.copy_from_slice(&entropy[..16]);
        secret.copy_from_slice(&entropy[16..]);
        let half = Half::new(code.password.expose().as_bytes(), &channel(&parties), &run, &secret);
        let open = PairOpen { mailbox: parties.mailbox.as_str().to_owned(), run, share: half.share };
        (Self { parties, run, half }, open)
    }

    /// The issuer has answered: this is our one try, and who we are, sealed.
    ///
    /// # Errors
    /// `malformed` when the issuer's message is none, `too_large` when what we say of ourselves has no room.
    pub fn prove(self, opened: &PairOpened, me: &PairIdentity) -> Result<(Proving, PairProve), Refusal> {
        let Self { parties, run, half } = self;
        let theirs: &Share = &opened.share;
        let key = half.first(theirs, &run, ROLES).ok_or(Refusal::Malformed)?;
        let keys = Keys::new(&key, &parties, &run, [&half.share, theirs]);
        let own = Own::of(me)?;
        let sealed = keys.seal("joiner", &own.bytes)?;
        let mailbox = parties.mailbox.as_str().to_owned();
        let prove = PairProve { mailbox, run, sealed: Bytes(sealed.clone()), proof: keys.attempt(&sealed) };
        Ok((Proving { parties, run, keys, own, sealed }, prove))
    }
}

impl Proving {
    /// The issuer has proved that it knows the code, and said who it is: nothing of it counts unless this succeeds.
    ///
    /// # Errors
    /// `signature` when the proof is wrong or the ticket does not hold, `expired`, `clock`, `malformed`.
    pub fn finish(self, proved: &PairProved, now: Timestamp) -> Result<(Claim, PairFinish), Refusal> {
        let plain = self.keys.open("issuer", &proved.sealed.0)?;
        let them = Claim::read(&plain, self.parties.issuer, now)?;
        let sealed = [&self.sealed[..], &proved.sealed.0];
        let whole = Whole { keys: &self.keys, sealed, who: [self.own.who, them.who()] };
        if !whole.is_proof("issuer", &proved.proof) {
            return Err(Refusal::Signature);
        }
        let proof = whole.proof("joiner");
        Ok((them, PairFinish { mailbox: self.parties.mailbox.as_str().to_owned(), run: self.run, proof }))
    }
}
