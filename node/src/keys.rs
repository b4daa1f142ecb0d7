//! The machine tier's keys, while the node runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use klp::sealed::{ExchangeKey, ExchangeSecret};
use klp::{Refusal, SecretKey, Timestamp};
use store::home::KeysError;
use store::{Home, Opener};

use crate::fault::Fault;

/// The open home folder, shared. Its lock is held for a lookup, or for one small durable write when an agent comes or goes.
#[derive(Clone)]
pub(crate) struct Keys(Arc<Mutex<Home>>);

impl Keys {
    /// Over an open home.
    pub(crate) fn new(home: Home) -> Self {
        Self(Arc::new(Mutex::new(home)))
    }

    fn home(&self) -> MutexGuard<'_, Home> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An agent's key.
    pub(crate) fn agent(&self, name: &str) -> Option<SecretKey> {
        self.home().keys().agent(name).cloned()
    }

    /// Makes a key for an agent, or gives the one that it has.
    ///
    /// # Errors
    /// `full`, `internal`
    pub(crate) fn add_agent(&self, name: &str) -> Result<SecretKey, Fault> {
        self.home().add_agent(name).map_err(fault)
    }

    /// Forgets an agent's key.
    ///
    /// # Errors
    /// `full`, `internal`
    pub(crate) fn remove_agent(&self, name: &str) -> Result<(), Fault> {
        self.home().remove_agent(name).map(drop).map_err(fault)
    }

    /// The public key to seal to, as it is published.
    pub(crate) fn exchange(&self) -> Option<ExchangeKey> {
        self.home().keys().exchange().map(|exchange| exchange.secret.public())
    }

    /// What opens that which is sealed to the key of this id; nothing, when that key is no more.
    pub(crate) fn exchange_of(&self, id: &[u8; 8]) -> Option<ExchangeSecret> {
        self.home().keys().exchange_of(id).cloned()
    }

    /// Makes a new exchange key when the present one is old.
    ///
    /// # Errors
    /// `full`, `internal`
    pub(crate) fn rotate_exchange(&self, now: Timestamp) -> Result<bool, Fault> {
        self.home().rotate_exchange(now).map_err(fault)
    }

    /// What opens a vault that is sealed to this machine.
    pub(crate) fn machine(&self) -> Option<Opener> {
        self.home().machine_secret().cloned().map(Opener::Machine)
    }
}

fn fault(error: KeysError) -> Fault {
    match error {
        KeysError::File(error) if error.is_full() => Refusal::Full.into(),
        other => Fault::internal(other),
    }
}
