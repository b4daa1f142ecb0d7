//! A connection that moves its bytes in a task of its own.
//!
//! A swarm looks through all protocols of a connection whenever its multiplexer is woken, and a multiplexer that moves bytes in the swarm's task is woken
//! by every packet. Here the swarm hears of new streams and of the end, and of nothing else.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent, StreamMuxerExt as _};
use tokio::task::AbortHandle;

/// Streams that the peer has opened and the swarm has not taken yet; beyond them the multiplexer's own limit holds.
const COME: usize = 16;

/// The swarm's side of a connection. Dropping it drops the connection.
pub(crate) struct Driven<S> {
    shared: Arc<Mutex<Shared<S>>>,
    task: AbortHandle,
}

impl<S> Drop for Driven<S> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the two sides tell each other.
struct Shared<S> {
    come: VecDeque<S>,
    opened: Option<S>,
    wants: bool,
    closing: bool,
    /// Why it has ended, or nothing when it was closed.
    end: Option<Option<io::Error>>,
    swarm: Option<Waker>,
    task: Option<Waker>,
}

impl<S: Send + 'static> Driven<S> {
    /// Drives a multiplexer from now on. Must be called in a runtime.
    pub(crate) fn new<M>(muxer: M) -> Self
    where
        M: StreamMuxer<Substream = S> + Unpin + Send + 'static,
        M::Error: Send + Sync + 'static,
    {
        let shared = Shared {
            come: VecDeque::new(),
            opened: None,
            wants: false,
            closing: false,
            end: None,
            swarm: None,
            task: None,
        };
        let shared = Arc::new(Mutex::new(shared));
        let task = Task { muxer, shared: shared.clone() };
        Self { shared, task: tokio::spawn(task).abort_handle() }
    }
}

impl<S> Driven<S> {
    /// What the task has brought; without it the swarm waits, and the task hears what it waits for.
    fn poll_shared<T>(
        &self,
        context: &Context<'_>,
        take: impl FnOnce(&mut Shared<S>) -> Option<T>,
        tell: impl FnOnce(&mut Shared<S>) -> bool,
    ) -> Poll<io::Result<T>> {
        let mut shared = lock(&self.shared);
        if let Some(taken) = take(&mut shared) {
            return Poll::Ready(Ok(taken));
        }
        if let Some(end) = &mut shared.end {
            let error = end.take().unwrap_or_else(|| io::ErrorKind::ConnectionAborted.into());
            return Poll::Ready(Err(error));
        }
        shared.swarm.get_or_insert_with(|| context.waker().clone()).clone_from(context.waker());
        let told = if tell(&mut shared) { shared.task.take() } else { None };
        drop(shared);
        if let Some(task) = told {
            task.wake();
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite> StreamMuxer for Driven<S> {
    type Substream = S;
    type Error = io::Error;

    fn poll_inbound(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<S>> {
        let take = |shared: &mut Shared<S>| {
            let was_full = shared.come.len() >= COME;
            let stream = shared.come.pop_front()?;
            if was_full && let Some(task) = shared.task.take() {
                task.wake();
            }
            Some(stream)
        };
        self.poll_shared(context, take, |_| false)
    }

    fn poll_outbound(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<S>> {
        self.poll_shared(context, |shared| shared.opened.take(), |shared| !std::mem::replace(&mut shared.wants, true))
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = self.poll_shared(
            context,
            |shared| matches!(shared.end, Some(None)).then_some(()),
            |shared| !std::mem::replace(&mut shared.closing, true),
        );
        // What broke before is closed.
        closed.map(|_| Ok(()))
    }

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        self.poll_shared(context, |_| None, |_| false)
    }
}

/// The other side: owns the multiplexer.
struct Task<M: StreamMuxer> {
    muxer: M,
    shared: Arc<Mutex<Shared<M::Substream>>>,
}

impl<M> Future for Task<M>
where
    M: StreamMuxer + Unpin,
    M::Error: Send + Sync + 'static,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { muxer, shared } = &mut *self;
        match poll_task(muxer, shared, context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(ended) => {
                let mut shared = lock(shared);
                shared.end = Some(ended.err());
                wake(shared);
                Poll::Ready(())
            }
        }
    }
}

/// Moves what can be moved; ready when the connection is closed or broken.
fn poll_task<M>(muxer: &mut M, shared: &Mutex<Shared<M::Substream>>, context: &mut Context<'_>) -> Poll<io::Result<()>>
where
    M: StreamMuxer + Unpin,
    M::Error: Send + Sync + 'static,
{
    loop {
        let (closing, wants, has_room) = {
            let mut shared = lock(shared);
            shared.task.get_or_insert_with(|| context.waker().clone()).clone_from(context.waker());
            (shared.closing, shared.wants, shared.come.len() < COME)
        };
        if closing {
            return muxer.poll_close_unpin(context).map_err(io::Error::other);
        }
        if wants && let Poll::Ready(stream) = muxer.poll_outbound_unpin(context).map_err(io::Error::other)? {
            let mut shared = lock(shared);
            shared.wants = false;
            shared.opened = Some(stream);
            wake(shared);
        }
        if !has_room {
            // It keeps what comes meanwhile, as much as it may.
            let _event = muxer.poll_unpin(context).map_err(io::Error::other)?;
            return Poll::Pending;
        }
        let Poll::Ready(stream) = muxer.poll_inbound_unpin(context).map_err(io::Error::other)? else {
            return Poll::Pending;
        };
        let mut shared = lock(shared);
        shared.come.push_back(stream);
        wake(shared);
    }
}

/// Wakes the swarm, without the lock that it will want.
fn wake<S>(mut shared: MutexGuard<'_, Shared<S>>) {
    let swarm = shared.swarm.take();
    drop(shared);
    if let Some(swarm) = swarm {
        swarm.wake();
    }
}

fn lock<S>(shared: &Mutex<Shared<S>>) -> MutexGuard<'_, Shared<S>> {
    // Nothing in here can be left half done.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
