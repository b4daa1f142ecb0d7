//! The end of a stream that reads.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::{fmt, io};

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use klp::blob::{Held, Message};
use klp::{Digest, Refusal, limits};
use libp2p::Stream;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::behaviour::Opened;
use super::shelf::Shelf;
use super::{hear, in_time};
use crate::answer::Refused;

/// A blob on its way. Its bytes come as they are read, so a slow reader slows the sender down; they are proven only at the end. Dropping
/// it ends the stream.
pub struct Fetch {
    shelf: Arc<Shelf>,
    stream: Stream,
    digest: Digest,
    held: Held,
    total: u64,
    left: u64,
    _one_of_few: OwnedSemaphorePermit,
}

impl Fetch {
    /// Asks on the stream that will come, and hears how long the blob is.
    pub(crate) async fn ask(
        shelf: Arc<Shelf>,
        permit: OwnedSemaphorePermit,
        stream: oneshot::Receiver<Opened>,
        digest: Digest,
        held: Held,
        most: u64,
    ) -> Result<Self, Refused> {
        let opened = in_time(shelf.stall, async { stream.await.map_err(io::Error::other) }).await;
        let no_stream = |refusal| Refused::new(refusal, "no stream to it could be opened");
        let Opened { mut stream, carried } = opened.map_err(no_stream)?;
        let ask = Message::Ask { digest, offset: held.length(), most }.encode();
        let asked = in_time(shelf.stall, async {
            stream.write_all(&ask).await?;
            stream.flush().await
        });
        let heard = match asked.await {
            Ok(()) => hear(&mut stream, shelf.stall).await,
            Err(refusal) => Err(refusal),
        };
        let total = match heard {
            Ok(Message::Total(total)) if total > limits::BLOB => Err(Refusal::TooLarge),
            Ok(Message::Total(total)) if total >= held.length() => Ok(total),
            Ok(Message::Refused(refusal, message)) => return Err(Refused::new(refusal, message)),
            Ok(_) => Err(Refusal::Malformed),
            Err(refusal) => Err(refusal),
        };
        let total = total.map_err(|refusal| {
            shelf.metrics.blob_refused(refusal);
            Refused::new(refusal, "the other side did not answer as /kos/blob/1 says")
        })?;
        let left = (total - held.length()).min(most);
        carried.fetch_add(left, Ordering::Relaxed);
        Ok(Self { shelf, stream, digest, held, total, left, _one_of_few: permit })
    }

    /// Bytes of the whole blob, as the other side says.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Reads the next bytes, which prove nothing yet, and says how many; 0 when all that was asked for has come. When that reaches the end
    /// of the blob, 0 says too that the whole of it has the digest. Nothing is lost when this is dropped half-way. A buffer of 64 KiB is
    /// filled by one call when the sender is fast.
    ///
    /// # Errors
    /// `signature` when the whole has another digest: nothing of it holds, also not what was held before. `stalled` when nothing came for
    /// 30 seconds and `unreachable` when the stream broke: [`Fetch::into_held`] says where another fetch goes on.
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Refused> {
        if self.left == 0 {
            return match self.held.length() < self.total || self.is_proven() {
                true => Ok(0),
                false => Err(self.refused(Refusal::Signature, "these are not the bytes of this digest")),
            };
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = in_time(self.shelf.stall, self.stream.read(&mut buffer[..most])).await;
        match read {
            Ok(0) if most > 0 => Err(self.refused(Refusal::Unreachable, "the stream ended before the last byte")),
            Ok(count) => {
                self.held.add(&buffer[..count]);
                self.left -= count as u64;
                self.shelf.metrics.blob_in.inc_by(count as u64);
                Ok(count)
            }
            Err(refusal) => Err(self.refused(refusal, "the stream broke before the last byte")),
        }
    }

    /// Whether all of the blob is here and has the digest.
    pub fn is_proven(&self) -> bool {
        self.held.length() == self.total && self.held.digest() == self.digest
    }

    /// What has come so far, together with what was held before: a later fetch goes on from there.
    pub fn into_held(self) -> Held {
        self.held
    }

    fn refused(&self, refusal: Refusal, message: &str) -> Refused {
        self.shelf.metrics.blob_refused(refusal);
        Refused::new(refusal, message)
    }
}

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fetch({:?}, {} of {} bytes)", self.digest, self.held.length(), self.total)
    }
}
