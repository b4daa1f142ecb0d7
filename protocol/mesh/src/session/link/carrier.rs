//! What carries a session, and how long it has been still.

use std::time::Duration;

use libp2p::swarm::ConnectionId;

use super::Link;

impl Link {
    /// Whether its stream goes through a relay.
    pub(crate) fn is_relayed(&self) -> bool {
        let state = self.lock();
        state.relayed && !state.session.is_detached() && !state.session.is_closed()
    }

    /// The connection that carries it, and for how long nothing was heard on it while a question of ours waits.
    pub(crate) fn waits(&self) -> Option<(ConnectionId, Duration)> {
        let now = self.now();
        let state = self.lock();
        let waits = state.calls.values().any(|call| call.end.is_none());
        let connection = state.connection.filter(|_| waits && !state.session.is_detached())?;
        Some((connection, now.saturating_sub(state.heard.max(state.asked))))
    }

    pub(crate) fn is_detached(&self) -> bool {
        self.lock().session.is_detached()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.lock().session.is_idle()
    }

    /// The connection that carries it.
    pub(crate) fn carrier(&self) -> Option<ConnectionId> {
        let state = self.lock();
        state.connection.filter(|_| !state.session.is_detached())
    }

    /// The connection is dead, though it does not say so: the session goes on over another one.
    pub(crate) fn sever(&self, connection: ConnectionId) {
        let mut state = self.lock();
        if state.connection == Some(connection) {
            state.severed = true;
            drop(state);
            self.wake.notify_one();
        }
    }

    /// The peer has asked what nobody who keeps to the protocol asks. The task holds it against the peer when it looks next.
    pub(crate) fn blame(&self) {
        let mut state = self.lock();
        state.offences = state.offences.saturating_add(1);
    }

    /// Of a session that the peer has begun: how long nothing was heard on it, when nothing is under way either.
    pub(crate) fn rests(&self) -> Option<Duration> {
        let now = self.now();
        let state = self.lock();
        let rests = !self.ours && state.session.is_idle() && !state.session.is_closed();
        rests.then(|| now.saturating_sub(state.heard))
    }
}
