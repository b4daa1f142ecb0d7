//! What one node keeps: keys, secrets, and everything that must be there again after the power failed.

pub mod addresses;
pub mod agents;
pub mod audit;
mod cipher;
pub mod contacts;
pub mod counters;
mod disk;
mod error;
mod file;
pub mod grants;
pub mod home;
pub mod identity;
pub mod outbox;
pub mod pairings;
mod passphrase;
pub mod receipts;
pub mod records;
pub mod requests;
pub mod revocations;
mod seal;
pub mod settings;
mod store;
mod table;
pub mod vault;
mod view;
mod writer;

#[cfg(test)]
mod bench;
#[cfg(test)]
mod power;
#[cfg(test)]
mod tamper;

pub use disk::FileError;
pub use error::{StoreError, is_full};
pub use home::{Home, Unlock};
pub use passphrase::{Cost, Passphrase, Secret};
pub use seal::{MachineSecret, Opener, Sealing, UnsealError};
pub use store::{DatabaseKey, OpenError, Store};
pub use vault::{VaultError, Vaults};
pub use view::{Tx, View};
pub use writer::Trouble;
