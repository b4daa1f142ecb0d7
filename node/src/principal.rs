//! Who is behind a peer: the owner of the node that the channel authenticated, and nobody else.
//!
//! A contact's Hello carries its certificate; a stranger introduces itself before it asks for anything. The certificate's
//! signatures are checked once a session; its time and its revocation are looked at for every request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use klp::hello::SessionId;
use klp::statement::certificate::{Credential, Introduction, Right};
use klp::{NodeId, OwnerId, Refusal};
use mesh::PeerHello;
use store::Store;

use crate::clock::Clock;
use crate::people::People;

/// Sessions whose owners are remembered: more than a node has connections.
const SESSIONS: usize = 1024;

/// Somebody whose certificate holds at this moment.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The person.
    pub owner: OwnerId,
    /// The certificate of the node that they speak through.
    pub introduction: Introduction,
    /// Whether they are a contact.
    pub contact: bool,
}

/// By peer and session.
type Known = BTreeMap<(NodeId, SessionId), (Credential, Introduction)>;

/// Who is behind which session.
#[derive(Clone)]
pub struct Principals {
    store: Store,
    clock: Clock,
    people: People,
    known: Arc<Mutex<Known>>,
}

impl Principals {
    /// Nobody yet.
    pub(crate) fn new(store: Store, clock: Clock, people: People) -> Self {
        Self { store, clock, people, known: Arc::default() }
    }

    /// A peer says whose node it is.
    ///
    /// # Errors
    /// `signature`, `expired`, `clock` or `malformed` when the certificate does not hold for this very node, `busy` when too many
    /// sessions are open.
    pub fn introduce(&self, hello: &PeerHello, introduction: &Introduction) -> Result<(), Refusal> {
        let credential = introduction.verify(self.clock.now())?;
        if !credential.is_node(&hello.node) || !credential.may(Right::Call) {
            return Err(Refusal::Signature);
        }
        // Keys stay pinned: a node that is a contact's does not become somebody else's by a new certificate.
        if self.people.node(&hello.node).is_some_and(|contact| contact.owner != credential.owner()) {
            return Err(Refusal::Signature);
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (hello.node, hello.session);
        if known.len() >= SESSIONS && !known.contains_key(&key) {
            return Err(Refusal::Busy);
        }
        known.insert(key, (credential, introduction.clone()));
        Ok(())
    }

    /// Who is behind this session now; nobody, when its certificate has ended or was revoked.
    pub fn of(&self, hello: &PeerHello) -> Option<Principal> {
        let key = (hello.node, hello.session);
        let found = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let (credential, introduction) = match found {
            Some(found) => found,
            None => {
                self.introduce(hello, hello.introduction.as_ref()?).ok()?;
                self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()?
            }
        };
        let view = self.store.view().ok()?;
        // What cannot be read counts as revoked: closed by default.
        let target = store::revocations::Target::Statement(credential.certificate().id());
        let found = store::revocations::get(&view, &target, &credential.owner());
        let revoked = found.map_or(true, |found| found.is_some());
        if revoked || !credential.holds_at(self.clock.now()) {
            return None;
        }
        let owner = credential.owner();
        Some(Principal { owner, introduction, contact: self.people.owner(&owner).is_some() })
    }

    /// The session is over.
    pub fn forget(&self, node: NodeId, session: SessionId) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&(node, session));
    }
}
