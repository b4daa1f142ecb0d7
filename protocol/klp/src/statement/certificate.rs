//! Certificates: an owner says which nodes and agents are theirs, and those agree. Source: `specs/01-identity.md`, section 3.

use crate::codec::{CodecError, Digest};
use crate::identity::{Did, NodeId, OwnerId};
use crate::refusal::Refusal;
use crate::signed::{Signed, Verified};
use crate::time::Timestamp;
use crate::{cbor_enum, cbor_struct, limits, statement};

cbor_enum! {
    /// What a certified key is.
    pub enum Kind {
        /// A device.
        1 Node "node";
        /// An agent that lives on one node.
        2 Agent "agent";
    }
}

cbor_enum! {
    /// What a certified key may do in its owner's name.
    pub enum Right {
        /// Issue grants and revocations.
        1 Grant "grant";
        /// Sign orders: call other people's agents.
        2 Call "call";
        /// Host agents and sign records.
        3 Serve "serve";
    }
}

statement! {
    "kos/certificate/1"
    /// An owner certifies a node or an agent.
    pub struct Certificate {
        /// The certified key.
        1 subject: Did;
        /// What it is.
        2 kind: Kind;
        /// Whose it is; today this is also the signing key, after a rotation it is the first one.
        3 owner: OwnerId;
        /// For an agent: the only node on which it counts.
        4 node: Option<NodeId>;
        /// What it may do.
        5 rights: Vec<Right>, max 8;
        /// Valid from.
        6 issued: Timestamp;
        /// Valid until.
        7 expires: Timestamp;
        /// Rises with every statement of this key: `max(last + 1, unix milliseconds)`.
        8 seq: u64;
        /// SHA-256 of the owner's next public key, which only the recovery file holds.
        9 next_key: Digest;
    }
}

statement! {
    "kos/acceptance/1"
    /// A certified key agrees; without this a certificate does not count.
    pub struct Acceptance {
        /// The accepted certificate's id.
        1 certificate: Digest;
        /// When.
        2 accepted: Timestamp;
    }
}

cbor_struct! {
    /// A certificate and its acceptance, as they travel.
    pub struct Introduction {
        /// What the owner says.
        1 certificate: Signed<Certificate>;
        /// What the certified key answers.
        2 acceptance: Signed<Acceptance>;
    }
}

/// A certified key whose certificate and acceptance hold. Only [`Introduction::verify`] makes one.
#[derive(Clone, Debug)]
pub struct Credential {
    certificate: Verified<Certificate>,
}

impl Introduction {
    /// Makes both halves.
    pub fn make(
        certificate: Certificate,
        owner: &crate::SecretKey,
        subject: &crate::SecretKey,
        now: Timestamp,
    ) -> Self {
        let certificate = Verified::sign(certificate, owner);
        let acceptance = Verified::sign(Acceptance { certificate: certificate.id(), accepted: now }, subject);
        Self { certificate: certificate.signed().clone(), acceptance: acceptance.signed().clone() }
    }

    /// Checks both halves at the moment `now`.
    ///
    /// # Errors
    /// `signature` or `malformed` when a half does not verify or they do not belong together, `expired` outside the certificate's
    /// time (the beginning is given the usual clock skew).
    pub fn verify(&self, now: Timestamp) -> Result<Credential, Refusal> {
        let certificate = self.certificate.verify().map_err(|error| Refusal::from(&error))?;
        let acceptance = self.acceptance.verify().map_err(|error| Refusal::from(&error))?;
        let together = certificate.signer() == certificate.owner.0
            && acceptance.signer() == certificate.subject
            && acceptance.certificate == certificate.id()
            && (certificate.kind == Kind::Agent) == certificate.node.is_some();
        if !together {
            return Err(Refusal::Signature);
        }
        let life = certificate.expires.since(certificate.issued);
        if life > limits::ROOT_CERTIFICATE_LIFE || now > certificate.expires {
            return Err(Refusal::Expired);
        }
        if now.after(limits::SKEW) < certificate.issued {
            return Err(Refusal::Clock);
        }
        Ok(Credential { certificate })
    }

    /// Decodes, bounded.
    ///
    /// # Errors
    /// [`CodecError`]
    pub fn from_slice(bytes: &[u8]) -> Result<Self, CodecError> {
        crate::Cbor::from_bytes(bytes, limits::RECORD)
    }
}

impl Credential {
    /// Whose key it is.
    pub fn owner(&self) -> OwnerId {
        self.certificate.owner
    }

    /// The certified key.
    pub fn subject(&self) -> Did {
        self.certificate.subject
    }

    /// Whether it is not yet past its time.
    pub fn holds_at(&self, now: Timestamp) -> bool {
        now <= self.certificate.expires
    }

    /// What it may do.
    pub fn may(&self, right: Right) -> bool {
        self.certificate.rights.contains(&right)
    }

    /// The certificate itself.
    pub fn certificate(&self) -> &Verified<Certificate> {
        &self.certificate
    }

    /// Whether this certifies the device with this key.
    pub fn is_node(&self, node: &NodeId) -> bool {
        self.certificate.kind == Kind::Node && self.subject() == node.0
    }

    /// Whether this certifies an agent for exactly this node.
    pub fn is_agent_on(&self, node: &NodeId) -> bool {
        self.certificate.kind == Kind::Agent && self.certificate.node == Some(*node)
    }
}
