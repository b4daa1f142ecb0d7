//! One leg of a carried answer: from the next node on the way, and over when that node is gone.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use klp::{NodeId, Refusal};
use mesh::{Mesh, Refused, State};

/// How long the next node may be without a connection. Its session would wait half a minute for it to come back, which is too long for
/// somebody who waits behind others; one that only goes on over another connection is sooner there.
const AWAY: Duration = Duration::from_secs(3);

/// An answer that comes from the next node on the way. Dropping it cancels the request there.
pub(crate) struct Leg {
    answer: mesh::Answer,
    gone: BoxFuture<'static, ()>,
    is_over: bool,
    from: String,
}

impl fmt::Debug for Leg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leg").field("from", &self.from).field("is_over", &self.is_over).finish_non_exhaustive()
    }
}

impl Leg {
    /// Of a request that was just sent to `node`, whom people know as `from`.
    pub(crate) fn new(mesh: &Mesh, node: NodeId, from: String, answer: mesh::Answer) -> Self {
        Self { answer, gone: gone(mesh.clone(), node).boxed(), is_over: false, from }
    }

    /// The next piece, or `None` when there is the end, or nobody to wait for.
    pub(crate) async fn chunk(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        tokio::select! {
            biased;
            piece = self.answer.chunk() => piece,
            () = &mut self.gone => {
                self.is_over = true;
                None
            }
        }
    }

    /// The end.
    ///
    /// # Errors
    /// [`Refused`]: by that node, or `unknown_outcome` when it is gone.
    pub(crate) async fn finish(self) -> Result<Bytes, Refused> {
        let Self { answer, mut gone, is_over, from } = self;
        if !is_over {
            tokio::select! {
                biased;
                end = answer.finish() => return end,
                () = &mut gone => {}
            }
        }
        let message = format!("{from} carried it and is gone: it is not known whether it was done");
        Err(Refused { refusal: Refusal::UnknownOutcome, message })
    }
}

/// Waits until a node has had no connection for a while.
async fn gone(mesh: Mesh, node: NodeId) {
    let is_there = |state: &State| state.peers.get(&node).is_some_and(|peer| !peer.paths.is_empty());
    let mut state = mesh.state();
    loop {
        if state.wait_for(|state| !is_there(state)).await.is_err() {
            return;
        }
        let back = tokio::time::timeout(AWAY, state.wait_for(is_there)).await;
        if !matches!(back, Ok(Ok(_))) {
            return;
        }
    }
}
