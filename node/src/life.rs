//! How long others believe that this node is where it says.

use std::time::Duration;

use mesh::{Reach, State};
use tokio::sync::watch;

/// Of a node that nobody can dial from everywhere: when its relays or its network go, nobody looks for it in vain for longer.
const HIDDEN: Duration = Duration::from_secs(60);
/// How often such a node says again that it is there.
const HIDDEN_AGAIN: Duration = Duration::from_secs(20);

/// How long others believe that this node is where it says.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    longest: Duration,
    state: watch::Receiver<State>,
}

impl Life {
    /// At most this long, and less while nobody can dial us from everywhere.
    pub(crate) fn new(longest: Duration, state: watch::Receiver<State>) -> Self {
        Self { longest, state }
    }

    /// For what is said now.
    pub(crate) fn now(&self) -> Duration {
        if self.is_hidden() { self.longest.min(HIDDEN) } else { self.longest }
    }

    /// When it is said again.
    pub(crate) fn again(&self) -> Duration {
        if self.is_hidden() { (self.longest / 2).min(HIDDEN_AGAIN) } else { self.longest / 2 }
    }

    /// On one machine everybody is reached, or is gone.
    fn is_hidden(&self) -> bool {
        !matches!(self.state.borrow().reach, Reach::Public | Reach::Loopback)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d1_what_hangs_on_others_is_said_for_a_minute_at_a_time() {
        let (state, watched) = watch::channel(State::default());
        let hour = Life::new(Duration::from_secs(3600), watched.clone());
        for reach in [Reach::Unknown, Reach::Private, Reach::Relayed] {
            state.send_modify(|state| state.reach = reach);
            assert_eq!((hour.now(), hour.again()), (HIDDEN, HIDDEN_AGAIN), "{reach:?}");
        }
        let short = Life::new(Duration::from_secs(10), watched);
        assert_eq!((short.now(), short.again()), (Duration::from_secs(10), Duration::from_secs(5)));
        for reach in [Reach::Public, Reach::Loopback] {
            state.send_modify(|state| state.reach = reach);
            assert_eq!((hour.now(), hour.again()), (Duration::from_secs(3600), Duration::from_secs(1800)), "{reach:?}");
        }
    }
}
