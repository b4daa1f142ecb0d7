//! A stream that a peer has opened, until its Hello is heard.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use klp::frame::{Frame, Kind};
use klp::hello::Greeting;
use klp::{NodeId, Refusal, limits};
use libp2p::swarm::ConnectionId;
use tokio::sync::OwnedSemaphorePermit;

use super::link::Link;
use super::task::{Attached, From, Shared, run};
use super::wire::Wire;
use crate::path::Path;

/// How long a refused stream may take to hear why.
const BYE: Duration = Duration::from_secs(2);

/// Says why a stream is refused, counts it, and closes it.
pub(super) async fn bye(shared: &Shared, peer: NodeId, mut wire: Wire, refusal: Refusal, message: &str) {
    shared.turned_away(peer, refusal);
    wire.push(&Frame::refusal(Kind::Bye, 0, Some(refusal), message));
    wire.finish(BYE).await;
}

/// Hears the Hello of a stream and hands it to its session, or becomes the task of a new one.
pub(crate) async fn greet(
    shared: Arc<Shared>,
    peer: NodeId,
    connection: ConnectionId,
    path: Path,
    mut wire: Wire,
    permit: Option<OwnedSemaphorePermit>,
) {
    let heard = match permit {
        Some(permit) => hear(&shared, peer, &mut wire).await.map(|greeting| (greeting, permit)),
        None => Err(Refusal::Busy),
    };
    let (greeting, permit) = match heard {
        Ok(heard) => heard,
        Err(refusal) => {
            tracing::debug!(%peer, %refusal, "a stream is refused");
            return bye(&shared, peer, wire, refusal, "your Hello is refused").await;
        }
    };
    let id = greeting.session;
    let attached = Box::new(Attached { wire, connection, path, from: From::Peer(Box::new(greeting), permit) });
    let refused = if let Some(link) = shared.table.find(peer, id) {
        link.attach(attached)
    } else {
        let mut memory = [0; 8];
        if getrandom::fill(&mut memory).is_err() {
            return bye(&shared, peer, attached.wire, Refusal::Internal, "no entropy").await;
        }
        let (link, streams) = Link::new(peer, id, memory, false);
        if shared.table.insert(link.clone()) {
            // A new link has room for its first stream.
            let _attached = link.attach(attached);
            return run(link, streams, shared).await;
        }
        Err(attached)
    };
    if let Err(attached) = refused {
        bye(&shared, peer, attached.wire, Refusal::Busy, "too many sessions, or streams of one, at once").await;
    }
}

async fn hear(shared: &Shared, peer: NodeId, wire: &mut Wire) -> Result<Greeting, Refusal> {
    let first = tokio::time::timeout(limits::HELLO_WAIT, first_frame(wire)).await;
    let hello = first.map_err(|_| Refusal::Timeout)??;
    shared.check(&hello, peer, None)
}

async fn first_frame(wire: &mut Wire) -> Result<Bytes, Refusal> {
    loop {
        match wire.frame()? {
            Some(Frame { kind: Kind::Hello, body, .. }) => return Ok(body),
            Some(_) => return Err(Refusal::Malformed),
            None => {}
        }
        wire.step().await.map_err(|_| Refusal::Unreachable)?;
    }
}
