//! Who is behind a peer: the owner of the node that the channel authenticated, and nobody else.
//!
//! A contact's Hello carries its certificate; a stranger introduces itself before it asks for anything. The certificate's
//! signatures are checked once a session; its time and its revocation are looked at for every request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use klp::hello::SessionId;
use klp::statement::certificate::{Credential, Introduction, Right};
use klp::{NodeId, OwnerId, Refusal};
use mesh::PeerHello;
use store::Store;
use store::audit::{Entry, Who};

use crate::clock::Clock;
use crate::people::People;

/// Peers whose owners are remembered: more than a node has connections.
const PEERS: usize = 1024;

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

/// A peer with its open sessions, of which there are two for a moment when both sides dial at once, and whose node it is, once it has
/// said so in any of them.
#[derive(Default)]
struct Known {
    sessions: BTreeSet<SessionId>,
    said: Option<(Credential, Introduction)>,
}

/// Who is behind which peer.
#[derive(Clone)]
pub struct Principals {
    store: Store,
    clock: Clock,
    people: People,
    known: Arc<Mutex<BTreeMap<NodeId, Known>>>,
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
        let credential = self.check(&hello.node, introduction)?;
        self.opened(hello);
        self.lock().get_mut(&hello.node).ok_or(Refusal::Busy)?.said = Some((credential, introduction.clone()));
        Ok(())
    }

    /// Who is behind a node that has signed what it asks and has no session with this one.
    ///
    /// # Errors
    /// As of [`Principals::introduce`]; `revoked`.
    pub(crate) fn vouched(&self, node: &NodeId, introduction: &Introduction) -> Result<Principal, Refusal> {
        let credential = self.check(node, introduction)?;
        let view = self.store.view().map_err(|_| Refusal::Internal)?;
        if !store::revocations::stands(&view, &credential) {
            return Err(Refusal::Revoked);
        }
        let owner = credential.owner();
        Ok(Principal { owner, introduction: introduction.clone(), contact: self.people.owner(&owner).is_some() })
    }

    fn check(&self, node: &NodeId, introduction: &Introduction) -> Result<Credential, Refusal> {
        let credential = introduction.verify(self.clock.now())?;
        if !credential.is_node(node) || !credential.may(Right::Call) {
            return Err(Refusal::Signature);
        }
        // Keys stay pinned: a node that is a contact's does not become somebody else's by a new certificate.
        if self.people.node(node).is_some_and(|contact| contact.owner != credential.owner()) {
            return Err(Refusal::Signature);
        }
        // Nor does an owner get another successor without the rotation that explains it.
        let next = self.people.owner(&credential.owner()).and_then(|contact| contact.next);
        if next.is_some_and(|next| next != credential.certificate().next_key) {
            return Err(Refusal::Signature);
        }
        Ok(credential)
    }

    /// A session is open. What the peer says in one holds in all of them: the channel of each shows the same node.
    pub(crate) fn opened(&self, hello: &PeerHello) {
        let mut known = self.lock();
        if known.len() < PEERS || known.contains_key(&hello.node) {
            known.entry(hello.node).or_default().sessions.insert(hello.session);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who is behind this session now; nobody, when its certificate has ended or was revoked.
    pub fn of(&self, hello: &PeerHello) -> Option<Principal> {
        let found = || self.lock().get(&hello.node).and_then(|known| known.said.clone());
        let (credential, introduction) = match found() {
            Some(found) => found,
            None => {
                self.introduce(hello, hello.introduction.as_ref()?).ok()?;
                found()?
            }
        };
        if !store::revocations::stands(&self.store.view().ok()?, &credential) || !credential.holds_at(self.clock.now())
        {
            return None;
        }
        let owner = credential.owner();
        Some(Principal { owner, introduction, contact: self.people.owner(&owner).is_some() })
    }

    /// Writes down that somebody was refused; strangers share one bucket of entries. A refusal costs nothing but this.
    pub(crate) async fn refused(&self, principal: Option<&Principal>, kind: &str, refusal: Refusal) {
        let known = principal.filter(|principal| principal.contact).map(|principal| principal.owner.0);
        let who = known.map_or(Who::Stranger, Who::Known);
        let actor = principal.map(|principal| principal.owner.0);
        let entry = Entry::new("permit", "denied", self.clock.now()).by(actor).on(kind).with("code", refusal);
        if let Err(error) = self.store.write(move |tx| tx.audit_denial(who, entry)).await {
            tracing::warn!(%error, "a denial was not written down");
        }
    }

    /// The session is over.
    pub fn forget(&self, node: NodeId, session: SessionId) {
        let mut known = self.lock();
        if let Some(peer) = known.get_mut(&node) {
            peer.sessions.remove(&session);
            if peer.sessions.is_empty() {
                known.remove(&node);
            }
        }
    }
}
