//! Who may wait behind this relay, out of its settings.

use std::fs;

use host::{Door, DoorError};
use mesh::{Access, RelayToken};

use crate::config::Config;

/// What `access` means with the settings beside it.
pub(crate) fn read(door: &Door<Config>) -> Result<Access, DoorError> {
    match door.settings.access.as_str() {
        "allow_list" => Ok(Access::Listed(door.list("allow", "a node's did:key")?.into_iter().collect())),
        "token" => token(door).map(Access::Token),
        _ => Ok(Access::Open),
    }
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
