//! Who may ask what: every kind of request as everybody, and every call as everybody who should not get through. Each refusal has its
//! code and its entry in the log; a kind that is added without a row here fails the test.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use klp::forward::{Forward, Forwarded, SealedQuestion};
use klp::message::{
    self, Acknowledge, Call, Empty, Grants, Missing, PairFinish, PairOpen, PairProve, Query, Request, Since, Wants,
    kind,
};
use klp::statement::grant::Grant;
use klp::statement::receipt::{Acknowledgement, Order, request_digest};
use klp::statement::revocation::{Revocation, Target};
use klp::{AgentId, Cbor as _, Digest, NodeId, Refusal, SecretKey, Timestamp, Verified};
use kos_tests::puppet::{Arguments, now, text};
use kos_tests::{Person, Puppet, until};
use node::inbound::Access;
use node::services::audit::Filter;
use node::services::grants::Limits;
use node::view::AuditEntry;

const HOME: &str = "# House rules\n\nThe key of the garden shed lies under the third flower pot.\n";

/// How a peer stands to the node that it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// It has said Hello, and no more.
    Silent,
    /// It has said whose node it is.
    Introduced,
    /// Its owner is a contact.
    Contact,
}

/// What a request of one kind gets, as each of the three.
struct Row {
    kind: &'static str,
    access: Access,
    body: fn(&Puppet, NodeId) -> Vec<u8>,
    outcome: [Result<(), Refusal>; 3],
}

const YES: Result<(), Refusal> = Ok(());
const NO: Result<(), Refusal> = Err(Refusal::Denied);
/// Nobody has made a code, and nobody is told more than that.
const NO_CODE: Result<(), Refusal> = Err(Refusal::NotFound);
const MAILBOX: &str = "ocean-4821";

fn whole(kind: &str, body: &impl klp::Cbor) -> Vec<u8> {
    Request::new(kind, body).to_bytes()
}

fn acknowledge(puppet: &Puppet, _: NodeId) -> Vec<u8> {
    let said = Acknowledgement { outcome: Digest([1; 32]), bytes: 1, at: now() };
    let acknowledgement = Verified::sign(said, &puppet.node).signed().clone();
    whole(kind::ACKNOWLEDGE, &Acknowledge { order: Digest([2; 32]), acknowledgement })
}

fn prove(_: &Puppet, _: NodeId) -> Vec<u8> {
    let sealed = klp::codec::Bytes(vec![3; 64]);
    whole(kind::PAIR_PROVE, &PairProve { mailbox: MAILBOX.to_owned(), run: [1; 16], sealed, proof: [2; 32] })
}

fn without_grant(puppet: &Puppet, node: NodeId) -> Vec<u8> {
    let agent = AgentId(SecretKey::from_seed(&[98; 32]).did());
    whole(kind::CALL, &puppet.call((node, agent), &[], text("x"), |_| {}))
}

fn onward(puppet: &Puppet, _: NodeId) -> Vec<u8> {
    let to = NodeId(SecretKey::from_seed(&[96; 32]).did());
    let (path, chain, issuers) = (vec![puppet.node_id()], Vec::new(), Vec::new());
    whole(kind::FORWARD, &Forward { to, ttl: 8, path, chain, issuers, question: None })
}

const TABLE: &[Row] = &[
    Row { kind: kind::PING, access: Access::Anybody, body: |_, _| whole(kind::PING, &Empty), outcome: [YES; 3] },
    Row {
        kind: kind::DIRECTORY,
        access: Access::Anybody,
        body: |_, _| whole(kind::DIRECTORY, &Query { text: None, capability: None, agent: None }),
        outcome: [YES; 3],
    },
    Row {
        kind: kind::CAPABILITIES,
        access: Access::Introduced,
        body: |_, _| whole(kind::CAPABILITIES, &Wants { wants: BTreeSet::new() }),
        outcome: [NO, YES, YES],
    },
    Row { kind: kind::CALL, access: Access::Introduced, body: without_grant, outcome: [NO; 3] },
    Row {
        kind: kind::GRANTS,
        access: Access::Introduced,
        body: |_, _| whole(kind::GRANTS, &Empty),
        outcome: [NO, YES, YES],
    },
    Row {
        kind: kind::DELIVER_GRANT,
        access: Access::Contact,
        body: |_, _| whole(kind::DELIVER_GRANT, &Grants { chains: Vec::new() }),
        outcome: [NO, NO, YES],
    },
    Row {
        kind: kind::REVOCATIONS,
        access: Access::Introduced,
        // Of somebody else's revocations this node says nothing.
        body: |puppet, _| whole(kind::REVOCATIONS, &Since { owner: puppet.owner_id(), seq: 0 }),
        outcome: [NO; 3],
    },
    Row {
        kind: kind::DELIVER_REVOCATION,
        access: Access::Anybody,
        body: |_, _| whole(kind::DELIVER_REVOCATION, &message::Revocations { revocations: Vec::new(), head: None }),
        outcome: [YES; 3],
    },
    Row { kind: kind::ACKNOWLEDGE, access: Access::Introduced, body: acknowledge, outcome: [NO; 3] },
    Row {
        kind: kind::MISSING,
        access: Access::Introduced,
        body: |_, _| whole(kind::MISSING, &Missing { orders: Vec::new() }),
        outcome: [NO, YES, YES],
    },
    Row {
        kind: kind::RELAYS,
        access: Access::Contact,
        body: |_, _| whole(kind::RELAYS, &Empty),
        outcome: [NO, NO, YES],
    },
    Row {
        kind: kind::PAIR_OPEN,
        access: Access::Anybody,
        body: |_, _| whole(kind::PAIR_OPEN, &PairOpen { mailbox: MAILBOX.to_owned(), run: [1; 16], share: [2; 32] }),
        outcome: [NO_CODE; 3],
    },
    Row { kind: kind::PAIR_PROVE, access: Access::Anybody, body: prove, outcome: [NO_CODE; 3] },
    Row {
        kind: kind::PAIR_FINISH,
        access: Access::Anybody,
        body: |_, _| {
            whole(kind::PAIR_FINISH, &PairFinish { mailbox: MAILBOX.to_owned(), run: [1; 16], proof: [2; 32] })
        },
        outcome: [NO_CODE; 3],
    },
    Row { kind: kind::FORWARD, access: Access::Introduced, body: onward, outcome: [NO; 3] },
    // Last, because it makes a silent peer an introduced one.
    Row {
        kind: kind::INTRODUCE,
        access: Access::Anybody,
        body: |puppet, _| whole(kind::INTRODUCE, &puppet.introduction),
        outcome: [YES; 3],
    },
];

async fn entries(bob: &Person) -> u64 {
    bob.node.audit.verify().await.unwrap().entries
}

async fn newest(bob: &Person, kind: &str) -> AuditEntry {
    let filter = Filter { kind: Some(kind.to_owned()), limit: Some(1), ..Filter::default() };
    bob.node.audit.list(filter).await.unwrap().remove(0)
}

/// One of the details of an entry.
fn detail(entry: &AuditEntry, name: &str) -> String {
    let value = entry.detail.split(' ').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name}: {entry:?}")).to_owned()
}

/// The code of the newest denial in the log.
async fn newest_denial(bob: &Person) -> String {
    detail(&newest(bob, "denied").await, "code")
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_every_kind_of_request_is_decided_for_everybody_and_each_denial_is_written_down() {
    for (seed, standing) in [(101, Standing::Silent), (102, Standing::Introduced), (103, Standing::Contact)] {
        // A node for each: of the denials of all strangers together only so many are written down one by one.
        let bob = Person::new(&[]).await;
        let registered: BTreeMap<_, _> = bob.node.inbound().table().into_iter().collect();
        let listed: BTreeMap<_, _> = TABLE.iter().map(|row| (row.kind.to_owned(), row.access)).collect();
        assert_eq!(registered, listed, "a kind without a row in this table");
        let peer = Puppet::open(seed).await;
        if standing == Standing::Contact {
            bob.node.contacts.add(&peer.ticket(), "peer").await.unwrap();
        }
        let node = match standing {
            Standing::Silent => peer.dial(&bob).await,
            _ => peer.meet(&bob).await,
        };
        for row in TABLE {
            let before = entries(&bob).await;
            let got = peer.send(node, (row.body)(&peer, node)).await.map(drop);
            assert_eq!(got, row.outcome[standing as usize], "{} as {standing:?}", row.kind);
            let written = entries(&bob).await - before;
            assert_eq!(written, u64::from(got.is_err()), "{} as {standing:?}: each denial is one entry", row.kind);
            if let Err(refusal) = got {
                assert_eq!(newest_denial(&bob).await, refusal.code(), "{} as {standing:?}", row.kind);
            }
        }
        peer.close();
        bob.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s14_every_call_outside_its_grants_is_refused_with_its_code_before_any_deed() {
    let (alice, carol) = (Puppet::open(111).await, Puppet::open(112).await);
    let bob = Person::new(&[]).await;
    let folder = bob.documents("house", &[("rules.md", HOME)]);
    let house = bob.serve(&folder, "house", "private").await;
    let attic = bob.serve(&folder, "attic", "private").await;
    bob.node.contacts.add(&alice.ticket(), "alice").await.unwrap();
    bob.node.contacts.add(&carol.ticket(), "carol").await.unwrap();
    let args: BTreeMap<String, String> = [("text".to_owned(), "*".to_owned())].into();
    let limits = Limits { calls: Some(2), args: Some(args), ..Limits::default() };
    let granted = bob.node.grants.add("alice", "house.ask", limits).await.unwrap();
    let node = alice.meet(&bob).await;
    carol.meet(&bob).await;
    let [house, attic] = [house, attic].map(|agent| AgentId(agent.did.parse().unwrap()));
    let first = alice.grants(node).await.remove(0).remove(0);
    let to_carol = |change: fn(&mut Grant)| alice.link(carol.owner_id(), &first, change);
    let fine = to_carol(|_| {});

    let call = |peer: &Puppet, agent: AgentId, chain: &[Verified<Grant>], capability: &str, arguments: Arguments| {
        let call = peer.call((node, agent), chain, arguments, |_| {});
        let request = request_digest(&call.salt, capability, &call.arguments);
        let order = Order { capability: capability.to_owned(), request, ..(*call.order.verify().unwrap()).clone() };
        Call { order: Verified::sign(order, &peer.node).signed().clone(), ..call }
    };
    let ask = |peer: &Puppet, chain: &[Verified<Grant>]| call(peer, house, chain, "ask", text("where is the key?"));
    let wide: Arguments = [("text".to_owned(), "x".to_owned()), ("limit".to_owned(), "20".to_owned())].into();
    let (far, other) = (SecretKey::from_seed(&[97; 32]).did(), to_carol(|grant| grant.agent = AgentId(grant.issuer.0)));
    let elsewhere = alice.link(carol.owner_id(), &first, |grant| grant.node = NodeId(far));
    let by_carol = Verified::sign(Grant { issuer: alice.owner_id(), ..(*fine).clone() }, &carol.owner);
    let self_made = alice.link(alice.owner_id(), &first, |grant| grant.parent = None);
    let one = std::slice::from_ref::<Verified<Grant>>;
    let cases: Vec<(&str, &Puppet, Call, Refusal)> = vec![
        ("without a grant", &alice, ask(&alice, &[]), Refusal::Denied),
        ("another agent", &alice, call(&alice, attic, one(&first), "ask", text("x")), Refusal::Denied),
        ("another capability", &alice, call(&alice, house, one(&first), "write", text("x")), Refusal::Capability),
        ("other arguments", &alice, call(&alice, house, one(&first), "ask", wide.clone()), Refusal::Arguments),
        ("no arguments", &alice, call(&alice, house, one(&first), "ask", Arguments::new()), Refusal::Arguments),
        ("somebody else's grant", &carol, ask(&carol, one(&first)), Refusal::Denied),
        ("a grant that she made herself", &alice, ask(&alice, one(&self_made)), Refusal::Denied),
        ("only the last link", &carol, ask(&carol, one(&fine)), Refusal::Denied),
        ("links in another order", &carol, ask(&carol, &[fine.clone(), first.clone()]), Refusal::Denied),
        ("a link twice", &carol, ask(&carol, &[first.clone(), fine.clone(), fine.clone()]), Refusal::Denied),
        ("a link of another agent", &carol, ask(&carol, &[first.clone(), other]), Refusal::Denied),
        ("a link of another node", &carol, ask(&carol, &[first.clone(), elsewhere]), Refusal::Denied),
        ("a link that another key signed", &carol, ask(&carol, &[first.clone(), by_carol]), Refusal::Denied),
        (
            "wider than the parent",
            &carol,
            call(&carol, house, &[first.clone(), to_carol(|_| {})], "ask", wide),
            Refusal::Arguments,
        ),
        (
            "a capability that the parent has not",
            &carol,
            call(
                &carol,
                house,
                &[first.clone(), to_carol(|grant| grant.capability = "write".into())],
                "write",
                text("x"),
            ),
            Refusal::Capability,
        ),
        (
            "a link past its time",
            &carol,
            ask(&carol, &[first.clone(), to_carol(|grant| grant.expires = klp::Timestamp(now().0 - 1000))]),
            Refusal::Expired,
        ),
        (
            "a link without a call",
            &carol,
            ask(&carol, &[first.clone(), to_carol(|grant| grant.budget.calls = Some(0))]),
            Refusal::Budget,
        ),
    ];
    for (what, peer, call, refusal) in cases {
        let before = entries(&bob).await;
        assert_eq!(peer.sent(node, &call).await.unwrap_err(), refusal, "{what}");
        assert_eq!(entries(&bob).await, before + 1, "{what}: the verdict and nothing else");
        assert_eq!(newest_denial(&bob).await, refusal.code(), "{what}");
    }
    assert_eq!(bob.node.grants.show(&granted.id).await.unwrap().calls_left, Some(2), "no refusal has cost a call");

    carol.sent(node, &ask(&carol, &[first.clone(), fine.clone()])).await.unwrap();
    alice.sent(node, &ask(&alice, one(&first))).await.unwrap();
    for (peer, chain) in [(&alice, vec![first.clone()]), (&carol, vec![first.clone(), fine.clone()])] {
        assert_eq!(peer.sent(node, &ask(peer, &chain)).await.unwrap_err(), Refusal::Budget, "both spend the same two");
    }
    bob.node.grants.revoke(&granted.id).await.unwrap();
    for (peer, chain) in [(&alice, vec![first.clone()]), (&carol, vec![first.clone(), fine])] {
        assert_eq!(peer.sent(node, &ask(peer, &chain)).await.unwrap_err(), Refusal::Revoked);
    }
    // Of each call that was made, the verdict stands in the log before the deed.
    let log = bob.node.audit.list(Filter { limit: Some(1000), ..Filter::default() }).await.unwrap();
    let place = |kind: &str, nth: usize| {
        let mut found: Vec<u64> = log.iter().filter(|entry| entry.kind == kind).map(|entry| entry.seq).collect();
        found.sort_unstable();
        found[nth]
    };
    for nth in 0..2 {
        assert!(place("allowed", nth) < place("finished", nth));
    }
    bob.stop().await;
}

/// What a peer wants to have carried under these grants; each number is a question of its own.
fn carried(peer: &Puppet, to: NodeId, chain: &[&Verified<Grant>], number: u8) -> Forward {
    let ciphertext = klp::codec::Bytes(vec![number; 64]);
    let question = Some(SealedQuestion { recipient: [1; 8], encapsulated: [2; 32], ciphertext });
    let chain = chain.iter().map(|grant| grant.signed().clone()).collect();
    Forward { to, ttl: 8, path: vec![peer.node_id()], chain, issuers: Vec::new(), question }
}

#[tokio::test(flavor = "multi_thread")]
async fn k15_s14_every_forward_outside_its_grants_is_refused_with_its_code_before_anything_is_handed_on() {
    let reached = Arc::new(AtomicUsize::new(0));
    let count = reached.clone();
    let target = Puppet::answering(173, move |asked, _| match asked {
        kind::INTRODUCE => Ok(Empty.to_bytes()),
        kind::FORWARD => {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(Forwarded { end: Some(klp::codec::Bytes(vec![3; 64])), key: None }.to_bytes())
        }
        _ => Err(Refusal::NoHandler),
    })
    .await;
    let (alice, carol, dave) = (Puppet::open(171).await, Puppet::open(172).await, Puppet::open(174).await);
    let bob = Person::new(&["--metrics", "127.0.0.1:0"]).await;
    bob.serve(&bob.documents("house", &[("rules.md", HOME)]), "house", "private").await;
    for (peer, name) in [(&alice, "alice"), (&carol, "carol"), (&dave, "dave"), (&target, "target")] {
        bob.node.contacts.add(&peer.ticket(), name).await.unwrap();
    }
    let limits = Limits { calls: Some(3), ..Limits::default() };
    let granted = bob.node.grants.add("alice", "node.forward", limits).await.unwrap();
    let nowhere = NodeId(SecretKey::from_seed(&[95; 32]).did());
    let args = Some([("to".to_owned(), nowhere.to_string())].into());
    let bound = bob.node.grants.add("alice", "node.forward", Limits { args, ..Limits::default() }).await.unwrap();
    let house = bob.node.grants.add("alice", "house.ask", Limits::default()).await.unwrap();
    let node = alice.meet(&bob).await;
    carol.meet(&bob).await;
    target.meet(&bob).await;
    let held = alice.grants(node).await;
    let [first, bound, house] = [&granted, &bound, &house]
        .map(|grant| held.iter().find(|chain| chain[0].id().to_string() == grant.id).unwrap()[0].clone());

    let to_carol = |change: fn(&mut Grant)| alice.link(carol.owner_id(), &first, change);
    let (fine, other) = (to_carol(|_| {}), to_carol(|grant| grant.capability = "ask".to_owned()));
    let (past, none) = (to_carol(|grant| grant.expires = Timestamp(now().0 - 1000)), |grant: &mut Grant| {
        grant.budget.calls = Some(0);
    });
    let empty = to_carol(none);
    let elsewhere = alice.link(carol.owner_id(), &first, |grant| grant.node = nowhere);
    let by_carol = Verified::sign(Grant { issuer: alice.owner_id(), ..(*fine).clone() }, &carol.owner);
    let self_made = alice.link(alice.owner_id(), &first, |grant| grant.parent = None);
    let of_another = target.carries_for(alice.owner_id());
    // Over Dave: what he hands on promises more than what he holds.
    let to_dave = |parent: &Verified<Grant>, change: fn(&mut Grant)| alice.link(dave.owner_id(), parent, change);
    let daves = [
        to_dave(&first, |grant| grant.expires = Timestamp(now().0 - 1000)),
        to_dave(&first, none),
        to_dave(&bound, |_| {}),
        to_dave(&first, |grant| grant.arguments = Some([("to".to_owned(), "did:key:z6Mk".to_owned())].into())),
    ];
    let [late, spent, astray, narrow] = daves;
    let wider = |parent: &Verified<Grant>| {
        dave.link(carol.owner_id(), parent, |grant| {
            grant.expires = first.expires;
            grant.budget.calls = Some(100);
        })
    };
    let [from_late, from_spent, from_astray, from_narrow] = [&late, &spent, &astray, &narrow].map(wider);
    let four = carol.link(carol.owner_id(), &from_narrow, |_| {});

    let cases: Vec<(&str, &Puppet, Vec<&Verified<Grant>>, Refusal)> = vec![
        ("without a grant", &alice, vec![], Refusal::Denied),
        ("a grant for an agent of his", &alice, vec![&house], Refusal::Denied),
        ("a grant of another carrier", &alice, vec![&of_another], Refusal::Denied),
        ("a grant that she made herself", &alice, vec![&self_made], Refusal::Denied),
        ("a grant that leads to somebody else", &alice, vec![&bound], Refusal::Arguments),
        ("somebody else's grant", &carol, vec![&first], Refusal::Denied),
        ("only the last link", &carol, vec![&fine], Refusal::Denied),
        ("links in another order", &carol, vec![&fine, &first], Refusal::Denied),
        ("a link of another carrier", &carol, vec![&first, &elsewhere], Refusal::Denied),
        ("a link that another key signed", &carol, vec![&first, &by_carol], Refusal::Denied),
        ("a link for another capability", &carol, vec![&first, &other], Refusal::Capability),
        ("a link past its time", &carol, vec![&first, &past], Refusal::Expired),
        ("a link without a call", &carol, vec![&first, &empty], Refusal::Budget),
        ("longer than the parent", &carol, vec![&first, &late, &from_late], Refusal::Expired),
        ("more calls than the parent", &carol, vec![&first, &spent, &from_spent], Refusal::Budget),
        ("further than the first grant", &carol, vec![&bound, &astray, &from_astray], Refusal::Arguments),
        ("further than the parent", &carol, vec![&first, &narrow, &from_narrow], Refusal::Arguments),
        ("a chain of four", &carol, vec![&first, &narrow, &from_narrow, &four], Refusal::Malformed),
    ];
    let send = async |peer: &Puppet, chain: &[&Verified<Grant>], number: u8| {
        let forward = carried(peer, target.node_id(), chain, number);
        peer.ask::<Forwarded>(node, kind::FORWARD, &forward).await.map(drop)
    };
    let denied = async |what: &str, peer: &Puppet, chain: &[&Verified<Grant>], refusal: Refusal| {
        let line = format!("kos_node_forwards_total{{outcome=\"{}\"}}", refusal.code());
        let (before, counted, passed) = (entries(&bob).await, bob.figure(&line).await, reached.load(Ordering::SeqCst));
        assert_eq!(send(peer, chain, 0).await, Err(refusal), "{what}");
        assert_eq!(entries(&bob).await, before + 1, "{what}: the verdict and nothing else");
        let verdict = newest(&bob, "denied").await;
        assert_eq!(detail(&verdict, "code"), refusal.code(), "{what}");
        assert_eq!(verdict.actor, Some(peer.owner_id().to_string()), "{what}");
        if refusal != Refusal::Malformed {
            assert_eq!(verdict.subject, "node.forward", "{what}");
            assert_eq!(detail(&verdict, "to"), target.node_id().to_string(), "{what}");
        }
        assert_eq!(bob.figure(&line).await, counted + 1, "{what} is counted");
        assert_eq!(reached.load(Ordering::SeqCst), passed, "{what}: nothing is handed on");
    };
    for (what, peer, chain, refusal) in cases {
        denied(what, peer, &chain, refusal).await;
    }
    assert_eq!(bob.node.grants.show(&granted.id).await.unwrap().calls_left, Some(3), "no refusal has cost a call");

    // Each ends with an entry of its own, behind the answer.
    let passes = async |peer: &Puppet, chain: &[&Verified<Grant>], number: u8| {
        send(peer, chain, number).await.unwrap();
        let filter = Filter { kind: Some("finished".to_owned()), ..Filter::default() };
        let ended = async || bob.node.audit.list(filter.clone()).await.unwrap().len() == usize::from(number);
        until("its end is written down", async || ended().await.then_some(())).await;
    };
    passes(&alice, &[&first], 1).await;
    passes(&carol, &[&first, &fine], 2).await;
    assert_eq!(newest(&bob, "forwarded").await.actor, Some(carol.owner_id().to_string()));
    let (issuer, target) = (alice.owner_id(), fine.id());
    let taken_back = Revocation { issuer, kind: Target::Grant, target, seq: 1, issued: now() };
    let revocations = vec![Verified::sign(taken_back, &alice.owner).signed().clone()];
    let told = message::Revocations { revocations, head: None };
    let _heard: Empty = alice.ask(node, kind::DELIVER_REVOCATION, &told).await.unwrap();
    denied("a link that was taken back", &carol, &[&first, &fine], Refusal::Revoked).await;
    passes(&alice, &[&first], 3).await;
    denied("after the third", &alice, &[&first], Refusal::Budget).await;
    bob.node.grants.revoke(&granted.id).await.unwrap();
    denied("the grant was taken back", &alice, &[&first], Refusal::Revoked).await;
    denied("what was made of it", &carol, &[&first, &to_carol(|_| {})], Refusal::Revoked).await;
    assert_eq!(reached.load(Ordering::SeqCst), 3);
    bob.stop().await;
}
