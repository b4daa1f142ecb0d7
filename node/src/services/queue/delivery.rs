//! Sending what waits, and what becomes of it.

use std::time::Duration;

use host::Stop;
use klp::{Digest, Refusal};
use store::StoreError;
use store::audit::Entry;
use store::outbox::{self, Question, State};
use tokio_util::sync::CancellationToken;

use super::Queue;
use crate::entropy;
use crate::fault::Fault;

/// How often the waiting are looked at, while there are any.
const TICK: Duration = Duration::from_secs(1);

/// What comes after a try that brought no answer.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Another, later.
    Again {
        /// Whether the contact was not there.
        away: bool,
    },
    /// None.
    Fails(Fault),
}

impl Queue {
    /// Sends what waits, as its contacts come, until the node stops.
    pub(crate) async fn run(self, stop: Stop) {
        loop {
            let due = self.plan().due(self.now(), |owner| self.is_reached(owner));
            for id in due {
                let queue = self.clone();
                tokio::spawn(async move { queue.try_once(id).await });
            }
            let over = self.plan().expire(self.now());
            for id in over {
                self.expired(id).await;
            }
            let tick = async {
                if self.len() == 0 {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(TICK).await;
            };
            tokio::select! {
                () = stop.requested() => return,
                () = self.wake.notified() => {}
                () = tick => {}
            }
        }
    }

    async fn try_once(&self, id: Digest) {
        let question = match self.store.read(move |view| outbox::get(view, &id)).await {
            Ok(Some(question)) if question.state.is_open() => question,
            Ok(_) => return self.plan().over(&id),
            Err(error) => return self.put_off(&id, false, &error.into()),
        };
        let cancel = CancellationToken::new();
        self.sending().insert(id, cancel.clone());
        let tried = tokio::select! {
            // It was dropped; the other side hears it too.
            () = cancel.cancelled() => return,
            tried = self.calls.deliver(&question) => tried,
        };
        self.sending().remove(&id);
        match tried {
            Ok(_) => self.ended(&id).await,
            Err(fault) => self.failed(&id, fault).await,
        }
        self.wake.notify_one();
    }

    /// Its end is kept already.
    async fn ended(&self, id: &Digest) {
        self.plan().over(id);
        let id = *id;
        if let Ok(Some(question)) = self.store.read(move |view| outbox::get(view, &id)).await {
            self.say_end(&question);
        }
    }

    fn say_end(&self, question: &Question) {
        self.figures.left_queue(question.state);
        match question.state {
            State::Answered => self.tell("queue.answered", question),
            State::Expired => self.tell("queue.expired", question),
            State::Failed => self.tell("queue.failed", question),
            State::Queued | State::Dispatched | State::Dropped => {}
        }
    }

    async fn failed(&self, id: &Digest, fault: Fault) {
        let wanted = *id;
        let question = match self.store.read(move |view| outbox::get(view, &wanted)).await {
            Ok(Some(question)) if question.state.is_open() => question,
            Ok(_) => return self.plan().over(id),
            Err(error) => return self.put_off(id, false, &error.into()),
        };
        let may_be_sent_again = match question.order {
            Some(order) => self.calls.lives_until(order).await.map(|until| Some(self.clock.now() < until)),
            None => Ok(None),
        };
        match may_be_sent_again.map(|sent| next(sent, &fault)) {
            Ok(Next::Again { away }) => self.put_off(id, away, &fault),
            Ok(Next::Fails(why)) => self.end(id, State::Failed, Some(why)).await,
            Err(error) => self.put_off(id, false, &error),
        }
    }

    fn put_off(&self, id: &Digest, away: bool, fault: &Fault) {
        tracing::debug!(id = id.short(), code = fault.refusal.code(), "a question waits on");
        let chance = entropy::bytes::<1>().map_or(0, |[chance]| chance);
        let now = self.now();
        self.plan().again(id, away, now, chance);
    }

    async fn expired(&self, id: Digest) {
        let sent = self.store.read(move |view| outbox::get(view, &id)).await.ok().flatten();
        match sent.and_then(|question| question.order) {
            Some(_) => self.end(&id, State::Failed, Some(lost("and its time is over"))).await,
            None => {
                let fault = Fault::new(Refusal::Expired, "the other node was not there in time, and nothing was sent");
                self.end(&id, State::Expired, Some(fault)).await;
            }
        }
    }

    async fn end(&self, id: &Digest, state: State, why: Option<Fault>) {
        let (wanted, now) = (*id, self.clock.now());
        let ended = self.store.write(move |tx| {
            let told = why.as_ref().map(|why| (u64::from(why.refusal.number()), why.message.clone()));
            let ended = outbox::end(tx, &wanted, state, told, now)?;
            if ended.is_some() {
                let entry = Entry::new("queue", state.as_str(), now).on(wanted);
                tx.audit(why.iter().fold(entry, |entry, why| entry.with("code", why.refusal)))?;
            }
            Ok::<_, StoreError>(ended)
        });
        match ended.await {
            Ok(ended) => {
                self.plan().over(id);
                ended.iter().for_each(|question| self.say_end(question));
            }
            Err(error) => self.put_off(id, false, &error.into()),
        }
    }
}

/// What comes next. `sent` says of an order that has left and may have been carried out whether it may still be sent again.
fn next(sent: Option<bool>, fault: &Fault) -> Next {
    let refusal = fault.refusal;
    let away = matches!(refusal, Refusal::Unreachable | Refusal::Timeout | Refusal::UnknownOutcome);
    let passes = refusal.retryable()
        || matches!(
            refusal,
            Refusal::UnknownOutcome
                | Refusal::Interrupted
                | Refusal::Cancelled
                | Refusal::Failed
                | Refusal::Tampered
                | Refusal::ReadOnly
                | Refusal::Loop
                | Refusal::Hops
        );
    match sent {
        None if passes => Next::Again { away },
        None => Next::Fails(fault.clone()),
        // It did come, and is not what was signed; or the time that its owner gave it is over.
        Some(_)
            if matches!(refusal, Refusal::Signature | Refusal::Malformed | Refusal::TooLarge | Refusal::Timeout) =>
        {
            Next::Fails(fault.clone())
        }
        Some(true) if passes => Next::Again { away },
        Some(true) if refusal == Refusal::Replay => Next::Fails(lost("and its node has it already")),
        Some(true) => Next::Fails(lost(&format!("and now its node says: {fault}"))),
        Some(false) => Next::Fails(lost("and nobody can say any more what came of it")),
    }
}

/// It was sent, and its answer did not come. It is not sent as a new one: it may have been done.
fn lost(what: &str) -> Fault {
    Fault::new(Refusal::UnknownOutcome, format!("it was sent and the answer was lost, {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c9_what_was_sent_is_never_made_anew_and_what_was_not_waits_or_fails_by_name() {
        let after = |sent, refusal: Refusal| next(sent, &refusal.into());
        let fails = |next: Next| match next {
            Next::Fails(fault) => fault.refusal,
            Next::Again { away } => panic!("tried again, away: {away}"),
        };
        for refusal in [Refusal::Unreachable, Refusal::Timeout] {
            assert_eq!(after(None, refusal), Next::Again { away: true });
        }
        for refusal in [Refusal::Busy, Refusal::Locked, Refusal::Full, Refusal::Interrupted] {
            assert_eq!(after(None, refusal), Next::Again { away: false });
            assert_eq!(after(Some(true), refusal), Next::Again { away: false });
        }
        for refusal in [Refusal::Revoked, Refusal::Denied, Refusal::Budget, Refusal::Arguments, Refusal::NotFound] {
            assert_eq!(fails(after(None, refusal)), refusal);
            assert_eq!(fails(after(Some(true), refusal)), Refusal::UnknownOutcome, "it may have been done");
        }
        assert_eq!(after(Some(true), Refusal::UnknownOutcome), Next::Again { away: true }, "its node knows");
        assert_eq!(fails(after(Some(true), Refusal::Replay)), Refusal::UnknownOutcome);
        assert_eq!(fails(after(Some(true), Refusal::Timeout)), Refusal::Timeout);
        assert_eq!(fails(after(Some(false), Refusal::Unreachable)), Refusal::UnknownOutcome);
        assert_eq!(fails(after(Some(false), Refusal::Signature)), Refusal::Signature);
    }
}
