//! Waiting for a condition, bounded in time.

use std::thread;
use std::time::{Duration, Instant};

/// How long a story waits before it says what did not come: far more than any machine needs, so that load does not fail it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The first answer that is there, asked for until [`PATIENCE`] ends.
///
/// # Panics
/// When there is none by then; `what` says what was waited for.
#[track_caller]
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The same for what has to be awaited.
///
/// # Panics
/// When there is none by then; `what` says what was waited for.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
