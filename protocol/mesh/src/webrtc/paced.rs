//! A stream that sends one small message after the other.
//!
//! The crate reads messages of a data channel into 8 KiB and breaks the stream when one is longer, though it writes longer ones, and puts several into
//! one when the line is slow.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::StreamMuxer;
use libp2p_webrtc::tokio::Connection;

type Stream = <Connection as StreamMuxer>::Substream;

/// What one message carries: what the crate reads at once, less what is put around it and what ends a stream.
const MESSAGE: usize = 8 * 1024 - 64;

/// Such a stream.
pub(crate) struct Paced(Stream);

impl Paced {
    pub(super) fn new(stream: Stream) -> Self {
        Self(stream)
    }
}

impl AsyncRead for Paced {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Paced {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.0).poll_flush(context))?;
        Pin::new(&mut self.0).poll_write(context, &buffer[..buffer.len().min(MESSAGE)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(context)
    }
}
