//! One call: steps into the agent, effects out of it, until the last word.

use std::collections::VecDeque;
use std::sync::Arc;

use klp::{Refusal, limits};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::Mind;
use crate::agent::Agent;
use crate::effect::{Effect, Failure, Input, Output, Step, Usage};
use crate::index::{IndexError, Ranking};
use crate::script::Words;

/// What one call holds while it runs.
pub(super) struct Call {
    mind: Mind,
    reads: Arc<Semaphore>,
    outputs: mpsc::Sender<Output>,
    cancel: CancellationToken,
    ranking: Option<Ranking>,
    usage: Usage,
}

impl Call {
    pub(super) fn new(
        mind: Mind,
        reads: Arc<Semaphore>,
        outputs: mpsc::Sender<Output>,
        cancel: CancellationToken,
    ) -> Self {
        Self { mind, reads, outputs, cancel, ranking: None, usage: Usage::default() }
    }

    /// Runs to the last word, which the caller sends.
    pub(super) async fn run(mut self, input: Input, running: &Semaphore, stop: &CancellationToken) -> Output {
        let cancel = self.cancel.clone();
        let outputs = self.outputs.clone();
        let result = {
            let work = self.work(input, running);
            tokio::pin!(work);
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    cancel.cancel();
                    let _stopped = work.await;
                    Err(Failure::new(Refusal::Interrupted, "the agent was stopped"))
                }
                () = outputs.closed() => {
                    cancel.cancel();
                    work.await
                }
                result = &mut work => result,
            }
        };
        match result {
            Ok(()) => Output::Done(self.usage),
            Err(failure) => Output::Failed { failure, usage: self.usage },
        }
    }

    async fn work(&mut self, input: Input, running: &Semaphore) -> Result<(), Failure> {
        let cancel = self.cancel.clone();
        let _running = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(cancelled()),
            permit = running.acquire() => permit.map_err(|_| internal())?,
        };
        if let Mind::Script(script) = &self.mind {
            let words = script.speak(input);
            return self.play(words).await;
        }
        let mut agent = Agent::new();
        let mut effects: VecDeque<Effect> = agent.handle(Step::Call(input)).into();
        while let Some(effect) = effects.pop_front() {
            if cancel.is_cancelled() {
                return Err(cancelled());
            }
            let step = match effect {
                Effect::Done => return Ok(()),
                Effect::Refuse(failure) => return Err(failure),
                Effect::Say(text) => {
                    self.say(text).await?;
                    continue;
                }
                Effect::Rank { question, candidates } => self.rank(question, candidates).await?,
                Effect::Load(rank) => self.load(rank).await?,
            };
            effects.extend(agent.handle(step));
        }
        Err(internal())
    }

    /// Says what the script says, as it says it.
    async fn play(&mut self, mut words: Words) -> Result<(), Failure> {
        let cancel = self.cancel.clone();
        loop {
            let word = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(cancelled()),
                word = words.recv() => word,
            };
            match word {
                Some(text) => self.say(text).await?,
                None => return Ok(()),
            }
        }
    }

    async fn say(&mut self, text: String) -> Result<(), Failure> {
        let bytes = text.len() as u64;
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(cancelled()),
            sent = self.outputs.send_timeout(Output::Chunk(text), limits::STALL) => match sent {
                Ok(()) => {}
                Err(mpsc::error::SendTimeoutError::Closed(_)) => return Err(cancelled()),
                Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                    return Err(Failure::new(Refusal::Stalled, "nobody took the answer"));
                }
            },
        }
        self.usage.chunks += 1;
        self.usage.bytes += bytes;
        Ok(())
    }

    async fn rank(&mut self, question: String, candidates: usize) -> Result<Step, Failure> {
        let index = self.mind.index().ok_or_else(internal)?.clone();
        let cancel = self.cancel.clone();
        let complete = index.is_complete();
        let ranking = self.read(move || index.rank(&question, candidates, || cancel.is_cancelled())).await?;
        let found = ranking.len();
        self.ranking = Some(ranking);
        Ok(Step::Ranked { found, complete })
    }

    async fn load(&mut self, rank: usize) -> Result<Step, Failure> {
        let index = self.mind.index().ok_or_else(internal)?.clone();
        let ranking = self.ranking.clone().ok_or_else(internal)?;
        let passage = self.read(move || index.load(&ranking, rank)).await?;
        passage.map(Step::Loaded).ok_or_else(internal)
    }

    /// Reads an index off the async threads, a bounded number of reads at once.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, Failure> {
        let _turn = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(cancelled()),
            turn = self.reads.acquire() => turn.map_err(|_| internal())?,
        };
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(IndexError::Cancelled)) => Err(cancelled()),
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "an agent could not read its index");
                let refusal = match error {
                    IndexError::Integrity(_) => Refusal::Integrity,
                    _ => Refusal::Failed,
                };
                Err(Failure::new(refusal, "the agent could not read its index"))
            }
            Err(error) => {
                tracing::error!(%error, "answering panicked");
                Err(internal())
            }
        }
    }
}

fn cancelled() -> Failure {
    Failure::new(Refusal::Cancelled, "the call was cancelled")
}

fn internal() -> Failure {
    Failure::new(Refusal::Internal, "the agent failed inside")
}
