//! What peers may say to a node: what it shows of them, what it believes, and what it refuses.

use std::sync::{Arc, Mutex};

use klp::message::{Call, Cards, Empty, Pong, kind};
use klp::statement::card::CardEntry;
use klp::statement::receipt::{Order, request_digest};
use klp::statement::revocation::{Revocation, Target};
use klp::{AgentId, Cbor as _, NodeId, Refusal, SecretKey, Signed, Verified};
use kos_tests::puppet::{now, text};
use kos_tests::{Person, Puppet};
use node::inbound::{Access, Caller};
use node::services::grants::Limits;

const HOME: &str = "# House rules\n\nThe key of the garden shed lies under the third flower pot.\n";

/// Bob serves a house, and a puppet that he knows as `name` holds a grant for it.
async fn served(puppet: &Puppet, name: &str) -> (Person, (NodeId, AgentId)) {
    let bob = Person::new(&[]).await;
    let agent = bob.serve(&bob.documents("house", &[("rules.md", HOME)]), "house", "private").await;
    bob.node.contacts.add(&puppet.ticket(), name).await.unwrap();
    bob.node.grants.add(name, "house.ask", Limits::default()).await.unwrap();
    let node = puppet.meet(&bob).await;
    (bob, (node, AgentId(agent.did.parse().unwrap())))
}

#[tokio::test(flavor = "multi_thread")]
async fn k1_a_contact_is_shown_with_its_keys_and_agents_and_without_those_of_another_key() {
    let cards: Arc<Mutex<Vec<CardEntry>>> = Arc::default();
    let shown = Arc::clone(&cards);
    let mallory = Puppet::answering(41, move |asked, _| match asked {
        kind::DIRECTORY => Ok(Cards { cards: shown.lock().unwrap().clone() }.to_bytes()),
        kind::INTRODUCE => Ok(Empty.to_bytes()),
        _ => Err(Refusal::NoHandler),
    })
    .await;
    let stranger = Puppet::open(42).await;
    let [honest, other] = [43, 44].map(|seed| SecretKey::from_seed(&[seed; 32]));
    let good = mallory.card(&honest, "honest", &honest);
    let wrong_key = mallory.card(&other, "wrongkey", &honest);
    let borrowed = CardEntry { introduction: stranger.certify(&other, Some(mallory.node_id())), ..good.clone() };
    let elsewhere = stranger.card(&other, "elsewhere", &other);
    *cards.lock().unwrap() = vec![wrong_key, borrowed, elsewhere, good];

    let alice = Person::new(&[]).await;
    alice.node.contacts.add(&mallory.ticket(), "mallory").await.unwrap();
    let shown = alice.node.contacts.show("mallory", &[]).await.unwrap();
    assert_eq!((&shown.did, &shown.node), (&mallory.owner_id().to_string(), &mallory.node_id().to_string()));
    assert_eq!(shown.fingerprint.len(), 6);
    let agents: Vec<_> = shown.agents.iter().map(|agent| (agent.name.as_str(), agent.did.clone())).collect();
    assert_eq!(agents, [("honest", honest.did().to_string())], "no card that another key, owner or node stands behind");
    assert_eq!(alice.ask("mallory/wrongkey", "anything").await.unwrap_err().refusal, Refusal::Denied);
    alice.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k2_a_call_is_delivered_and_a_changed_copied_or_stale_one_is_refused_by_name() {
    let (alice, mallory) = (Puppet::open(51).await, Puppet::open(52).await);
    let (bob, to) = served(&alice, "alice").await;
    bob.node.contacts.add(&mallory.ticket(), "mallory").await.unwrap();
    mallory.meet(&bob).await;
    let chain = alice.grants(to.0).await.remove(0);
    let fresh = |question: &str| alice.call(to, &chain, text(question), |_| {});

    let honest = fresh("where is the key?");
    let answered = alice.sent(to.0, &honest).await.unwrap();
    assert_eq!(answered.outcome.verify().unwrap().order, honest.order.verify().unwrap().id());

    assert_eq!(alice.sent(to.0, &honest).await.unwrap_err(), Refusal::Replay, "the same once more");
    assert_eq!(mallory.sent(to.0, &honest).await.unwrap_err(), Refusal::Replay, "a copy by another peer");
    let stolen = fresh("who else?");
    assert_eq!(mallory.sent(to.0, &stolen).await.unwrap_err(), Refusal::Denied, "stolen before it was used");
    let stale = alice.call(to, &chain, text("x"), |order| {
        (order.issued, order.expires) = (klp::Timestamp(now().0 - 700_000), klp::Timestamp(now().0 - 100_000));
    });
    assert_eq!(alice.sent(to.0, &stale).await.unwrap_err(), Refusal::Expired);
    let elsewhere = alice.call((alice.node_id(), to.1), &chain, text("x"), |_| {});
    assert_eq!(alice.sent(to.0, &elsewhere).await.unwrap_err(), Refusal::NotForMe);
    let other_words = Call { arguments: text("other words"), ..fresh("these words") };
    assert_eq!(alice.sent(to.0, &other_words).await.unwrap_err(), Refusal::Malformed);

    let whole = fresh("every byte counts");
    let bytes = whole.order.as_bytes();
    let mut by_signature = 0;
    for place in 0..bytes.len() {
        let mut flipped = bytes.to_vec();
        flipped[place] ^= 1;
        let refused =
            alice.sent(to.0, &Call { order: Signed::from_bytes(flipped), ..whole.clone() }).await.unwrap_err();
        // A flip that breaks the form itself never gets as far as the signature.
        assert!(matches!(refused, Refusal::Signature | Refusal::Malformed), "byte {place}: {refused}");
        by_signature += usize::from(refused == Refusal::Signature);
    }
    assert!(by_signature > 64 + bytes.len() / 2, "{by_signature} of {}", bytes.len());
    alice.sent(to.0, &whole).await.unwrap();
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k5_a_kind_registered_while_the_node_runs_answers_and_stops_when_it_is_removed() {
    const KIND: &str = "org.example.time";
    let (bob, peer) = (Person::new(&[]).await, Puppet::open(61).await);
    let node = peer.dial(&bob).await;
    let ask = || peer.ask::<Pong>(node, KIND, &Empty);
    assert_eq!(ask().await.unwrap_err(), Refusal::NoHandler);
    bob.node
        .inbound()
        .answer(KIND, Access::Anybody, |_: Caller, _: Empty| async { Ok::<_, Refusal>(Pong { now: now() }) });
    assert!(ask().await.is_ok());
    assert!(bob.node.status().await.unwrap().handlers.contains(&KIND.to_owned()));
    bob.node
        .inbound()
        .answer(KIND, Access::Contact, |_: Caller, _: Empty| async { Ok::<_, Refusal>(Pong { now: now() }) });
    assert_eq!(ask().await.unwrap_err(), Refusal::Denied, "who may ask is part of the registration");
    bob.node.inbound().unregister(KIND);
    assert_eq!(ask().await.unwrap_err(), Refusal::NoHandler);
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s04_of_a_revoked_key_nothing_is_accepted_any_more() {
    let laptop = Puppet::open(71).await;
    let (bob, to) = served(&laptop, "alice").await;
    let chain = laptop.grants(to.0).await.remove(0);
    let call = || laptop.call(to, &chain, text("where is the key?"), |_| {});
    laptop.sent(to.0, &call()).await.unwrap();
    let before = call();

    // Her owner key revokes the certificate of this device, on this very session.
    let revocation = Verified::sign(
        Revocation {
            issuer: laptop.owner_id(),
            kind: Target::Certificate,
            target: laptop.introduction.certificate.verify().unwrap().id(),
            seq: 1,
            issued: now(),
        },
        &laptop.owner,
    );
    let tell = |revocation: &Verified<Revocation>| {
        let revocations = vec![revocation.signed().clone()];
        klp::message::Revocations { revocations, head: None }
    };
    laptop.ask::<Empty>(to.0, kind::DELIVER_REVOCATION, &tell(&revocation)).await.unwrap();
    assert_eq!(laptop.sent(to.0, &before).await.unwrap_err(), Refusal::Denied, "its order dates from before");
    assert_eq!(laptop.sent(to.0, &call()).await.unwrap_err(), Refusal::Denied);
    // Saying who it is once more does not help, nor does a new ticket.
    let _said = laptop.ask::<Empty>(to.0, kind::INTRODUCE, &laptop.introduction).await;
    assert_eq!(laptop.sent(to.0, &call()).await.unwrap_err(), Refusal::Denied);
    let ticket = bob.node.contacts.add(&laptop.ticket(), "alice").await.unwrap_err();
    assert_eq!(ticket.refusal, Refusal::Revoked);
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s03_another_next_key_of_a_pinned_owner_is_refused() {
    let peer = Puppet::open(76).await;
    let bob = Person::new(&[]).await;
    bob.node.contacts.add(&peer.ticket(), "peer").await.unwrap();
    let node = peer.meet(&bob).await;
    let other = peer.certify_with(&peer.node, None, |certificate| certificate.next_key = klp::Digest([8; 32]));
    assert_eq!(peer.ask::<Empty>(node, kind::INTRODUCE, &other).await.unwrap_err(), Refusal::Signature);
    let ticket = peer.ticket_with(|ticket| ticket.introduction = other);
    assert_eq!(bob.node.contacts.add(&ticket, "peer").await.unwrap_err().refusal, Refusal::Signature);
    bob.node.contacts.add(&peer.ticket(), "peer").await.unwrap();
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_without_a_grant_every_agent_answers_denied_in_the_same_words() {
    let (alice, mallory) = (Puppet::open(81).await, Puppet::open(82).await);
    let (bob, to) = served(&alice, "alice").await;
    let paused = bob.serve(&bob.documents("attic", &[("a.md", "dust")]), "attic", "private").await;
    bob.node.agents.pause("attic").await.unwrap();
    let hers = alice.grants(to.0).await.remove(0);
    mallory.meet(&bob).await;
    let nobody = AgentId(SecretKey::from_seed(&[99; 32]).did());
    let paused = AgentId(paused.did.parse().unwrap());
    let entries = async || bob.node.audit.verify().await.unwrap().entries;

    let mut told = std::collections::BTreeSet::new();
    for (agent, chain) in [(to.1, &[][..]), (to.1, &hers[..]), (nobody, &[]), (paused, &[])] {
        let before = entries().await;
        let call = mallory.call((to.0, agent), chain, text("x"), |_| {});
        let request = klp::message::Request::new(kind::CALL, &call).to_bytes();
        let answer = mallory.mesh().request(to.0, request.into(), kos_tests::PATIENCE).await;
        let refused = answer.finish().await.unwrap_err();
        told.insert((refused.refusal, refused.message));
        assert_eq!(entries().await, before + 1, "each costs the same work: one entry");
    }
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told.first().map(|(refusal, _)| *refusal), Some(Refusal::Denied));

    // The holder of the grant hears more.
    let call = alice.call(to, &hers, text("x"), |_| {});
    let call = Call { order: spoiled(&alice, &call, "write"), ..call };
    assert_eq!(alice.sent(to.0, &call).await.unwrap_err(), Refusal::Capability);
    bob.node.agents.pause("house").await.unwrap();
    let call = alice.call(to, &hers, text("x"), |_| {});
    assert_eq!(alice.sent(to.0, &call).await.unwrap_err(), Refusal::State);
    bob.stop().await;
}

/// The order of a call with another capability, and a digest that fits.
fn spoiled(puppet: &Puppet, call: &Call, capability: &str) -> Signed<Order> {
    let request = request_digest(&call.salt, capability, &call.arguments);
    let order = Order { capability: capability.to_owned(), request, ..(*call.order.verify().unwrap()).clone() };
    Verified::sign(order, &puppet.node).signed().clone()
}
