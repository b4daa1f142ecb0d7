use std::collections::BTreeMap;

use klp::rule::permit::{Call, Counter, Facts, Used, Verdict, decide};
use klp::statement::grant::{Grant, Window};
use klp::{AgentId, Did, Digest, NodeId, OwnerId, Signed, Timestamp, Verified, limits};
use serde_json::{Value as Json, json};

use super::{hold, text};
use crate::cast::*;

/// The facts of one case, as they stand in the file.
struct World<'a>(&'a Json);

impl World<'_> {
    fn list(&self, key: &str) -> impl Iterator<Item = &Json> {
        self.0[key].as_array().into_iter().flatten()
    }
}

impl Facts for World<'_> {
    fn revoked(&self, grant: &Digest, issuer: &OwnerId) -> bool {
        let row = revoked(grant, *issuer);
        self.list("revoked").any(|known| *known == row)
    }

    fn used(&self, counter: &Counter) -> Used {
        let slot = counter.slot.map(|(caller, day)| json!({ "caller": caller.to_string(), "day": day }));
        let same = |row: &&Json| row["grant"] == counter.grant.to_string() && row["slot"] == json!(slot);
        let found = self.list("used").find(same);
        let number = |key: &str| found.and_then(|row| row[key].as_u64()).unwrap_or(0);
        Used { calls: number("calls"), bytes: number("bytes") }
    }

    fn may_issue(&self, grant: &Verified<Grant>) -> bool {
        let (owner, signer) = (grant.issuer.to_string(), grant.signer().to_string());
        let certified = |row: &Json| row["owner"] == owner && row["signer"] == signer;
        owner == signer || self.list("issuers").any(certified)
    }
}

fn revoked(grant: &Digest, issuer: OwnerId) -> Json {
    json!({ "grant": grant.to_string(), "issuer": issuer.to_string() })
}

/// Decides a case as it stands in the file.
fn verdict(case: &Json) -> Json {
    let call = &case["call"];
    let arguments: BTreeMap<String, String> = call["arguments"]
        .as_object()
        .expect("a map")
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().expect("a text").to_owned()))
        .collect();
    let chain: Vec<Verified<Grant>> = case["chain"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|grant| Signed::from_bytes(unhex(grant.as_str().expect("hex"))).verify().expect("verifies"))
        .collect();
    let did = |key: &str| -> Did { text(call, key).parse().expect("a DID") };
    let call = Call {
        principal: OwnerId(did("principal")),
        node: NodeId(did("node")),
        agent: AgentId(did("agent")),
        owner: OwnerId(did("owner")),
        capability: text(call, "capability"),
        arguments: &arguments,
    };
    match decide(&call, &chain, &World(case), Timestamp(case["now"].as_u64().expect("a number"))) {
        Verdict::Deny(refusal) => json!({ "deny": refusal.code() }),
        Verdict::Allow { debits, bytes } => {
            let row = |counter: &Counter| {
                let slot = counter.slot.map(|(caller, day)| json!({ "caller": caller.to_string(), "day": day }));
                json!({ "grant": counter.grant.to_string(), "slot": slot })
            };
            json!({ "allow": debits.iter().map(row).collect::<Vec<_>>(), "bytes": bytes })
        }
    }
}

/// A call by Alice under this chain, with everything as it should be; `change` makes it a case.
fn case(what: &str, chain: &[&Verified<Grant>], change: impl FnOnce(&mut Json)) -> Json {
    let statements: Vec<String> = chain.iter().map(|grant| hex(grant.signed().as_bytes())).collect();
    let mut case = json!({
        "what": what, "chain": statements, "now": NOW.0, "revoked": [], "used": [], "issuers": [],
        "call": {
            "principal": owner(ALICE).to_string(), "node": node(BOB_NODE).to_string(), "agent": agent(BOB_AGENT).to_string(),
            "owner": owner(BOB).to_string(), "capability": "ask", "arguments": arguments(),
        },
    });
    change(&mut case);
    case["verdict"] = verdict(&case);
    case
}

fn given(change: impl FnOnce(&mut Grant)) -> Verified<Grant> {
    let mut given = grant(BOB, Some(ALICE), None);
    change(&mut given);
    Verified::sign(given, &key(BOB))
}

fn patterns(list: &[(&str, &str)]) -> Option<BTreeMap<String, String>> {
    Some(list.iter().map(|(name, pattern)| ((*name).to_owned(), (*pattern).to_owned())).collect())
}

fn alone() -> Vec<Json> {
    let good = first_grant();
    let argument = |what: &str, list: &[(&str, &str)], map: Json| {
        case(what, &[&given(|grant| grant.arguments = patterns(list))], |case| case["call"]["arguments"] = map)
    };
    let used = |calls: u64, bytes: u64| json!([{ "grant": good.id().to_string(), "slot": null, "calls": calls, "bytes": bytes }]);
    vec![
        case("a grant for this call", &[&good], |_| ()),
        case("no grant", &[], |_| ()),
        case("somebody else's grant", &[&good], |case| case["call"]["principal"] = json!(owner(CAROL).to_string())),
        case("another node", &[&given(|grant| grant.node = node(ALICE_NODE))], |_| ()),
        case("another agent", &[&given(|grant| grant.agent = agent(CAROL))], |_| ()),
        case("another capability", &[&good], |case| case["call"]["capability"] = json!("as")),
        case("issued by somebody who is not the agent's owner", &[&given(|grant| grant.issuer = owner(CAROL))], |_| ()),
        case("signed by an uncertified key", &[&Verified::sign(grant(BOB, Some(ALICE), None), &key(BOB_NODE))], |_| ()),
        case("signed by a certified node", &[&Verified::sign(grant(BOB, Some(ALICE), None), &key(BOB_NODE))], |case| {
            case["issuers"] = json!([{ "owner": owner(BOB).to_string(), "signer": node(BOB_NODE).to_string() }]);
        }),
        case("in its last millisecond", &[&good], |case| case["now"] = json!(good.expires.0)),
        case("a millisecond too late", &[&good], |case| case["now"] = json!(good.expires.0 + 1)),
        case("issued five minutes ahead of this clock", &[&good], |case| {
            case["now"] = json!(NOW.before(limits::SKEW).0)
        }),
        case("issued further ahead", &[&good], |case| case["now"] = json!(NOW.before(limits::SKEW).0 - 1)),
        case("a life of more than ten years", &[&given(|grant| grant.expires = Timestamp(u64::MAX))], |_| ()),
        case("revoked", &[&good], |case| case["revoked"] = json!([revoked(&good.id(), owner(BOB))])),
        case("revoked by somebody who did not issue it", &[&good], |case| {
            case["revoked"] = json!([revoked(&good.id(), owner(ALICE))]);
        }),
        case("the last call", &[&good], |case| case["used"] = used(9, 0)),
        case("one call too many", &[&good], |case| case["used"] = used(10, 0)),
        argument("any value", &[("text", "*")], json!({ "text": "a/b c" })),
        argument("an argument that no pattern names", &[("text", "*")], json!({ "text": "a", "limit": "3" })),
        argument("a named argument that is missing", &[("text", "*"), ("limit", "3")], json!({ "text": "a" })),
        argument("no arguments, as the grant says", &[], json!({})),
        argument("a whole value", &[("path", "docs")], json!({ "path": "docs" })),
        argument("a value is never matched as a prefix", &[("path", "docs")], json!({ "path": "docs2" })),
        argument("* stands for a whole segment", &[("path", "docs/*")], json!({ "path": "docs/a" })),
        argument("not for two", &[("path", "docs/*")], json!({ "path": "docs/a/b" })),
        argument("not for none", &[("path", "docs/*")], json!({ "path": "docs/" })),
        argument("* inside a segment is only a star", &[("path", "do*")], json!({ "path": "docs" })),
    ]
}

fn chains() -> Vec<Json> {
    let delegate = |issuer: u8, holder: u8, parent: &Verified<Grant>, change: fn(&mut Grant)| {
        let mut given = grant(issuer, Some(holder), Some(parent));
        change(&mut given);
        Verified::sign(given, &key(issuer))
    };
    let wide = |grant: &mut Grant| grant.budget.calls = None;
    let (first, dave, erin) = (given(|grant| grant.budget.bytes = Some(500)), 0x31, 0x41);
    let second = delegate(ALICE, CAROL, &first, wide);
    let third = delegate(CAROL, dave, &second, |grant| grant.budget.bytes = Some(100));
    let fourth = delegate(dave, erin, &third, wide);
    let by = |who: u8| move |case: &mut Json| case["call"]["principal"] = json!(owner(who).to_string());
    let standing = given(|grant| {
        grant.holder = None;
        grant.budget = klp::statement::grant::Budget {
            calls: Some(limits::PUBLIC_CALLS),
            bytes: None,
            window: Window::DayAndCaller,
        };
    });
    let slot = json!({ "caller": owner(ALICE).to_string(), "day": NOW.day() });
    let spent = json!([{ "grant": standing.id().to_string(), "slot": slot, "calls": limits::PUBLIC_CALLS }]);
    vec![
        case("delegated once: both are debited, the smaller number of bytes counts", &[&first, &second], by(CAROL)),
        case("delegated twice", &[&first, &second, &third], by(dave)),
        case("delegated three times", &[&first, &second, &third, &fourth], by(erin)),
        case("the chain of a delegation, used by its issuer", &[&first, &second], by(ALICE)),
        case("without its parent", &[&second], by(CAROL)),
        case("out of order", &[&second, &first], by(CAROL)),
        case("delegated by somebody who does not hold it", &[&first, &delegate(dave, CAROL, &first, wide)], by(CAROL)),
        case("of another parent", &[&first_grant(), &second], by(CAROL)),
        case("the parent is revoked", &[&first, &second], |case| {
            by(CAROL)(case);
            case["revoked"] = json!([revoked(&first.id(), owner(BOB))]);
        }),
        case("the parent is used up, though the delegation promises more", &[&first, &second], |case| {
            by(CAROL)(case);
            case["used"] = json!([{ "grant": first.id().to_string(), "slot": null, "calls": 10 }]);
        }),
        case("a standing grant", &[&standing], by(CAROL)),
        case("a standing grant, used up by this caller today", &[&standing], |case| case["used"] = spent.clone()),
        case("the same, by somebody else", &[&standing], |case| {
            by(CAROL)(case);
            case["used"] = spent.clone();
        }),
        case("the same, on the next day", &[&standing], |case| {
            case["used"] = spent.clone();
            case["now"] = json!(NOW.0 + 86_400_000);
        }),
        case("a standing grant handed on", &[&standing, &delegate(CAROL, dave, &standing, wide)], by(dave)),
    ]
}

#[test]
fn s16_permit_vectors() {
    let about = "Calls, the grants shown with them, what the hosting node knows, and the verdict.";
    for case in hold("permit", "specs/05-grants.md, section 3", about, [alone(), chains()].concat()) {
        assert_eq!(verdict(&case), case["verdict"], "{}", case["what"]);
    }
}
