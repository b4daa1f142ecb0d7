//! Who this node is: its owner, its key, and the certificate that ties them.

use std::sync::{Arc, PoisonError, RwLock};

use klp::statement::certificate::{Certificate, Introduction, Kind, Right};
use klp::{AgentId, Digest, NodeId, OwnerId, SecretKey, Statement, Timestamp, Verified, limits};

/// The machine tier's side of identity: open from start to stop, also while the vault is locked.
#[derive(Clone)]
pub(crate) struct Me(Arc<Inner>);

struct Inner {
    owner: OwnerId,
    key: SecretKey,
    next_key: Digest,
    created: Timestamp,
    introduction: RwLock<Introduction>,
}

impl Me {
    /// This node, with the certificate that its owner gave it.
    pub(crate) fn new(
        owner: OwnerId,
        key: SecretKey,
        next_key: Digest,
        created: Timestamp,
        introduction: Introduction,
    ) -> Self {
        Self(Arc::new(Inner { owner, key, next_key, created, introduction: RwLock::new(introduction) }))
    }

    /// Whose node this is.
    pub(crate) fn owner(&self) -> OwnerId {
        self.0.owner
    }

    /// This node.
    pub(crate) fn node(&self) -> NodeId {
        NodeId(self.0.key.did())
    }

    /// When this identity was made.
    pub(crate) fn created(&self) -> Timestamp {
        self.0.created
    }

    /// The node's certificate and acceptance.
    pub(crate) fn introduction(&self) -> Introduction {
        self.0.introduction.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes a renewed certificate.
    pub(crate) fn renew(&self, introduction: Introduction) {
        *self.0.introduction.write().unwrap_or_else(PoisonError::into_inner) = introduction;
    }

    /// Signs in the node's name.
    pub(crate) fn sign<T: Statement>(&self, statement: T) -> Verified<T> {
        Verified::sign(statement, &self.0.key)
    }

    /// The certificate of an agent of this node, signed with the owner's key.
    pub(crate) fn certify_agent(&self, owner: &SecretKey, agent: &SecretKey, now: Timestamp) -> Introduction {
        let subject = agent.did();
        let certificate = Certificate {
            subject,
            kind: Kind::Agent,
            owner: self.owner(),
            node: Some(self.node()),
            rights: vec![Right::Serve],
            issued: now,
            expires: now.after(limits::ROOT_CERTIFICATE_LIFE),
            seq: now.0,
            next_key: self.0.next_key,
        };
        Introduction::make(certificate, owner, agent, now)
    }
}

/// The certificate of the root device, signed with the owner's key.
pub(crate) fn certify_root(owner: &SecretKey, node: &SecretKey, next_key: Digest, now: Timestamp) -> Introduction {
    let certificate = Certificate {
        subject: node.did(),
        kind: Kind::Node,
        owner: OwnerId(owner.did()),
        node: None,
        rights: vec![Right::Grant, Right::Call, Right::Serve],
        issued: now,
        expires: now.after(limits::ROOT_CERTIFICATE_LIFE),
        seq: now.0,
        next_key,
    };
    Introduction::make(certificate, owner, node, now)
}

/// The id of an agent key.
pub(crate) fn agent_id(key: &SecretKey) -> AgentId {
    AgentId(key.did())
}
