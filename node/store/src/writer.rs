//! The one writer: takes what waits, runs it over one moment of the store, and commits it together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use crate::audit::{self, Condition};
use crate::error::StoreError;
use crate::file::Content;
use crate::store::lock;
use crate::table::ROW;
use crate::view::{Overlay, Shared, Tx, View};

/// Changes in one commit. More would make the first of them wait longer than a disk's own flush takes.
const BATCH: usize = 64;
/// How long a batch may gather. While a commit is flushed the next batch gathers by itself, so nobody ever waits for company.
const GATHER: Duration = Duration::from_millis(2);
/// Bytes that a row may take beside its own: a new page for it, and for each of those above it.
const PAGES: usize = 3 * 4096;

type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Change = Box<dyn FnOnce(Result<&mut Tx, StoreError>) -> (bool, Answer) + Send>;

/// A change and whoever waits for it.
pub(crate) struct Job(Change);

impl Job {
    pub(crate) fn new<R, E, F>(change: F, answer: oneshot::Sender<Result<R, E>>) -> Self
    where
        F: FnOnce(&mut Tx) -> Result<R, E> + Send + 'static,
        R: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        Self(Box::new(move |tx| {
            let result = tx.map_err(E::from).and_then(change);
            let changed = result.is_ok();
            let settle = move |committed: Result<(), StoreError>| {
                // Nobody may be waiting any more; the change stands all the same.
                let _gone = answer.send(result.and_then(|value| committed.map(|()| value).map_err(E::from)));
            };
            (changed, Box::new(settle))
        }))
    }

    /// Runs the change; its writes stay only when it agrees. A panic is its caller's alone.
    fn run(self, tx: &mut Tx) -> Option<Answer> {
        let ran = catch_unwind(AssertUnwindSafe(|| (self.0)(Ok(tx))));
        match ran {
            Ok((true, answer)) => {
                tx.keep();
                Some(answer)
            }
            Ok((false, answer)) => {
                tx.forget();
                Some(answer)
            }
            Err(_) => {
                tx.forget();
                tracing::error!("a change of the store panicked");
                None
            }
        }
    }

    fn refuse(self, error: StoreError) {
        let (_, answer) = (self.0)(Err(error));
        answer(Ok(()));
    }
}

/// Why a change could not be written, until one like it can be.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// Why.
    pub error: StoreError,
    /// Bytes that found no room on a full disk, with the pages for them: that fewer are written proves nothing. Zero for any other error.
    pub size: usize,
}

impl Trouble {
    /// After a commit of `size` bytes. Says whether it has begun or ended.
    fn settle(trouble: &mut Option<Self>, committed: &Result<(), StoreError>, size: usize) -> bool {
        let known = trouble.as_ref().map_or(0, |known| known.size);
        match committed {
            Ok(()) => size > 0 && size >= known && trouble.take().is_some(),
            Err(error) => {
                let size = if matches!(error, StoreError::Full) { size.max(known) } else { known };
                trouble.replace(Self { error: error.clone(), size }).is_none()
            }
        }
    }
}

/// Bytes that a commit may need. What needs more than a row can have counts as that, so that one row can try it.
fn room_of(rows: &Overlay) -> usize {
    let room =
        |((_, key), value): (&(_, Vec<u8>), &Option<Vec<u8>>)| PAGES + key.len() + value.as_ref().map_or(0, Vec::len);
    rows.iter().map(room).sum::<usize>().min(ROW)
}

pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) content: Arc<Content>,
    pub(crate) condition: Arc<Mutex<Condition>>,
    pub(crate) anchor: Option<PathBuf>,
    /// Why commits fail, while they do.
    pub(crate) trouble: Arc<watch::Sender<Option<Trouble>>>,
}

impl Writer {
    /// Until the last handle is gone and the queue is empty.
    pub(crate) fn run(self, mut waiting: mpsc::Receiver<Job>) {
        while let Some(first) = waiting.blocking_recv() {
            if matches!(*lock(&self.condition), Condition::Broken { .. }) {
                first.refuse(StoreError::ReadOnly);
                continue;
            }
            match self.content.base() {
                Ok(base) => self.batch(Tx::new(View::new(self.shared.clone(), base)), first, &mut waiting),
                Err(error) => {
                    self.trouble.send_if_modified(|trouble| Trouble::settle(trouble, &Err(error.clone()), 0));
                    first.refuse(error);
                }
            }
        }
    }

    fn batch(&self, mut tx: Tx, first: Job, waiting: &mut mpsc::Receiver<Job>) {
        let began = Instant::now();
        let mut answers = Vec::with_capacity(BATCH);
        answers.extend(first.run(&mut tx));
        for _ in 1..BATCH {
            if began.elapsed() > GATHER {
                break;
            }
            let Ok(job) = waiting.try_recv() else { break };
            answers.extend(job.run(&mut tx));
        }
        let size = room_of(tx.batch());
        let committed = if tx.batch().is_empty() { Ok(()) } else { self.commit(tx) };
        self.trouble.send_if_modified(|trouble| Trouble::settle(trouble, &committed, size));
        for answer in answers {
            answer(committed.clone());
        }
    }

    fn commit(&self, tx: Tx) -> Result<(), StoreError> {
        let checkpoint = audit::anchor_of(&tx)?;
        let rows = tx.into_batch();
        self.content.commit(&self.shared.keys, &rows)?;
        if let (Some(checkpoint), Some(path)) = (checkpoint, &self.anchor)
            && matches!(*lock(&self.condition), Condition::Sound)
            && let Err(error) = checkpoint.save(path)
        {
            // The change is durable; an older anchor only notices less.
            tracing::warn!(%error, "the anchor of the audit log could not be written");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Table;

    #[test]
    fn many_small_rows_need_more_room_than_one_of_their_size_and_no_more_than_a_row_has() {
        let rows = |count: usize, size: usize| {
            let row = |number: usize| ((Table::Check, number.to_be_bytes().to_vec()), Some(vec![0; size]));
            room_of(&(0..count).map(row).collect())
        };
        assert!(rows(10, 10) > rows(1, 100) + 9 * 4096, "each may be on a page of its own");
        assert_eq!(rows(64, ROW), ROW);
        assert_eq!(rows(0, 0), 0, "nothing is written, and proves nothing");
    }
}
