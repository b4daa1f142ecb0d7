//! A connection that is closed when it is dropped: the tasks behind it would go on by themselves, and the other side would never hear of the end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use libp2p::core::Transport as _;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent, StreamMuxerExt as _};
use libp2p_webrtc::tokio::{Connection, Transport};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::Sleep;

use super::io_error;
use super::paced::Paced;

/// How long closing may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a listener lets the dialler speak first.
const COURTESY: Duration = Duration::from_secs(1);

/// A socket to dial from. It is there until it is dropped.
pub(super) struct Socket(AbortHandle);

impl Socket {
    /// The one of a transport that has been told to listen, so that it has one. Must be made in a runtime.
    pub(super) fn new(mut transport: Transport) -> Self {
        // Nobody has been told of it: what comes there from others is let go.
        let run = std::future::poll_fn(move |context| {
            while let Poll::Ready(_let_go) = Pin::new(&mut transport).poll(context) {}
            Poll::<()>::Pending
        });
        Self(tokio::spawn(run).abort_handle())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Such a connection.
pub(crate) struct Leaving {
    connection: Option<Connection>,
    socket: Option<Socket>,
    /// A dialler loses the streams that come before it has made ready for them, and has done so once it opens one itself.
    courtesy: Option<Pin<Box<Sleep>>>,
}

impl Leaving {
    /// Made by us, from this socket.
    pub(super) fn dialled(connection: Connection, socket: Socket) -> Self {
        Self { connection: Some(connection), socket: Some(socket), courtesy: None }
    }

    /// Made by somebody else.
    pub(super) fn came(connection: Connection) -> Self {
        let courtesy = Box::pin(tokio::time::sleep(COURTESY));
        Self { connection: Some(connection), socket: None, courtesy: Some(courtesy) }
    }

    fn inner(&mut self) -> io::Result<&mut Connection> {
        self.connection.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if let (Some(mut connection), Ok(runtime)) = (self.connection.take(), Handle::try_current()) {
            let socket = self.socket.take();
            runtime.spawn(async move {
                let close = std::future::poll_fn(|context| connection.poll_close_unpin(context));
                let _closed = tokio::time::timeout(PATIENCE, close).await;
                drop(socket);
            });
        }
    }
}

impl StreamMuxer for Leaving {
    type Substream = Paced;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<Paced>> {
        let came = self.inner()?.poll_inbound_unpin(context).map_ok(Paced::new).map_err(io_error);
        if came.is_ready() {
            self.courtesy = None;
        }
        came
    }

    fn poll_outbound(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<Paced>> {
        if let Some(courtesy) = &mut self.courtesy {
            std::task::ready!(courtesy.poll_unpin(context));
            self.courtesy = None;
        }
        self.inner()?.poll_outbound_unpin(context).map_ok(Paced::new).map_err(io_error)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(Ok(())) };
        let closed = connection.poll_close_unpin(context).map_err(io_error);
        if closed.is_ready() {
            self.connection = None;
        }
        closed
    }

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        self.inner()?.poll_unpin(context).map_err(io_error)
    }
}
