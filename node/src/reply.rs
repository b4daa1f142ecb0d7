//! What is owed to whoever asked: over the session that it came by, or sealed and carried by others.

use bytes::Bytes;
use klp::codec;
use klp::forward::{End, Forwarded, Writer};
use klp::{Cbor as _, NodeId, Refusal, limits};
use mesh::Ended;

/// A reply that is owed. Dropping it refuses `failed`.
#[derive(Debug)]
pub struct Reply {
    session: mesh::Reply,
    sealed: Option<Sealed>,
}

/// The other end has no session with this node.
#[derive(Debug)]
struct Sealed {
    writer: Writer,
    path: Vec<NodeId>,
}

impl From<mesh::Reply> for Reply {
    fn from(session: mesh::Reply) -> Self {
        Self { session, sealed: None }
    }
}

impl Reply {
    /// Through whoever asked on this session, for whom `writer` seals; `path` are the nodes that have carried the question.
    pub(crate) fn sealed(self, writer: Writer, path: Vec<NodeId>) -> Self {
        Self { session: self.session, sealed: Some(Sealed { writer, path }) }
    }

    /// Sends a piece of the answer, waiting while the reader has much unread.
    ///
    /// # Errors
    /// [`Ended`] when nobody waits for it any more.
    pub async fn chunk(&mut self, bytes: Bytes) -> Result<(), Ended> {
        let Some(sealed) = &mut self.sealed else { return self.session.chunk(bytes).await };
        for piece in bytes.chunks(Writer::PIECE) {
            let piece = sealed.writer.chunk(piece).map_err(|_| Ended)?;
            self.session.chunk(Bytes::from(piece)).await?;
        }
        Ok(())
    }

    /// The final answer, at most 1 MiB, or somewhat less when it is carried; more is refused `too_large` to the asker.
    pub fn finish(self, body: Bytes) {
        if self.sealed.is_none() {
            self.session.finish(body);
        } else if body.len() > limits::ERRAND {
            self.refuse(Refusal::TooLarge, "the answer is too large to be carried");
        } else {
            self.end(Some(codec::Bytes(body.to_vec())), None, "");
        }
    }

    /// No answer, but a reason; `message` is cut after 512 bytes.
    pub fn refuse(self, refusal: Refusal, message: &str) {
        if self.sealed.is_none() {
            self.session.refuse(refusal, message);
        } else {
            self.end(None, Some(refusal.number().into()), message);
        }
    }

    /// The same for what whoever asked has carried for somebody else and could not read.
    pub(crate) fn refuse_carried(self, refusal: Refusal) {
        self.session.refuse_carried(refusal, refusal.message());
    }

    fn end(self, answer: Option<codec::Bytes>, refusal: Option<u64>, message: &str) {
        let Some(Sealed { writer, path }) = self.sealed else { return };
        let cut = message.floor_char_boundary(limits::TEXT);
        let end = End { answer, refusal, message: message[..cut].to_owned(), path };
        match writer.end(&end) {
            Ok(sealed) => {
                let forwarded = Forwarded { end: Some(codec::Bytes(sealed)), key: None };
                self.session.finish(Bytes::from(forwarded.to_bytes()));
            }
            Err(error) => self.session.refuse(Refusal::Failed, &error.to_string()),
        }
    }

    /// Resolves when nobody waits for the answer any more.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static {
        self.session.cancelled()
    }

    /// Whether nobody waits for the answer any more.
    pub fn is_cancelled(&self) -> bool {
        self.session.is_cancelled()
    }

    /// Whether it goes over the session that the question came by.
    pub(crate) fn is_direct(&self) -> bool {
        self.sealed.is_none()
    }
}
