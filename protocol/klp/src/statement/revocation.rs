//! Revocations, and the head by which a gap in them is seen. Source: `specs/05-grants.md`, section 5.

use crate::codec::{Cbor as _, Digest, encode};
use crate::identity::OwnerId;
use crate::time::Timestamp;
use crate::{cbor_enum, statement};

cbor_enum! {
    /// What is revoked.
    pub enum Target {
        /// A grant, by its id.
        1 Grant "grant";
        /// A certificate, by its id.
        2 Certificate "certificate";
    }
}

statement! {
    "kos/revocation/1"
    /// An issuer takes a grant or a certificate back, for good.
    pub struct Revocation {
        /// Who takes it back: the issuer of the target.
        1 issuer: OwnerId;
        /// What kind of thing.
        2 kind: Target;
        /// Its id.
        3 target: Digest;
        /// Position in the issuer's list of revocations, from 1.
        4 seq: u64;
        /// When, for people; it proves nothing.
        5 issued: Timestamp;
    }
}

statement! {
    "kos/revocation-head/1"
    /// How many revocations an owner has made, so that a missing one is noticed.
    pub struct RevocationHead {
        /// Whose.
        1 owner: OwnerId;
        /// Revocations so far.
        2 seq: u64;
        /// [`root`] of all targets in order.
        3 root: Digest;
        /// When.
        4 issued: Timestamp;
    }
}

/// The running digest over all revoked targets in order: `h(n) = SHA-256("kos/revocations/1", h(n-1), target n)`, `h(0)` = zeros.
pub fn root<'a>(targets: impl IntoIterator<Item = &'a Digest>) -> Digest {
    targets
        .into_iter()
        .fold(Digest([0; 32]), |root, target| Digest::of(&[b"kos/revocations/1", &root.0, &encode(&target.to_value())]))
}
