//! Forwarding between real nodes: Alice and Carol have no path to each other, and Bob, whom both know, carries what they say.

use std::time::Instant;

use klp::codec::Bytes;
use klp::forward::{Errand, Exchange, Forward, Forwarded, Question, Reader, SealedQuestion};
use klp::message::{Empty, Pong, Request, kind};
use klp::sealed::{ExchangeKey, ExchangeSecret};
use klp::{Cbor as _, Digest, NodeId, OwnerId, Refusal, SecretKey, Verified, limits};
use kos_tests::person::introduce;
use kos_tests::puppet::now;
use kos_tests::{Person, Puppet, until};
use node::services::audit::Filter;
use node::services::grants::Limits;

const HOME: &str = "# House rules\n\nThe key of the garden shed lies under the third flower pot.\n";

/// What a story does to a forward, and to a question before it is sealed.
type Change<'a> = &'a dyn Fn(&mut Forward);
type Spoil<'a> = &'a dyn Fn(&mut Errand, &mut Question);

/// Alice and Carol, who know each other. Carol serves a house that Alice may ask ten times. Both have moved since they last met, so that
/// neither finds the other.
pub(crate) async fn apart(flags: &[&str]) -> (Person, Person) {
    let (mut alice, mut carol) = (Person::new(flags).await, Person::new(flags).await);
    introduce((&alice, "alice"), (&carol, "carol")).await;
    carol.serve(&carol.documents("house", &[("rules.md", HOME)]), "house", "private").await;
    carol.node.grants.add("alice", "house.ask", Limits { calls: Some(10), ..Limits::default() }).await.unwrap();
    alice.node.reach.ping("carol", 1).await.unwrap();
    holds(&alice, 1).await;
    alice.restart().await;
    carol.restart().await;
    carol.ready("house").await;
    (alice, carol)
}

/// Waits until somebody holds so many grants.
pub(crate) async fn holds(person: &Person, count: usize) {
    until("the grants are there", async || {
        let held = person.node.grants.list().await.unwrap().into_iter().filter(|grant| grant.direction == "held");
        (held.count() == count).then_some(())
    })
    .await;
}

/// Somebody lets somebody else's requests pass.
async fn lets_pass(carrier: &Person, who: &str, holder: &Person, as_whom: &str, calls: Option<u64>) {
    let held = holder.node.grants.list().await.unwrap().iter().filter(|grant| grant.direction == "held").count();
    carrier.node.grants.add(who, "node.forward", Limits { calls, ..Limits::default() }).await.unwrap();
    holder.node.reach.ping(as_whom, 1).await.unwrap();
    holds(holder, held + 1).await;
}

async fn calls_left(person: &Person, capability: &str) -> Option<u64> {
    let grants = person.node.grants.list().await.unwrap();
    let found = grants.iter().find(|grant| grant.capability == capability && grant.direction == "issued");
    found.unwrap().calls_left
}

#[tokio::test(flavor = "multi_thread")]
async fn k15_two_without_a_path_talk_through_a_third_by_its_grant_and_quota() {
    let (alice, carol) = apart(&[]).await;
    let bob = Person::new(&["--metrics", "127.0.0.1:0"]).await;
    introduce((&alice, "alice"), (&bob, "bob")).await;
    introduce((&carol, "carol"), (&bob, "bob")).await;
    alice.node.reach.ping("bob", 1).await.unwrap();
    carol.node.reach.ping("bob", 1).await.unwrap();

    // Without a grant nothing is carried.
    let refused = alice.ask("carol/house", "where is the key?").await.unwrap_err();
    assert_eq!(refused.refusal, Refusal::Unreachable);
    assert_eq!(alice.node.reach.ping("carol", 1).await.unwrap_err().refusal, Refusal::Unreachable);

    lets_pass(&bob, "alice", &alice, "bob", Some(8)).await;
    let shown = alice.node.grants.list().await.unwrap();
    assert!(shown.iter().any(|grant| grant.agent == "node" && grant.capability == "forward"), "{shown:?}");
    let (chunks, asked) = alice.ask("carol/house", "where is the key of the shed?").await.unwrap();
    assert!(chunks.concat().contains("third flower pot"), "{chunks:?}");
    assert!(asked.verified);
    assert_eq!(asked.path, "forwarded, 2 hops via bob");
    let ping = alice.node.reach.ping("carol", 1).await.unwrap();
    assert_eq!((ping.path.as_str(), ping.rtts_ms.len(), ping.lost), ("forwarded, 2 hops via bob", 1, 0));
    let found = ping.attempts.last().unwrap();
    assert_eq!((found.step.as_str(), found.address.as_str(), found.result.as_str()), ("forwarded", "bob", "ok"));
    let route = alice.node.reach.path("carol").await.unwrap();
    assert_eq!(route.path, "forwarded, 2 hops via bob");
    assert!(route.why.contains("bob carries each request"), "{route:?}");
    let receipt = until("the acknowledgement is carried too", async || {
        let receipt = carol.node.receipts.show(&asked.receipt).await.ok()?;
        (receipt.state == "acknowledged").then_some(receipt)
    })
    .await;
    assert_eq!(receipt.caller, alice.node.whoami().await.unwrap().owner, "the principal is Alice, not Bob");

    // The verdict stands in Bob's log before the deed ends, and names no agent.
    let log = bob.node.audit.list(Filter { limit: Some(1000), ..Filter::default() }).await.unwrap();
    let places = |kind: &str| -> Vec<u64> {
        let mut found: Vec<u64> = log.iter().filter(|entry| entry.kind == kind).map(|entry| entry.seq).collect();
        found.sort_unstable();
        found
    };
    let (allowed, finished) = (places("forwarded"), places("finished"));
    assert!(allowed.len() >= 3 && allowed[0] < finished[0], "{allowed:?} {finished:?}");

    // A look at the cards, the call and its acknowledgement, a ping and a path have passed: three of eight are left, and then none.
    assert_eq!(calls_left(&bob, "forward").await, Some(3));
    for _ in 0..2 {
        let _answered = alice.ask("carol/house", "and now?").await;
    }
    until("all have passed", async || (calls_left(&bob, "forward").await == Some(0)).then_some(())).await;
    let refused = alice.ask("carol/house", "once more?").await.unwrap_err();
    assert_eq!(refused.refusal, Refusal::Unreachable);
    assert!(refused.message.contains("bob does not forward to it (budget"), "{refused:?}");
    until("all that passed is counted", async || {
        let [passed, refused] =
            ["forwarded", "budget"].map(|outcome| format!("kos_node_forwards_total{{outcome=\"{outcome}\"}}"));
        (bob.figure(&passed).await >= 8 && bob.figure(&refused).await >= 1).then_some(())
    })
    .await;

    // Once a session leads there it is used, whatever was known of ways through others.
    let ticket = carol.node.contacts.ticket().await.unwrap();
    alice.node.contacts.add(&ticket.ticket, "carol").await.unwrap();
    let path = alice.node.reach.ping("carol", 1).await.unwrap().path;
    let (_, asked) = alice.ask("carol/house", "where is the key of the shed?").await.unwrap();
    assert!(asked.verified && asked.path == path && !path.starts_with("forwarded"), "{path}, {}", asked.path);
    for person in [alice, bob, carol] {
        assert!(person.node.audit.verify().await.unwrap().valid);
        person.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k15_three_hops_lead_over_two_carriers_and_a_grant_may_bind_where_to() {
    let (alice, carol) = apart(&[]).await;
    let (bob, dave) = (Person::new(&[]).await, Person::new(&[]).await);
    introduce((&alice, "alice"), (&bob, "bob")).await;
    introduce((&bob, "bob"), (&dave, "dave")).await;
    introduce((&dave, "dave"), (&carol, "carol")).await;
    carol.node.reach.ping("dave", 1).await.unwrap();
    lets_pass(&dave, "bob", &bob, "dave", None).await;
    lets_pass(&bob, "alice", &alice, "bob", None).await;
    let (_, asked) = alice.ask("carol/house", "where is the key of the shed?").await.unwrap();
    assert_eq!((asked.path.as_str(), asked.verified), ("forwarded, 3 hops via bob", true));

    // The same grant again, for another target only.
    let grants = bob.node.grants.list().await.unwrap();
    let old = grants.iter().find(|grant| grant.direction == "issued").unwrap();
    bob.node.grants.revoke(&old.id).await.unwrap();
    let elsewhere = [("to".to_owned(), bob.node.whoami().await.unwrap().node)].into();
    bob.node.grants.add("alice", "node.forward", Limits { args: Some(elsewhere), ..Limits::default() }).await.unwrap();
    until("the grant for another target is what counts", async || {
        let refused = alice.ask("carol/house", "and now?").await.err()?;
        refused.message.contains("(arguments").then_some(())
    })
    .await;
    for person in [alice, bob, carol, dave] {
        person.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k15_a_carrier_refuses_by_name_what_it_may_not_or_need_not_carry() {
    let (peer, dave) = (Puppet::open(131).await, Puppet::open(132).await);
    let bob = Person::new(&[]).await;
    bob.node.contacts.add(&peer.ticket(), "peer").await.unwrap();
    bob.node.contacts.add(&dave.ticket(), "dave").await.unwrap();
    let node = peer.meet(&bob).await;
    dave.meet(&bob).await;
    let nowhere = NodeId(SecretKey::from_seed(&[133; 32]).did());
    let other = |seed: u8| NodeId(SecretKey::from_seed(&[seed; 32]).did());
    let me = peer.node_id();
    let limits = Limits { calls: Some(4), ..Limits::default() };
    bob.node.grants.add("peer", "node.forward", limits).await.unwrap();
    let chain: Vec<_> = peer.grants(node).await.remove(0).iter().map(|grant| grant.signed().clone()).collect();
    let first = Forward { to: nowhere, ttl: 8, path: vec![me], chain, issuers: vec![], question: None };
    let send = async |change: Change<'_>| {
        let mut forward = first.clone();
        change(&mut forward);
        peer.ask::<Empty>(node, kind::FORWARD, &forward).await.unwrap_err()
    };
    let cases: [(&str, Change<'_>, Refusal); 8] = [
        ("without its grant", &|it| it.chain.clear(), Refusal::Denied),
        ("as somebody else", &|it| it.path = vec![other(134)], Refusal::Malformed),
        ("further than anything goes", &|it| it.ttl = 33, Refusal::Malformed),
        ("through it a second time", &|it| it.path = vec![node, me], Refusal::Loop),
        ("through somebody twice", &|it| it.path = vec![other(134), other(134), me], Refusal::Loop),
        ("through where it goes", &|it| it.path = vec![nowhere, me], Refusal::Loop),
        ("not one node further", &|it| it.ttl = 0, Refusal::Hops),
        ("to nobody whom it knows", &|_| {}, Refusal::Unreachable),
    ];
    for (what, change, refusal) in cases {
        assert_eq!(send(change).await, refusal, "{what}");
    }
    assert_eq!(send(&|_| {}).await, Refusal::Replay, "the same once more");
    // Dave would carry it further, but one more node is too many.
    let given = klp::message::Grants {
        chains: vec![vec![
            dave.carries_for(OwnerId(bob.node.whoami().await.unwrap().owner.parse().unwrap())).signed().clone(),
        ]],
    };
    let _kept: Empty = dave.ask(node, kind::DELIVER_GRANT, &given).await.unwrap();
    assert_eq!(send(&|it| (it.ttl, it.to) = (1, other(135))).await, Refusal::Hops, "three hops with one carrier");
    assert_eq!(
        send(&|it| (it.ttl, it.to) = (2, other(135))).await,
        Refusal::Replay,
        "the way may change, the question not"
    );
    assert_eq!(send(&|it| (it.ttl, it.to) = (2, other(136))).await, Refusal::Unreachable, "Dave says no");
    assert_eq!(send(&|it| it.to = other(137)).await, Refusal::Unreachable);
    let begun = Instant::now();
    assert_eq!(send(&|it| it.to = other(138)).await, Refusal::Budget, "four have passed");
    assert!(begun.elapsed() < kos_tests::PATIENCE);
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k15_a_target_says_its_key_to_contacts_and_answers_only_what_may_be_carried() {
    let (bob, alice) = (Puppet::open(151).await, Puppet::open(152).await);
    let carol = Person::new(&["--metrics", "127.0.0.1:0"]).await;
    carol.node.contacts.add(&bob.ticket(), "bob").await.unwrap();
    let node = bob.meet(&carol).await;
    alice.meet(&carol).await;
    let from = |peer: &Puppet| Forward {
        to: node,
        ttl: 0,
        path: vec![peer.node_id()],
        chain: vec![],
        issuers: vec![],
        question: None,
    };
    let denied = alice.ask::<Forwarded>(node, kind::FORWARD, &from(&alice)).await.unwrap_err();
    assert_eq!(denied, Refusal::Denied, "only contacts bring anything");
    let said: Forwarded = bob.ask(node, kind::FORWARD, &from(&bob)).await.unwrap();
    let key = Exchange::check(&said.key.unwrap(), &node, now()).unwrap();

    // Alice, whom Carol does not know, asks through Bob; `change` spoils what she has sealed.
    let asks = async |kind: &str, change: Spoil<'_>| -> Result<Vec<u8>, Refusal> {
        let request = Request::new(kind, &Empty).to_bytes();
        let answer = ExchangeSecret::from_seed([3; 32]);
        let issued = now();
        let mut errand = Errand {
            caller: alice.owner_id(),
            node,
            request: Digest::of(&[&request]),
            answer: answer.public(),
            issued,
            expires: issued.after(limits::ORDER_LIFE),
            nonce: [1; 16],
        };
        let signed = |errand: &Errand| Verified::sign(errand.clone(), &alice.node).signed().clone();
        let caller = alice.introduction.clone();
        let mut question = Question { errand: signed(&errand), caller, request: Bytes(request) };
        change(&mut errand, &mut question);
        question.errand = signed(&errand);
        let (sealed, reader) = question.seal(&key, answer, [2; 32]).unwrap();
        let forward = Forward { question: Some(sealed), ..from(&bob) };
        let end = bob.ask::<Forwarded>(node, kind::FORWARD, &forward).await?.end.unwrap();
        let end = reader.end(&end.0).unwrap();
        assert_eq!(end.path, [bob.node_id()]);
        match end.refusal {
            Some(number) => Err(Refusal::from_number(u16::try_from(number).unwrap())),
            None => Ok(end.answer.unwrap().0),
        }
    };
    assert!(Pong::from_bytes(&asks(kind::PING, &|_, _| {}).await.unwrap(), limits::MESSAGE).is_ok());
    for of_a_session in [kind::INTRODUCE, kind::FORWARD, kind::DELIVER_GRANT, kind::MISSING, "org.example.mine"] {
        assert_eq!(asks(of_a_session, &|_, _| {}).await, Err(Refusal::NoHandler), "{of_a_session}");
    }
    let spoiled: [(Spoil<'_>, Refusal); 5] = [
        (&|_, question| question.caller = bob.introduction.clone(), Refusal::Signature),
        (&|errand, _| errand.caller = bob.owner_id(), Refusal::Signature),
        (&|errand, _| errand.node = bob.node_id(), Refusal::NotForMe),
        (&|errand, _| errand.expires = klp::Timestamp(now().0 - 1), Refusal::Expired),
        (&|_, question| question.request.0.push(0), Refusal::Malformed),
    ];
    for (change, refusal) in spoiled {
        assert_eq!(asks(kind::PING, change).await, Err(refusal));
    }
    let held = carol.figure("kos_door_refusals_total{what=\"session\",reason=\"request\"}").await;
    assert_eq!(held, 0, "Bob cannot know what is wrong inside");
    carol.stop().await;
}

/// A ping of a puppet's, sealed to this key; `answer` is where the answer is to be sealed to.
fn sealed(puppet: &Puppet, node: NodeId, key: &ExchangeKey, answer: ExchangeKey) -> (SealedQuestion, Reader) {
    let request = Request::new(kind::PING, &Empty).to_bytes();
    let issued = now();
    let errand = Errand {
        caller: puppet.owner_id(),
        node,
        request: Digest::of(&[&request]),
        answer,
        issued,
        expires: issued.after(limits::ORDER_LIFE),
        nonce: [1; 16],
    };
    let errand = Verified::sign(errand, &puppet.node).signed().clone();
    let question = Question { errand, caller: puppet.introduction.clone(), request: Bytes(request) };
    question.seal(key, ExchangeSecret::from_seed([3; 32]), [2; 32]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn k15_a_question_that_is_sealed_to_another_key_is_named_counted_and_not_answered() {
    let (bob, alice) = (Puppet::open(156).await, Puppet::open(157).await);
    let carol = Person::new(&["--metrics", "127.0.0.1:0"]).await;
    carol.node.contacts.add(&bob.ticket(), "bob").await.unwrap();
    let node = bob.meet(&carol).await;
    let brings = async |question: Option<SealedQuestion>| {
        let forward = Forward { to: node, ttl: 0, path: vec![bob.node_id()], chain: vec![], issuers: vec![], question };
        bob.ask::<Forwarded>(node, kind::FORWARD, &forward).await
    };
    let says_key = |said: Forwarded| (said.end, Exchange::check(&said.key.unwrap(), &node, now()).unwrap());
    let (_, key) = says_key(brings(None).await.unwrap());
    let [mine, other] = [3, 4].map(|seed| ExchangeSecret::from_seed([seed; 32]).public());
    let (to_carol, to_another) = (sealed(&alice, node, &key, mine).0, sealed(&alice, node, &other, mine).0);
    let point = |encapsulated: [u8; 32]| SealedQuestion { encapsulated, ..to_carol.clone() };
    let nowhere = sealed(&alice, node, &key, ExchangeKey([0; 32])).0;
    let cases: [(&str, SealedQuestion, Refusal); 5] = [
        (
            "to another key, under the name of hers",
            SealedQuestion { recipient: key.id(), ..to_another.clone() },
            Refusal::Tampered,
        ),
        ("with the key of another question", point(other.0), Refusal::Tampered),
        ("with a key of small order", point([0; 32]), Refusal::Tampered),
        ("cut short", SealedQuestion { ciphertext: Bytes(vec![]), ..to_carol.clone() }, Refusal::Tampered),
        ("to be answered to a key of small order", nowhere, Refusal::Malformed),
    ];
    for (what, question, refusal) in cases {
        let line = format!("kos_session_refusals_total{{code=\"{}\"}}", refusal.code());
        let before = carol.figure(&line).await;
        assert_eq!(brings(Some(question)).await.unwrap_err(), refusal, "{what}");
        assert_eq!(carol.figure(&line).await, before + 1, "{what} is counted");
        let filter = Filter { kind: Some("denied".to_owned()), limit: Some(1), ..Filter::default() };
        let verdict = carol.node.audit.list(filter).await.unwrap().remove(0);
        assert_eq!((verdict.actor, verdict.subject.as_str()), (Some(bob.owner_id().to_string()), kind::FORWARD));
        assert!(verdict.detail.contains(&format!("code={}", refusal.code())), "{what}: {}", verdict.detail);
    }
    // Whoever names a key that she has not, may have an old ticket: all that it hears is her present key.
    assert_eq!(says_key(brings(Some(to_another)).await.unwrap()), (None, key));
    let (question, reader) = sealed(&alice, node, &key, mine);
    let end = reader.end(&brings(Some(question)).await.unwrap().end.unwrap().0).unwrap();
    assert!(Pong::from_bytes(&end.answer.unwrap().0, limits::MESSAGE).is_ok());
    carol.stop().await;
}
