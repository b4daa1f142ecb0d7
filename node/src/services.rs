//! What a node does for its owner, one file a noun. The faces (command line, local API) call these and nothing else.

pub mod agents;
pub mod audit;
pub mod calls;
pub mod contacts;
pub mod directory;
pub(crate) mod forwarding;
pub mod grants;
pub mod pairing;
pub mod queue;
pub mod reach;
pub mod receipts;
pub(crate) mod relays;
pub(crate) mod revocations;
pub mod settings;
pub mod vaults;
