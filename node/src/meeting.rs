//! Who wants to be met by a code now: for the directory, which says it in the DHT and looks around in the local network meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use klp::pairing::Mailbox;
use klp::{Digest, Timestamp};

/// The open codes of this node by mailbox, and how many codes of others are being looked for.
#[derive(Clone, Default)]
pub(crate) struct Meeting(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    open: BTreeMap<Mailbox, Timestamp>,
    joining: usize,
}

/// As long as this lives, the code of somebody else is being looked for.
pub(crate) struct Joining(Meeting);

impl Meeting {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A code is open until then.
    pub(crate) fn open(&self, mailbox: Mailbox, expires: Timestamp) {
        self.lock().open.insert(mailbox, expires);
    }

    /// A code has ended. Whether it was open.
    pub(crate) fn close(&self, mailbox: &Mailbox) -> bool {
        self.lock().open.remove(mailbox).is_some()
    }

    /// Takes out the codes whose time is over.
    pub(crate) fn expired(&self, now: Timestamp) -> Vec<Mailbox> {
        self.lock().open.extract_if(.., |_, expires| now >= *expires).map(|(mailbox, _)| mailbox).collect()
    }

    /// What is said in the DHT: digests of mailboxes.
    pub(crate) fn keys(&self) -> Vec<Digest> {
        self.lock().open.keys().map(Mailbox::key).collect()
    }

    /// Whether somebody is to be met at all.
    pub(crate) fn is_on(&self) -> bool {
        let inner = self.lock();
        inner.joining > 0 || !inner.open.is_empty()
    }

    /// Begins to look for somebody else's code.
    pub(crate) fn join(&self) -> Joining {
        self.lock().joining += 1;
        Joining(self.clone())
    }
}

impl Drop for Joining {
    fn drop(&mut self) {
        self.0.lock().joining -= 1;
    }
}
