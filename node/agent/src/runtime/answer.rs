//! The caller's end of a call.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::effect::{Failure, Output, Usage};

/// An answer as it comes in: a stream of [`Output`]s. Dropping it stops the work.
#[derive(Debug)]
pub struct Answer {
    outputs: mpsc::Receiver<Output>,
    stop: DropGuard,
}

impl Answer {
    pub(super) fn new(outputs: mpsc::Receiver<Output>, stop: CancellationToken) -> Self {
        Self { outputs, stop: stop.drop_guard() }
    }

    /// The next part; `None` after the last.
    pub async fn next(&mut self) -> Option<Output> {
        self.outputs.recv().await
    }

    /// Asks the work to stop; the answer then ends `cancelled`, behind what was already said.
    pub fn cancel(&self) {
        self.stop.token().cancel();
    }

    /// Everything at once, for callers that do not stream.
    ///
    /// # Errors
    /// The [`Failure`] with which the answer ended.
    pub async fn whole(mut self) -> Result<(String, Usage), Failure> {
        let mut text = String::new();
        while let Some(output) = self.next().await {
            match output {
                Output::Chunk(chunk) => text.push_str(&chunk),
                Output::Done(usage) => return Ok((text, usage)),
                Output::Failed { failure, .. } => return Err(failure),
            }
        }
        Err(Failure::new(klp::Refusal::Interrupted, "the work ended without a last word"))
    }
}

impl Stream for Answer {
    type Item = Output;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Output>> {
        self.outputs.poll_recv(context)
    }
}
