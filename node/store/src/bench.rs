//! A bench to test the rooms on: the same test over a file and over memory.

use klp::{Did, SecretKey, Timestamp};

use crate::error::StoreError;
use crate::store::{DatabaseKey, Store};
use crate::view::Tx;

/// The DID of the key with this seed.
pub(crate) fn did(seed: u8) -> Did {
    SecretKey::from_seed(&[seed; 32]).did()
}

pub(crate) fn database_key() -> DatabaseKey {
    DatabaseKey::from_bytes([11; 32])
}

pub(crate) fn audit_key() -> SecretKey {
    SecretKey::from_seed(&[12; 32])
}

/// A store in a file of its own.
pub(crate) fn on_disk(folder: &std::path::Path) -> Store {
    Store::open(&folder.join("kos.redb"), &database_key(), &audit_key(), Some(&folder.join("anchor")), Timestamp(1))
        .expect("opens")
}

/// Runs a test as one change over each backend.
pub(crate) fn on_each(test: impl Fn(&mut Tx) + Send + Clone + 'static) {
    let folder = tempfile::tempdir().expect("folder");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    for store in [on_disk(folder.path()), Store::in_memory(&database_key(), &audit_key()).expect("opens")] {
        let test = test.clone();
        let change = move |tx: &mut Tx| {
            test(tx);
            Ok::<_, StoreError>(())
        };
        runtime.block_on(store.write(change)).expect("the test passes");
    }
}
