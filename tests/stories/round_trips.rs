//! How often a question crosses the line, on a line so long that nothing else counts.

use std::time::Duration;

use kos_tests::{Line, RoundTrips, round_trips};

/// Each way, for each try until one holds. A machine that does other things as well is late by some tens of milliseconds, and by
/// more the busier it is; a round trip too many takes 500 at the least, and grows with the line.
const DELAYS: [Duration; 7] = [
    Duration::from_millis(250),
    Duration::from_millis(250),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(1),
];

async fn within(line: Line, first: f64, connect: f64) {
    let holds = |one: &RoundTrips| one.first <= first && one.connect <= connect && one.next <= first;
    let mut tries = Vec::new();
    // Load only adds, and a round trip too many never goes away.
    for delay in DELAYS {
        tries.push(round_trips(line, delay).await);
        if tries.iter().any(holds) {
            break;
        }
    }
    println!("{line:?}: {tries:?}");
    assert!(tries.iter().any(holds), "more than {first} and {connect} round trips: {tries:?}");
    // A line that is shorter than it says would prove nothing.
    assert!(tries.iter().all(|one| one.next >= 1.0 && one.first >= 1.0 && one.connect >= 2.0), "{tries:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tcp_the_first_question_takes_one_round_trip_and_three_from_nothing() {
    within(Line::Tcp, 1.15, 3.4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_quic_the_first_question_takes_one_round_trip_and_two_from_nothing() {
    within(Line::Quic, 1.15, 2.3).await;
}
