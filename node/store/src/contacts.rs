//! People this node knows, by the petname that its owner gave them. A petname is bound to one owner key; a name authorises nothing.

use klp::codec::{Bytes, CodecError, Fields, Map, Value};
use klp::{Cbor, Digest, NodeId, OwnerId, Timestamp, limits};

use crate::error::StoreError;
use crate::table::Table;
use crate::view::{Tx, View};

/// Nodes of one contact.
const NODES: usize = 32;
/// Contacts of one node.
const CONTACTS: usize = 10_000;
/// Certificates kept with a contact.
const CERTIFICATES: usize = 64;

/// One person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The petname: 1 to 64 bytes, no `/`, no control characters, no space at either end, not `self`, no DID.
    pub name: String,
    /// Their owner key.
    pub owner: OwnerId,
    /// Their nodes.
    pub nodes: Vec<Device>,
    /// SHA-256 of their next owner key, as their ticket said.
    pub next: Option<Digest>,
    /// The ticket that they were added with.
    pub ticket: Vec<u8>,
    /// Certificates of their nodes and agents, as signed bytes.
    pub certificates: Vec<Vec<u8>>,
    /// When they were added.
    pub added: Timestamp,
}

/// One node of a contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its key.
    pub node: NodeId,
    /// Multiaddrs that it was last known under.
    pub addresses: Vec<String>,
}

/// What adding did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// A person not known before.
    New,
    /// The same person under the same petname: nodes, ticket and certificates are now those given.
    Refreshed,
}

/// Why a contact was not added or renamed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// No petname.
    #[error("a petname has 1 to 64 bytes, no slash and no control characters, and is neither `self` nor a did")]
    Name,
    /// The petname belongs to another key (security rule 26).
    #[error("{name} is already the name of another key")]
    AnotherKey {
        /// The petname.
        name: String,
        /// The key that it is pinned to.
        known: OwnerId,
    },
    /// The owner, or one of the nodes, is known under another petname.
    #[error("this key is already known as {name}")]
    Known {
        /// That petname.
        name: String,
    },
    /// More nodes, addresses or contacts than are kept.
    #[error("more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are kept.
        limit: usize,
    },
    /// There is no contact of this name.
    #[error("no contact is named {name}")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Adds somebody, or refreshes what is known of them. Nothing is ever moved from one key to another.
///
/// # Errors
/// [`AddError`]
pub fn add(tx: &mut Tx, contact: &Contact) -> Result<Added, AddError> {
    check(contact)?;
    let before = get(tx, &contact.name)?;
    if let Some(before) = &before
        && before.owner != contact.owner
    {
        return Err(AddError::AnotherKey { name: contact.name.clone(), known: before.owner });
    }
    let owner_as = name_of(tx, contact.owner.0.key())?;
    let node_names = contact.nodes.iter().map(|device| name_of(tx, device.node.0.key()));
    for name in std::iter::once(Ok(owner_as)).chain(node_names) {
        if let Some(name) = name?
            && name != contact.name
        {
            return Err(AddError::Known { name });
        }
    }
    if before.is_none() && list(tx)?.len() >= CONTACTS {
        return Err(AddError::TooMany { what: "contacts", limit: CONTACTS });
    }
    if let Some(before) = &before {
        unlink(tx, before);
    }
    link(tx, contact);
    Ok(if before.is_some() { Added::Refreshed } else { Added::New })
}

/// Gives somebody another petname.
///
/// # Errors
/// [`AddError`]
pub fn rename(tx: &mut Tx, from: &str, to: &str) -> Result<(), AddError> {
    let mut contact = get(tx, from)?.ok_or_else(|| AddError::Unknown { name: from.to_owned() })?;
    if let Some(taken) = get(tx, to)?
        && from != to
    {
        return Err(AddError::AnotherKey { name: to.to_owned(), known: taken.owner });
    }
    unlink(tx, &contact);
    contact.name = to.to_owned();
    check(&contact)?;
    link(tx, &contact);
    Ok(())
}

/// Forgets somebody; `None` when there is no such contact.
///
/// # Errors
/// [`StoreError`]
pub fn remove(tx: &mut Tx, name: &str) -> Result<Option<Contact>, StoreError> {
    let contact = get(tx, name)?;
    if let Some(contact) = &contact {
        unlink(tx, contact);
    }
    Ok(contact)
}

/// By petname.
///
/// # Errors
/// [`StoreError`]
pub fn get(view: &View, name: &str) -> Result<Option<Contact>, StoreError> {
    view.load(Table::Contacts, &view.hidden(Table::Contacts, &[name.as_bytes()]))
}

/// By owner key.
///
/// # Errors
/// [`StoreError`]
pub fn by_owner(view: &View, owner: &OwnerId) -> Result<Option<Contact>, StoreError> {
    by_key(view, owner.0.key())
}

/// By the key of one of their nodes.
///
/// # Errors
/// [`StoreError`]
pub fn by_node(view: &View, node: &NodeId) -> Result<Option<Contact>, StoreError> {
    by_key(view, node.0.key())
}

/// Everybody, by petname.
///
/// # Errors
/// [`StoreError`]
pub fn list(view: &View) -> Result<Vec<Contact>, StoreError> {
    let mut all: Vec<Contact> = view.all(Table::Contacts, CONTACTS)?;
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

fn by_key(view: &View, key: &[u8; 32]) -> Result<Option<Contact>, StoreError> {
    name_of(view, key)?.map_or(Ok(None), |name| get(view, &name))
}

fn name_of(view: &View, key: &[u8; 32]) -> Result<Option<String>, StoreError> {
    view.load(Table::ContactKeys, &view.hidden(Table::ContactKeys, &[key]))
}

fn keys(contact: &Contact) -> impl Iterator<Item = &[u8; 32]> {
    std::iter::once(contact.owner.0.key()).chain(contact.nodes.iter().map(|device| device.node.0.key()))
}

fn link(tx: &mut Tx, contact: &Contact) {
    for key in keys(contact) {
        let row = tx.hidden(Table::ContactKeys, &[key]);
        tx.save(Table::ContactKeys, &row, &contact.name);
    }
    let row = tx.hidden(Table::Contacts, &[contact.name.as_bytes()]);
    tx.save(Table::Contacts, &row, contact);
}

fn unlink(tx: &mut Tx, contact: &Contact) {
    for key in keys(contact) {
        let row = tx.hidden(Table::ContactKeys, &[key]);
        tx.remove(Table::ContactKeys, &row);
    }
    let row = tx.hidden(Table::Contacts, &[contact.name.as_bytes()]);
    tx.remove(Table::Contacts, &row);
}

fn check(contact: &Contact) -> Result<(), AddError> {
    let name = &contact.name;
    let shape = !name.is_empty() && name.len() <= limits::NAME && name.trim() == name;
    if !shape
        || name.contains(|letter: char| letter == '/' || letter.is_control())
        || name == "self"
        || name.starts_with("did:")
    {
        return Err(AddError::Name);
    }
    let addresses = contact.nodes.iter().map(|device| device.addresses.len()).max().unwrap_or_default();
    for (what, count, limit) in [
        ("nodes", contact.nodes.len(), NODES),
        ("addresses", addresses, limits::ADDRESSES),
        ("certificates", contact.certificates.len(), CERTIFICATES),
    ] {
        if count > limit {
            return Err(AddError::TooMany { what, limit });
        }
    }
    Ok(())
}

impl Cbor for Contact {
    fn to_value(&self) -> Value {
        let certificates: Vec<_> = self.certificates.iter().cloned().map(Bytes).collect();
        Map::new()
            .with(1, &self.name)
            .with(2, &self.owner)
            .with(3, &self.nodes)
            .with_some(4, self.next.as_ref())
            .with(5, &Bytes(self.ticket.clone()))
            .with(6, &certificates)
            .with(7, &self.added)
            .build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let contact = Self {
            name: fields.text(1, limits::NAME)?,
            owner: fields.take(2)?,
            nodes: fields.list(3, NODES)?,
            next: fields.take_some(4)?,
            ticket: fields.bytes(5, limits::STATEMENT)?,
            certificates: fields.list::<Bytes>(6, CERTIFICATES)?.into_iter().map(|bytes| bytes.0).collect(),
            added: fields.take(7)?,
        };
        fields.end()?;
        Ok(contact)
    }
}

impl Cbor for Device {
    fn to_value(&self) -> Value {
        Map::new().with(1, &self.node).with(2, &self.addresses).build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let device = Self { node: fields.take(1)?, addresses: fields.list(2, limits::ADDRESSES)? };
        fields.end()?;
        Ok(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{self, did};

    fn contact(name: &str, owner: u8, node: u8) -> Contact {
        Contact {
            name: name.into(),
            owner: OwnerId(did(owner)),
            nodes: vec![Device { node: NodeId(did(node)), addresses: vec!["/ip4/127.0.0.1/tcp/1".into()] }],
            next: Some(Digest([4; 32])),
            ticket: vec![1, 2],
            certificates: vec![vec![3]],
            added: Timestamp(5),
        }
    }

    #[test]
    fn s26_another_key_under_a_known_petname_is_refused() {
        bench::on_each(|tx| {
            assert_eq!(add(tx, &contact("bob", 1, 2)).expect("adds"), Added::New);
            assert!(
                matches!(add(tx, &contact("bob", 3, 4)), Err(AddError::AnotherKey { known, .. }) if known.0 == did(1))
            );
            assert!(matches!(add(tx, &contact("rob", 1, 4)), Err(AddError::Known { name }) if name == "bob"));
            assert!(matches!(add(tx, &contact("eve", 3, 2)), Err(AddError::Known { name }) if name == "bob"));
            assert_eq!(list(tx).expect("lists"), [contact("bob", 1, 2)]);
        });
    }

    #[test]
    fn a_contact_is_found_by_each_of_its_keys() {
        bench::on_each(|tx| {
            add(tx, &contact("bob", 1, 2)).expect("adds");
            assert_eq!(add(tx, &contact("bob", 1, 5)).expect("refreshes"), Added::Refreshed);
            assert_eq!(by_node(tx, &NodeId(did(2))).expect("reads"), None, "the old node is no longer theirs");
            rename(tx, "bob", "robert").expect("renames");
            let robert = contact("robert", 1, 5);
            assert_eq!(get(tx, "bob").expect("reads"), None);
            assert_eq!(by_owner(tx, &OwnerId(did(1))).expect("reads"), Some(robert.clone()));
            assert_eq!(by_node(tx, &NodeId(did(5))).expect("reads"), Some(robert.clone()));
            assert_eq!(remove(tx, "robert").expect("removes"), Some(robert));
            assert_eq!(by_owner(tx, &OwnerId(did(1))).expect("reads"), None);
        });
    }

    #[test]
    fn petnames_that_are_addresses_are_refused() {
        bench::on_each(|tx| {
            for name in ["", " bob", "a/b", "self", "did:key:z", "a\nb", &"a".repeat(65)] {
                assert!(matches!(add(tx, &contact(name, 1, 2)), Err(AddError::Name)), "{name:?}");
            }
            add(tx, &contact("bob", 1, 2)).expect("adds");
            assert!(matches!(rename(tx, "bob", "self"), Err(AddError::Name)));
            assert!(matches!(rename(tx, "eve", "bob"), Err(AddError::Unknown { .. })));
        });
    }
}
