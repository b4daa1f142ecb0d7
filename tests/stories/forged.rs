//! Statements that do not hold, from a peer whose sessions do: each is refused by name, counted, and costs nothing.

use std::sync::{Arc, Mutex};

use klp::message::{Call, Cards, Empty, kind};
use klp::statement::card::{Card, CardEntry};
use klp::statement::grant::Grant;
use klp::statement::receipt::Order;
use klp::{AgentId, Cbor as _, OwnerId, Refusal, SecretKey, Signed, Timestamp, Verified, limits};
use kos_tests::puppet::{now, text};
use kos_tests::{Person, Puppet};
use node::services::grants::Limits;

async fn refused(person: &Person, refusal: Refusal) -> u64 {
    person.figure(&format!("kos_session_refusals_total{{code=\"{}\"}}", refusal.code())).await
}

/// An order whose bytes are changed after it was signed.
fn changed(call: &Call, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Call {
    Call { order: Signed::from_bytes(change(call.order.as_bytes().to_vec())), ..call.clone() }
}

/// Where the empty unprotected header stands: behind the protected one, a byte string with its length in the third byte.
fn unprotected(order: &[u8]) -> usize {
    3 + usize::from(order[2])
}

#[tokio::test(flavor = "multi_thread")]
async fn s14_forged_orders_and_chains_are_named_counted_and_spend_nothing() {
    let alice = Puppet::open(161).await;
    let (carol, dave) = (Puppet::open(162).await, Puppet::open(163).await);
    let mut bob = Person::new(&["--metrics", "127.0.0.1:0"]).await;
    let folder = bob.documents("house", &[("rules.md", "# Rules\n\nThe key of the shed lies under the pot.\n")]);
    let house = bob.serve(&folder, "house", "private").await;
    for (peer, name) in [(&alice, "alice"), (&carol, "carol"), (&dave, "dave")] {
        bob.node.contacts.add(&peer.ticket(), name).await.unwrap();
    }
    let granted =
        bob.node.grants.add("alice", "house.ask", Limits { calls: Some(9), ..Limits::default() }).await.unwrap();
    let node = alice.meet(&bob).await;
    carol.meet(&bob).await;
    dave.meet(&bob).await;
    let to = (node, AgentId(house.did.parse().unwrap()));
    let first = alice.grants(node).await.remove(0).remove(0);
    let to_carol = alice.link(carol.owner_id(), &first, |_| {});
    let to_dave = carol.link(dave.owner_id(), &to_carol, |_| {});
    let back = dave.link(alice.owner_id(), &to_dave, |_| {});
    let ask = |peer: &Puppet, chain: &[Verified<Grant>]| peer.call(to, chain, text("where is the key?"), |_| {});
    let order = |change: fn(&mut Order)| alice.call(to, std::slice::from_ref(&first), text("x"), change);
    let plain = || order(|_| {});
    let small = |bytes: Vec<u8>| {
        // The neutral point as key and as R, and S = 0: holds for every message where nobody looks at the order.
        let neutral = [&[1][..], &[0; 31]].concat();
        let mut bytes = bytes;
        let key = *alice.node.did().key();
        while let Some(at) = bytes.windows(32).position(|part| part == key) {
            bytes[at..at + 32].copy_from_slice(&neutral);
        }
        let at = bytes.len() - 64;
        bytes[at..].copy_from_slice(&[&neutral[..], &[0; 32]].concat());
        bytes
    };
    let header = |bytes: Vec<u8>| {
        let at = unprotected(&bytes);
        [&bytes[..at], &[0xa1, 0x01, 0x32], &bytes[at + 1..]].concat()
    };
    let other_domain = Call { order: Signed::from_bytes(alice.introduction.acceptance.as_bytes().to_vec()), ..plain() };
    let long: Vec<Verified<Grant>> = vec![first.clone(), to_carol.clone(), to_dave.clone(), back.clone()];
    let cases: Vec<(&str, &Puppet, Call, Refusal)> = vec![
        ("an order of yesterday", &alice, order(|order| order.expires = Timestamp(now().0 - 1)), Refusal::Expired),
        (
            "an order of tomorrow",
            &alice,
            order(|order| {
                order.issued = Timestamp(now().0 + 86_400_000);
                order.expires = order.issued.after(limits::ORDER_LIFE);
            }),
            Refusal::Clock,
        ),
        (
            "an order that lives for a day",
            &alice,
            order(|order| order.expires = Timestamp(now().0 + 86_400_000)),
            Refusal::Malformed,
        ),
        ("for another node", &alice, order(|order| order.node = klp::NodeId(order.caller.0)), Refusal::NotForMe),
        ("in somebody else's name", &alice, order(|order| order.caller = OwnerId(order.node.0)), Refusal::Denied),
        ("a signature under a key of small order", &alice, changed(&plain(), small), Refusal::Malformed),
        ("an unprotected header", &alice, changed(&plain(), header), Refusal::Malformed),
        (
            "an indefinite length",
            &alice,
            changed(&plain(), |bytes| [&[0x9f], &bytes[1..], &[0xff]].concat()),
            Refusal::Malformed,
        ),
        (
            "a longer length than need be",
            &alice,
            changed(&plain(), |bytes| [&[0x98, 0x04], &bytes[1..]].concat()),
            Refusal::Malformed,
        ),
        ("a statement of another domain", &alice, other_domain, Refusal::Signature),
        ("a chain that comes back to where it was", &alice, ask(&alice, &long), Refusal::Malformed),
        (
            "a chain of four",
            &dave,
            ask(&dave, &[first.clone(), to_carol.clone(), to_dave.clone(), to_dave.clone()]),
            Refusal::Malformed,
        ),
        (
            "a circle",
            &alice,
            ask(&alice, &[first.clone(), to_carol.clone(), carol.link(alice.owner_id(), &first, |_| {})]),
            Refusal::Denied,
        ),
        (
            "the wrong way round",
            &dave,
            ask(&dave, &[to_dave.clone(), to_carol.clone(), first.clone()]),
            Refusal::Denied,
        ),
        ("with a link left out", &dave, ask(&dave, &[first.clone(), to_dave.clone()]), Refusal::Denied),
    ];
    for (what, peer, call, refusal) in cases {
        let before = refused(&bob, refusal).await;
        assert_eq!(peer.sent(node, &call).await.unwrap_err(), refusal, "{what}");
        assert_eq!(refused(&bob, refusal).await, before + 1, "{what} is counted");
    }
    assert_eq!(bob.node.grants.show(&granted.id).await.unwrap().calls_left, Some(9), "no refusal has cost a call");

    // An honest call is answered once: in this session, in another, and after a restart.
    let honest = plain();
    alice.sent(node, &honest).await.unwrap();
    let before = refused(&bob, Refusal::Replay).await;
    assert_eq!(alice.sent(node, &honest).await.unwrap_err(), Refusal::Replay, "the same session");
    assert_eq!(dave.sent(node, &honest).await.unwrap_err(), Refusal::Replay, "another session");
    assert_eq!(refused(&bob, Refusal::Replay).await, before + 2);
    bob.restart().await;
    let again = alice.meet(&bob).await;
    assert_eq!(alice.sent(again, &honest).await.unwrap_err(), Refusal::Replay, "after a restart");
    assert_eq!(refused(&bob, Refusal::Replay).await, 1);
    dave.meet(&bob).await;
    dave.sent(again, &ask(&dave, &[first.clone(), to_carol, to_dave])).await.unwrap();
    bob.stop().await;
}

/// A card with another description.
fn described(puppet: &Puppet, agent: &SecretKey, name: &str, description: String) -> CardEntry {
    let entry = puppet.card(agent, name, agent);
    let card = Card { description, ..(*entry.card.verify().unwrap()).clone() };
    CardEntry { card: Verified::sign(card, agent).signed().clone(), ..entry }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_steers_a_terminal_is_shown_without_it_and_one_that_is_too_long_is_refused_and_counted() {
    let shelf: Arc<Mutex<Vec<u8>>> = Arc::default();
    let shown = Arc::clone(&shelf);
    let mallory = Puppet::answering(165, move |asked, _| match asked {
        kind::DIRECTORY => Ok(shown.lock().unwrap().clone()),
        kind::INTRODUCE => Ok(Empty.to_bytes()),
        _ => Err(Refusal::NoHandler),
    })
    .await;
    let shows = |cards: Vec<CardEntry>| *shelf.lock().unwrap() = Cards { cards }.to_bytes();
    let [honest, other] = [166, 167].map(|seed| SecretKey::from_seed(&[seed; 32]));
    let steering = "\u{1b}[2J\u{1b}]0;x\u{7}\u{202e}\u{200f}\u{2066}\r\n";
    let fits = steering.repeat(limits::TEXT / steering.len());
    let long = steering.repeat(8 * 1024 / steering.len());
    let bob = Person::new(&["--metrics", "127.0.0.1:0"]).await;
    bob.node.contacts.add(&mallory.ticket(), "mallory").await.unwrap();

    shows(vec![described(&mallory, &honest, "herons", fits)]);
    let found = bob.node.directory.find("herons", None).await.unwrap();
    let [row] = &found[..] else { panic!("{found:?}") };
    assert!(row.description.starts_with('\u{fffd}'), "{row:?}");
    assert!(
        !row.description
            .contains(|letter: char| letter.is_control() || steering[1..].contains(letter) && !letter.is_ascii())
    );

    let agents = async || bob.node.contacts.show("mallory", &[]).await.unwrap().agents;
    let counted = async |what: &str, code: &str| {
        bob.figure(&format!("kos_node_refusals_total{{what=\"{what}\",code=\"{code}\"}}")).await
    };
    shows(vec![described(&mallory, &honest, "herons", long)]);
    assert_eq!((agents().await.len(), counted("card", "malformed").await > 0), (0, true), "a card of 8 KiB");
    *shelf.lock().unwrap() = b"hello".to_vec();
    assert_eq!((agents().await.len(), counted("answer", "malformed").await > 0), (0, true), "no cards at all");
    shows(vec![mallory.card(&other, "gulls", &honest), mallory.card(&honest, "her\u{1b}ons", &honest)]);
    let names: Vec<String> = agents().await.into_iter().map(|agent| agent.name).collect();
    assert_eq!(names, ["her\u{fffd}ons"], "others are believed");
    assert!(counted("card", "signature").await > 0);
    bob.stop().await;
}
