//! `/kos/relay/1`: a node shows its relay that it knows the token. It writes a proof of 32 bytes, the relay answers with one byte: 0 when
//! the proof is right. Source: `specs/10-relay.md`.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{AsyncReadExt as _, AsyncWriteExt as _, FutureExt as _};
use libp2p::core::upgrade::{InboundUpgrade, ReadyUpgrade, UpgradeInfo};
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, SubstreamProtocol};
use libp2p::{PeerId, Stream, StreamProtocol};

use super::Doorway;

/// Only a relay that asks for a token speaks it.
pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/kos/relay/1");
/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(10);
/// Proofs that wait to be shown on one connection; one is enough.
const WAITING: usize = 2;

type Work = BoxFuture<'static, io::Result<Option<bool>>>;

/// What is listened for: the protocol, or nothing.
#[derive(Clone, Debug)]
pub(crate) struct Offer(bool);

impl UpgradeInfo for Offer {
    type Info = StreamProtocol;
    type InfoIter = std::option::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.then_some(PROTOCOL).into_iter()
    }
}

impl InboundUpgrade<Stream> for Offer {
    type Output = Stream;
    type Error = Infallible;
    type Future = Ready<Result<Stream, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, _: StreamProtocol) -> Self::Future {
        ready(Ok(stream))
    }
}

/// The protocol on one connection. Its event says whether the relay took our proof.
pub(crate) struct Pass {
    peer: PeerId,
    doorway: Arc<Doorway>,
    asks: bool,
    wanted: VecDeque<[u8; 32]>,
    events: VecDeque<bool>,
    work: Option<Work>,
}

impl Pass {
    pub(super) fn new(peer: PeerId, doorway: Arc<Doorway>) -> Self {
        let asks = doorway.asks_for_token();
        Self { peer, doorway, asks, wanted: VecDeque::new(), events: VecDeque::new(), work: None }
    }
}

async fn receive(mut stream: Stream, peer: PeerId, doorway: Arc<Doorway>) -> io::Result<Option<bool>> {
    let mut proof = [0; 32];
    stream.read_exact(&mut proof).await?;
    let right = doorway.show(peer, &proof);
    stream.write_all(&[u8::from(!right)]).await?;
    stream.close().await?;
    Ok(None)
}

async fn show(mut stream: Stream, proof: [u8; 32]) -> io::Result<Option<bool>> {
    stream.write_all(&proof).await?;
    stream.flush().await?;
    let mut answer = [0];
    stream.read_exact(&mut answer).await?;
    Ok(Some(answer == [0]))
}

fn patiently(work: impl Future<Output = io::Result<Option<bool>>> + Send + 'static) -> Work {
    async { tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) }.boxed()
}

impl ConnectionHandler for Pass {
    type FromBehaviour = [u8; 32];
    type ToBehaviour = bool;
    type InboundProtocol = Offer;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = [u8; 32];

    fn listen_protocol(&self) -> SubstreamProtocol<Offer> {
        SubstreamProtocol::new(Offer(self.asks), ())
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, [u8; 32], bool>> {
        if let Some(work) = &mut self.work
            && let Poll::Ready(done) = work.poll_unpin(context)
        {
            self.work = None;
            match done {
                Ok(answer) => self.events.extend(answer),
                Err(error) => {
                    tracing::debug!(peer = %self.peer, %error, "showing a token failed");
                    // Only who shows waits for an answer; for a relay this is the end of a stream like any other.
                    self.events.extend((!self.asks).then_some(false));
                }
            }
        }
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event));
        }
        if let Some(proof) = self.wanted.pop_front() {
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), proof);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, proof: [u8; 32]) {
        if self.wanted.len() < WAITING {
            self.wanted.push_back(proof);
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Offer, Self::OutboundProtocol, (), [u8; 32]>) {
        match event {
            // One at a time: a second stream ends here.
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: stream, .. })
                if self.work.is_none() =>
            {
                self.work = Some(patiently(receive(stream, self.peer, self.doorway.clone())));
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, info: proof })
                if self.work.is_none() =>
            {
                self.work = Some(patiently(show(stream, proof)));
            }
            ConnectionEvent::DialUpgradeError(_) => self.events.push_back(false),
            _ => {}
        }
    }
}
