//! Relays that contacts offer each other: who is told, who waits there, and for how long.

use kos_tests::person::{introduce, start};
use kos_tests::{Person, Program, until};
use node::bus::Heard;
use node::view;

/// On one machine everybody can dial what is on loopback.
const EVERYWHERE: [&str; 2] = ["--reach-trust-cidr", "127.0.0.0/8"];

fn relay(folder: &tempfile::TempDir) -> (Program, String) {
    let mut program = Program::start("kos-relay", &folder.path().join("relay"), ["--listen", "/ip4/127.0.0.1/tcp/0"]);
    let address = program.line();
    (program, address)
}

/// The relay that holds a place, as `kos netcheck` shows it.
async fn waits(person: &Person) -> Option<view::NetcheckRelay> {
    let found = person.node.netcheck().await.unwrap();
    found.relays.into_iter().find(|relay| relay.state == "active")
}

#[tokio::test(flavor = "multi_thread")]
async fn k17_who_has_no_relay_waits_behind_the_one_that_a_contact_offers_until_they_part() {
    let folder = tempfile::tempdir().unwrap();
    let (_relay, address) = relay(&folder);
    let bob = Person::new(&[&EVERYWHERE[..], &["--reach-offer-relay", &address]].concat()).await;
    let mut alice = Person::new(&EVERYWHERE).await;
    introduce((&bob, "bob"), (&alice, "alice")).await;
    assert!(waits(&alice).await.is_none(), "she knows none");
    alice.node.reach.ping("bob", 1).await.unwrap();
    let found = until("a place", async || waits(&alice).await).await;
    assert_eq!(found.source, "contact", "{found:?}");
    assert!(address.starts_with(&found.address), "{found:?}");
    let status = alice.node.status().await.unwrap();
    assert_eq!((status.reach.state.as_str(), status.reach.via.as_ref()), ("relayed", Some(&found.node)));
    assert!(waits(&bob).await.is_none(), "to offer a relay is not to use it");

    // What was offered holds, also while whoever offers it is away.
    bob.stop().await;
    alice.restart().await;
    assert_eq!(until("her place again", async || waits(&alice).await).await.source, "contact");

    alice.node.contacts.remove("bob").await.unwrap();
    until("no place", async || waits(&alice).await.is_none().then_some(())).await;
    assert!(alice.node.netcheck().await.unwrap().relays.is_empty(), "it is forgotten");
    assert_eq!(alice.node.status().await.unwrap().reach.via, None);
    alice.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k17_an_offer_is_taken_back_by_the_next_one_and_used_by_nobody_who_does_not_want_to() {
    let folder = tempfile::tempdir().unwrap();
    let (_relay, address) = relay(&folder);
    let offers = [&EVERYWHERE[..], &["--reach-offer-relay", &address]].concat();
    let mut bob = Person::new(&offers).await;
    let (mut alice, carol) = (
        Person::new(&EVERYWHERE).await,
        Person::new(&[&EVERYWHERE[..], &["--reach-contact-relays=false"]].concat()).await,
    );
    for (person, name) in [(&alice, "alice"), (&carol, "carol")] {
        introduce((&bob, "bob"), (person, name)).await;
        let mut synced = person.node.bus.listen("peer.synced", None);
        person.node.reach.ping("bob", 1).await.unwrap();
        assert!(matches!(synced.next().await, Some(Heard::Event(_))));
    }
    until("a place", async || waits(&alice).await).await;
    let found = carol.node.netcheck().await.unwrap();
    assert!(found.relays.is_empty(), "{:?}", found.relays);

    // Whom Bob does not know any more hears so when they meet again; and that they are friends again, too.
    bob.node.contacts.remove("alice").await.unwrap();
    alice.restart().await;
    until("the place that she was offered", async || waits(&alice).await).await;
    alice.node.reach.ping("bob", 1).await.unwrap();
    until("no place", async || waits(&alice).await.is_none().then_some(())).await;
    introduce((&alice, "alice"), (&bob, "bob")).await;
    until("a place again", async || waits(&alice).await).await;

    bob.stop().await;
    bob.start_with(&EVERYWHERE, None).await.unwrap();
    let ticket = bob.node.contacts.ticket().await.unwrap();
    alice.node.contacts.add(&ticket.ticket, "bob").await.unwrap();
    alice.node.reach.ping("bob", 1).await.unwrap();
    until("no place", async || waits(&alice).await.is_none().then_some(())).await;
    for person in [alice, bob, carol] {
        person.stop().await;
    }
}

#[tokio::test]
async fn k17_a_relay_that_not_everybody_can_dial_is_not_offered() {
    let folder = tempfile::tempdir().unwrap();
    let (_relay, address) = relay(&folder);
    let flags = ["--reach-offer-relay".to_owned(), address];
    let failed = start(folder.path(), &flags, None).await.err().unwrap();
    let said = failed.to_string();
    assert!(
        failed.component == "settings" && said.contains("reach.offer_relay") && said.contains("not public"),
        "{said}"
    );
}
