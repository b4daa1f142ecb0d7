//! Who this node belongs to: what it may say of its owner while the owner's vault is locked.

use klp::codec::{Bytes, CodecError, Fields, Map, Value};
use klp::{Cbor, Digest, OwnerId, Timestamp, limits};

use crate::error::StoreError;
use crate::table::Table;
use crate::view::{Tx, View};

const SELF: &[u8] = b"self";
/// Certificates that one node holds for itself and its agents.
const CERTIFICATES: usize = 1024;

/// The owner of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The first owner key.
    pub owner: OwnerId,
    /// SHA-256 of the next owner key, which exists only in the recovery file (security rule 3).
    pub next: Digest,
    /// Whether the owner key is in this home's vault: the root device.
    pub root: bool,
    /// When it was made or taken over.
    pub since: Timestamp,
    /// Certificates of this node and its agents, and acceptances, as signed bytes.
    pub certificates: Vec<Vec<u8>>,
}

/// Why the identity was not set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The home belongs to another owner. It is never given a new identity.
    #[error("this home belongs to {owner}")]
    Taken {
        /// Who it belongs to.
        owner: OwnerId,
    },
    /// More certificates than one node holds.
    #[error("more than {CERTIFICATES} certificates")]
    TooMany,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The owner, or `None` before the first one is set.
///
/// # Errors
/// [`StoreError`]
pub fn get(view: &View) -> Result<Option<Identity>, StoreError> {
    view.load(Table::Identity, SELF)
}

/// Sets the owner, or what is known of the same owner.
///
/// # Errors
/// [`IdentityError`]
pub fn set(tx: &mut Tx, identity: &Identity) -> Result<(), IdentityError> {
    if let Some(known) = get(tx)?
        && known.owner != identity.owner
    {
        return Err(IdentityError::Taken { owner: known.owner });
    }
    if identity.certificates.len() > CERTIFICATES {
        return Err(IdentityError::TooMany);
    }
    tx.save(Table::Identity, SELF, identity);
    Ok(())
}

impl Cbor for Identity {
    fn to_value(&self) -> Value {
        let certificates: Vec<_> = self.certificates.iter().cloned().map(Bytes).collect();
        Map::new()
            .with(1, &self.owner)
            .with(2, &self.next)
            .with(3, &self.root)
            .with(4, &self.since)
            .with(5, &certificates)
            .build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let certificates: Vec<Bytes> = fields.list(5, CERTIFICATES)?;
        if certificates.iter().any(|bytes| bytes.0.len() > limits::STATEMENT) {
            return Err(CodecError::Field { field: 5, expected: "certificates" });
        }
        let identity = Self {
            owner: fields.take(1)?,
            next: fields.take(2)?,
            root: fields.take(3)?,
            since: fields.take(4)?,
            certificates: certificates.into_iter().map(|bytes| bytes.0).collect(),
        };
        fields.end()?;
        Ok(identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{self, did};

    #[test]
    fn s06_a_home_never_gets_a_second_owner() {
        bench::on_each(|tx| {
            let identity = |owner, certificates| Identity {
                owner: OwnerId(did(owner)),
                next: Digest([1; 32]),
                root: true,
                since: Timestamp(1),
                certificates,
            };
            assert_eq!(get(tx).expect("reads"), None);
            set(tx, &identity(1, vec![])).expect("sets");
            set(tx, &identity(1, vec![vec![1]])).expect("the same owner");
            assert!(matches!(set(tx, &identity(2, vec![])), Err(IdentityError::Taken { owner }) if owner.0 == did(1)));
            assert_eq!(get(tx).expect("reads"), Some(identity(1, vec![vec![1]])));
        });
    }
}
