//! The contacts as they are now, in memory: asked on the road of every request, where nothing may wait.

use std::sync::{Arc, PoisonError, RwLock};

use klp::{NodeId, OwnerId};
use store::contacts::Contact;

/// A snapshot that is replaced whole whenever a contact changes.
#[derive(Clone, Default)]
pub(crate) struct People(Arc<RwLock<Arc<Vec<Contact>>>>);

impl People {
    /// Takes the place of what was known.
    pub(crate) fn replace(&self, contacts: Vec<Contact>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(contacts);
    }

    /// Everybody.
    pub(crate) fn all(&self) -> Arc<Vec<Contact>> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// By petname.
    pub(crate) fn named(&self, name: &str) -> Option<Contact> {
        self.all().iter().find(|contact| contact.name == name).cloned()
    }

    /// By owner.
    pub(crate) fn owner(&self, owner: &OwnerId) -> Option<Contact> {
        self.all().iter().find(|contact| contact.owner == *owner).cloned()
    }

    /// By node.
    pub(crate) fn node(&self, node: &NodeId) -> Option<Contact> {
        self.all().iter().find(|contact| contact.nodes.iter().any(|device| device.node == *node)).cloned()
    }

    /// Whether this node is a contact's.
    pub(crate) fn knows(&self, node: &NodeId) -> bool {
        self.node(node).is_some()
    }
}
