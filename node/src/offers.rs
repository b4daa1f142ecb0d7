//! What each contact may use here, and what we would like to use there: for Hellos, which must not wait for a lookup.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use klp::{OwnerId, limits};

type Names = BTreeMap<OwnerId, BTreeSet<String>>;

/// Names as `agent.capability`, by contact.
#[derive(Clone, Default)]
pub(crate) struct Offers(Arc<RwLock<(Names, Names)>>);

impl Offers {
    /// Takes the place of what was known.
    pub(crate) fn replace(&self, offered: Names, wanted: Names) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = (offered, wanted);
    }

    /// What this person may use here.
    pub(crate) fn to(&self, owner: &OwnerId) -> BTreeSet<String> {
        first(self.0.read().unwrap_or_else(PoisonError::into_inner).0.get(owner))
    }

    /// What we hold grants for at this person's.
    pub(crate) fn wanted(&self, owner: &OwnerId) -> BTreeSet<String> {
        first(self.0.read().unwrap_or_else(PoisonError::into_inner).1.get(owner))
    }
}

fn first(names: Option<&BTreeSet<String>>) -> BTreeSet<String> {
    names.into_iter().flatten().take(limits::OFFERS).cloned().collect()
}
