//! The contacts of whoever runs this relay: a file with what `kos contact list --json` prints.
//!
//! A relay has no vault and asks no node for anything (`security.md` rule 1), so it is told them. The file is looked at again while the
//! relay runs; one that says nothing of use changes nothing, for it may be half written.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mesh::{Guests, NodeId};
use serde::Deserialize;

/// Some sixteen thousand contacts.
const LONGEST: u64 = 8 << 20;
/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(5);

/// Why a file is no list of contacts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContactsError {
    #[error("{0}")]
    Read(#[from] io::Error),
    #[error("more than {LONGEST} bytes")]
    Long,
    #[error("no list of contacts: {0}")]
    Form(#[from] serde_json::Error),
    #[error("no node: {0}")]
    Node(String),
}

/// The rest of what is printed about a contact is none of a relay's business.
#[derive(Deserialize)]
struct Contact {
    node: String,
}

/// The file, and whom it lets in.
#[derive(Debug)]
pub(crate) struct Contacts {
    file: PathBuf,
    allowed: BTreeSet<NodeId>,
    guests: Guests,
    /// What was read last, also when it was of no use.
    last: Result<BTreeSet<NodeId>, String>,
}

impl Contacts {
    /// The contacts in this file, and those that are allowed in any case.
    ///
    /// # Errors
    /// When it cannot be read, or holds anything else.
    pub(crate) fn open(file: &Path, allowed: BTreeSet<NodeId>) -> Result<Self, ContactsError> {
        let nodes = read(file)?;
        let guests = nodes.union(&allowed).copied().collect();
        Ok(Self { file: file.to_owned(), allowed, guests, last: Ok(nodes) })
    }

    /// Whom they are for the relay.
    pub(crate) fn guests(&self) -> Guests {
        self.guests.clone()
    }

    /// Looks at the file for as long as the relay runs.
    pub(crate) async fn follow(mut self) {
        loop {
            tokio::time::sleep(EVERY).await;
            self.look();
        }
    }

    fn look(&mut self) {
        let found = read(&self.file).map_err(|error| error.to_string());
        if found == self.last {
            return;
        }
        let file = self.file.display();
        match &found {
            Ok(nodes) => {
                self.guests.replace(nodes.union(&self.allowed).copied().collect());
                tracing::info!(%file, contacts = nodes.len(), "other contacts may wait here now");
            }
            Err(why) => tracing::warn!(%file, why, "the contacts of before may wait here still"),
        }
        self.last = found;
    }
}

fn read(file: &Path) -> Result<BTreeSet<NodeId>, ContactsError> {
    let mut text = String::new();
    if File::open(file)?.take(LONGEST + 1).read_to_string(&mut text)? as u64 > LONGEST {
        return Err(ContactsError::Long);
    }
    let contacts: Vec<Contact> = serde_json::from_str(&text)?;
    contacts.into_iter().map(|contact| contact.node.parse().map_err(|_| ContactsError::Node(contact.node))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: &str = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";
    const BERT: &str = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp";

    fn listed(nodes: &[&str]) -> String {
        let contacts: Vec<_> = nodes.iter().map(|node| serde_json::json!({ "name": "x", "node": node })).collect();
        serde_json::to_string(&contacts).unwrap()
    }

    #[test]
    fn x2_the_contacts_of_a_relay_are_followed_and_a_file_of_no_use_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("contacts.json");
        let [ada, bert] = [ADA, BERT].map(|node| node.parse::<NodeId>().unwrap());
        std::fs::write(&file, listed(&[ADA])).unwrap();
        let mut contacts = Contacts::open(&file, BTreeSet::new()).unwrap();
        let guests = contacts.guests();
        assert!(guests.contains(&ada) && !guests.contains(&bert));

        let long = listed(&[BERT]) + &" ".repeat(usize::try_from(LONGEST).unwrap());
        let stranger = listed(&[BERT, "did:web:bert.example"]);
        let wrong = [("", "no list of contacts"), ("[{", "no list"), ("{}", "no list"), ("[{}]", "`node`")];
        for (text, why) in wrong.into_iter().chain([(long.as_str(), "bytes"), (stranger.as_str(), "did:web")]) {
            std::fs::write(&file, text).unwrap();
            let refused = Contacts::open(&file, BTreeSet::new()).unwrap_err().to_string();
            assert!(refused.contains(why), "{refused}");
            contacts.look();
            assert!(guests.contains(&ada) && !guests.contains(&bert), "{why}");
        }
        std::fs::remove_file(&file).unwrap();
        assert!(matches!(Contacts::open(&file, BTreeSet::new()), Err(ContactsError::Read(_))));
        contacts.look();
        assert!(guests.contains(&ada));

        std::fs::write(&file, listed(&[BERT])).unwrap();
        contacts.look();
        assert!(!guests.contains(&ada) && guests.contains(&bert));
        std::fs::write(&file, listed(&[])).unwrap();
        contacts.look();
        assert!(!guests.contains(&bert));
        // Who is allowed by name needs no contact.
        let allowed = Contacts::open(&file, [ada].into()).unwrap().guests();
        assert!(allowed.contains(&ada) && !allowed.contains(&bert));
    }
}
