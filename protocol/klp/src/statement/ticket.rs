//! Tickets: one pasteable line that says where a node is and whose. A ticket authorises nothing and carries no name.
//! Source: `specs/01-identity.md`, section 5.

use crate::codec::{Cbor as _, CodecError};
use crate::identity::{NodeId, OwnerId};
use crate::refusal::Refusal;
use crate::sealed::ExchangeKey;
use crate::signed::{Signed, Verified};
use crate::statement::certificate::{Credential, Introduction};
use crate::time::Timestamp;
use crate::{limits, statement};

const PREFIX: &str = "kos1";

statement! {
    "kos/ticket/1"
    /// Where a node is and whose; signed by the node key.
    pub struct Ticket {
        /// The node.
        1 node: NodeId;
        /// Its owner.
        2 owner: OwnerId;
        /// The owner's certificate for the node, with the hash of the owner's next key.
        3 introduction: Introduction;
        /// Multiaddrs, best first.
        4 addresses: Vec<String>, max limits::ADDRESSES;
        /// The key to seal to.
        5 exchange: ExchangeKey;
        /// From when.
        6 issued: Timestamp;
        /// Until when; at most 7 days later.
        7 expires: Timestamp;
    }
}

/// Why a line is no usable ticket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// Not a ticket at all.
    #[error("this is not a ticket: a ticket is one line that begins with kos1")]
    Form,
    /// It was a ticket, but some of it was changed or lost.
    #[error("the ticket was damaged on the way: a character is missing or changed")]
    Damaged,
    /// Its certificate does not hold.
    #[error("the certificate inside the ticket does not hold: {0}")]
    Certificate(Refusal),
    /// It is past its time.
    #[error("the ticket has expired; ask for a fresh one with `kos contact ticket`")]
    Expired,
}

/// A ticket as one line.
pub fn to_line(ticket: &Verified<Ticket>) -> String {
    format!("{PREFIX}{}", bs58::encode(ticket.signed().as_bytes()).into_string())
}

/// Reads and checks a line.
///
/// # Errors
/// [`TicketError`]
pub fn from_line(line: &str, now: Timestamp) -> Result<(Verified<Ticket>, Credential), TicketError> {
    let body =
        line.trim().strip_prefix(PREFIX).filter(|body| body.len() <= 2 * limits::RECORD).ok_or(TicketError::Form)?;
    let bytes = bs58::decode(body).into_vec().map_err(|_| TicketError::Damaged)?;
    check(&Signed::from_bytes(bytes), now)
}

/// Checks a ticket.
///
/// # Errors
/// [`TicketError`]
pub fn check(signed: &Signed<Ticket>, now: Timestamp) -> Result<(Verified<Ticket>, Credential), TicketError> {
    let ticket = signed.verify().map_err(|_| TicketError::Damaged)?;
    if now > ticket.expires || ticket.expires.since(ticket.issued) > limits::TICKET_LIFE {
        return Err(TicketError::Expired);
    }
    let credential = ticket.introduction.verify(now).map_err(TicketError::Certificate)?;
    let oversized = ticket.addresses.iter().any(|address| address.len() > limits::ADDRESS);
    if ticket.signer() != ticket.node.0
        || !credential.is_node(&ticket.node)
        || credential.owner() != ticket.owner
        || oversized
    {
        return Err(TicketError::Certificate(Refusal::Signature));
    }
    Ok((ticket, credential))
}

/// The bytes of an introduction, for storing beside a contact.
pub fn introduction_bytes(ticket: &Ticket) -> Vec<u8> {
    ticket.introduction.to_bytes()
}

impl From<CodecError> for TicketError {
    fn from(_: CodecError) -> Self {
        Self::Damaged
    }
}
