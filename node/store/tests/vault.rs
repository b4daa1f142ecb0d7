//! Vaults as their owner uses them.

use std::time::Duration;

use klp::{SecretKey, Timestamp};
use kos_store as store;
use store::audit::{self, Filter};
use store::vault::{Export, Imported, MAIN};
use store::{Cost, DatabaseKey, Opener, Passphrase, Secret, Store, UnsealError, VaultError, Vaults};

const NOW: Timestamp = Timestamp(1_000_000);
const CHEAP: Cost = Cost::MINIMUM;

fn word(text: &str) -> Opener {
    Opener::Passphrase(Passphrase::new(text.into()))
}

fn open(folder: &std::path::Path) -> Store {
    let path = folder.join("kos.redb");
    Store::open(&path, &DatabaseKey::from_bytes([1; 32]), &SecretKey::from_seed(&[2; 32]), None, NOW).expect("opens")
}

async fn set(
    store: &Store,
    vaults: &Vaults,
    vault: &'static str,
    name: &'static str,
    value: &'static str,
) -> Result<u64, VaultError> {
    let vaults = vaults.clone();
    store.write(move |tx| vaults.set(tx, vault, name, &Secret::new(value.into()), NOW)).await
}

fn get(store: &Store, vaults: &Vaults, vault: &str, name: &str) -> Result<Option<String>, VaultError> {
    let found = vaults.get(&store.view()?, vault, name, NOW)?;
    Ok(found.map(|secret| String::from_utf8(secret.expose().to_vec()).expect("text")))
}

#[tokio::test]
async fn s6_after_a_restart_and_an_unlock_the_values_are_the_same() {
    let folder = tempfile::tempdir().expect("folder");
    let (store, vaults) = (open(folder.path()), Vaults::new(None));
    vaults.create(&store, MAIN, word("right"), CHEAP, NOW).await.expect("creates");
    assert_eq!(set(&store, &vaults, MAIN, "token", "hunter2").await.expect("sets"), 1);
    store.stop(NOW).await.expect("stops");
    drop(store);
    let (store, vaults) = (open(folder.path()), Vaults::new(None));
    assert!(matches!(get(&store, &vaults, MAIN, "token"), Err(VaultError::Locked { .. })));
    vaults.unlock(&store, MAIN, word("right"), NOW).await.expect("unlocks");
    assert_eq!(get(&store, &vaults, MAIN, "token").expect("reads").as_deref(), Some("hunter2"));
    assert_eq!(set(&store, &vaults, MAIN, "token", "hunter3").await.expect("sets"), 2);
    let shared = vaults.clone();
    assert!(store.write(move |tx| shared.remove(tx, MAIN, "token", NOW)).await.expect("removes"));
    assert_eq!(get(&store, &vaults, MAIN, "token").expect("reads"), None);
}

#[tokio::test]
async fn s5_unlocking_one_vault_leaves_the_other_locked() {
    let folder = tempfile::tempdir().expect("folder");
    let (store, vaults) = (open(folder.path()), Vaults::new(None));
    for (name, passphrase) in [(MAIN, "one"), ("work", "two")] {
        vaults.create(&store, name, word(passphrase), CHEAP, NOW).await.expect("creates");
        set(&store, &vaults, name, "token", passphrase).await.expect("sets");
    }
    let again = vaults.create(&store, "work", word("three"), CHEAP, NOW).await;
    assert!(matches!(again, Err(VaultError::Exists { .. })));
    vaults.lock_all();
    vaults.unlock(&store, "work", word("two"), NOW).await.expect("unlocks");
    assert_eq!(get(&store, &vaults, "work", "token").expect("reads").as_deref(), Some("two"));
    assert!(matches!(get(&store, &vaults, MAIN, "token"), Err(VaultError::Locked { vault }) if vault == MAIN));
    let open: Vec<_> = vaults
        .list(&store.view().expect("view"))
        .expect("lists")
        .into_iter()
        .map(|vault| (vault.name, vault.open))
        .collect();
    assert_eq!(open, [(MAIN.to_owned(), false), ("work".to_owned(), true)]);
    assert!(matches!(get(&store, &vaults, "none", "token"), Err(VaultError::Unknown { .. })));
}

#[tokio::test]
async fn u8_a_wrong_passphrase_is_named_told_and_opens_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let (store, vaults) = (open(folder.path()), Vaults::new(None));
    vaults.create(&store, MAIN, word("right"), CHEAP, NOW).await.expect("creates");
    vaults.lock(MAIN);
    let wrong = vaults.unlock(&store, MAIN, word("wrong"), NOW).await;
    assert!(matches!(wrong, Err(VaultError::Sealed(UnsealError::WrongPassphrase))));
    assert!(!vaults.is_open(MAIN));
    assert!(vaults.check(&store, MAIN, word("right")).await.is_ok());
    assert!(!vaults.is_open(MAIN), "checking opens nothing");
    let told = audit::list(&store.view().expect("view"), &Filter::default(), None, 1).expect("lists");
    assert_eq!((told.entries[0].component.as_str(), told.entries[0].kind.as_str()), ("vault", "refused"));
}

#[tokio::test]
async fn u8_an_idle_vault_locks_by_itself() {
    let folder = tempfile::tempdir().expect("folder");
    let (store, vaults) = (open(folder.path()), Vaults::new(Some(Duration::from_secs(60))));
    vaults.create(&store, MAIN, word("right"), CHEAP, NOW).await.expect("creates");
    let later = |seconds| NOW.after(Duration::from_secs(seconds));
    let used = |at| vaults.records(&store.view().expect("view"), MAIN, at).map(|records| records.len());
    assert_eq!(used(later(59)).expect("open"), 0);
    assert!(vaults.tick(later(100)).is_empty(), "it was used meanwhile");
    assert_eq!(vaults.tick(later(119)), [MAIN]);
    assert!(matches!(used(later(119)), Err(VaultError::Locked { .. })));
    vaults.unlock(&store, MAIN, word("right"), later(200)).await.expect("unlocks");
    assert!(matches!(used(later(260)), Err(VaultError::Locked { .. })), "also without a tick");
}

#[tokio::test]
async fn s02_the_owner_key_is_never_listed_and_not_there_while_locked() {
    let folder = tempfile::tempdir().expect("folder");
    let (store, vaults) = (open(folder.path()), Vaults::new(None));
    vaults.create(&store, MAIN, word("right"), CHEAP, NOW).await.expect("creates");
    let (owner, shared) = (SecretKey::from_seed(&[9; 32]), vaults.clone());
    let kept = owner.clone();
    store.write(move |tx| shared.keep_owner(tx, &kept, NOW)).await.expect("keeps");
    set(&store, &vaults, MAIN, "owner", "a secret of this name").await.expect("sets");
    let view = store.view().expect("view");
    assert_eq!(vaults.owner(&view, NOW).expect("open").map(|key| key.did()), Some(owner.did()));
    let names: Vec<_> =
        vaults.records(&view, MAIN, NOW).expect("lists").into_iter().map(|record| record.name).collect();
    assert_eq!(names, ["owner"], "the user's, not the key");
    assert_eq!(get(&store, &vaults, MAIN, "owner").expect("reads").as_deref(), Some("a secret of this name"));
    let file = vaults.export(&store, MAIN, word("file"), CHEAP, None, NOW).await.expect("exports");
    vaults.create(&store, "other", word("other"), CHEAP, NOW).await.expect("creates");
    let file = Export { bytes: file, opener: word("file") };
    let done = vaults.import(&store, "other", file, false, None, NOW).await.expect("imports");
    assert_eq!(done, Imported { added: 1, replaced: 0, kept: 0 }, "the owner key does not travel");
    vaults.lock(MAIN);
    assert!(matches!(vaults.owner(&store.view().expect("view"), NOW), Err(VaultError::Locked { .. })));
}

#[tokio::test]
async fn s06_after_passwd_the_old_passphrase_opens_only_old_copies() {
    let folder = tempfile::tempdir().expect("folder");
    let (store, vaults) = (open(folder.path()), Vaults::new(None));
    vaults.create(&store, MAIN, word("old"), CHEAP, NOW).await.expect("creates");
    set(&store, &vaults, MAIN, "token", "hunter2").await.expect("sets");
    store.stop(NOW).await.expect("stops");
    drop(store);
    let backup = tempfile::tempdir().expect("folder");
    std::fs::copy(folder.path().join("kos.redb"), backup.path().join("kos.redb")).expect("copies");
    let store = open(folder.path());
    vaults.passwd(&store, MAIN, word("new"), CHEAP, None, NOW).await.expect("changes");
    assert_eq!(get(&store, &vaults, MAIN, "token").expect("still open").as_deref(), Some("hunter2"));
    set(&store, &vaults, MAIN, "later", "x").await.expect("sets");
    vaults.lock(MAIN);
    let old = vaults.unlock(&store, MAIN, word("old"), NOW).await;
    assert!(matches!(old, Err(VaultError::Sealed(UnsealError::WrongPassphrase))));
    vaults.unlock(&store, MAIN, word("new"), NOW).await.expect("unlocks");
    assert_eq!(get(&store, &vaults, MAIN, "token").expect("reads").as_deref(), Some("hunter2"));
    assert_eq!(vaults.list(&store.view().expect("view")).expect("lists")[0].epoch, 2);
    let (store, vaults) = (open(backup.path()), Vaults::new(None));
    vaults.unlock(&store, MAIN, word("old"), NOW).await.expect("the old copy opens");
    assert_eq!(get(&store, &vaults, MAIN, "token").expect("reads").as_deref(), Some("hunter2"));
}

#[tokio::test]
async fn an_export_brings_all_records_or_none() {
    let folder = tempfile::tempdir().expect("folder");
    let (store, vaults) = (open(folder.path()), Vaults::new(None));
    vaults.create(&store, MAIN, word("right"), CHEAP, NOW).await.expect("creates");
    for (name, value) in [("one", "1"), ("two", "2")] {
        set(&store, &vaults, MAIN, name, value).await.expect("sets");
    }
    let bytes = vaults.export(&store, MAIN, word("file"), CHEAP, None, NOW).await.expect("exports");
    assert!(!bytes.windows(3).any(|window| window == b"one"));
    set(&store, &vaults, MAIN, "one", "changed").await.expect("sets");
    let shared = vaults.clone();
    store.write(move |tx| shared.remove(tx, MAIN, "two", NOW)).await.expect("removes");
    let import = |bytes: &[u8], passphrase: &str, replace| {
        let file = Export { bytes: bytes.to_vec(), opener: word(passphrase) };
        vaults.import(&store, MAIN, file, replace, None, NOW)
    };
    let wrong = import(&bytes, "wrong", true).await;
    assert!(matches!(wrong, Err(VaultError::Sealed(UnsealError::WrongPassphrase))));
    let mut damaged = bytes.clone();
    *damaged.last_mut().expect("bytes") ^= 1;
    assert!(matches!(import(&damaged, "file", true).await, Err(VaultError::Sealed(UnsealError::Damaged))));
    assert_eq!(get(&store, &vaults, MAIN, "two").expect("reads"), None, "nothing came of them");
    let kept = import(&bytes, "file", false).await.expect("imports");
    assert_eq!(kept, Imported { added: 1, replaced: 0, kept: 1 });
    assert_eq!(get(&store, &vaults, MAIN, "one").expect("reads").as_deref(), Some("changed"));
    let replaced = import(&bytes, "file", true).await.expect("imports");
    assert_eq!(replaced, Imported { added: 0, replaced: 2, kept: 0 });
    assert_eq!(get(&store, &vaults, MAIN, "one").expect("reads").as_deref(), Some("1"));
    assert_eq!(get(&store, &vaults, MAIN, "two").expect("reads").as_deref(), Some("2"));
}

#[tokio::test]
async fn names_and_values_over_their_bounds_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("folder");
    let (store, vaults) = (open(folder.path()), Vaults::new(None));
    for name in ["", "a/b", "a b"] {
        assert!(matches!(vaults.create(&store, name, word("x"), CHEAP, NOW).await, Err(VaultError::Name)), "{name:?}");
    }
    vaults.create(&store, MAIN, word("right"), CHEAP, NOW).await.expect("creates");
    assert!(matches!(set(&store, &vaults, MAIN, "", "x").await, Err(VaultError::Name)));
    let shared = vaults.clone();
    let large = store.write(move |tx| shared.set(tx, MAIN, "large", &Secret::new(vec![0; 65 * 1024]), NOW)).await;
    assert!(matches!(large, Err(VaultError::TooMuch { limit: 65_536, .. })));
}
