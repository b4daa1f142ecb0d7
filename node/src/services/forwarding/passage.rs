//! The verdict on a request that is to be carried, in the transaction that makes it durable before anything is handed on.

use std::collections::BTreeMap;

use klp::forward::{CAPABILITY, Forward, TO};
use klp::rule::permit::{Call, Verdict, decide};
use klp::statement::certificate::Credential;
use klp::statement::grant::Grant;
use klp::{AgentId, Cbor as _, Digest, NodeId, OwnerId, Refusal, Timestamp, Verified, limits};
use store::audit::{Entry, Who};
use store::counters::{self, Amount};
use store::requests::{self, Permit, SeenError};
use store::{StoreError, Tx};

use crate::services::calls::{Known, budget, stored};

/// A request that waits for its verdict.
#[derive(Clone)]
pub(super) struct Passage {
    /// This node, and whose it is.
    pub(super) node: NodeId,
    pub(super) owner: OwnerId,
    /// Who asks it to carry something, and whether they are a contact.
    pub(super) from: NodeId,
    pub(super) principal: OwnerId,
    pub(super) known: bool,
    /// Where it goes, and what names it.
    pub(super) to: NodeId,
    pub(super) id: Digest,
    /// Bytes of the question.
    pub(super) bytes: u64,
    /// The grants that are to allow it, and who signed them in their owner's name.
    pub(super) chain: Vec<Verified<Grant>>,
    pub(super) issuers: Vec<Credential>,
}

/// What was decided.
#[derive(Clone, Debug)]
pub(super) enum Decision {
    /// Carry it.
    Go(Ticked),
    /// Refused, with the code that this peer may know.
    No(Refusal),
}

/// What was reserved.
#[derive(Clone, Debug)]
pub(super) struct Ticked {
    counters: Vec<counters::Counter>,
    /// Bytes of question and answer.
    pub(super) bytes: u64,
}

/// How it ended.
pub(super) struct Done {
    /// Bytes of question and answer that were carried.
    pub(super) bytes: u64,
    /// What was said instead of an answer.
    pub(super) refusal: Option<Refusal>,
}

/// What names a question at whoever carries it.
pub(super) fn id_of(forward: &Forward) -> Digest {
    let question = forward.question.as_ref().map(klp::Cbor::to_bytes).unwrap_or_default();
    Digest::of(&[b"kos/forward/carried/1", &forward.to.to_bytes(), &question])
}

impl Passage {
    /// Decides, debits, and writes all of it down.
    pub(super) fn settle(&self, tx: &mut Tx, now: Timestamp) -> Result<Decision, StoreError> {
        let (debits, left) = match self.judge(tx, now) {
            Verdict::Allow { debits, bytes } => (debits, bytes),
            Verdict::Deny(refusal) => return self.deny(tx, refusal, now),
        };
        let expires = now.after(limits::ORDER_LIFE);
        match requests::remember(tx, &self.from.0, &self.id, expires, now) {
            Ok(()) => {}
            Err(SeenError::Replay) => return self.deny(tx, Refusal::Replay, now),
            Err(SeenError::Store(error)) => return Err(error),
            Err(_) => return self.deny(tx, Refusal::Busy, now),
        }
        let bytes = left.unwrap_or(u64::MAX).min(self.bytes.saturating_add(limits::FORWARDED));
        if bytes < self.bytes {
            return self.deny(tx, Refusal::Budget, now);
        }
        let chain: Vec<_> =
            debits.iter().zip(&self.chain).map(|(debit, grant)| (stored(debit), budget(grant))).collect();
        match counters::debit(tx, &chain, &Amount { calls: 1, bytes, tokens: 0 }) {
            Ok(()) => {}
            Err(counters::DebitError::Store(error)) => return Err(error),
            Err(_) => return self.deny(tx, Refusal::Budget, now),
        }
        tx.audit(self.entry("forwarded", now))?;
        let permit = Permit {
            signer: self.from.0,
            principal: self.principal.0,
            id: self.id,
            what: self.what(),
            chain: self.chain.iter().map(Verified::id).collect(),
            at: now,
            expires,
            outcome: requests::Outcome::Open,
        };
        requests::open(tx, &permit)?;
        Ok(Decision::Go(Ticked { counters: chain.into_iter().map(|(counter, _)| counter).collect(), bytes }))
    }

    /// Writes down how it ended, and gives back what was not used.
    pub(super) fn close(&self, tx: &mut Tx, ticked: &Ticked, done: &Done, now: Timestamp) -> Result<(), StoreError> {
        let unspent = Amount { calls: 0, bytes: ticked.bytes.saturating_sub(done.bytes), tokens: 0 };
        counters::settle(tx, &ticked.counters, &unspent)?;
        requests::close(tx, &self.from.0, &self.id, &[])?;
        let status = done.refusal.map_or("forwarded", Refusal::code);
        let entry = Entry::new("forward", "finished", now).by(Some(self.principal.0)).on(self.id);
        tx.audit(entry.with("status", status).with("bytes", done.bytes))?;
        Ok(())
    }

    fn judge(&self, tx: &Tx, now: Timestamp) -> Verdict {
        let arguments = BTreeMap::from([(TO.to_owned(), self.to.to_string())]);
        let call = Call {
            principal: self.principal,
            node: self.node,
            agent: AgentId(self.node.0),
            owner: self.owner,
            capability: CAPABILITY,
            arguments: &arguments,
        };
        decide(&call, &self.chain, &Known { view: tx, issuers: &self.issuers }, now)
    }

    fn deny(&self, tx: &mut Tx, refusal: Refusal, now: Timestamp) -> Result<Decision, StoreError> {
        let who = if self.known { Who::Known(self.principal.0) } else { Who::Stranger };
        tx.audit_denial(who, self.entry("denied", now).with("code", refusal))?;
        Ok(Decision::No(refusal))
    }

    fn entry(&self, kind: &'static str, now: Timestamp) -> Entry {
        let entry = Entry::new("permit", kind, now).by(Some(self.principal.0)).on(self.what());
        let entry = entry.with("request", self.id).with("to", self.to);
        self.chain.last().map(Verified::id).iter().fold(entry, |entry, grant| entry.with("grant", grant))
    }

    fn what(&self) -> String {
        format!("node.{CAPABILITY}")
    }
}
