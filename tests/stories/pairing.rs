//! Two people become contacts by a code of four words and a number, and nobody else does.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use klp::message::{
    PairFinish, PairFinished, PairIdentity, PairOpen, PairOpened, PairProve, PairProved, Request, kind,
};
use klp::pairing::{Code, Joiner};
use klp::statement::ticket;
use klp::{Cbor as _, NodeId, Refusal, limits};
use kos_tests::puppet::now;
use kos_tests::{Hub, Person, Puppet, until};
use node::services::audit::Filter;
use node::services::pairing::{Gift, Join, Terms};
use node::services::vaults::Secret;
use node::{Fault, view};

/// What is given to begin with, without a further question.
fn gift() -> Terms {
    let guide = Gift { what: "guide.ask".to_owned(), calls: Some(20), days: Some(7) };
    Terms { gift: Some(guide), approved: true, ..Terms::default() }
}

fn called(name: &str) -> Terms {
    Terms { me: Some(name.to_owned()), ..gift() }
}

/// A join that looks for three seconds at one address.
async fn join_at(joiner: &Person, code: &str, issuer: &Person, terms: Terms) -> Result<view::Paired, Fault> {
    let at = issuer.node.status().await.unwrap().listen[0].clone();
    join(joiner, code, Some(at), Duration::from_secs(3), terms).await
}

async fn join(
    joiner: &Person,
    code: &str,
    at: Option<String>,
    timeout: Duration,
    terms: Terms,
) -> Result<view::Paired, Fault> {
    let code = Secret::new(code.to_owned());
    joiner.node.pairing.join(Join { code, terms, at, timeout, wait: Duration::from_secs(20) }).await
}

/// The same code with other words, so many that each is another one.
fn wrong(code: &str, number: usize) -> String {
    let mailbox = Code::parse(code).unwrap().mailbox;
    let words = ["river-stone-lamp", "stone-river-lamp", "lamp-river-stone", "lamp-stone-river"];
    format!("{mailbox}-{}", words[number])
}

async fn kinds(person: &Person, component: &str) -> Vec<String> {
    let all = person.node.audit.list(Filter { limit: Some(1000), ..Filter::default() }).await.unwrap();
    all.into_iter().filter(|entry| entry.component == component).map(|entry| entry.kind).collect()
}

async fn state(person: &Person, mailbox: &str) -> view::PairState {
    person.node.pairing.show(mailbox, Duration::ZERO).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn n1_two_people_pair_by_a_code_through_the_dht_and_ask_each_other() {
    let hub = Hub::open(29, None).await;
    let flags = ["--bootstrap", hub.address.as_str()];
    let (alice, bob) = (Person::new(&flags).await, Person::new(&flags).await);
    for person in [&alice, &bob] {
        person.ready("guide").await;
    }
    let code = alice.node.pairing.issue(called("alice")).await.unwrap();
    assert_eq!(state(&alice, &code.mailbox).await.state, "open");
    let paired = join(&bob, &code.code, None, Duration::from_secs(60), called("bob")).await.unwrap();
    assert_eq!((paired.contact.as_str(), paired.did), ("alice", alice.node.whoami().await.unwrap().owner));
    assert_eq!(paired.fingerprint, alice.node.whoami().await.unwrap().fingerprint);
    let (held, given) = (paired.grant.unwrap(), paired.given.unwrap());
    assert_eq!((held.agent.as_str(), held.calls_left, held.direction.as_str()), ("guide", Some(20), "held"));
    assert_eq!((given.capability.as_str(), given.calls_left), ("ask", Some(20)));

    let known = alice.node.contacts.show("bob", &[]).await.unwrap();
    assert_eq!(known.fingerprint, bob.node.whoami().await.unwrap().fingerprint);
    let settled = until("the first grant is made", async || {
        Some(state(&alice, &code.mailbox).await).filter(|state| state.grant.is_some())
    })
    .await;
    assert_eq!(
        (settled.state.as_str(), settled.contact.as_deref(), settled.first.as_str()),
        ("paired", Some("bob"), "given")
    );
    let question = "how do I set a passphrase?";
    let (_, answer) = bob.ask("alice/guide", question).await.unwrap();
    assert!(answer.verified);
    until("Alice holds Bob's grant", async || {
        let grants = alice.node.grants.list().await.unwrap();
        grants.iter().any(|grant| grant.direction == "held" && grant.contact.as_deref() == Some("bob")).then_some(())
    })
    .await;
    assert!(alice.ask("bob/guide", question).await.unwrap().1.verified);
    assert_eq!(kinds(&alice, "pair").await, ["opened", "paired"]);
    assert_eq!(kinds(&bob, "pair").await, ["joined"]);
    for person in [&alice, &bob] {
        assert_eq!(kinds(person, "contact").await, ["added"]);
        assert!(person.node.audit.verify().await.unwrap().valid);
    }

    // Once used it is of no use to anybody.
    let carol = Person::new(&flags).await;
    let reused = join_at(&carol, &code.code, &alice, gift()).await.unwrap_err();
    assert_eq!((reused.refusal, reused.message.as_str()), (Refusal::Burnt, "this code was used already"));
    assert!(carol.node.contacts.list().await.unwrap().is_empty());
    for person in [alice, bob, carol] {
        person.stop().await;
    }
    hub.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn n1_a_wrong_code_says_how_many_tries_are_left_and_the_third_burns_it_also_over_a_restart() {
    let (mut alice, bob) = (Person::new(&[]).await, Person::new(&[]).await);
    let code = alice.node.pairing.issue(gift()).await.unwrap();
    let first = join_at(&bob, &wrong(&code.code, 0), &alice, gift()).await.unwrap_err();
    assert_eq!((first.refusal, first.message.as_str()), (Refusal::WrongCode, "the code is wrong; 2 tries are left"));
    assert_eq!(first.refusal.exit(), 3);
    alice.restart().await;
    assert_eq!(state(&alice, &code.mailbox).await.tries_left, 2, "the restart has forgotten none");
    let second = join_at(&bob, &wrong(&code.code, 1), &alice, gift()).await.unwrap_err();
    assert_eq!(second.message, "the code is wrong; 1 try is left");
    let third = join_at(&bob, &wrong(&code.code, 2), &alice, gift()).await.unwrap_err();
    assert_eq!(third.message, "the code is wrong, and now burnt: that was the third wrong try");
    let right = join_at(&bob, &code.code, &alice, gift()).await.unwrap_err();
    assert_eq!((right.refusal, state(&alice, &code.mailbox).await.state.as_str()), (Refusal::Burnt, "burnt"));
    assert_eq!(kinds(&alice, "pair").await, ["opened", "wrong_try", "wrong_try", "wrong_try"]);
    for person in [&alice, &bob] {
        assert!(person.node.contacts.list().await.unwrap().is_empty());
    }

    // What is no code at all costs no try, and a code of nobody is not found.
    let code = alice.node.pairing.issue(gift()).await.unwrap();
    let typo = format!("{}-river-stoone-lamp", code.mailbox);
    assert_eq!(join_at(&bob, &typo, &alice, gift()).await.unwrap_err().refusal, Refusal::Invalid);
    let nowhere = join_at(&bob, "zoo-1-river-stone-lamp", &alice, gift()).await.unwrap_err();
    assert_eq!(nowhere.refusal, Refusal::NotFound);
    assert_eq!(state(&alice, &code.mailbox).await.tries_left, 3);
    // One that was open goes on after a restart, and one that is taken back does not.
    alice.restart().await;
    assert_eq!(
        join_at(&bob, &code.code, &alice, gift()).await.unwrap().contact,
        code.mailbox.split('-').next().unwrap()
    );
    let third = alice.node.pairing.issue(gift()).await.unwrap();
    assert_eq!(alice.node.pairing.cancel(&third.mailbox).await.unwrap().state, "cancelled");
    let taken_back = join_at(&bob, &third.code, &alice, gift()).await.unwrap_err();
    assert_eq!((taken_back.refusal, taken_back.message.as_str()), (Refusal::Burnt, "this code was taken back"));
    alice.stop().await;
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n1_a_code_ends_with_its_time_and_no_more_than_four_are_open() {
    let (alice, bob) = (Person::new(&["--pair-life-s", "5"]).await, Person::new(&[]).await);
    let mut codes = Vec::new();
    for _ in 0..limits::PAIR_CODES {
        codes.push(alice.node.pairing.issue(gift()).await.unwrap());
    }
    assert_eq!(alice.node.pairing.issue(gift()).await.unwrap_err().refusal, Refusal::Busy);
    until("they have expired", async || {
        let all = alice.node.pairing.list().await.unwrap();
        all.iter().all(|one| one.state == "expired").then_some(())
    })
    .await;
    let late = join_at(&bob, &codes[0].code, &alice, gift()).await.unwrap_err();
    assert_eq!((late.refusal, late.message.as_str()), (Refusal::Expired, "this code has expired"));
    alice.node.pairing.issue(gift()).await.unwrap();
    alice.stop().await;
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n1_of_two_joiners_with_one_code_exactly_one_wins() {
    let (alice, bob, carol) = (Person::new(&[]).await, Person::new(&[]).await, Person::new(&[]).await);
    for round in 0..3 {
        let code = alice.node.pairing.issue(gift()).await.unwrap();
        let (one, other) =
            tokio::join!(join_at(&bob, &code.code, &alice, gift()), join_at(&carol, &code.code, &alice, gift()));
        let lost = match (one, other) {
            (Ok(_), Err(lost)) | (Err(lost), Ok(_)) => lost,
            both => panic!("round {round}: {both:?}"),
        };
        assert_eq!((lost.refusal, lost.message.as_str()), (Refusal::Burnt, "this code was used already"), "{round}");
        let people = alice.node.contacts.list().await.unwrap();
        assert_eq!(people.len(), 1, "round {round}: {people:?}");
        for person in [&bob, &carol] {
            for known in person.node.contacts.list().await.unwrap() {
                person.node.contacts.remove(&known.name).await.unwrap();
            }
        }
        alice.node.contacts.remove(&people[0].name).await.unwrap();
    }
    for person in [alice, bob, carol] {
        person.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n1_the_first_grant_waits_for_the_yes_of_its_issuer_and_names_never_clash() {
    let (alice, bob, carol) = (Person::new(&[]).await, Person::new(&[]).await, Person::new(&[]).await);
    let asked = || Terms { approved: false, ..gift() };
    let code = alice.node.pairing.issue(Terms { name: Some("friend".to_owned()), ..asked() }).await.unwrap();
    let quick = Terms { approved: false, ..called("sam") };
    let (at, secret) = (alice.node.status().await.unwrap().listen[0].clone(), Secret::new(code.code.clone()));
    let join = Join { code: secret, terms: quick, at: Some(at), timeout: Duration::from_secs(1), wait: Duration::ZERO };
    let paired = bob.node.pairing.join(join).await.unwrap();
    assert_eq!((paired.first.as_str(), paired.grant.is_none(), paired.given.is_none()), ("asked", true, true));
    let waiting = state(&alice, &code.mailbox).await;
    assert_eq!((waiting.contact.as_deref(), waiting.first.as_str()), (Some("friend"), "waiting"));
    assert!(
        alice.node.grants.list().await.unwrap().iter().all(|grant| grant.contact.is_none()),
        "nothing before a yes"
    );
    let decided = alice.node.pairing.decide(&code.mailbox, true).await.unwrap();
    assert!(decided.first == "given" && decided.grant.is_some(), "{decided:?}");
    assert_eq!(alice.node.pairing.decide(&code.mailbox, true).await.unwrap_err().refusal, Refusal::State);
    until("Bob has it", async || {
        let grants = bob.node.grants.list().await.unwrap();
        grants.iter().any(|grant| grant.direction == "held").then_some(())
    })
    .await;

    // The name is taken: by choice that is refused at once, by proposal it gets a number.
    let taken = Terms { name: Some("friend".to_owned()), ..asked() };
    assert_eq!(alice.node.pairing.issue(taken).await.unwrap_err().refusal, Refusal::Exists);
    let code = alice.node.pairing.issue(asked()).await.unwrap();
    join_at(&carol, &code.code, &alice, Terms { approved: false, ..called("friend") }).await.unwrap();
    assert_eq!(state(&alice, &code.mailbox).await.contact.as_deref(), Some("friend-2"));
    assert_eq!(alice.node.pairing.decide(&code.mailbox, false).await.unwrap().first, "declined");
    // Again with somebody who is known: the name stays, and nothing is doubled.
    let code = alice.node.pairing.issue(asked()).await.unwrap();
    join_at(&bob, &code.code, &alice, called("other")).await.unwrap();
    assert_eq!(state(&alice, &code.mailbox).await.contact.as_deref(), Some("friend"));
    assert_eq!(alice.node.contacts.list().await.unwrap().len(), 2);
    // Nobody pairs with themselves.
    let code = alice.node.pairing.issue(asked()).await.unwrap();
    assert_eq!(join_at(&alice, &code.code, &alice, gift()).await.unwrap_err().refusal, Refusal::NotFound);
    for person in [alice, bob, carol] {
        person.stop().await;
    }
}

/// What went over the line, in the order of the messages.
type Seen = Arc<Mutex<Vec<Vec<u8>>>>;

/// A node in the middle that claims the mailbox, and hands every message on to the issuer in its own name. `swap` may change the answers.
async fn middle(issuer: &Person, swap: fn(&str, Vec<u8>) -> Vec<u8>) -> (Puppet, Seen) {
    let seen: Seen = Arc::default();
    let (record, back) = (Arc::clone(&seen), Puppet::open(151).await);
    let issuer_node = back.dial(issuer).await;
    let back = Arc::new(back);
    let runtime = tokio::runtime::Handle::current();
    let front = Puppet::answering(152, move |kind, body| {
        let request = Request { kind: kind.to_owned(), body }.to_bytes();
        record.lock().unwrap().push(request.clone());
        let back = Arc::clone(&back);
        let asked = tokio::task::block_in_place(|| runtime.block_on(back.send(issuer_node, request)));
        let answer = asked.map(|bytes| swap(kind, bytes.to_vec()));
        if let Ok(bytes) = &answer {
            record.lock().unwrap().push(bytes.clone());
        }
        answer
    })
    .await;
    (front, seen)
}

fn address(puppet: &Puppet) -> String {
    puppet.mesh().state().borrow().listen[0].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn n1_a_node_in_the_middle_learns_nothing_and_cannot_take_either_place() {
    let (alice, bob) = (Person::new(&[]).await, Person::new(&[]).await);
    let code = alice.node.pairing.issue(called("alice")).await.unwrap();
    let (front, seen) = middle(&alice, |_, answer| answer).await;
    let ended =
        join(&bob, &code.code, Some(address(&front)), Duration::from_secs(1), called("robert")).await.unwrap_err();
    assert_eq!(ended.refusal, Refusal::WrongCode, "the issuer sees another node than the joiner's: {ended:?}");
    assert_eq!(state(&alice, &code.mailbox).await.tries_left, 2, "and counts it as a wrong try");
    for person in [&alice, &bob] {
        assert!(person.node.contacts.list().await.unwrap().is_empty());
    }
    let seen = seen.lock().unwrap().concat();
    let holds = |bytes: &[u8]| seen.windows(bytes.len()).any(|part| part == bytes);
    assert!(holds(code.mailbox.as_bytes()), "it saw the exchange");
    let password = Code::parse(&code.code).unwrap().password;
    assert!(!holds(password.expose().as_bytes()));
    // A short word may stand in random bytes, and `pen` stands in the name of a kind.
    let public = [kind::PAIR_OPEN, kind::PAIR_PROVE, kind::PAIR_FINISH, &code.mailbox];
    let tells = |word: &&str| word.len() > 4 && !public.iter().any(|public| public.contains(word));
    for word in password.expose().split('-').filter(tells).chain(["robert", "alice"]) {
        assert!(!holds(word.as_bytes()), "{word}");
    }
    for person in [&alice, &bob] {
        let who = person.node.whoami().await.unwrap();
        let keys = [who.owner.parse::<klp::Did>().unwrap(), who.node.parse().unwrap()];
        assert!(keys.iter().all(|did| !holds(did.key())), "no key of a person has passed");
    }
    front.close();
    alice.stop().await;
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n1_somebody_who_claims_a_mailbox_without_its_code_ends_by_name_and_holds_nobody_up() {
    let (alice, bob) = (Person::new(&[]).await, Person::new(&[]).await);
    let code = alice.node.pairing.issue(gift()).await.unwrap();
    // It answers as if it had made the code, with a password of its own and its own keys.
    let claimed = Code::parse(&wrong(&code.code, 0)).unwrap();
    let mallory = Puppet::answering(153, move |kind, body| match kind {
        kind::PAIR_OPEN => {
            PairOpen::from_value(body).map_err(|_| Refusal::Malformed)?;
            let (_, mine) = Joiner::begin(&claimed, node_of(1), node_of(153), &[9; 80]);
            Ok(PairOpened { share: mine.share }.to_bytes())
        }
        _ => Ok(PairProved { sealed: klp::codec::Bytes(vec![7; 400]), proof: [7; 32] }.to_bytes()),
    })
    .await;
    let ended = join(&bob, &code.code, Some(address(&mallory)), Duration::from_secs(1), gift()).await.unwrap_err();
    assert_eq!(ended.refusal, Refusal::Signature, "{ended:?}");
    assert!(ended.message.contains("could not show that it knows the code"), "{}", ended.message);
    assert!(bob.node.contacts.list().await.unwrap().is_empty());
    assert_eq!(state(&alice, &code.mailbox).await.tries_left, 3);
    join_at(&bob, &code.code, &alice, gift()).await.unwrap();
    mallory.close();
    alice.stop().await;
    bob.stop().await;
}

fn node_of(seed: u8) -> NodeId {
    NodeId(klp::SecretKey::from_seed(&[seed ^ 0xff; 32]).did())
}

fn identity(puppet: &Puppet) -> PairIdentity {
    let (ticket, _) = ticket::from_line(&puppet.ticket(), now()).unwrap();
    PairIdentity { ticket: ticket.signed().clone(), name: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn n1_the_last_word_may_be_said_again_and_a_run_belongs_to_who_began_it() {
    let mut alice = Person::new(&[]).await;
    let (bob, carol) = (Puppet::open(154).await, Puppet::open(155).await);
    let (node, _) = (bob.dial(&alice).await, carol.dial(&alice).await);
    let issued = alice.node.pairing.issue(gift()).await.unwrap();
    let code = Code::parse(&issued.code).unwrap();
    let (joiner, open) = Joiner::begin(&code, node, bob.node_id(), &[5; 80]);
    let opened: PairOpened = bob.ask(node, kind::PAIR_OPEN, &open).await.unwrap();
    let (proving, prove) = joiner.prove(&opened, &identity(&bob)).unwrap();
    let stolen = carol.ask::<PairProved>(node, kind::PAIR_PROVE, &prove).await.unwrap_err();
    assert_eq!(stolen, Refusal::NotFound, "Carol began no such run");
    let proved: PairProved = bob.ask(node, kind::PAIR_PROVE, &prove).await.unwrap();
    assert_eq!(bob.ask::<PairProved>(node, kind::PAIR_PROVE, &prove).await.unwrap_err(), Refusal::NotFound, "one try");
    let (them, finish) = proving.finish(&proved, now()).unwrap();
    assert_eq!(them.ticket.owner.to_string(), alice.node.whoami().await.unwrap().owner);
    assert!(alice.node.contacts.list().await.unwrap().is_empty(), "nobody before the last word");
    let finished: PairFinished = bob.ask(node, kind::PAIR_FINISH, &finish).await.unwrap();
    assert_eq!(alice.node.contacts.list().await.unwrap().len(), 1);
    assert_eq!(bob.ask::<PairFinished>(node, kind::PAIR_FINISH, &finish).await.unwrap(), finished, "said again");
    let other = PairFinish { proof: [1; 32], ..finish.clone() };
    assert_eq!(bob.ask::<PairFinished>(node, kind::PAIR_FINISH, &other).await.unwrap_err(), Refusal::Burnt);
    assert_eq!(carol.ask::<PairFinished>(node, kind::PAIR_FINISH, &finish).await.unwrap_err(), Refusal::Burnt);
    alice.restart().await;
    bob.dial(&alice).await;
    let again: PairFinished = bob.ask(node, kind::PAIR_FINISH, &finish).await.unwrap();
    assert_eq!(again, finished, "the restart has forgotten none");
    assert_eq!(alice.node.contacts.list().await.unwrap().len(), 1);
    alice.stop().await;
    bob.close();
    carol.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn s27_many_guesses_at_once_are_judged_three_times_and_a_flood_of_runs_is_busy() {
    let alice = Person::new(&[]).await;
    let issued = alice.node.pairing.issue(gift()).await.unwrap();
    let mut guessers = Vec::new();
    // Every run is begun before the first try is made.
    for seed in 160..170 {
        let peer = Puppet::open(seed).await;
        let node = peer.dial(&alice).await;
        let guess = Code::parse(&wrong(&issued.code, usize::from(seed % 4))).unwrap();
        let (joiner, open) = Joiner::begin(&guess, node, peer.node_id(), &[seed; 80]);
        let opened: PairOpened = peer.ask(node, kind::PAIR_OPEN, &open).await.unwrap();
        let (_, prove): (_, PairProve) = joiner.prove(&opened, &identity(&peer)).unwrap();
        guessers.push((peer, node, prove));
    }
    let tries = guessers.iter().map(|(peer, node, prove)| peer.ask::<PairProved>(*node, kind::PAIR_PROVE, prove));
    let ends: Vec<Refusal> = futures::future::join_all(tries).await.into_iter().map(|end| end.unwrap_err()).collect();
    assert_eq!(ends.iter().filter(|end| **end == Refusal::WrongCode).count(), 3, "{ends:?}");
    assert_eq!(ends.iter().filter(|end| **end == Refusal::Burnt).count(), 7, "{ends:?}");
    let (peer, node, _) = &guessers[0];
    let mut busy = 0;
    for number in 0..40 {
        let open = PairOpen { mailbox: issued.mailbox.clone(), run: [number; 16], share: [2; 32] };
        let end = peer.ask::<PairOpened>(*node, kind::PAIR_OPEN, &open).await.unwrap_err();
        busy += usize::from(end == Refusal::Busy);
    }
    assert!(busy >= 34, "{busy} of 40 are busy");
    alice.stop().await;
}
