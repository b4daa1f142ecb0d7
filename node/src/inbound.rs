//! The one way in: every request of a peer comes through here, and only what is registered is answered.
//!
//! The loop never waits: each request gets a task and a permit from a semaphore, or hears `busy` at once. Who may ask a kind at
//! all is part of its registration, so that a kind without a decision cannot exist.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use futures::future::BoxFuture;
use klp::codec::Value;
use klp::message::Request;
use klp::{Cbor, NodeId, Refusal, limits};
use mesh::PeerHello;
use tokio::sync::Semaphore;

use crate::principal::{Principal, Principals};
use crate::reply::Reply;

/// Requests of all peers that are worked on at once: the fair share of sixteen busy peers.
const AT_ONCE: usize = 16 * limits::IN_FLIGHT;

/// Who may ask something at all. What they may then do is the permit rule's to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody who has said a Hello.
    Anybody,
    /// Who has said whose node it is.
    Introduced,
    /// A contact.
    Contact,
}

/// A request on its way to whoever answers it.
pub struct Asked {
    /// The door that it came through.
    pub inbound: Inbound,
    /// The node that asks: the channel shows it, or the errand of a request that others carry.
    pub node: NodeId,
    /// What it said of itself when the session was opened; nothing when there is no session with it.
    pub hello: Option<Arc<PeerHello>>,
    /// Who is behind it, where that is known and holds.
    pub principal: Option<Principal>,
    /// The body; its kind is the one that was registered.
    pub body: Value,
    /// How to answer.
    pub reply: Reply,
}

type Answer = Arc<dyn Fn(Asked) -> BoxFuture<'static, ()> + Send + Sync>;

/// The door.
#[derive(Clone)]
pub struct Inbound {
    principals: Principals,
    doors: Arc<RwLock<BTreeMap<String, (Access, Answer)>>>,
    permits: Arc<Semaphore>,
}

impl Inbound {
    /// A door behind which nobody answers yet.
    pub fn new(principals: Principals) -> Self {
        Self { principals, doors: Arc::default(), permits: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Answers a kind from now on, in place of whoever did before.
    pub fn register<F>(&self, kind: &str, access: Access, answer: impl Fn(Asked) -> F + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let answer: Answer = Arc::new(move |asked| Box::pin(answer(asked)));
        self.doors.write().unwrap_or_else(PoisonError::into_inner).insert(kind.to_owned(), (access, answer));
    }

    /// Like [`Inbound::register`], for kinds that take one body and give one, or refuse it, in words of their own or the usual ones.
    pub fn answer<B, R, E, F>(
        &self,
        kind: &str,
        access: Access,
        answer: impl Fn(Caller, B) -> F + Clone + Send + Sync + 'static,
    ) where
        B: Cbor + Send + 'static,
        R: Cbor + Send,
        E: Into<mesh::Refused> + Send,
        F: Future<Output = Result<R, E>> + Send + 'static,
    {
        let (principals, name) = (self.principals.clone(), kind.to_owned());
        self.register(kind, access, move |asked| {
            let (answer, principals, name) = (answer.clone(), principals.clone(), name.clone());
            async move {
                let Asked { node, hello, principal, body, reply, .. } = asked;
                let answered = match B::from_value(body) {
                    Ok(body) => {
                        answer(Caller { node, hello, principal: principal.clone() }, body).await.map_err(Into::into)
                    }
                    Err(_) => Err(Refusal::Malformed.into()),
                };
                match answered {
                    Ok(body) => reply.finish(Bytes::from(body.to_bytes())),
                    Err(mesh::Refused { refusal, message }) => {
                        principals.refused(principal.as_ref(), &name, refusal).await;
                        reply.refuse(refusal, &message);
                    }
                }
            }
        });
    }

    /// Nobody answers this kind any more.
    pub fn unregister(&self, kind: &str) {
        self.doors.write().unwrap_or_else(PoisonError::into_inner).remove(kind);
    }

    /// Every kind that is answered, and who may ask it.
    pub fn table(&self) -> Vec<(String, Access)> {
        let doors = self.doors.read().unwrap_or_else(PoisonError::into_inner);
        doors.iter().map(|(kind, (access, _))| (kind.clone(), *access)).collect()
    }

    /// A request has come. Never waits.
    pub fn receive(&self, request: mesh::Request) {
        let mesh::Request { hello, body, reply } = request;
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            return reply.refuse(Refusal::Busy, Refusal::Busy.message());
        };
        let door = self.clone();
        tokio::spawn(async move {
            door.dispatch(hello, &body, reply).await;
            drop(permit);
        });
    }

    async fn dispatch(&self, hello: Arc<PeerHello>, body: &[u8], reply: mesh::Reply) {
        let Ok(request) = Request::from_bytes(body, limits::MESSAGE) else {
            return reply.refuse(Refusal::Malformed, Refusal::Malformed.message());
        };
        let principal = self.principals.of(&hello);
        self.decide(hello.node, Some(hello), principal, request, reply.into()).await;
    }

    /// A request that others have carried, of a node whose errand proves it. What rests on a session is not answered.
    pub(crate) async fn carried(&self, node: NodeId, principal: Principal, body: &[u8], reply: Reply) {
        match Request::from_bytes(body, limits::MESSAGE) {
            Ok(request) if klp::forward::KINDS.contains(&request.kind.as_str()) => {
                self.decide(node, None, Some(principal), request, reply).await;
            }
            Ok(_) => reply.refuse(Refusal::NoHandler, "a request of this kind is not carried by others"),
            Err(_) => reply.refuse(Refusal::Malformed, Refusal::Malformed.message()),
        }
    }

    async fn decide(
        &self,
        node: NodeId,
        hello: Option<Arc<PeerHello>>,
        principal: Option<Principal>,
        request: Request,
        reply: Reply,
    ) {
        let door = self.doors.read().unwrap_or_else(PoisonError::into_inner).get(&request.kind).cloned();
        let Some((access, answer)) = door else {
            return reply.refuse(Refusal::NoHandler, Refusal::NoHandler.message());
        };
        let admitted = match access {
            Access::Anybody => true,
            Access::Introduced => principal.is_some(),
            Access::Contact => principal.as_ref().is_some_and(|principal| principal.contact),
        };
        if !admitted {
            self.principals.refused(principal.as_ref(), &request.kind, Refusal::Denied).await;
            return reply.refuse(Refusal::Denied, Refusal::Denied.message());
        }
        answer(Asked { inbound: self.clone(), node, hello, principal, body: request.body, reply }).await;
    }
}

/// Who asks a kind that takes one body and gives one.
pub struct Caller {
    /// The node that asks.
    pub node: NodeId,
    /// What it said of itself in its session, if there is one.
    pub hello: Option<Arc<PeerHello>>,
    /// Who is behind it, where that is known and holds.
    pub principal: Option<Principal>,
}
