//! May this call be made? One pure function, and the only one that says yes. Source: `specs/05-grants.md`, section 3.
//!
//! A call is allowed only if every grant of its chain allows this very call. So no code compares two grants for "narrower", and a
//! link that promises more than its parent gains nothing.

use std::collections::BTreeMap;

use crate::codec::Digest;
use crate::identity::{AgentId, NodeId, OwnerId};
use crate::limits;
use crate::refusal::Refusal;
use crate::signed::Verified;
use crate::statement::grant::{Grant, Window};
use crate::time::Timestamp;

/// One call, as it will be executed.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// Who calls: the owner of the node that the channel authenticated.
    pub principal: OwnerId,
    /// The node that is asked: this one.
    pub node: NodeId,
    /// The agent that is asked.
    pub agent: AgentId,
    /// Whose agent it is.
    pub owner: OwnerId,
    /// What is asked.
    pub capability: &'a str,
    /// The decoded arguments that will be executed.
    pub arguments: &'a BTreeMap<String, String>,
}

/// What a budget is counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counter {
    /// The grant.
    pub grant: Digest,
    /// The caller and the UTC day, where the budget counts these apart.
    pub slot: Option<(OwnerId, u64)>,
}

/// How much of a budget is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Calls.
    pub calls: u64,
    /// Bytes of answers.
    pub bytes: u64,
}

/// What the decision must know besides call and chain; every answer comes from what is stored.
pub trait Facts {
    /// Whether this grant is revoked by its issuer.
    fn revoked(&self, grant: &Digest, issuer: &OwnerId) -> bool;
    /// How much is used under this counter.
    fn used(&self, counter: &Counter) -> Used;
    /// Whether the key that signed this grant may issue it: the issuer's own, or a certified node's with the right `grant`. Of a
    /// key whose certificate was revoked only what was stored before counts.
    fn may_issue(&self, grant: &Verified<Grant>) -> bool;
}

/// The decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Allowed. One call is to be debited under each counter; the answer may have so many bytes.
    Allow {
        /// A counter for each grant of the chain.
        debits: Vec<Counter>,
        /// The smallest number of bytes left in the chain, if any bounds them.
        bytes: Option<u64>,
    },
    /// Refused. The reason goes to the holder of the grant; everybody else hears `denied`.
    Deny(Refusal),
}

/// Decides one call at the moment `now`. `chain` begins with the first grant and ends with the one that names the caller.
pub fn decide(call: &Call<'_>, chain: &[Verified<Grant>], facts: &impl Facts, now: Timestamp) -> Verdict {
    let size: usize = chain.iter().map(|grant| grant.signed().as_bytes().len()).sum();
    let (Some(last), true) = (chain.last(), chain.len() <= limits::GRANT_DEPTH && size <= limits::CHAIN) else {
        return Verdict::Deny(Refusal::Denied);
    };
    // Who may know more than `denied`: only the holder of the last grant, and only about this agent.
    let holder = last.holder.is_none_or(|holder| holder == call.principal);
    if !holder || !is_linked(call, chain, facts) {
        return Verdict::Deny(Refusal::Denied);
    }
    let mut debits = Vec::with_capacity(chain.len());
    let mut bytes: Option<u64> = None;
    for grant in chain {
        match decide_link(call, grant, facts, now) {
            Err(refusal) => return Verdict::Deny(refusal),
            Ok((counter, left)) => {
                debits.push(counter);
                bytes = [bytes, left].into_iter().flatten().min();
            }
        }
    }
    Verdict::Allow { debits, bytes }
}

/// Whether the chain hangs together: from the agent's owner, each link issued by the holder before, all for this agent on this node.
fn is_linked(call: &Call<'_>, chain: &[Verified<Grant>], facts: &impl Facts) -> bool {
    let mut issuer = Some(call.owner);
    let mut parent = None;
    chain.iter().all(|grant| {
        let linked = issuer == Some(grant.issuer)
            && grant.parent == parent
            && grant.node == call.node
            && grant.agent == call.agent
            && facts.may_issue(grant);
        issuer = grant.holder;
        parent = Some(grant.id());
        linked
    })
}

/// One link, for this very call: its counter and the bytes that it leaves.
fn decide_link(
    call: &Call<'_>,
    grant: &Verified<Grant>,
    facts: &impl Facts,
    now: Timestamp,
) -> Result<(Counter, Option<u64>), Refusal> {
    if facts.revoked(&grant.id(), &grant.issuer) {
        return Err(Refusal::Revoked);
    }
    if now > grant.expires || grant.expires.since(grant.issued) > limits::GRANT_LIFE {
        return Err(Refusal::Expired);
    }
    if now.after(limits::SKEW) < grant.issued {
        return Err(Refusal::Clock);
    }
    if grant.capability != call.capability {
        return Err(Refusal::Capability);
    }
    if !grant.arguments.as_ref().is_none_or(|patterns| matches(patterns, call.arguments)) {
        return Err(Refusal::Arguments);
    }
    let slot = match grant.budget.window {
        Window::Total => None,
        Window::DayAndCaller => Some((call.principal, now.day())),
    };
    let counter = Counter { grant: grant.id(), slot };
    let used = facts.used(&counter);
    let left = grant.budget.bytes.map(|bytes| bytes.saturating_sub(used.bytes));
    if grant.budget.calls.is_some_and(|calls| used.calls >= calls) || left == Some(0) {
        return Err(Refusal::Budget);
    }
    Ok((counter, left))
}

/// Whether the arguments are exactly the named ones, and each matches its pattern.
pub fn matches(patterns: &BTreeMap<String, String>, arguments: &BTreeMap<String, String>) -> bool {
    patterns.len() == arguments.len()
        && patterns.iter().all(|(name, pattern)| arguments.get(name).is_some_and(|value| matches_value(pattern, value)))
}

/// Whether a whole value matches: `*` alone is any value, `*` between slashes is one whole segment, all else is literal.
fn matches_value(pattern: &str, value: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let (patterns, values) = (pattern.split('/'), value.split('/'));
    patterns.clone().count() == values.clone().count()
        && patterns.zip(values).all(|(pattern, value)| pattern == value || (pattern == "*" && !value.is_empty()))
}

#[cfg(test)]
mod tests;
