//! The verdict on a call, in the transaction that makes it durable before the deed.

use std::collections::BTreeMap;

use klp::rule::permit::{Call, Counter, Facts, Used, Verdict, decide};
use klp::statement::certificate::{Credential, Right};
use klp::statement::grant::Grant;
use klp::statement::receipt::Order;
use klp::{Digest, OwnerId, Refusal, Timestamp, Verified};
use store::audit::{Entry, Who};
use store::counters::{self, Amount, Budget};
use store::requests::{self, Permit, SeenError};
use store::{StoreError, Tx, View, revocations};

/// A call that waits for its verdict.
#[derive(Clone)]
pub(super) struct Wanted {
    /// Who calls.
    pub(super) principal: OwnerId,
    /// Whether they are a contact: strangers share one bucket of denials.
    pub(super) known: bool,
    /// Whose node and agents these are.
    pub(super) owner: OwnerId,
    /// The order.
    pub(super) order: Verified<Order>,
    /// The grants that are to allow it.
    pub(super) chain: Vec<Verified<Grant>>,
    /// Nodes that signed a grant of the chain in their owner's name.
    pub(super) issuers: Vec<Credential>,
    /// The arguments that will be executed.
    pub(super) arguments: BTreeMap<String, String>,
    /// Why it cannot be done, as its owner may know it: the agent is paused, or there is none.
    pub(super) hindrance: Option<Refusal>,
}

/// What was decided.
#[derive(Clone, Debug)]
pub(super) enum Decision {
    /// Go on.
    Go(Ticked),
    /// Refused, with the code that this caller may know.
    No(Refusal),
}

/// What was reserved for a call that goes on.
#[derive(Clone, Debug, Default)]
pub(super) struct Ticked {
    /// Where it was debited.
    pub(super) counters: Vec<counters::Counter>,
    /// Bytes of answer that are reserved.
    pub(super) bytes: u64,
}

/// Decides, debits, and writes all of it down. One function, on every path.
pub(super) fn settle(tx: &mut Tx, wanted: &Wanted, now: Timestamp) -> Result<Decision, StoreError> {
    let own = wanted.principal == wanted.owner && wanted.chain.is_empty();
    let verdict = if own { Verdict::Allow { debits: Vec::new(), bytes: None } } else { judge(tx, wanted, now) };
    let (debits, left) = match verdict {
        Verdict::Allow { debits, bytes } => (debits, bytes),
        Verdict::Deny(refusal) => return deny(tx, wanted, refusal, now),
    };
    // Only whoever may call at all is told that the agent is not there: nothing was spent yet.
    if let Some(hindrance) = wanted.hindrance {
        return deny(tx, wanted, hindrance, now);
    }
    match requests::remember(tx, &wanted.order.signer(), &wanted.order.id(), wanted.order.expires, now) {
        Ok(()) => {}
        Err(SeenError::Replay) => return deny(tx, wanted, Refusal::Replay, now),
        Err(SeenError::Expired) => return deny(tx, wanted, Refusal::Expired, now),
        Err(SeenError::Store(error)) => return Err(error),
        Err(_) => return deny(tx, wanted, Refusal::Busy, now),
    }
    let bytes = left.unwrap_or(u64::MAX).min(wanted.order.max_bytes);
    let chain: Vec<_> = debits.iter().zip(&wanted.chain).map(|(debit, grant)| (stored(debit), budget(grant))).collect();
    let cost = Amount { calls: 1, bytes, tokens: 0 };
    match counters::debit(tx, &chain, &cost) {
        Ok(()) => {}
        Err(counters::DebitError::Store(error)) => return Err(error),
        Err(_) => return deny(tx, wanted, Refusal::Budget, now),
    }
    tx.audit(entry("allowed", wanted, now))?;
    let permit = Permit {
        signer: wanted.order.signer(),
        principal: wanted.principal.0,
        id: wanted.order.id(),
        what: what(wanted),
        chain: wanted.chain.iter().map(Verified::id).collect(),
        at: now,
        expires: wanted.order.expires,
        outcome: requests::Outcome::Open,
    };
    requests::open(tx, &permit)?;
    Ok(Decision::Go(Ticked { counters: chain.into_iter().map(|(counter, _)| counter).collect(), bytes }))
}

fn judge(tx: &Tx, wanted: &Wanted, now: Timestamp) -> Verdict {
    let call = Call {
        principal: wanted.principal,
        node: wanted.order.node,
        agent: wanted.order.agent,
        owner: wanted.owner,
        capability: &wanted.order.capability,
        arguments: &wanted.arguments,
    };
    // An order that names another grant than the chain's last spends nothing.
    if wanted.chain.last().map(Verified::id) != wanted.order.grant {
        return Verdict::Deny(Refusal::Denied);
    }
    decide(&call, &wanted.chain, &Known { view: tx, issuers: &wanted.issuers }, now)
}

fn deny(tx: &mut Tx, wanted: &Wanted, refusal: Refusal, now: Timestamp) -> Result<Decision, StoreError> {
    let who = if wanted.known { Who::Known(wanted.principal.0) } else { Who::Stranger };
    tx.audit_denial(who, entry("denied", wanted, now).with("code", refusal))?;
    Ok(Decision::No(refusal))
}

fn entry(kind: &'static str, wanted: &Wanted, now: Timestamp) -> Entry {
    let entry = Entry::new("permit", kind, now).by(Some(wanted.principal.0)).on(what(wanted));
    let entry = entry.with("order", wanted.order.id());
    wanted.order.grant.iter().fold(entry, |entry, grant| entry.with("grant", grant))
}

fn what(wanted: &Wanted) -> String {
    format!("{}.{}", wanted.order.agent, wanted.order.capability)
}

/// The stored facts that the decision asks for. What cannot be read counts against the caller.
pub(in crate::services) struct Known<'a> {
    pub(in crate::services) view: &'a View,
    pub(in crate::services) issuers: &'a [Credential],
}

impl Facts for Known<'_> {
    fn revoked(&self, grant: &Digest, issuer: &OwnerId) -> bool {
        revocations::get(self.view, &revocations::Target::Statement(*grant), issuer)
            .map_or(true, |found| found.is_some())
    }

    fn used(&self, counter: &Counter) -> Used {
        let used = counters::used(self.view, &stored(counter));
        used.map_or(Used { calls: u64::MAX, bytes: u64::MAX }, |used| Used { calls: used.calls, bytes: used.bytes })
    }

    fn may_issue(&self, grant: &Verified<Grant>) -> bool {
        let certified = |credential: &Credential| {
            credential.owner() == grant.issuer
                && credential.subject() == grant.signer()
                && credential.may(Right::Grant)
                && self.accepted(credential, &grant.id())
        };
        grant.issuer.0 == grant.signer() || self.issuers.iter().any(certified)
    }
}

impl Known<'_> {
    /// Of a key whose certificate was revoked only what was stored before the revocation came is accepted; its own dates prove nothing.
    fn accepted(&self, credential: &Credential, grant: &Digest) -> bool {
        let certificate = revocations::Target::Statement(credential.certificate().id());
        match revocations::get(self.view, &certificate, &credential.owner()) {
            Ok(None) => true,
            Ok(Some(revoked)) => {
                store::grants::get(self.view, grant).is_ok_and(|held| held.is_some_and(|held| held.added < revoked.at))
            }
            Err(_) => false,
        }
    }
}

/// The counter as it is stored.
pub(in crate::services) fn stored(counter: &Counter) -> counters::Counter {
    let (holder, day) = counter.slot.unzip();
    counters::Counter { grant: counter.grant, holder, day }
}

/// The budget as it is stored.
pub(in crate::services) fn budget(grant: &Grant) -> Budget {
    Budget { calls: grant.budget.calls, bytes: grant.budget.bytes, tokens: None }
}
