//! Who may wait behind this relay, out of its settings.

use std::collections::BTreeSet;
use std::fs;

use host::{Door, DoorError};
use mesh::{Access, NodeId, RelayToken};

use crate::config::Config;
use crate::contacts::Contacts;

/// What `access` means with the settings beside it, and the contacts that have to be followed for it.
pub(crate) fn read(door: &Door<Config>) -> Result<(Access, Option<Contacts>), DoorError> {
    let allowed = || door.list::<NodeId>("allow", "a node's did:key");
    Ok(match door.settings.access.as_str() {
        "allow_list" => (Access::Listed(allowed()?.into_iter().collect()), None),
        "contacts" => {
            let contacts = contacts(door, allowed()?.into_iter().collect())?;
            (Access::Listed(contacts.guests()), Some(contacts))
        }
        "token" => (Access::Token(token(door)?), None),
        _ => (Access::Open, None),
    })
}

fn contacts(door: &Door<Config>, allowed: BTreeSet<NodeId>) -> Result<Contacts, DoorError> {
    let file = &door.settings.contacts_file;
    Contacts::open(file, allowed).map_err(|why| {
        let expected = "a file with what `kos contact list --json` prints";
        door.wrong("contacts_file", expected, &format!("\"{}\" ({why})", file.display()))
    })
}

fn token(door: &Door<Config>) -> Result<RelayToken, DoorError> {
    let file = &door.settings.token_file;
    let wrong = |why: String| {
        let expected = format!("a file with a token of at least {} characters", RelayToken::LEAST);
        door.wrong("token_file", &expected, &format!("\"{}\" ({why})", file.display()))
    };
    let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    RelayToken::new(&text).ok_or_else(|| wrong("it holds less".to_owned()))
}
