//! Orders, outcomes and acknowledgements: together, the receipt of one call. Source: `specs/06-receipts.md`.
//!
//! Order and outcome make a valid receipt, held by both sides. Fair exchange is impossible and is not claimed: whoever speaks last
//! may stay silent.

use std::collections::BTreeMap;

use crate::codec::{Bytes, Cbor as _, Digest, encode};
use crate::identity::{AgentId, Did, NodeId, OwnerId};
use crate::refusal::Refusal;
use crate::signed::{Signed, Verified};
use crate::statement::certificate::{Credential, Introduction, Right};
use crate::time::Timestamp;
use crate::{cbor_enum, cbor_struct, limits, statement};

statement! {
    "kos/order/1"
    /// The caller asks for one call, and says what it may cost; signed by the caller's node.
    pub struct Order {
        /// Whose wish it is.
        1 caller: OwnerId;
        /// The node that is asked, and no other.
        2 node: NodeId;
        /// The agent that is asked.
        3 agent: AgentId;
        /// What it is asked to do.
        4 capability: String, max limits::NAME;
        /// The grant that is spent; absent when an owner asks an agent of their own.
        5 grant: Option<Digest>;
        /// [`request_digest`] of salt, capability and arguments.
        6 request: Digest;
        /// Bytes of answer that the caller will take.
        7 max_bytes: u64;
        /// From when.
        8 issued: Timestamp;
        /// Until when it may be started.
        9 expires: Timestamp;
        /// Keeps two equal orders apart.
        10 nonce: [u8; 16];
    }
}

cbor_enum! {
    /// How a call ended.
    pub enum Status {
        /// With an answer.
        1 Answered "answered";
        /// The agent could not do it.
        2 Failed "failed";
        /// The caller stopped it.
        3 Cancelled "cancelled";
        /// A revocation, a budget or a limit stopped it half way.
        4 Stopped "stopped";
        /// The node went down in the middle.
        5 Interrupted "interrupted";
    }
}

statement! {
    "kos/outcome/1"
    /// The agent says how a call ended; signed by the agent key.
    pub struct Outcome {
        /// The order's id.
        1 order: Digest;
        /// The agent.
        2 agent: AgentId;
        /// How it ended.
        3 status: Status;
        /// SHA-256 of all chunks, one after the other.
        4 answer: Digest;
        /// Bytes of answer.
        5 bytes: u64;
        /// Milliseconds of work.
        6 took_ms: u64;
        /// When.
        7 finished: Timestamp;
    }
}

statement! {
    "kos/acknowledgement/1"
    /// The caller's node says that it holds the outcome and the answer; signed by the caller's node.
    pub struct Acknowledgement {
        /// The outcome's id.
        1 outcome: Digest;
        /// Bytes of answer received.
        2 bytes: u64;
        /// When.
        3 at: Timestamp;
    }
}

cbor_struct! {
    /// A receipt as a file: everything that a stranger needs to check it, offline.
    pub struct Receipt {
        /// Version of this layout: 1.
        1 version: u64;
        /// The order.
        2 order: Signed<Order>;
        /// Certificate of the caller's node.
        3 caller: Introduction;
        /// The outcome, once there is one.
        4 outcome: Option<Signed<Outcome>>;
        /// Certificate of the agent.
        5 agent: Option<Introduction>;
        /// The acknowledgement, once there is one.
        6 acknowledgement: Option<Signed<Acknowledgement>>;
        /// Opens the order's request digest.
        7 salt: [u8; 16];
        /// The arguments.
        8 arguments: BTreeMap<String, String>, max limits::ARGUMENTS;
        /// The answer, whole.
        9 answer: Option<Bytes>, max limits::MESSAGE;
    }
}

cbor_enum! {
    /// How far a receipt has come.
    pub enum State {
        /// Only the caller has signed.
        1 Ordered "ordered";
        /// The agent has signed its outcome too: a valid receipt.
        2 Answered "answered";
        /// The caller has signed that it holds the answer.
        3 Acknowledged "acknowledged";
    }
}

/// A receipt whose every signature and digest holds. Only [`Receipt::verify`] makes one.
#[derive(Clone, Debug)]
pub struct VerifiedReceipt {
    /// The order.
    pub order: Verified<Order>,
    /// The outcome.
    pub outcome: Option<Verified<Outcome>>,
    /// How far it has come.
    pub state: State,
    /// Who signed what: role, key, and the owner who certified the key.
    pub signers: Vec<(&'static str, Did, OwnerId)>,
}

/// What an order says about its request, without showing it: SHA-256 of `kos/request/1`, salt, capability and arguments.
pub fn request_digest(salt: &[u8; 16], capability: &str, arguments: &BTreeMap<String, String>) -> Digest {
    let capability = encode(&capability.to_owned().to_value());
    Digest::of(&[b"kos/request/1", salt, &capability, &encode(&arguments.to_value())])
}

impl Order {
    /// Checks an order that has just come over a session: it is for us, in time, and its request is the one shown.
    ///
    /// # Errors
    /// `not_for_me`, `expired`, `clock`, `malformed` (more than ten minutes of life, or another request than the one shown).
    pub fn check(
        &self,
        node: &NodeId,
        salt: &[u8; 16],
        arguments: &BTreeMap<String, String>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if self.node != *node {
            return Err(Refusal::NotForMe);
        }
        if now > self.expires {
            return Err(Refusal::Expired);
        }
        if self.issued > now.after(limits::SKEW) {
            return Err(Refusal::Clock);
        }
        let life = self.expires.since(self.issued);
        if life > limits::ORDER_LIFE || self.request != request_digest(salt, &self.capability, arguments) {
            return Err(Refusal::Malformed);
        }
        Ok(())
    }
}

impl Receipt {
    /// Checks every signature, certificate and digest. Revocation is not checked: that needs a node.
    ///
    /// # Errors
    /// `signature` when anything does not belong together or was changed; `malformed` or `expired` for a certificate.
    pub fn verify(&self) -> Result<VerifiedReceipt, Refusal> {
        let order = self.order.verify().map_err(|error| Refusal::from(&error))?;
        let caller = self.caller.verify(order.issued)?;
        let called_by_owner =
            caller.subject() == order.signer() && caller.owner() == order.caller && caller.may(Right::Call);
        if self.version != 1 || !called_by_owner {
            return Err(Refusal::Signature);
        }
        if order.request != request_digest(&self.salt, &order.capability, &self.arguments) {
            return Err(Refusal::Signature);
        }
        let mut signers = vec![("caller", order.signer(), caller.owner())];
        let outcome = self.outcome_of(&order, &mut signers)?;
        let state = match (&outcome, &self.acknowledgement) {
            (None, None) => State::Ordered,
            (None, Some(_)) => return Err(Refusal::Signature),
            (Some(_), None) => State::Answered,
            (Some(outcome), Some(signed)) => {
                check_acknowledgement(signed, outcome, &caller)?;
                signers.push(("acknowledgement", caller.subject(), caller.owner()));
                State::Acknowledged
            }
        };
        Ok(VerifiedReceipt { order, outcome, state, signers })
    }

    fn outcome_of(
        &self,
        order: &Verified<Order>,
        signers: &mut Vec<(&'static str, Did, OwnerId)>,
    ) -> Result<Option<Verified<Outcome>>, Refusal> {
        let (signed, introduction) = match (&self.outcome, &self.agent) {
            (Some(signed), Some(introduction)) => (signed, introduction),
            // An answer without an outcome is what nobody has signed.
            (None, None) if self.answer.is_none() => return Ok(None),
            _ => return Err(Refusal::Signature),
        };
        let outcome = signed.verify().map_err(|error| Refusal::from(&error))?;
        let agent = introduction.verify(outcome.finished)?;
        check_outcome(&outcome, order, &agent)?;
        if let Some(Bytes(answer)) = &self.answer
            && (Digest::of(&[answer]) != outcome.answer || answer.len() as u64 != outcome.bytes)
        {
            return Err(Refusal::Signature);
        }
        signers.push(("agent", agent.subject(), agent.owner()));
        Ok(Some(outcome))
    }
}

/// Checks that an outcome answers this order, and that the agent which signed it is certified for the node that was asked.
///
/// # Errors
/// `signature`
pub fn check_outcome(outcome: &Verified<Outcome>, order: &Verified<Order>, agent: &Credential) -> Result<(), Refusal> {
    let together = outcome.order == order.id()
        && outcome.agent == order.agent
        && outcome.signer() == order.agent.0
        && agent.subject() == order.agent.0
        && agent.is_agent_on(&order.node);
    if together { Ok(()) } else { Err(Refusal::Signature) }
}

/// Checks that an acknowledgement is the caller's, and of this outcome.
///
/// # Errors
/// `signature`
pub fn check_acknowledgement(
    signed: &Signed<Acknowledgement>,
    outcome: &Verified<Outcome>,
    caller: &Credential,
) -> Result<(), Refusal> {
    let acknowledgement = signed.verify().map_err(|error| Refusal::from(&error))?;
    let together = acknowledgement.outcome == outcome.id()
        && acknowledgement.bytes == outcome.bytes
        && acknowledgement.signer() == caller.subject();
    if together { Ok(()) } else { Err(Refusal::Signature) }
}
