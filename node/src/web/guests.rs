//! Connections and what they have shown: one that has shown no token is a guest, and the first to go when there is no room.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a guest stays when others want its place: a client that has a token shows it with its first bytes.
const STAY: Duration = Duration::from_millis(100);

/// One connection, as its task, the gate and [`Guests`] see it.
#[derive(Clone)]
pub(super) struct Talk(Arc<State>);

struct State {
    is_known: AtomicBool,
    cut: CancellationToken,
}

impl Talk {
    /// A connection of this very user: the system says so.
    pub(super) fn of_user() -> Self {
        Self::new(true)
    }

    fn new(is_known: bool) -> Self {
        Self(Arc::new(State { is_known: AtomicBool::new(is_known), cut: CancellationToken::new() }))
    }

    /// It has shown the token, so it stays as long as it likes.
    pub(super) fn vouch(&self) {
        self.0.is_known.store(true, Ordering::Relaxed);
    }

    /// Resolves when its place is wanted by another.
    pub(super) async fn is_cut(&self) {
        self.0.cut.cancelled().await;
    }
}

/// The guests, the oldest first.
#[derive(Default)]
pub(super) struct Guests(VecDeque<(Weak<State>, Instant)>);

impl Guests {
    /// A connection of somebody who has shown nothing yet.
    pub(super) fn welcome(&mut self) -> Talk {
        let talk = Talk::new(false);
        self.0.push_back((Arc::downgrade(&talk.0), Instant::now()));
        talk
    }

    /// Forgets who has gone or is known, so that there are never more guests than connections.
    pub(super) fn look(&mut self) {
        let is_guest = |guest: &Weak<State>| {
            guest.upgrade().is_some_and(|talk| !talk.is_known.load(Ordering::Relaxed) && !talk.cut.is_cancelled())
        };
        self.0.retain(|(guest, _)| is_guest(guest));
    }

    /// Waits until the oldest guest has had its time, and cuts it; without guests it waits for ever.
    pub(super) async fn show_out(&mut self) {
        loop {
            self.look();
            let Some((guest, since)) = self.0.front().cloned() else { return std::future::pending().await };
            tokio::time::sleep_until(since + STAY).await;
            if let Some(talk) = guest.upgrade().filter(|talk| !talk.is_known.load(Ordering::Relaxed)) {
                return talk.cut.cancel();
            }
        }
    }
}
