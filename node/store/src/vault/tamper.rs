//! A vault against somebody who holds the database key.

use klp::{SecretKey, Timestamp};

use super::*;
use crate::bench::{database_key, on_disk};
use crate::passphrase::Passphrase;
use crate::table::TableKeys;
use crate::tamper::{forge, rows};

const NOW: Timestamp = Timestamp(10);

fn opener() -> Opener {
    Opener::Passphrase(Passphrase::new("right".into()))
}

/// An open vault with two records and the owner key.
async fn filled(folder: &std::path::Path) -> (Store, Vaults) {
    let (store, vaults) = (on_disk(folder), Vaults::new(None));
    vaults.create(&store, MAIN, opener(), Cost::MINIMUM, NOW).await.expect("creates");
    let shared = vaults.clone();
    let filled = store.write(move |tx| {
        shared.set(tx, MAIN, "one", &Secret::new(b"value one".to_vec()), NOW)?;
        shared.set(tx, MAIN, "two", &Secret::new(b"value two".to_vec()), NOW)?;
        shared.keep_owner(tx, &SecretKey::from_seed(&[5; 32]), NOW)
    });
    filled.await.expect("sets");
    (store, vaults)
}

#[tokio::test]
async fn s4_swapped_records_are_detected_even_under_the_database_key() {
    let folder = tempfile::tempdir().expect("folder");
    let (store, vaults) = filled(folder.path()).await;
    drop(store);
    let path = folder.path().join("kos.redb");
    let keys = TableKeys::derive(&database_key().0);
    let table = Table::VaultRecords;
    let plain: Vec<_> = rows(&path, table)
        .into_iter()
        .map(|(key, sealed)| (keys.open(table, &key, &sealed).expect("opens"), key))
        .collect();
    assert_eq!(plain.len(), 3);
    for (index, (_, key)) in plain.iter().enumerate() {
        forge(&path, table, key, &plain[(index + 1) % 3].0);
    }
    let store = on_disk(folder.path());
    let view = store.view().expect("view");
    for name in ["one", "two"] {
        assert!(matches!(vaults.get(&view, MAIN, name, NOW), Err(VaultError::Integrity { .. })), "{name}");
    }
    assert!(matches!(vaults.owner(&view, NOW), Err(VaultError::Integrity { .. })));
    drop((view, store));
    let mut changed = plain[0].0.clone();
    *changed.last_mut().expect("bytes") ^= 1;
    forge(&path, table, &plain[0].1, &changed);
    let store = on_disk(folder.path());
    assert!(matches!(vaults.records(&store.view().expect("view"), MAIN, NOW), Err(VaultError::Integrity { .. })));
}

#[tokio::test]
async fn s01_a_locked_vault_shows_neither_names_nor_values_to_the_database_key() {
    let folder = tempfile::tempdir().expect("folder");
    let (store, _vaults) = filled(folder.path()).await;
    drop(store);
    let keys = TableKeys::derive(&database_key().0);
    for (key, sealed) in rows(&folder.path().join("kos.redb"), Table::VaultRecords) {
        let plain = keys.open(Table::VaultRecords, &key, &sealed).expect("opens");
        for secret in [&b"one"[..], b"two", b"owner", &[5; 32]] {
            assert!(!plain.windows(secret.len()).any(|window| window == secret));
        }
    }
}

#[tokio::test]
async fn every_version_of_a_record_has_a_data_key_of_its_own() {
    let folder = tempfile::tempdir().expect("folder");
    let (store, vaults) = filled(folder.path()).await;
    let set = |value: &'static [u8]| {
        let vaults = vaults.clone();
        store.write(move |tx| vaults.set(tx, MAIN, "one", &Secret::new(value.to_vec()), NOW))
    };
    assert_eq!(set(b"same").await.expect("sets"), 2);
    let wrapped = |store: &Store| {
        let view = store.view().expect("view");
        let all: Vec<Value> = view.all(Table::VaultRecords, 10).expect("reads");
        all.iter().map(klp::codec::encode).collect::<Vec<_>>()
    };
    let before = wrapped(&store);
    assert_eq!(set(b"same").await.expect("sets"), 3);
    let after = wrapped(&store);
    assert_eq!(before.iter().filter(|record| after.contains(record)).count(), 2, "only the changed record changed");
}
