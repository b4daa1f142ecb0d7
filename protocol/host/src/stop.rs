//! The wish to stop, for everyone in the process who waits for it.

use std::io;
use std::sync::Arc;

use tokio::sync::watch;

/// A wish that is made once and seen by all holders.
#[derive(Clone, Debug)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Stop {
    /// Nobody has wished yet.
    #[expect(clippy::new_without_default, reason = "a default that starts something shared would be read as a value")]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// SIGTERM and SIGINT make the wish; a second one ends the process at once with status 1. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the system does not let signals be heard.
    pub fn on_signals() -> io::Result<Self> {
        let stop = Self::new();
        let heard = stop.clone();
        let mut signals = Signals::open()?;
        tokio::spawn(async move {
            signals.next().await;
            tracing::info!("stopping; a second signal stops at once");
            heard.request();
            signals.next().await;
            std::process::exit(1);
        });
        Ok(stop)
    }

    /// Makes the wish.
    pub fn request(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was made.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is made.
    pub async fn requested(&self) {
        // It cannot fail: this very handle keeps the sender.
        let _ = self.0.subscribe().wait_for(|wish| *wish).await;
    }
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn open() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn open() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn everyone_sees_the_wish_also_late() {
        let stop = Stop::new();
        let waiting = tokio::spawn({
            let stop = stop.clone();
            async move { stop.requested().await }
        });
        assert!(!stop.is_requested());
        let soon = tokio::time::timeout(Duration::from_millis(20), stop.requested());
        assert!(soon.await.is_err(), "nobody has wished");
        stop.request();
        waiting.await.unwrap();
        stop.requested().await;
        assert!(stop.is_requested());
    }
}
