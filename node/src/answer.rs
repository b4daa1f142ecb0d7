//! An answer on its way to this node: over a session, or in sealed pieces that others carry.

use bytes::Bytes;
use klp::forward::{End, Exchange, Forwarded, Reader};
use klp::{Cbor as _, Refusal, Signed, limits};
use mesh::Refused;

use crate::leg::Leg;
use crate::ways::Found;

/// An answer on its way. Dropping it cancels the request on the other side.
#[derive(Debug)]
pub(crate) struct Answer(Inner);

#[derive(Debug)]
enum Inner {
    Session(mesh::Answer),
    Carried(Box<Carried>),
    Over(Result<Bytes, Refused>),
}

/// Sealed pieces, and whom to tell by how many hops they came.
#[derive(Debug)]
struct Carried {
    first: Option<Bytes>,
    answer: Leg,
    reader: Reader,
    found: Found,
}

/// How a carried answer begins.
pub(crate) enum Begun {
    /// With an answer, or a refusal of whoever was asked.
    Answer(Answer),
    /// The question was sealed to no key of that node's; this is the one to seal to.
    Key(Signed<Exchange>),
    /// Whoever carries it says no.
    Refused(Refused),
}

impl From<mesh::Answer> for Answer {
    fn from(answer: mesh::Answer) -> Self {
        Self(Inner::Session(answer))
    }
}

impl Answer {
    /// Waits for the first piece of a carried answer. Without a reader there is none: the question was for a key.
    pub(crate) async fn begin(mut answer: Leg, reader: Option<Reader>, found: Found) -> Begun {
        let piece = answer.chunk().await;
        let over = |result| Begun::Answer(Self(Inner::Over(result)));
        let Some(mut reader) = reader else {
            return match answer.finish().await.map(|body| Forwarded::from_bytes(&body, limits::MESSAGE)) {
                Ok(Ok(Forwarded { end: None, key: Some(key) })) => Begun::Key(key),
                Ok(_) => over(Err(tampered())),
                Err(refused) => Begun::Refused(refused),
            };
        };
        if let Some(piece) = piece {
            return match reader.chunk(&piece) {
                Ok(first) => {
                    let carried = Carried { first: Some(first.into()), answer, reader, found };
                    Begun::Answer(Self(Inner::Carried(Box::new(carried))))
                }
                Err(_) => over(Err(tampered())),
            };
        }
        match answer.finish().await.map(|body| Forwarded::from_bytes(&body, limits::MESSAGE)) {
            Ok(Ok(Forwarded { end: None, key: Some(key) })) => Begun::Key(key),
            Ok(Ok(Forwarded { end: Some(end), key: None })) => over(ended(reader, &end.0, found)),
            Ok(_) => over(Err(tampered())),
            Err(refused) => Begun::Refused(refused),
        }
    }

    /// The next chunk, or `None` when the final answer is there. Reading gives the other side room to send more.
    pub(crate) async fn chunk(&mut self) -> Option<Bytes> {
        match &mut self.0 {
            Inner::Session(answer) => answer.chunk().await,
            Inner::Over(_) => None,
            Inner::Carried(carried) => {
                if let Some(first) = carried.first.take() {
                    return Some(first);
                }
                let piece = carried.answer.chunk().await?;
                if let Ok(chunk) = carried.reader.chunk(&piece) {
                    return Some(chunk.into());
                }
                self.0 = Inner::Over(Err(tampered()));
                None
            }
        }
    }

    /// The final answer; chunks that were not read are passed over.
    ///
    /// # Errors
    /// [`Refused`]: by the other side, by who carries it, or here; `tampered` when it did not come as it was sent.
    pub(crate) async fn finish(mut self) -> Result<Bytes, Refused> {
        while self.chunk().await.is_some() {}
        match self.0 {
            Inner::Session(answer) => answer.finish().await,
            Inner::Over(result) => result,
            Inner::Carried(carried) => {
                let Carried { answer, reader, found, .. } = *carried;
                match Forwarded::from_bytes(&answer.finish().await?, limits::MESSAGE) {
                    Ok(Forwarded { end: Some(end), key: None }) => ended(reader, &end.0, found),
                    _ => Err(tampered()),
                }
            }
        }
    }

    /// Whether others have carried it.
    pub(crate) fn is_carried(&self) -> bool {
        !matches!(self.0, Inner::Session(_))
    }
}

/// What the last piece says.
fn ended(reader: Reader, piece: &[u8], found: Found) -> Result<Bytes, Refused> {
    let End { answer, refusal, message, path } = reader.end(piece).map_err(|_| tampered())?;
    found.by(path.len());
    match (answer, refusal) {
        (Some(answer), _) => Ok(answer.0.into()),
        (None, number) => {
            let number = number.and_then(|number| u16::try_from(number).ok()).unwrap_or_default();
            Err(Refused { refusal: Refusal::from_number(number), message })
        }
    }
}

fn tampered() -> Refused {
    Refused { refusal: Refusal::Tampered, message: String::new() }
}
