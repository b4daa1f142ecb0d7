//! Asking without a pause: so many at once, each the next as soon as the last is answered.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::proof::Asking;

/// Who can ask over something. Clones ask over the same thing.
pub(crate) trait Caller: Clone + Send + Sync + 'static {
    /// Asks and is answered.
    fn call(&self, body: Bytes) -> impl Future<Output = Bytes> + Send;
}

/// What a load found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Answers.
    pub(crate) count: u64,
    /// Seconds that it took.
    pub(crate) seconds: f64,
    /// Half of the answers came within so many microseconds.
    pub(crate) p50: f64,
    /// 99 of 100 did.
    pub(crate) p99: f64,
}

impl Figures {
    /// From the time of each answer.
    fn of(mut nanos: Vec<u64>, seconds: f64) -> Self {
        nanos.sort_unstable();
        let at = |share: usize| nanos.get(nanos.len() * share / 100).map_or(f64::NAN, |nanos| *nanos as f64 / 1000.0);
        Self { count: nanos.len() as u64, seconds, p50: at(50), p99: at(99) }
    }

    /// As one line.
    pub(crate) fn to_json(self) -> Value {
        json!({"count": self.count, "seconds": self.seconds, "p50": self.p50, "p99": self.p99})
    }

    /// The other way.
    pub(crate) fn from_json(value: &Value) -> Self {
        let of = |name: &str| value[name].as_f64().unwrap_or(f64::NAN);
        Self { count: value["count"].as_u64().unwrap(), seconds: of("seconds"), p50: of("p50"), p99: of("p99") }
    }
}

/// Times of all answers of one load.
pub(crate) struct Times {
    nanos: Vec<u64>,
    seconds: f64,
}

impl Times {
    /// What they say.
    pub(crate) fn figures(self) -> Figures {
        Figures::of(self.nanos, self.seconds)
    }
}

/// Asks for so long, so many at once.
pub(crate) async fn drive(caller: &impl Caller, asking: &Asking, in_flight: usize, time: Duration) -> Times {
    let begun = Instant::now();
    let mut workers = JoinSet::new();
    for worker in 0..in_flight {
        let (caller, mut asking) = (caller.clone(), asking.worker(worker as u64));
        workers.spawn(async move {
            let mut nanos = Vec::with_capacity(1 << 16);
            let mut at = Instant::now();
            while at.duration_since(begun) < time {
                asking.once(&caller).await;
                let now = Instant::now();
                nanos.push(u64::try_from(now.duration_since(at).as_nanos()).unwrap());
                at = now;
            }
            nanos
        });
    }
    let nanos = workers.join_all().await.concat();
    Times { nanos, seconds: begun.elapsed().as_secs_f64() }
}
