//! What a carrier is given, and what comes of its lies: a puppet stands between Alice and Carol and does what the story wants.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use klp::forward::{Exchange, Forward, Forwarded};
use klp::message::{Empty, Grants, Request, kind};
use klp::sealed::ExchangeSecret;
use klp::{Cbor as _, Did, NodeId, OwnerId, Refusal, SecretKey, Verified, limits};
use kos_tests::puppet::now;
use kos_tests::{PATIENCE, Person, Puppet};
use mesh::Mesh;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Notify;

use crate::forwarded::{apart, holds};

/// What the carrier does to what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    Question,
    Chunk,
    DropChunk,
    RepeatChunk,
    End,
    NoEnd,
    CutShort,
    Replay,
    AnotherKey,
    Die,
}

/// The carrier's notes: what it does next, and every sealed byte that it was given.
#[derive(Clone)]
struct Notes {
    lie: Arc<Mutex<Lie>>,
    sealed: Arc<Mutex<Vec<u8>>>,
    clear: Arc<Mutex<Vec<u8>>>,
    dying: Arc<Notify>,
}

fn flipped(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    bytes
}

/// Carries one request, more or less.
async fn carry(mesh: Mesh, asked: mesh::Request, notes: Notes) {
    let request = Request::from_bytes(&asked.body, limits::MESSAGE).unwrap();
    match request.kind.as_str() {
        kind::FORWARD => {}
        kind::INTRODUCE => return asked.reply.finish(Empty.to_bytes().into()),
        _ => return asked.reply.refuse(Refusal::NoHandler, ""),
    }
    let lie = *notes.lie.lock().unwrap();
    let mut forward = Forward::from_value(request.body).unwrap();
    notes.clear.lock().unwrap().extend_from_slice(&asked.body);
    notes.sealed.lock().unwrap().extend(forward.question.as_ref().unwrap().to_bytes());
    if lie == Lie::Question
        && let Some(question) = &mut forward.question
    {
        question.ciphertext.0 = flipped(&question.ciphertext.0);
    }
    if lie == Lie::AnotherKey {
        // As if the question had been sealed to a key that is no more, in the name of the carrier's own node.
        let (key, expires) = (SecretKey::from_seed(&[141 ^ 0xff; 32]), now().after(Duration::from_secs(60)));
        let exchange = ExchangeSecret::from_seed([7; 32]).public();
        let said = Exchange { node: NodeId(key.did()), exchange, issued: now(), expires };
        let key = Some(Verified::sign(said, &key).signed().clone());
        return asked.reply.finish(Forwarded { end: None, key }.to_bytes().into());
    }
    let onward = Bytes::from(Request::new(kind::FORWARD, &forward.onward(mesh.node(), vec![])).to_bytes());
    if lie == Lie::Replay {
        let first = mesh.request(forward.to, onward.clone(), PATIENCE).await;
        first.finish().await.unwrap();
    }
    let mut answer = mesh.request(forward.to, onward, PATIENCE).await;
    let mut chunks = 0;
    while let Some(chunk) = answer.chunk().await {
        notes.sealed.lock().unwrap().extend_from_slice(&chunk);
        chunks += 1;
        let pieces = match lie {
            Lie::Chunk => vec![flipped(&chunk)],
            Lie::DropChunk if chunks == 1 => vec![],
            Lie::RepeatChunk => vec![chunk.to_vec(), chunk.to_vec()],
            _ => vec![chunk.to_vec()],
        };
        for piece in pieces {
            let _gone = asked.reply.chunk(piece.into()).await;
        }
        if lie == Lie::Die {
            // Threads that are taken away let go of what they hold, and a request that is let go of is refused.
            std::mem::forget(asked);
            notes.dying.notify_one();
            return std::future::pending().await;
        }
        if lie == Lie::CutShort {
            return asked.reply.refuse(Refusal::Interrupted, "that was all");
        }
    }
    match answer.finish().await {
        Ok(end) => {
            notes.sealed.lock().unwrap().extend_from_slice(&end);
            let end = match lie {
                Lie::End => flipped(&end),
                Lie::NoEnd => Forwarded { end: None, key: None }.to_bytes(),
                _ => end.to_vec(),
            };
            asked.reply.finish(end.into());
        }
        Err(refused) => asked.reply.refuse(refused.refusal, &refused.message),
    }
}

/// Alice and Carol with the puppet between them, which lives on these threads.
async fn between(on: &Handle) -> (Person, Person, Puppet, Notes) {
    let (alice, carol) = apart(&[]).await;
    let lie = Arc::new(Mutex::new(Lie::None));
    let notes = Notes { lie, sealed: Arc::default(), clear: Arc::default(), dying: Arc::default() };
    let taken = notes.clone();
    let serving = Puppet::serving(141, move |mesh, asked| {
        tokio::spawn(carry(mesh.clone(), asked, taken.clone()));
    });
    let bob = on.spawn(serving).await.unwrap();
    for person in [&alice, &carol] {
        person.node.contacts.add(&bob.ticket(), "bob").await.unwrap();
    }
    bob.meet(&carol).await;
    let node = bob.meet(&alice).await;
    let owner = OwnerId(alice.node.whoami().await.unwrap().owner.parse().unwrap());
    let given = Grants { chains: vec![vec![bob.carries_for(owner).signed().clone()]] };
    let _kept: Empty = bob.ask(node, kind::DELIVER_GRANT, &given).await.unwrap();
    holds(&alice, 2).await;
    (alice, carol, bob, notes)
}

fn has(hay: &[u8], needle: &[u8]) -> bool {
    hay.windows(needle.len()).any(|part| part == needle)
}

#[tokio::test(flavor = "multi_thread")]
async fn k15_what_a_carrier_is_given_holds_no_word_no_agent_and_no_owner() {
    let (alice, carol, bob, notes) = between(&Handle::current()).await;
    let (chunks, asked) = alice.ask("carol/house", "where is the key of the shed?").await.unwrap();
    assert!(asked.verified && chunks.concat().contains("flower pot"));
    assert_eq!(asked.path, "forwarded, 2 hops via bob");
    let (sealed, clear) = (notes.sealed.lock().unwrap().clone(), notes.clear.lock().unwrap().clone());
    let (mine, hers) = (alice.node.whoami().await.unwrap(), carol.node.whoami().await.unwrap());
    let key = |text: &str| *text.parse::<Did>().unwrap().key();
    assert!(has(&clear, &key(&hers.node)) && has(&clear, &key(&mine.node)), "or the tap hears nothing");
    assert!(sealed.len() > 1000);
    let agent = &hers.agents[0].did;
    for (what, bytes) in [("sealed", &sealed), ("clear", &clear)] {
        for word in ["shed", "flower", "house", "agent.call", "directory", "did:key", "librarian"] {
            assert!(!has(bytes, word.as_bytes()), "{word} in what is {what}");
        }
        assert!(!has(bytes, &key(agent)) && !has(bytes, &key(&hers.owner)), "{what}");
    }
    // That Alice is behind her node the carrier knows only from the grant that it gave her.
    assert!(!has(&sealed, &key(&mine.owner)) && !has(&sealed, &key(&mine.node)));
    bob.close();
    alice.stop().await;
    carol.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k15_every_lie_of_a_carrier_is_a_named_error_and_nothing_runs_twice() {
    let (alice, carol, bob, notes) = between(&Handle::current()).await;
    let left = async || {
        let grants = carol.node.grants.list().await.unwrap();
        grants.iter().find(|grant| grant.capability == "ask").unwrap().calls_left.unwrap()
    };
    alice.ask("carol/house", "is it true?").await.unwrap();
    for (lie, refusal) in [
        (Lie::Question, Refusal::Tampered),
        (Lie::Chunk, Refusal::Tampered),
        (Lie::DropChunk, Refusal::Tampered),
        (Lie::RepeatChunk, Refusal::Tampered),
        (Lie::End, Refusal::Tampered),
        (Lie::NoEnd, Refusal::Tampered),
        (Lie::CutShort, Refusal::Interrupted),
        (Lie::AnotherKey, Refusal::Tampered),
    ] {
        *notes.lie.lock().unwrap() = lie;
        let begun = Instant::now();
        let refused = alice.ask("carol/house", "where is the key of the shed?").await.unwrap_err();
        assert_eq!(refused.refusal, refusal, "{lie:?}: {refused:?}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{lie:?}");
    }
    *notes.lie.lock().unwrap() = Lie::Replay;
    let before = left().await;
    let refused = alice.ask("carol/house", "twice?").await.unwrap_err();
    assert_eq!(refused.refusal, Refusal::Replay, "{refused:?}");
    assert_eq!(left().await, before - 1, "it ran once");

    *notes.lie.lock().unwrap() = Lie::None;
    assert!(alice.ask("carol/house", "is it true again?").await.unwrap().1.verified);
    bob.close();
    alice.stop().await;
    carol.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k15_a_carrier_that_is_gone_in_the_middle_is_a_named_error_within_five_seconds() {
    // Threads that are taken away say no goodbye: what is left of a process that was killed is its closed sockets.
    let threads = Runtime::new().unwrap();
    let (alice, carol, bob, notes) = between(threads.handle()).await;
    alice.ask("carol/house", "is it true?").await.unwrap();
    *notes.lie.lock().unwrap() = Lie::Die;
    let asked = async {
        let refused = alice.ask("carol/house", "where is the key of the shed?").await.unwrap_err();
        (refused, Instant::now())
    };
    let killed = async {
        notes.dying.notified().await;
        threads.shutdown_background();
        Instant::now()
    };
    let ((refused, told), killed) = tokio::join!(asked, killed);
    assert_eq!(refused.refusal, Refusal::UnknownOutcome, "{refused:?}");
    assert!(refused.message.contains("bob carried it and is gone"), "{refused:?}");
    assert!(told - killed < Duration::from_secs(5), "{:?}: {refused:?}", told - killed);
    drop(bob);
    alice.stop().await;
    carol.stop().await;
}
