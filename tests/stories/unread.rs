//! Peers that ask and read nothing of what they are answered: each is cut off by name and counted, the node keeps its size, and others are
//! served meanwhile.

use std::time::{Duration, Instant};

use klp::frame::Kind;
use klp::message::{Query, Request, kind};
use klp::{AgentId, Cbor as _, Refusal, limits};
use kos_tests::puppet::text;
use kos_tests::{PATIENCE, Person, Puppet, Speaker, memory, until};
use node::services::grants::Limits;

use crate::siege::{CUT, GROWTH, Siege, frame, greets};

/// Pings without an end, and fails when one is slow.
async fn served(friend: &Puppet, node: klp::NodeId) {
    loop {
        let begun = Instant::now();
        friend.mesh().ping(node, CUT).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A short question with a long answer: what is asked must go out without a look at what comes in.
async fn long_answer(siege: &Siege, friend: &Puppet) -> Vec<u8> {
    let folder = siege.owner.documents("house", &[("rules.md", b"The key lies under the third pot.")]);
    tokio::task::block_in_place(|| {
        let tags = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh"].map(|tag| format!("{tag:x>60}"));
        let tags: Vec<&str> = tags.iter().flat_map(|tag| ["--tag", tag]).collect();
        for number in 0..8 {
            let name = format!("house-{number}");
            let line = ["serve", folder.to_str().unwrap(), "--as", &name, "--listed"];
            siege.owner.ok(&[&line[..], &tags].concat());
        }
    });
    let question = Request::new(kind::DIRECTORY, &Query { text: None, capability: None, agent: None }).to_bytes();
    let answer = friend.send(siege.node, question.clone()).await.unwrap();
    assert!(answer.len() * limits::IN_FLIGHT > 2 * limits::UNREAD, "{} bytes", answer.len());
    question
}

#[tokio::test(flavor = "multi_thread")]
async fn s11_a_peer_that_is_owed_answers_and_never_reads_is_cut_off_as_stalled_and_others_are_served() {
    let siege = Siege::lay().await;
    let friend = Puppet::open(123).await;
    friend.mesh().dial(siege.node, vec![siege.address.clone()]).await.unwrap();
    let question = long_answer(&siege, &friend).await;
    let before = memory(siege.pid);
    let mut mallory = siege.peer(129).await;
    let asked = (1..=limits::IN_FLIGHT as u64).flat_map(|id| frame(Kind::Request, id, question.clone()));
    let bytes: Vec<u8> = greets(mallory.hello()).into_iter().chain(asked).collect();
    let mut stream = mallory.stream().await;
    let begun = Instant::now();
    stream.write(&bytes).await.unwrap();
    tokio::select! {
        () = siege.counts(Refusal::Stalled, 0, "a peer that never reads") => {}
        () = served(&friend, siege.node) => {}
    }
    let took = begun.elapsed();
    assert!(took > limits::STALL && took < CUT, "{took:?}");
    // Nobody was told why, but the stream is over, and what it owed with it.
    let mut answers = 0;
    let ending = async {
        while let Ok(frame) = stream.next().await {
            assert_eq!(frame.kind == Kind::Hello, answers == 0, "{frame:?}");
            answers += 1;
        }
    };
    tokio::time::timeout(CUT, ending).await.expect("the node hangs up");
    assert!((1..limits::IN_FLIGHT).contains(&answers), "{answers} frames were on their way");
    let after = memory(siege.pid);
    assert!(after < before + GROWTH, "{after} kB, from {before} kB");
    friend.close();
    siege.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s11_a_peer_that_never_reads_and_asks_on_is_cut_off_and_each_busy_is_counted() {
    let siege = Siege::lay().await;
    let friend = Puppet::open(131).await;
    friend.mesh().dial(siege.node, vec![siege.address.clone()]).await.unwrap();
    let question = long_answer(&siege, &friend).await;
    let mut mallory = siege.peer(132).await;
    let mut stream = mallory.stream().await;
    let asked = |ids: std::ops::RangeInclusive<u64>| ids.flat_map(|id| frame(Kind::Request, id, question.clone()));
    let most = limits::IN_FLIGHT as u64;
    let bytes: Vec<u8> = greets(mallory.hello()).into_iter().chain(asked(1..=most)).collect();
    stream.write(&bytes).await.unwrap();
    siege.blocked().await;
    assert_eq!(siege.refused(Refusal::Busy), 0);
    // Some have been answered, and as many may be asked anew.
    let begun = Instant::now();
    stream.write(&asked(most + 1..=2 * most + limits::STRIKES + 1).collect::<Vec<u8>>()).await.unwrap();
    // For each that was too much, and for the stream; none of them was written.
    let all = async || (siege.refused(Refusal::Busy) == limits::STRIKES + 1).then_some(());
    until("each refusal is counted", all).await;
    assert_eq!(siege.refused(Refusal::Stalled), 0);
    assert!(begun.elapsed() < limits::STALL, "{:?}", begun.elapsed());
    friend.mesh().ping(siege.node, CUT).await.unwrap();
    friend.close();
    siege.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s11_a_caller_that_takes_nothing_of_an_answer_is_refused_as_stalled_and_the_work_stops() {
    let (mallory, friend) = (Puppet::open(124).await, Puppet::open(125).await);
    let bob = Person::new(&["--metrics", "127.0.0.1:0"]).await;
    let house = bob.serve(&bob.documents("house", &[("a.md", "a house")]), "house", "private").await;
    bob.node.contacts.add(&mallory.ticket(), "mallory").await.unwrap();
    bob.node.grants.add("mallory", "house.ask", Limits::default()).await.unwrap();
    let node = mallory.meet(&bob).await;
    friend.meet(&bob).await;
    let chain = mallory.grants(node).await.remove(0);
    let call = mallory.call((node, AgentId(house.did.parse().unwrap())), &chain, text("tell me"), |_| {});
    let mut speaker = Speaker::of(&bob, "house");
    let asked = Request::new(kind::CALL, &call).to_bytes();
    let mut answer = mallory.mesh().request(node, asked.into(), 2 * PATIENCE).await;
    let work = speaker.call().await;
    let begun = Instant::now();
    let mut said = 0;
    let speaking = async {
        while work.send("word ".repeat(4096)).await.is_ok() {
            said += 5 * 4096;
        }
    };
    tokio::select! {
        () = speaking => {}
        () = served(&friend, node) => {}
    }
    let took = begun.elapsed();
    assert!(took > limits::STALL && took < CUT, "{took:?}");
    assert!(said < 2 * limits::UNREAD, "{said} bytes were taken for a caller that takes none");
    let stalled = async || (bob.figure("kos_session_refusals_total{code=\"stalled\"}").await == 1).then_some(());
    until("it is counted as stalled", stalled).await;
    let mut heard = 0;
    while let Some(chunk) = answer.chunk().await {
        heard += chunk.len();
    }
    assert_eq!(answer.finish().await.unwrap_err().refusal, Refusal::Stalled);
    assert!(heard <= limits::UNREAD && heard <= said, "{heard} of {said}");
    mallory.mesh().ping(node, CUT).await.unwrap();
    bob.stop().await;
}
