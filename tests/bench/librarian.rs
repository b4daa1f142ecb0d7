//! A whole question to a librarian, beside what it cannot do without, each alone: the index, two durable commits, two signatures.

use std::fmt::Write as _;
use std::time::Duration;

use agent::extract::Extractor;
use agent::librarian::Config;
use agent::runtime::Limits;
use agent::sealed::IndexKey;
use agent::{Input, Librarian, Mind, Runtime};
use klp::{AgentId, SecretKey};
use kos_tests::person::introduce;
use kos_tests::puppet::now;
use kos_tests::{Person, until};
use store::audit::Entry;
use store::{DatabaseKey, Store, StoreError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::proof::{Keys, order};
use crate::session;
use crate::side::say;

/// Documents of the folder.
const DOCUMENTS: usize = 200;
/// How often everything is done, in turn; the middle one counts.
const TIMES: usize = 40;
const QUESTION: &str = "where is the key of the garden shed?";

/// Names of the figures, in microseconds, in the order in which they are said.
pub(crate) const PARTS: [&str; 5] = ["ask", "index", "commit", "signature", "round trip"];

/// Documents that differ, one of which knows.
fn documents() -> Vec<(String, String)> {
    let mut files: Vec<_> = (0..DOCUMENTS)
        .map(|number| {
            let mut text = format!("# House rules, part {number}\n\n");
            for line in 0..20 {
                writeln!(text, "Room {number} has window {line}, and whoever opens it in the garden closes it.\n")
                    .unwrap();
            }
            (format!("part-{number}.md"), text)
        })
        .collect();
    files.push(("shed.md".to_owned(), "# Shed\n\nThe key of the garden shed lies under the third pot.\n".to_owned()));
    files
}

/// The role that measures: says the middle time of each part.
pub(crate) async fn measure() {
    let files = documents();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let (bob, alice) = (Person::new(&[]).await, Person::new(&[]).await);
    let folder = bob.documents("house", &files);
    bob.serve(&folder, "house", "private").await;
    introduce((&bob, "bob"), (&alice, "alice")).await;
    bob.node.grants.add("alice", "house.ask", Default::default()).await.unwrap();

    let place = tempfile::tempdir().unwrap();
    let alone = Librarian::open(Config {
        root: folder,
        index: place.path().join("index"),
        key: IndexKey::new([1; 32]),
        exclude: Vec::new(),
        extractor: Extractor::default(),
    });
    let (alone, id) = (alone.unwrap(), AgentId(SecretKey::from_seed(&[4; 32]).did()));
    until("the folder is indexed", async || alone.index().is_complete().then_some(())).await;
    let runtime = Runtime::new(Limits::default());
    runtime.install(id, Mind::Librarian(alone.clone()));
    let (database, audit) = (DatabaseKey::from_bytes([1; 32]), SecretKey::from_seed(&[2; 32]));
    let kept = Store::open(&place.path().join("kos.redb"), &database, &audit, None, now()).unwrap();
    let (far, events) = session::open(&["/ip4/127.0.0.1/tcp/0"]).await;
    tokio::spawn(session::answer(events, crate::proof::Answering::new(false)));
    let (near, _events) = session::open_as(SecretKey::from_seed(&[6; 32]), &[]).await;
    near.dial(far.node(), vec![session::address(&far)]).await.unwrap();
    let keys = Keys::new();

    let mut times: [Vec<Duration>; PARTS.len()] = Default::default();
    for number in 0..TIMES {
        let begun = Instant::now();
        let (_, asked) = alice.ask("bob/house", QUESTION).await.unwrap();
        times[0].push(begun.elapsed());
        assert!(asked.verified && asked.answer.contains("third pot"), "{}", asked.answer);
        // What is acknowledged after the answer is not to disturb what is measured next.
        for person in [&alice, &bob] {
            until("the receipt is acknowledged", async || {
                let last = person.node.receipts.list(1).await.ok()?.pop()?;
                (last.state == "acknowledged").then_some(())
            })
            .await;
        }

        let begun = Instant::now();
        let args = [("text".to_owned(), QUESTION.to_owned())].into();
        let input = Input { id: number as u64, capability: "ask".to_owned(), args };
        let answer = runtime.call(&id, input, &CancellationToken::new()).unwrap();
        assert!(answer.whole().await.unwrap().0.contains("third pot"));
        times[1].push(begun.elapsed());

        let begun = Instant::now();
        kept.write(move |tx| {
            tx.audit(Entry::new("bench", "commit", now()).with("number", number))?;
            Ok::<_, StoreError>(())
        })
        .await
        .unwrap();
        times[2].push(begun.elapsed());

        let begun = Instant::now();
        std::hint::black_box(order(&keys, number as u64));
        times[3].push(begun.elapsed());
        times[4].push(near.ping(far.node(), session::LONG).await.unwrap());
    }
    let middle = times.map(|mut times| {
        times.sort_unstable();
        format!("{:.1}", times[times.len() / 2].as_secs_f64() * 1e6)
    });
    say(&middle.join(" "));
    alone.close();
    alice.stop().await;
    bob.stop().await;
}
