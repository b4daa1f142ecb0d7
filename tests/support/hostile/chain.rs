//! Chains of grants and the one function that decides a call, beside a second reading of its page.

use std::collections::{BTreeMap, BTreeSet};

use klp::rule::permit::{Call, Counter, Facts, Used, Verdict, decide};
use klp::statement::grant::{Grant, Window};
use klp::{AgentId, Cbor as _, Digest, NodeId, OwnerId, Refusal, Signed, Timestamp, Verified, limits};

use super::cast::{self, ALICE, BOB, BOB_AGENT, BOB_NODE, CAROL, NOW, agent, node, owner};
use super::input::{Input, part};
use super::vectors;

/// Who may hold, issue and sign.
const PEOPLE: [u8; 4] = [BOB, ALICE, CAROL, BOB_NODE];
/// A link whose payload is a grant is joined to the one before.
const JOINED: u8 = 0x80;

/// What one input says about the world.
struct World {
    revoked: BTreeSet<Digest>,
    used: BTreeMap<Digest, Used>,
    certified: bool,
}

impl Facts for World {
    fn revoked(&self, grant: &Digest, _issuer: &OwnerId) -> bool {
        self.revoked.contains(grant)
    }

    fn used(&self, counter: &Counter) -> Used {
        self.used.get(&counter.grant).copied().unwrap_or_default()
    }

    fn may_issue(&self, grant: &Verified<Grant>) -> bool {
        grant.issuer.0 == grant.signer() || (self.certified && grant.signer() == node(BOB_NODE).0)
    }
}

/// Who calls, the world, the moment, the capability and the arguments; then links: who signs, what is used, and a payload or a grant.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let arguments =
        BTreeMap::from([("text".to_owned(), "how do I pair?".to_owned()), ("limit".to_owned(), "1".into())]);
    let lead = |principal: u8| {
        let moment = 1_000_000_000_000u64.to_be_bytes();
        [&[principal, 1][..], &moment[..], &part(b"ask"), &part(&arguments.to_bytes())].concat()
    };
    let link = |who: u8, payload: &[u8]| [&[who, 0, 0, 0, 0, 0, 0], &part(payload)[..]].concat();
    let grants = vectors::payloads("Grant", &[]);
    let mut seeds = Vec::new();
    for first in &grants {
        seeds.push([lead(1), link(0, first)].concat());
        for second in &grants {
            seeds.push([lead(1), link(JOINED, first), link(JOINED | 1, second)].concat());
            seeds.push([lead(2), link(JOINED, first), link(JOINED | 1, second), link(JOINED | 2, first)].concat());
        }
    }
    for case in vectors::cases(vectors::PERMIT) {
        let chain = case["chain"].as_array().cloned().unwrap_or_default();
        let links = chain.iter().filter_map(|grant| vectors::unhex(grant.as_str()?));
        let links: Vec<_> = links.map(|grant| link(0x40, &grant)).collect();
        seeds.push([lead(1), links.concat()].concat());
    }
    seeds
}

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let principal = owner(PEOPLE[usize::from(input.byte()) % 3]);
    let certified = input.byte() & 1 == 0;
    let now = Timestamp((NOW.0 + input.number(8) % 2_000_000_000_000).saturating_sub(1_000_000_000_000));
    let capability = String::from_utf8_lossy(input.part()).into_owned();
    let arguments = BTreeMap::from_bytes(input.part(), limits::MESSAGE).unwrap_or_default();
    let mut world = World { revoked: BTreeSet::new(), used: BTreeMap::new(), certified };
    let mut chain: Vec<Verified<Grant>> = Vec::new();
    while !input.is_empty() && chain.len() < 5 {
        let (who, flags) = (input.byte(), input.byte());
        let used = Used { calls: input.number(1), bytes: input.number(4) };
        let Some(grant) = link(who, input.part(), chain.last(), principal) else { continue };
        if flags & 1 == 1 {
            world.revoked.insert(grant.id());
        }
        world.used.insert(grant.id(), used);
        chain.push(grant);
    }
    let call = Call {
        principal,
        node: node(BOB_NODE),
        agent: agent(BOB_AGENT),
        owner: owner(BOB),
        capability: &capability,
        arguments: &arguments,
    };
    check(&call, &chain, &world, now);
}

/// A grant as it travels, a payload that somebody signs, or a grant that is joined to the one before.
fn link(who: u8, bytes: &[u8], before: Option<&Verified<Grant>>, principal: OwnerId) -> Option<Verified<Grant>> {
    if who & 0x40 != 0 {
        return Signed::<Grant>::from_bytes(bytes.to_vec()).verify().ok();
    }
    let signer = PEOPLE[usize::from(who) % PEOPLE.len()];
    if who & JOINED == 0 {
        return cast::sign::<Grant>(bytes, signer).verify().ok();
    }
    let grant = Grant::from_bytes(bytes, limits::STATEMENT).ok()?;
    let issuer = before.map_or(Some(owner(BOB)), |before| before.holder)?;
    let seed = PEOPLE.into_iter().find(|seed| owner(*seed) == issuer)?;
    let joined = Grant {
        issuer,
        holder: if who & 0x20 == 0 { Some(principal) } else { grant.holder },
        node: NodeId(node(BOB_NODE).0),
        agent: AgentId(agent(BOB_AGENT).0),
        parent: before.map(Verified::id),
        ..grant
    };
    Some(Verified::sign(joined, &cast::key(seed)))
}

fn check(call: &Call<'_>, chain: &[Verified<Grant>], world: &World, now: Timestamp) {
    let verdict = decide(call, chain, world, now);
    assert_eq!(verdict, decide(call, chain, world, now), "one question has one answer");
    assert_eq!(verdict, oracle(call, chain, world, now), "specs/05-grants.md, section 3");
    let Verdict::Allow { debits, .. } = verdict else { return };
    let ids: Vec<_> = debits.iter().map(|counter| counter.grant).collect();
    assert_eq!(ids, chain.iter().map(Verified::id).collect::<Vec<_>>(), "every grant of the chain is debited");

    // Whoever delegated could have made the call too.
    if let [shorter @ .., _] = chain
        && let Some(holder) = shorter.last().and_then(|grant| grant.holder)
    {
        let call = Call { principal: holder, ..call.clone() };
        assert!(matches!(decide(&call, shorter, world, now), Verdict::Allow { .. }), "a longer chain allows no more");
    }
    // And nobody else can make it with this chain, unless it is for everybody.
    let stranger = Call { principal: owner(0x31), ..call.clone() };
    let standing = chain.last().is_some_and(|grant| grant.holder.is_none());
    assert_eq!(matches!(decide(&stranger, chain, world, now), Verdict::Deny(Refusal::Denied)), !standing);
}

/// `specs/05-grants.md`, section 3, read once more.
fn oracle(call: &Call<'_>, chain: &[Verified<Grant>], world: &World, now: Timestamp) -> Verdict {
    let size: usize = chain.iter().map(|grant| grant.signed().as_bytes().len()).sum();
    let Some(last) = chain.last() else { return Verdict::Deny(Refusal::Denied) };
    let mut denied = chain.len() > 3 || size > 4096 || last.holder.is_some_and(|holder| holder != call.principal);
    for (index, grant) in chain.iter().enumerate() {
        let before = index.checked_sub(1).map(|before| &chain[before]);
        let issuer = before.map_or(Some(call.owner), |before| before.holder);
        denied |= issuer != Some(grant.issuer) || grant.parent != before.map(Verified::id);
        denied |= grant.node != call.node || grant.agent != call.agent;
        denied |= !world.may_issue(grant);
    }
    if denied {
        return Verdict::Deny(Refusal::Denied);
    }
    let (mut debits, mut least) = (Vec::new(), None::<u64>);
    for grant in chain {
        let slot = (grant.budget.window == Window::DayAndCaller).then_some((call.principal, now.0 / 86_400_000));
        let counter = Counter { grant: grant.id(), slot };
        let used = world.used(&counter);
        let left = grant.budget.bytes.map(|bytes| bytes.saturating_sub(used.bytes));
        let fits = grant.arguments.as_ref().is_none_or(|patterns| super::grant::oracle(patterns, call.arguments));
        let checks = [
            (!world.revoked.contains(&grant.id()), Refusal::Revoked),
            (now <= grant.expires, Refusal::Expired),
            (grant.expires.0.saturating_sub(grant.issued.0) <= 3650 * 86_400_000, Refusal::Expired),
            (grant.issued.0 <= now.0 + 300_000, Refusal::Clock),
            (grant.capability == call.capability, Refusal::Capability),
            (fits, Refusal::Arguments),
            (grant.budget.calls.is_none_or(|calls| used.calls < calls) && left != Some(0), Refusal::Budget),
        ];
        if let Some((_, refusal)) = checks.into_iter().find(|(holds, _)| !holds) {
            return Verdict::Deny(refusal);
        }
        least = least.into_iter().chain(left).min();
        debits.push(counter);
    }
    Verdict::Allow { debits, bytes: least }
}
