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
    /// After a commit. Says whether it has begun or ended.
    fn settle(trouble: &mut Option<Self>, committed: &Result<(), StoreError>, size: Size) -> bool {
        let known = trouble.as_ref().map_or(0, |known| known.size);
        match committed {
            Ok(()) => size.least > 0 && size.least >= known && trouble.take().is_some(),
            Err(error) => {
                let size = if matches!(error, StoreError::Full) { size.most.max(known) } else { known };
                trouble.replace(Self { error: error.clone(), size }).is_none()
            }
        }
    }
}

/// Bytes that a commit needs, neither counted as more than a row can have, so that one row can try it.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    /// With every row on pages that others have made room on: what has been written proves no more.
    least: usize,
    /// With new pages for each row: what has found no room may have needed as much.
    most: usize,
}

impl Size {
    fn of(rows: &Overlay) -> Self {
        let bytes =
            |((_, key), value): (&(_, Vec<u8>), &Option<Vec<u8>>)| key.len() + value.as_ref().map_or(0, Vec::len);
        let least = rows.iter().map(bytes).sum::<usize>();
        Self { least: least.min(ROW), most: (least + rows.len() * PAGES).min(ROW) }
    }
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
                    self.trouble
                        .send_if_modified(|trouble| Trouble::settle(trouble, &Err(error.clone()), Size::default()));
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
        let size = Size::of(tx.batch());
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

    fn size(count: usize, bytes: usize) -> Size {
        let row = |number: usize| ((Table::Check, number.to_be_bytes().to_vec()), Some(vec![0; bytes]));
        Size::of(&(0..count).map(row).collect())
    }

    #[test]
    fn many_small_rows_may_need_more_room_than_one_of_their_size_and_no_more_than_a_row_has() {
        assert!(size(10, 10).most > size(1, 100).most + 9 * 4096, "each may be on a page of its own");
        assert_eq!((size(64, ROW).least, size(64, ROW).most), (ROW, ROW));
        assert_eq!((size(0, 0).least, size(0, 0).most), (0, 0), "nothing is written, and proves nothing");
    }

    #[test]
    fn what_found_no_room_is_over_when_as_many_bytes_have_and_not_when_many_rows_have() {
        let mut trouble = None;
        assert!(Trouble::settle(&mut trouble, &Err(StoreError::Full), size(2, 20_000)));
        assert!(!Trouble::settle(&mut trouble, &Ok(()), size(8, 100)), "they may all have gone on one page");
        let needed = trouble.as_ref().map_or(0, |trouble| trouble.size);
        assert!(!Trouble::settle(&mut trouble, &Ok(()), size(1, needed - 9)));
        assert!(Trouble::settle(&mut trouble, &Ok(()), size(1, needed - 8)), "with its key it is as large");
        assert!(trouble.is_none());
    }
}
