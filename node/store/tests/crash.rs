//! The power fails: a child writes, is killed at a moment of chance, and nothing that it was told is missing.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use klp::{Digest, Timestamp};
use kos_store as store;
use store::audit::Entry;
use store::counters::{self, Amount, Budget, Counter};
use store::{Home, Store, StoreError, Unlock, grants, requests};

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const ROUNDS: u64 = 20;
/// Where the child finds its home. Set, this test binary is the child.
const CHILD: &str = "KOS_STORE_CRASH_CHILD";
/// How long all rounds may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a child lives that nobody kills.
const LIFE: Duration = Duration::from_secs(20);

const BUDGET: (Counter, Budget) = (
    Counter { grant: Digest([3; 32]), holder: None, day: None },
    Budget { calls: Some(u64::MAX), bytes: None, tokens: None },
);

fn open(folder: &Path) -> Home {
    Home::open(&folder.join("home"), &Unlock::with_file(folder.join("unlock")), NOW).expect("opens")
}

/// A grant that carries a number, in its place in time.
fn grant(number: u64) -> grants::Held {
    grants::Held {
        id: Digest::of(&[&number.to_be_bytes()]),
        side: grants::Side::Received,
        other: klp::SecretKey::from_seed(&[4; 32]).did(),
        parent: None,
        expires: NOW,
        signed: vec![1],
        added: Timestamp(number),
    }
}

/// The numbers that are there, in order. After a kill there may be holes: they were never acknowledged.
fn numbers(store: &Store) -> Vec<u64> {
    let all = grants::list(&store.view().expect("view")).expect("lists");
    all.into_iter().map(|grant| grant.added.0).collect()
}

/// Writes until it is killed, with several writers at once, and says each number only once it is on disk.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn write_until_killed(folder: PathBuf) {
    let store = open(&folder).open_store(NOW).expect("opens");
    let first = numbers(&store).last().map_or(0, |last| last + 1);
    // The test harness has begun a line of its own.
    println!("\nready");
    let writers = (0..4u64).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let began = Instant::now();
            for number in (first + writer..).step_by(4) {
                if began.elapsed() > LIFE {
                    break;
                }
                let written = store.write(move |tx| {
                    tx.audit(Entry::new("test", "written", NOW).on(number))?;
                    counters::debit(tx, &[BUDGET], &Amount { calls: 1, ..Amount::default() })
                        .map_err(|_| StoreError::Broken)?;
                    grants::add(tx, &grant(number)).map(drop)
                });
                written.await.expect("writes");
                println!("{number}");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("writes until killed");
    }
}

#[test]
fn l1_2_after_kill_9_nothing_acknowledged_is_missing_and_the_log_verifies() {
    if let Some(folder) = std::env::var_os(CHILD) {
        write_until_killed(folder.into());
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    drop(open(folder.path()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let began = Instant::now();
    let mut told = 0u64;
    for round in 0..ROUNDS {
        assert!(began.elapsed() < PATIENCE, "{round} rounds took {:?}", began.elapsed());
        let acknowledged = one_round(folder.path(), round);
        told += acknowledged.len() as u64;
        let store = open(folder.path()).open_store(NOW).expect("opens after the kill");
        let view = store.view().expect("view");
        for number in &acknowledged {
            let there = grants::get(&view, &grant(*number).id).expect("reads").is_some();
            assert!(there, "round {round}: {number} was acknowledged and is gone");
        }
        // Grant, entry and debit are one change: there are as many of each.
        let (kept, report) = (numbers(&store).len() as u64, runtime.block_on(store.verify_log()));
        let report = report.expect("verifies");
        assert_eq!((report.bad, report.entries), (None, kept), "round {round}");
        assert_eq!(counters::used(&view, &BUDGET.0).expect("reads").calls, kept, "round {round}");
    }
    assert!(told >= ROUNDS, "only {told} changes were acknowledged in all");
}

/// Starts a child, kills it after a while that differs from round to round, and returns what it acknowledged.
fn one_round(folder: &Path, round: u64) -> Vec<u64> {
    let test = "l1_2_after_kill_9_nothing_acknowledged_is_missing_and_the_log_verifies";
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut acknowledged = Vec::new();
    let (mut ready, mut deadline) = (false, None);
    for line in lines {
        // A line cut by the kill is one that was not said.
        let Ok(line) = line else { break };
        if line == "ready" {
            ready = true;
            // From 0 to 95 ms into the writing: in the middle of batches, commits and flushes alike.
            deadline = Some(Instant::now() + Duration::from_millis(round * 37 % 96));
        } else if let Ok(number) = line.parse() {
            acknowledged.push(number);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            // SIGKILL; what is still in the pipe was said before.
            child.kill().expect("kills");
            deadline = None;
        }
    }
    let status = child.wait().expect("ends");
    assert!(ready && !status.success(), "the child was killed, it did not end: {status}");
    acknowledged
}

#[test]
fn s18_a_permit_that_was_open_at_the_kill_is_interrupted_and_stays_spent() {
    let folder = tempfile::tempdir().expect("folder");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let signer = open(folder.path()).keys().node().did();
    let permit = requests::Permit {
        signer,
        principal: signer,
        id: Digest([8; 32]),
        what: "docs.ask".into(),
        chain: vec![BUDGET.0.grant],
        at: NOW,
        expires: NOW.after(Duration::from_secs(600)),
        outcome: requests::Outcome::Open,
    };
    let store = open(folder.path()).open_store(NOW).expect("opens");
    let opened = store.write(move |tx| {
        counters::debit(tx, &[BUDGET], &Amount { calls: 1, ..Amount::default() }).map_err(|_| StoreError::Broken)?;
        requests::open(tx, &permit)
    });
    runtime.block_on(opened).expect("opens");
    // A copy of the file at this moment is what a kill would leave behind.
    let home = folder.path().join("home");
    let copy = tempfile::tempdir().expect("folder");
    std::fs::create_dir(copy.path().join("home")).expect("folder");
    for name in ["home-id", "machine.keys", "kos.redb"] {
        std::fs::copy(home.join(name), copy.path().join("home").join(name)).expect("copies");
    }
    std::fs::copy(folder.path().join("unlock"), copy.path().join("unlock")).expect("copies");
    let store = open(copy.path()).open_store(NOW).expect("opens");
    let left = requests::left_open(&store.view().expect("view")).expect("reads");
    let closed = runtime.block_on(store.write(|tx| requests::interrupt(tx, left, NOW))).expect("closes");
    assert_eq!(closed.len(), 1);
    let view = store.view().expect("view");
    let kept = requests::get(&view, &signer, &Digest([8; 32])).expect("reads").expect("there");
    assert_eq!(kept.outcome, requests::Outcome::Interrupted);
    assert_eq!(counters::used(&view, &BUDGET.0).expect("reads").calls, 1, "what it cost is spent");
}
