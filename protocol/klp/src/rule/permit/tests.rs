//! The permit decision, link by link.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::identity::SecretKey;
use crate::statement::grant::Budget;

const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn owner(seed: u8) -> OwnerId {
    OwnerId(key(seed).did())
}

#[derive(Default)]
struct World {
    revoked: BTreeSet<Digest>,
    used: BTreeMap<Counter, Used>,
}

impl Facts for World {
    fn revoked(&self, grant: &Digest, _: &OwnerId) -> bool {
        self.revoked.contains(grant)
    }

    fn used(&self, counter: &Counter) -> Used {
        self.used.get(counter).copied().unwrap_or_default()
    }

    fn may_issue(&self, grant: &Verified<Grant>) -> bool {
        grant.issuer.0 == grant.signer()
    }
}

/// Bob (1) hosts agent 2 on node 3; Alice is 4, Carol 5, Dave 6.
fn grant(issuer: u8, holder: u8, parent: Option<&Verified<Grant>>, change: impl FnOnce(&mut Grant)) -> Verified<Grant> {
    let mut grant = Grant {
        issuer: owner(issuer),
        holder: Some(owner(holder)),
        node: NodeId(key(3).did()),
        agent: AgentId(key(2).did()),
        capability: "ask".into(),
        arguments: None,
        budget: Budget { calls: Some(2), bytes: None, window: Window::Total },
        issued: NOW,
        expires: NOW.after(std::time::Duration::from_secs(3600)),
        parent: parent.map(Verified::id),
        seq: 1,
    };
    change(&mut grant);
    Verified::sign(grant, &key(issuer))
}

fn decide_for(principal: u8, chain: &[Verified<Grant>], world: &World) -> Verdict {
    let arguments = BTreeMap::from([("text".to_owned(), "hello".to_owned())]);
    let call = Call {
        principal: owner(principal),
        node: NodeId(key(3).did()),
        agent: AgentId(key(2).did()),
        owner: owner(1),
        capability: "ask",
        arguments: &arguments,
    };
    decide(&call, chain, world, NOW)
}

fn allowed(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Allow { .. })
}

#[test]
fn s14_only_the_named_holder_on_the_named_node() {
    let world = World::default();
    let given = grant(1, 4, None, |_| ());
    assert!(allowed(&decide_for(4, std::slice::from_ref(&given), &world)));
    assert_eq!(decide_for(5, &[given], &world), Verdict::Deny(Refusal::Denied));
    assert_eq!(decide_for(4, &[], &world), Verdict::Deny(Refusal::Denied));
    let elsewhere = grant(1, 4, None, |grant| grant.node = NodeId(key(9).did()));
    assert_eq!(decide_for(4, &[elsewhere], &world), Verdict::Deny(Refusal::Denied));
    let forged = grant(4, 4, None, |grant| grant.issuer = owner(1));
    assert_eq!(decide_for(4, &[forged], &world), Verdict::Deny(Refusal::Denied));
}

#[test]
fn s14_every_link_must_hold_for_this_very_call() {
    let mut world = World::default();
    let first = grant(1, 4, None, |_| ());
    let second = grant(4, 5, Some(&first), |grant| grant.budget.calls = Some(1000));
    let chain = [first.clone(), second.clone()];
    assert!(allowed(&decide_for(5, &chain, &world)));
    // A wider link gains nothing: the parent's budget still counts.
    world.used.insert(Counter { grant: first.id(), slot: None }, Used { calls: 2, bytes: 0 });
    assert_eq!(decide_for(5, &chain, &world), Verdict::Deny(Refusal::Budget));
    world.used.clear();
    world.revoked.insert(first.id());
    assert_eq!(decide_for(5, &chain, &world), Verdict::Deny(Refusal::Revoked));
    world.revoked.clear();
    // Out of order, without the parent, or issued by somebody who holds nothing.
    assert!(!allowed(&decide_for(5, &[second.clone(), first.clone()], &world)));
    assert!(!allowed(&decide_for(5, std::slice::from_ref(&second), &world)));
    let stolen = grant(6, 5, Some(&first), |_| ());
    assert!(!allowed(&decide_for(5, &[first.clone(), stolen], &world)));
    let third = grant(5, 6, Some(&second), |_| ());
    assert!(allowed(&decide_for(6, &[first.clone(), second.clone(), third.clone()], &world)));
    let fourth = grant(6, 7, Some(&third), |_| ());
    assert_eq!(decide_for(7, &[first, second, third, fourth], &world), Verdict::Deny(Refusal::Denied));
}

#[test]
fn s15_every_grant_of_the_chain_is_debited() {
    let first = grant(1, 4, None, |_| ());
    let second = grant(4, 5, Some(&first), |grant| grant.budget.bytes = Some(100));
    let Verdict::Allow { debits, bytes } = decide_for(5, &[first.clone(), second.clone()], &World::default()) else {
        panic!("refused")
    };
    assert_eq!(debits.iter().map(|counter| counter.grant).collect::<Vec<_>>(), [first.id(), second.id()]);
    assert_eq!(bytes, Some(100));
}

#[test]
fn s16_time_capability_and_budget_are_held_to_the_boundary() {
    let world = World::default();
    let expired = grant(1, 4, None, |grant| grant.expires = Timestamp(NOW.0 - 1));
    assert_eq!(decide_for(4, &[expired], &world), Verdict::Deny(Refusal::Expired));
    let last_moment = grant(1, 4, None, |grant| grant.expires = NOW);
    assert!(allowed(&decide_for(4, &[last_moment], &world)));
    let early =
        grant(1, 4, None, |grant| grant.issued = NOW.after(limits::SKEW).after(std::time::Duration::from_millis(1)));
    assert_eq!(decide_for(4, &[early], &world), Verdict::Deny(Refusal::Clock));
    let other = grant(1, 4, None, |grant| grant.capability = "as".into());
    assert_eq!(decide_for(4, &[other], &world), Verdict::Deny(Refusal::Capability));
    let none = grant(1, 4, None, |grant| grant.budget.calls = Some(0));
    assert_eq!(decide_for(4, &[none], &world), Verdict::Deny(Refusal::Budget));
    let bytes = grant(1, 4, None, |grant| grant.budget.bytes = Some(0));
    assert_eq!(decide_for(4, &[bytes], &world), Verdict::Deny(Refusal::Budget));
    let endless = grant(1, 4, None, |grant| grant.expires = Timestamp(u64::MAX));
    assert_eq!(decide_for(4, &[endless], &world), Verdict::Deny(Refusal::Expired));
}

#[test]
fn s17_patterns_match_whole_values_only() {
    let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    for (patterns, arguments, fits) in [
        (map(&[("path", "docs/*")]), map(&[("path", "docs/a")]), true),
        (map(&[("path", "docs/*")]), map(&[("path", "docs/a/b")]), false),
        (map(&[("path", "docs/*")]), map(&[("path", "docs/")]), false),
        (map(&[("path", "docs")]), map(&[("path", "docs2")]), false),
        (map(&[("path", "do*")]), map(&[("path", "docs")]), false),
        (map(&[("text", "*")]), map(&[("text", "a/b c")]), true),
        (map(&[("text", "*")]), map(&[]), false),
        (map(&[("text", "*")]), map(&[("text", "a"), ("limit", "3")]), false),
        (map(&[]), map(&[("text", "a")]), false),
        (map(&[]), map(&[]), true),
    ] {
        assert_eq!(matches(&patterns, &arguments), fits, "{patterns:?} {arguments:?}");
    }
}

#[test]
fn s24_a_standing_grant_counts_each_caller_and_day_apart() {
    let standing = grant(1, 4, None, |grant| {
        grant.holder = None;
        grant.budget = Budget { calls: Some(limits::PUBLIC_CALLS), bytes: None, window: Window::DayAndCaller };
    });
    let mut world = World::default();
    let today = Counter { grant: standing.id(), slot: Some((owner(5), NOW.day())) };
    world.used.insert(today, Used { calls: limits::PUBLIC_CALLS, bytes: 0 });
    assert_eq!(decide_for(5, std::slice::from_ref(&standing), &world), Verdict::Deny(Refusal::Budget));
    assert!(allowed(&decide_for(6, std::slice::from_ref(&standing), &world)));
    // A grant that names nobody cannot be handed on.
    let handed_on = grant(5, 6, Some(&standing), |_| ());
    assert!(!allowed(&decide_for(6, &[standing, handed_on], &world)));
}

proptest::proptest! {
    #[test]
    fn s16_a_longer_chain_never_allows_more(calls in 0u64..4, used in 0u64..4, capability in "ask|find", holder in 4u8..6) {
        let first = grant(1, 4, None, |grant| {
            grant.budget.calls = Some(calls);
            grant.capability = capability;
        });
        let second = grant(4, holder, Some(&first), |grant| grant.budget.calls = None);
        let mut world = World::default();
        world.used.insert(Counter { grant: first.id(), slot: None }, Used { calls: used, bytes: 0 });
        let short = allowed(&decide_for(4, std::slice::from_ref(&first), &world));
        let long = allowed(&decide_for(holder, &[first, second], &world));
        proptest::prop_assert!(short || !long);
    }
}
