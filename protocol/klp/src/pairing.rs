//! Pairing: two people who share four spoken words and a number learn each other's keys, and nobody in between does.
//!
//! The first word and the number name a *mailbox*; the other three words are the *password* of a key exchange (CPace) and are never hashed into
//! anything that is sent. Each side then proves to the other that it has the same key, over a transcript that holds the mailbox, both nodes, both
//! owners and the hashes of both next keys. Names travel sealed under that key. Source: `specs/09-pairing.md`.
//!
//! Everything here is a machine without input or output of its own: [`Joiner`] and [`Issuer`] are the two sides, [`Slot`] decides what becomes
//! of a code.

mod code;
mod cpace;
mod issuer;
mod joiner;
mod keys;
mod slot;

use crate::message::PairIdentity;
use crate::statement::certificate::Credential;
use crate::statement::ticket::{self, Ticket, TicketError};
use crate::{Cbor as _, Digest, NodeId, OwnerId, Refusal, Timestamp, Verified, limits};

pub use code::{Code, CodeError, Mailbox, Password};
pub use issuer::{Expecting, Issuer, Proven};
pub use joiner::{Joiner, Proving};
pub use slot::{End, Slot};

/// Which code, and between whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parties {
    /// The mailbox.
    pub mailbox: Mailbox,
    /// The node that made the code.
    pub issuer: NodeId,
    /// The node that was told it.
    pub joiner: NodeId,
}

/// Who the other side says that it is, once it has shown that it knows the code.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Where it is and whose.
    pub ticket: Verified<Ticket>,
    /// What its certificate says.
    pub credential: Credential,
    /// What it would like to be called.
    pub name: Option<String>,
}

impl Claim {
    /// Reads what `from` has sealed. It must be that node's own ticket.
    fn read(bytes: &[u8], from: NodeId, now: Timestamp) -> Result<Self, Refusal> {
        let said = PairIdentity::from_bytes(bytes, limits::PAIR_IDENTITY).map_err(|_| Refusal::Malformed)?;
        let (ticket, credential) = ticket::check(&said.ticket, now).map_err(|error| match error {
            TicketError::Expired => Refusal::Expired,
            TicketError::Certificate(refusal) => refusal,
            TicketError::Form | TicketError::Damaged => Refusal::Signature,
        })?;
        if ticket.node != from {
            return Err(Refusal::Signature);
        }
        Ok(Self { ticket, credential, name: said.name })
    }

    fn who(&self) -> Who {
        Who { owner: self.ticket.owner, next: self.credential.certificate().next_key }
    }
}

/// A person in the transcript: first owner key, and the hash of the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Who {
    owner: OwnerId,
    next: Digest,
}

/// What we seal for the other side, and who it says that we are.
struct Own {
    bytes: Vec<u8>,
    who: Who,
}

impl Own {
    /// `too_large` over [`limits::PAIR_IDENTITY`], `malformed` when our own ticket is none.
    fn of(me: &PairIdentity) -> Result<Self, Refusal> {
        let bytes = me.to_bytes();
        if bytes.len() > limits::PAIR_IDENTITY {
            return Err(Refusal::TooLarge);
        }
        let ticket = me.ticket.verify().map_err(|_| Refusal::Malformed)?;
        let certificate = ticket.introduction.certificate.verify().map_err(|_| Refusal::Malformed)?;
        Ok(Self { bytes, who: Who { owner: ticket.owner, next: certificate.next_key } })
    }
}
