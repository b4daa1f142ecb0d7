//! The two ends of a request: the answer that is waited for, and the reply that is owed.

use std::future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use klp::{NodeId, Refusal, limits};
use tokio::time::Instant;

use crate::session::{Job, Link, Took};

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{refusal}: {}", if message.is_empty() { refusal.message() } else { message })]
pub struct Refused {
    /// The reason that every face of kOS shows alike.
    pub refusal: Refusal,
    /// More about it, for people; may be empty.
    pub message: String,
}

impl Refused {
    /// With words of its own.
    pub fn new(refusal: Refusal, message: impl Into<String>) -> Self {
        Self { refusal, message: message.into() }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal, refusal.message())
    }
}

/// The request has ended: it was cancelled, or the session is over. Stop working on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody waits for this answer any more")]
pub struct Ended;

/// An answer on its way: chunks, then the final response or a refusal. Dropping it cancels the request on the other side.
#[derive(Debug)]
pub struct Answer(Inner);

#[derive(Debug)]
enum Inner {
    Ended(Option<Result<Bytes, Refused>>),
    Waiting { link: Arc<Link>, id: u64, until: Instant },
}

impl Answer {
    pub(crate) fn waiting(link: Arc<Link>, id: u64, timeout: Duration) -> Self {
        Self(Inner::Waiting { link, id, until: Instant::now() + timeout })
    }

    pub(crate) fn refused(refused: Refused) -> Self {
        Self(Inner::Ended(Some(Err(refused))))
    }

    /// The next chunk, at most 64 KiB, or `None` when the final answer is there. Reading gives the other side room to send more.
    pub async fn chunk(&mut self) -> Option<Bytes> {
        let Inner::Waiting { link, id, until } = &self.0 else { return None };
        let took = future::poll_fn(|context| link.poll_take(*id, context));
        let end = match tokio::time::timeout_at(*until, took).await {
            Ok(Took::Chunk(chunk)) => return Some(chunk),
            Ok(Took::End(end)) => end,
            Err(_) => {
                link.cancel(*id);
                Err(Refused::new(Refusal::Timeout, ""))
            }
        };
        self.0 = Inner::Ended(Some(end));
        None
    }

    /// The final answer; chunks that were not read are passed over.
    ///
    /// # Errors
    /// [`Refused`]: by the other side, or here with `timeout`, `unreachable`, `busy` or `unknown_outcome`.
    pub async fn finish(mut self) -> Result<Bytes, Refused> {
        while self.chunk().await.is_some() {}
        match &mut self.0 {
            Inner::Ended(end) => end.take().unwrap_or_else(|| Err(Refused::new(Refusal::Cancelled, ""))),
            Inner::Waiting { .. } => Err(Refused::new(Refusal::Cancelled, "")),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Inner::Waiting { link, id, .. } = &self.0 {
            link.cancel(*id);
        }
    }
}

/// What is owed to a peer that asked. Dropping it refuses `failed`.
#[derive(Debug)]
pub struct Reply {
    link: Arc<Link>,
    id: u64,
    job: Arc<Job>,
    answered: bool,
}

impl Reply {
    pub(crate) fn new(link: Arc<Link>, id: u64, job: Arc<Job>) -> Self {
        Self { link, id, job, answered: false }
    }

    /// Who asked.
    pub fn peer(&self) -> NodeId {
        self.link.peer
    }

    /// Sends a piece of the answer, waiting while the reader has 256 KiB unread. More than 64 KiB arrives as several chunks.
    ///
    /// # Errors
    /// [`Ended`] when nobody waits for it any more.
    pub async fn chunk(&self, mut bytes: Bytes) -> Result<(), Ended> {
        while !bytes.is_empty() {
            let mut part = bytes.split_to(bytes.len().min(limits::FRAME));
            while let Some(back) = self.link.chunk(self.id, &self.job, part)? {
                part = back;
                tokio::select! {
                    () = self.job.room.notified() => {}
                    () = self.job.ended.cancelled() => return Err(Ended),
                }
            }
        }
        Ok(())
    }

    /// The final answer, at most 1 MiB; more is refused `too_large` to the asker.
    pub fn finish(mut self, body: Bytes) {
        self.answered = true;
        self.link.respond(self.id, &self.job, body);
    }

    /// No answer, but a reason; `message` is cut after 512 bytes. An [offence](Refusal::OFFENCES) is held against the peer.
    pub fn refuse(self, refusal: Refusal, message: &str) {
        if Refusal::OFFENCES.contains(&refusal) {
            self.link.blame();
        }
        self.refuse_carried(refusal, message);
    }

    /// The same for a question that the peer has carried for somebody else, sealed, so that it cannot know what is wrong with it.
    pub fn refuse_carried(mut self, refusal: Refusal, message: &str) {
        self.answered = true;
        self.link.refuse(self.id, &self.job, refusal, message);
    }

    /// Resolves when nobody waits for the answer any more.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static {
        self.job.ended.clone().cancelled_owned()
    }

    /// Whether nobody waits for the answer any more.
    pub fn is_cancelled(&self) -> bool {
        self.job.ended.is_cancelled()
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.answered {
            self.link.refuse(self.id, &self.job, Refusal::Failed, "the work ended without an answer");
        }
    }
}
