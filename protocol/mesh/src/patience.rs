//! A transport that gives up: an address that swallows packets must not hold a dial for minutes. What fails says how long it took.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use libp2p::Multiaddr;
use libp2p::core::Transport;
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};

/// How long one address may take, with all handshakes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A transport that gives up.
pub(crate) struct Patient<T>(pub(crate) T);

/// What went wrong, and how long it took.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub(crate) struct Failed {
    took: Duration,
    source: io::Error,
}

impl Failed {
    /// How long the attempt took that ended with this error.
    pub(crate) fn took(error: &io::Error) -> Option<Duration> {
        let mut inner = error.get_ref()?;
        loop {
            if let Some(failed) = inner.downcast_ref::<Self>() {
                return Some(failed.took);
            }
            inner = inner.downcast_ref::<io::Error>()?.get_ref()?;
        }
    }
}

impl<T> Transport for Patient<T>
where
    T: Transport<Error = io::Error> + Unpin,
    T::Dial: Send + 'static,
    T::Output: 'static,
{
    type Output = T::Output;
    type Error = io::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = BoxFuture<'static, io::Result<T::Output>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.0.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.0.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let dial = self.0.dial(address, options)?;
        Ok(async move {
            let begun = Instant::now();
            let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
            let dialled = tokio::time::timeout(PATIENCE, dial).await.unwrap_or_else(|_| Err(late()));
            dialled.map_err(|source| io::Error::new(source.kind(), Failed { took: begun.elapsed(), source }))
        }
        .boxed())
    }

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.0).poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c16_what_failed_says_how_long_it_took() {
        let took = Duration::from_secs(3);
        let source = io::Error::new(io::ErrorKind::ConnectionRefused, "refused");
        let failed = io::Error::new(source.kind(), Failed { took, source });
        assert_eq!(failed.to_string(), "refused");
        assert_eq!(Failed::took(&io::Error::other(failed)), Some(took));
        assert_eq!(Failed::took(&io::Error::other("another")), None);
    }
}
