//! Whose turn it is: questions go before indexing.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Longest wait of the indexer for one file, so that a steady stream of questions slows it but cannot stop it.
const PATIENCE: Duration = Duration::from_millis(200);

/// Counts the questions that are being answered.
#[derive(Default)]
pub(super) struct Turn {
    asking: Mutex<usize>,
    none: Condvar,
}

impl Turn {
    fn count(&self) -> MutexGuard<'_, usize> {
        // The guarded number is valid at every moment, also after a panic elsewhere.
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one step of answering.
    pub(super) fn ask<T>(&self, answer: impl FnOnce() -> T) -> T {
        struct Asking<'a>(&'a Turn);
        impl Drop for Asking<'_> {
            fn drop(&mut self) {
                let mut asking = self.0.count();
                *asking = asking.saturating_sub(1);
                if *asking == 0 {
                    self.0.none.notify_all();
                }
            }
        }
        *self.count() += 1;
        let _asking = Asking(self);
        answer()
    }

    /// Waits until nobody asks, or until patience ends.
    pub(super) fn give_way(&self) {
        let _waited = self.none.wait_timeout_while(self.count(), PATIENCE, |asking| *asking > 0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn indexing_waits_for_questions_and_a_panic_ends_one() {
        let turn = Turn::default();
        turn.give_way();
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| turn.ask(|| panic!("in a question"))));
        assert!(failed.is_err());
        assert_eq!(*turn.count(), 0);

        let (asked, wait) = mpsc::sync_channel(1);
        let (finish, finished) = mpsc::sync_channel::<()>(1);
        std::thread::scope(|scope| {
            let turn = &turn;
            scope.spawn(move || {
                turn.ask(|| {
                    asked.send(()).expect("the test waits");
                    finished.recv().expect("the test ends it");
                });
            });
            wait.recv().expect("the question began");
            assert_eq!(*turn.count(), 1);
            turn.give_way();
            assert_eq!(*turn.count(), 1, "patience ends before the question does");
            finish.send(()).expect("the question waits");
        });
        assert_eq!(*turn.count(), 0);
    }
}
