//! The end of a stream that sends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use futures::AsyncWriteExt as _;
use klp::blob::Message;
use klp::{NodeId, Refusal};
use libp2p::Stream;

use super::behaviour::{Came, Opened};
use super::shelf::{Offer, Shelf, Slot};
use super::{hear, in_time};

/// How long a refused stream may take to hear why.
const BYE: Duration = Duration::from_secs(2);
const NO_QUESTION: &str = "this is no question for a blob";
const TOO_MANY: &str = "too many blobs are fetched at once";

/// Bytes of one offer that go out.
struct Passage {
    offer: Offer,
    at: u64,
    end: u64,
    _slot: Slot,
}

/// Answers one stream. `circuit` is what its relay lets through in all, if it leads through one that counts.
pub(crate) async fn serve(shelf: Arc<Shelf>, peer: NodeId, came: Came, circuit: Option<u64>) {
    let Came { opened: Opened { mut stream, carried }, permit } = came;
    let granted = match permit {
        Some(permit) => {
            let heard = hear(&mut stream, shelf.stall).await;
            drop(permit);
            heard.map_err(|refusal| (refusal, NO_QUESTION)).and_then(|message| grant(&shelf, peer, &message))
        }
        None => Err((Refusal::Busy, TOO_MANY)),
    };
    let fits = |passage: Passage| {
        let (bytes, most) = (passage.end - passage.at, circuit.map_or(u64::MAX, |bytes| bytes / 2));
        let all = |carried: u64| carried.checked_add(bytes).filter(|all| *all <= most);
        let counted = carried.fetch_update(Ordering::Relaxed, Ordering::Relaxed, all);
        counted.map(|_| passage).map_err(|_| (Refusal::TooLarge, "the relay in between does not carry as much"))
    };
    let sent = match granted.and_then(fits) {
        Ok(passage) => send(&shelf, &mut stream, passage).await,
        Err((refusal, message)) => {
            let message = Message::Refused(refusal, message.to_owned()).encode();
            let _told = in_time(BYE, async {
                stream.write_all(&message).await?;
                stream.close().await
            })
            .await;
            Err(refusal)
        }
    };
    if let Err(refusal) = sent {
        tracing::debug!(%peer, %refusal, "a blob stream is refused or broken off");
        shelf.metrics.blob_refused(refusal);
    }
}

/// What the peer may have of what it asks.
fn grant(shelf: &Arc<Shelf>, peer: NodeId, message: &Message) -> Result<Passage, (Refusal, &'static str)> {
    let Message::Ask { digest, offset, most } = *message else {
        return Err((Refusal::Malformed, NO_QUESTION));
    };
    let offer = shelf.find(peer, digest).ok_or((Refusal::NotFound, "nothing of this digest is offered to you"))?;
    let slot = shelf.slot(peer).ok_or((Refusal::Busy, TOO_MANY))?;
    let left = offer.total.checked_sub(offset).ok_or((Refusal::Invalid, "the blob is shorter than this offset"))?;
    Ok(Passage { offer, at: offset, end: offset + left.min(most), _slot: slot })
}

/// Sends the bytes; the next piece is read while one goes out. A stream that ends before its last byte is reset.
async fn send(shelf: &Shelf, stream: &mut Stream, passage: Passage) -> Result<(), Refusal> {
    let Passage { offer, mut at, end, _slot } = passage;
    write(stream, &Message::Total(offer.total).encode(), shelf.stall).await?;
    let mut spare = BytesMut::new();
    let mut piece = offer.source.piece(at, end, BytesMut::new()).await.map_err(failed)?;
    while !piece.is_empty() {
        if !shelf.holds(&offer) {
            return Err(Refusal::NotFound);
        }
        let bytes = piece.len() as u64;
        at += bytes;
        let (sent, next) = tokio::join!(write(stream, &piece, shelf.stall), offer.source.piece(at, end, spare));
        sent?;
        shelf.metrics.blob_out.inc_by(bytes);
        // Bytes of the offer itself are shared and stay as they are.
        spare = piece.try_into_mut().unwrap_or_default();
        piece = next.map_err(failed)?;
    }
    in_time(shelf.stall, stream.close()).await
}

fn failed(error: io::Error) -> Refusal {
    tracing::warn!(%error, "an offered blob cannot be read");
    Refusal::Failed
}

/// Writes all of it, as long as something moves.
async fn write(stream: &mut Stream, mut bytes: &[u8], stall: Duration) -> Result<(), Refusal> {
    while !bytes.is_empty() {
        let count = in_time(stall, stream.write(bytes)).await?;
        if count == 0 {
            return Err(Refusal::Unreachable);
        }
        bytes = &bytes[count..];
    }
    Ok(())
}
