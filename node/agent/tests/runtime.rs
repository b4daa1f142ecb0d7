//! Calls of agents: streamed, bounded, and stopped as soon as nobody wants them.

extern crate kos_agent as agent;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use agent::effect::{Input, Output};
use agent::runtime::{Limits, Load};
use agent::{Answer, Guide, Mind, Runtime};
use klp::{AgentId, Refusal, SecretKey};
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes on a busy machine.
const LONG: Duration = Duration::from_secs(180);

fn id(seed: u8) -> AgentId {
    AgentId(SecretKey::from_seed(&[seed; 32]).did())
}

/// A guide over a hundred documents that all speak of herons.
fn guide() -> Mind {
    let documents: Vec<(String, String)> = (0..100)
        .map(|number| (format!("{number}.md"), format!("# Note {number}\n\nA heron, seen for the {number}th time.\n")))
        .collect();
    Mind::Guide(Guide::open(documents.iter().map(|(name, text)| (name.as_str(), text.as_str()))).expect("guide"))
}

fn runtime(limits: Limits) -> Runtime {
    let runtime = Runtime::new(limits);
    runtime.install(id(1), guide());
    runtime
}

fn input(args: &[(&str, &str)]) -> Input {
    let args: BTreeMap<_, _> = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Input { id: 1, capability: "ask".to_owned(), args }
}

fn twenty(runtime: &Runtime) -> Answer {
    let input = input(&[("text", "heron"), ("limit", "20")]);
    runtime.call(&id(1), input, &CancellationToken::new()).expect("admitted")
}

async fn idle(runtime: &Runtime) -> Duration {
    let since = Instant::now();
    let wait = async {
        while runtime.load() != Load::default() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, wait).await.expect("the work stops");
    since.elapsed()
}

#[tokio::test]
async fn c1_a_local_call_answers_directly() {
    let runtime = runtime(Limits::default());
    let answer = runtime.call(&id(1), input(&[("text", "heron")]), &CancellationToken::new()).expect("admitted");
    let (text, usage) = answer.whole().await.expect("answered");
    assert_eq!(text.matches("   > A heron").count(), 5, "{text}");
    assert!(text.starts_with("1. "), "{text}");
    assert_eq!((usage.chunks, usage.bytes), (5, text.len() as u64));

    let nothing = runtime.call(&id(1), input(&[("text", "zebra")]), &CancellationToken::new()).expect("admitted");
    assert!(nothing.whole().await.expect("answered").0.starts_with("Nothing here matches"));

    let json = input(&[("text", "heron"), ("format", "json"), ("limit", "3")]);
    let (lines, _) =
        runtime.call(&id(1), json, &CancellationToken::new()).expect("admitted").whole().await.expect("answered");
    for line in lines.lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect("one object a line");
        assert!(value["path"].is_string() && value["line_start"].is_u64() && value["score"].is_f64(), "{line}");
    }
    assert_eq!(lines.lines().count(), 3);
}

#[tokio::test]
async fn bad_calls_are_refused_with_their_reason() {
    let runtime = runtime(Limits::default());
    let failure = runtime.call(&id(2), input(&[("text", "x")]), &CancellationToken::new()).expect_err("unknown");
    assert_eq!(failure.refusal, Refusal::NotFound);
    let answer = runtime.call(&id(1), input(&[]), &CancellationToken::new()).expect("admitted");
    assert_eq!(answer.whole().await.expect_err("no question").refusal, Refusal::Invalid);
}

#[tokio::test]
async fn the_first_passage_is_out_before_the_last_is_fetched() {
    let runtime = runtime(Limits::default());
    let mut answer = twenty(&runtime);
    let Some(Output::Chunk(first)) = answer.next().await else { panic!("a passage") };
    assert!(first.starts_with("1. "));
    // Stopped now, it has said a few of its twenty passages and fetched no more than one beyond them.
    answer.cancel();
    let mut chunks = 1;
    let usage = loop {
        match answer.next().await.expect("a last word") {
            Output::Chunk(_) => chunks += 1,
            Output::Failed { usage, .. } => break usage,
            Output::Done(usage) => panic!("all {} were fetched before the first was read", usage.chunks),
        }
    };
    assert_eq!(usage.chunks, chunks);
    assert!(chunks < 20);
    assert_eq!(answer.next().await, None);

    let (text, usage) = twenty(&runtime).whole().await.expect("answered");
    assert_eq!((usage.chunks, text.contains("\n20. ")), (20, true));
    idle(&runtime).await;
}

#[tokio::test]
async fn dropping_or_cancelling_stops_the_work() {
    let runtime = runtime(Limits::default());
    // Each stops; how soon shows in the fastest, because others may use the machine.
    let mut fastest = LONG;
    for _ in 0..20 {
        let mut answer = twenty(&runtime);
        answer.next().await.expect("a passage");
        drop(answer);
        fastest = fastest.min(idle(&runtime).await);
    }
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");

    let mut answer = twenty(&runtime);
    answer.next().await.expect("a passage");
    answer.cancel();
    idle(&runtime).await; // although nobody reads
    let failure = answer.whole().await.expect_err("cancelled");
    assert_eq!(failure.refusal, Refusal::Cancelled);

    let cancel = CancellationToken::new();
    let answer = runtime.call(&id(1), input(&[("text", "heron"), ("limit", "20")]), &cancel).expect("admitted");
    cancel.cancel();
    assert_eq!(answer.whole().await.expect_err("cancelled").refusal, Refusal::Cancelled);
    idle(&runtime).await;
}

#[tokio::test]
async fn more_than_the_queue_holds_is_busy_and_other_agents_are_not() {
    let runtime = runtime(Limits { running: 2, waiting: 3, reads: 1 });
    runtime.install(id(2), guide());
    let mut answers: Vec<Answer> = (0..5).map(|_| twenty(&runtime)).collect();
    for answer in &mut answers[..2] {
        answer.next().await.expect("these two run");
    }
    assert_eq!(runtime.load(), Load { running: 2, waiting: 3 });
    let one_more = runtime.call(&id(1), input(&[("text", "heron")]), &CancellationToken::new());
    assert_eq!(one_more.expect_err("full").refusal, Refusal::Busy);
    let other = runtime.call(&id(2), input(&[("text", "heron")]), &CancellationToken::new()).expect("another queue");
    other.whole().await.expect("answered");

    for answer in answers {
        assert_eq!(answer.whole().await.map(|(text, _)| text.is_empty()), Ok(false), "each gets its answer in turn");
    }
    idle(&runtime).await;
}

#[tokio::test]
async fn removing_an_agent_ends_its_calls() {
    let runtime = runtime(Limits::default());
    let mut answer = twenty(&runtime);
    answer.next().await.expect("a passage");
    assert!(runtime.remove(&id(1)));
    assert!(!runtime.remove(&id(1)));
    assert_eq!(answer.whole().await.expect_err("ended").refusal, Refusal::Interrupted);
    assert!(runtime.call(&id(1), input(&[("text", "x")]), &CancellationToken::new()).is_err());
}
