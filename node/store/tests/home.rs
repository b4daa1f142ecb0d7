//! A home from its first start, and everything that must not happen to it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use klp::{OwnerId, SecretKey, Timestamp};
use kos_store as store;
use store::audit::{self, Entry, Filter};
use store::home::{self, recovery};
use store::identity::{self, Identity};
use store::vault::MAIN;
use store::{
    Cost, FileError, Home, Opener, Passphrase, Secret, Store, StoreError, Unlock, UnsealError, VaultError, Vaults,
};

const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// A home and an unlock file in folders of their own.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("folder") }
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn unlock(&self) -> Unlock {
        Unlock::with_file(self.folder.path().join("unlock"))
    }

    fn open(&self) -> Result<Home, home::OpenError> {
        Home::open(&self.home(), &self.unlock(), NOW)
    }
}

fn passphrase(text: &str) -> Unlock {
    let passphrase = Some(Passphrase::new(text.into()));
    Unlock { passphrase, seal_with_passphrase: true, cost: Cost::MINIMUM, ..Unlock::default() }
}

/// What a node does on its first start.
async fn first_start(home: &Home, store: &Store, vaults: &Vaults) -> recovery::Recovery {
    let opener = Opener::Machine(home.machine_secret().expect("sealed to the machine").clone());
    let made = recovery::create(&home.recovery_file(), &opener, Cost::MINIMUM).expect("creates");
    vaults.create(store, MAIN, opener, Cost::MINIMUM, NOW).await.expect("creates");
    let (shared, owner, next) = (vaults.clone(), made.owner.clone(), made.next_key_hash());
    let set = store.write(move |tx| {
        shared.keep_owner(tx, &owner, NOW)?;
        tx.audit(Entry::new("identity", "created", NOW).by(Some(owner.did())).on(owner.did()))?;
        let identity = Identity { owner: OwnerId(owner.did()), next, root: true, since: NOW, certificates: vec![] };
        identity::set(tx, &identity).map_err(|_| StoreError::Broken)?;
        Ok::<_, VaultError>(())
    });
    set.await.expect("sets");
    made
}

#[tokio::test]
async fn l1_2_a_home_comes_back_as_it_was() {
    let place = Place::new();
    let mut home = place.open().expect("makes");
    assert!(home.is_fresh());
    let agent = home.add_agent("docs").expect("adds").did();
    let (node, audit) = (home.keys().node().did(), home.keys().audit().did());
    let store = home.open_store(NOW).expect("opens");
    let made = first_start(&home, &store, &Vaults::new(None)).await;
    store.stop(NOW).await.expect("stops");
    drop((store, home));
    let mut home = place.open().expect("opens");
    assert!(!home.is_fresh());
    assert_eq!((home.keys().node().did(), home.keys().audit().did()), (node, audit));
    assert_eq!(home.add_agent("docs").expect("is there").did(), agent, "an agent keeps its key");
    let store = home.open_store(NOW).expect("opens");
    let vaults = Vaults::new(None);
    let known = identity::get(&store.view().expect("view")).expect("reads").expect("there");
    assert_eq!(
        (known.owner.0, known.next),
        (made.owner.did(), made.next_key_hash()),
        "known while the vault is locked"
    );
    let opener = Opener::Machine(home.machine_secret().expect("there").clone());
    vaults.unlock(&store, MAIN, opener, NOW).await.expect("unlocks");
    let owner = vaults.owner(&store.view().expect("view"), NOW).expect("open").expect("there");
    assert_eq!(owner.did(), made.owner.did());
}

#[tokio::test]
async fn l0_2_making_an_identity_is_the_first_thing_in_the_log() {
    let place = Place::new();
    let home = place.open().expect("makes");
    let store = home.open_store(NOW).expect("opens");
    let made = first_start(&home, &store, &Vaults::new(None)).await;
    let mut told = audit::list(&store.view().expect("view"), &Filter::default(), None, 100).expect("lists").entries;
    told.reverse();
    let created = told.iter().find(|entry| entry.component == "identity").expect("told");
    assert_eq!((created.kind.as_str(), created.subject.clone()), ("created", made.owner.did().to_string()));
    assert!(created.seq < 3, "among the first entries");
    assert_eq!(store.verify_log().await.expect("verifies").bad, None);
}

/// Every file under a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("lists").map(|entry| entry.expect("entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn l0_3_no_private_key_or_secret_lies_in_plaintext_anywhere_in_the_home() {
    let place = Place::new();
    let mut home = place.open().expect("makes");
    let agent = home.add_agent("docs").expect("adds");
    let store = home.open_store(NOW).expect("opens");
    let vaults = Vaults::new(None);
    let made = first_start(&home, &store, &vaults).await;
    let shared = vaults.clone();
    let secret = "a secret that is long enough to be found";
    store.write(move |tx| shared.set(tx, MAIN, "token", &Secret::new(secret.into()), NOW)).await.expect("sets");
    let file = vaults
        .export(&store, MAIN, Opener::Passphrase(Passphrase::new("file".into())), Cost::MINIMUM, None, NOW)
        .await
        .expect("exports");
    fs::write(home.path().join("export"), file).expect("writes");
    store.stop(NOW).await.expect("stops");
    let keys = home.keys();
    let exchange = keys.exchange().expect("there").secret.seed().to_vec();
    let seeds = [&made.owner, &made.next, keys.node(), keys.audit(), &agent].map(|key| key.seed().to_vec());
    let plain: Vec<Vec<u8>> = seeds.into_iter().chain([exchange, secret.into(), b"token".to_vec()]).collect();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes();
    let seen = files(&place.home());
    for name in ["home-id", "machine.keys", "kos.redb", "recovery.kos", "export"] {
        assert!(seen.iter().any(|path| path.ends_with(name)), "{name} is searched");
    }
    for path in seen {
        let bytes = fs::read(&path).expect("reads");
        for needle in plain.iter().flat_map(|plain| [plain.clone(), hex(plain)]) {
            let found = bytes.windows(needle.len()).any(|window| window == needle);
            assert!(!found, "{} holds {needle:02x?}", path.display());
        }
    }
    assert!(
        !format!("{home:?} {store:?} {vaults:?} {made:?}")
            .contains(&String::from_utf8(hex(&made.owner.seed()[..])).expect("hex"))
    );
}

#[test]
fn s06_a_home_without_its_unlock_file_is_refused_and_stays_as_it_is() {
    let place = Place::new();
    let node = place.open().expect("makes").keys().node().did();
    let (file, away) = (place.folder.path().join("unlock"), place.folder.path().join("away"));
    fs::rename(&file, &away).expect("moves");
    assert!(matches!(place.open(), Err(home::OpenError::NoUnlockFile { path }) if path == file));
    assert!(!file.exists(), "no new one is made");
    fs::rename(&away, &file).expect("moves");
    assert_eq!(place.open().expect("opens").keys().node().did(), node);
}

#[test]
fn s06_data_without_keys_never_gets_a_new_identity() {
    let place = Place::new();
    let home = place.open().expect("makes");
    drop(home.open_store(NOW).expect("opens"));
    drop(home);
    for name in ["machine.keys", "home-id"] {
        let (file, away) = (place.home().join(name), place.folder.path().join("away"));
        fs::rename(&file, &away).expect("moves");
        assert!(matches!(place.open(), Err(home::OpenError::NoKeys { path }) if path == file), "{name}");
        fs::rename(&away, &file).expect("moves");
    }
    assert!(place.open().is_ok());
}

#[test]
fn s06_the_unlock_file_of_another_home_is_refused_by_name() {
    let (one, other) = (Place::new(), Place::new());
    one.open().expect("makes");
    other.open().expect("makes");
    fs::copy(other.folder.path().join("unlock"), one.folder.path().join("unlock")).expect("copies");
    assert!(matches!(one.open(), Err(home::OpenError::WrongUnlockFile { .. })));
}

#[test]
fn s06_one_folder_serves_the_unlock_files_of_many_homes() {
    let folder = tempfile::tempdir().expect("folder");
    fs::create_dir(folder.path().join("unlock")).expect("folder");
    let unlock = Unlock::with_file(folder.path().join("unlock"));
    let did = |name| Home::open(&folder.path().join(name), &unlock, NOW).expect("opens").keys().node().did();
    assert_ne!(did("one"), did("two"));
    assert_eq!(did("one"), did("one"));
}

#[test]
fn s06_files_that_others_may_read_are_refused_by_name() {
    let place = Place::new();
    let home = place.open().expect("makes");
    drop(home.open_store(NOW).expect("opens"));
    for path in [place.home().join("machine.keys"), place.folder.path().join("unlock"), place.home().join("home-id")] {
        assert_eq!(fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, 0o600, "{}", path.display());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod");
        let refused = place.open();
        assert!(
            matches!(&refused, Err(home::OpenError::File(FileError::Mode { path: named, mode: 0o644 })) if *named == path),
            "{refused:?}"
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
    }
    let database = place.home().join("kos.redb");
    assert_eq!(fs::metadata(&database).expect("metadata").permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&database, fs::Permissions::from_mode(0o660)).expect("chmod");
    assert!(matches!(home.open_store(NOW), Err(store::OpenError::File(FileError::Mode { mode: 0o660, .. }))));
    assert_eq!(fs::metadata(place.home()).expect("metadata").permissions().mode() & 0o777, 0o700);
}

#[test]
fn s01_the_machine_tier_opens_with_a_passphrase_when_sealed_so() {
    let place = Place::new();
    let with = |text: &str| Unlock { file: place.unlock().file, ..passphrase(text) };
    let node = Home::open(&place.home(), &with("right"), NOW).expect("makes").keys().node().did();
    assert!(!place.folder.path().join("unlock").exists(), "no unlock file is needed");
    let wrong = Home::open(&place.home(), &with("wrong"), NOW);
    assert!(matches!(wrong, Err(home::OpenError::Sealed(UnsealError::WrongPassphrase))));
    let none = place.open();
    assert!(matches!(none, Err(home::OpenError::Sealed(UnsealError::NeedsPassphrase))));
    assert_eq!(Home::open(&place.home(), &with("right"), NOW).expect("opens").keys().node().did(), node);
}

#[test]
fn s06_resealing_with_a_passphrase_and_back_keeps_the_keys() {
    let place = Place::new();
    let mut home = place.open().expect("makes");
    let node = home.keys().node().did();
    let with = |text: &str| Unlock { file: place.unlock().file, ..passphrase(text) };
    home.reseal(&with("right")).expect("reseals");
    home.add_agent("docs").expect("adds");
    drop(home);
    assert!(matches!(place.open(), Err(home::OpenError::Sealed(UnsealError::NeedsPassphrase))));
    let mut home = Home::open(&place.home(), &with("right"), NOW).expect("opens");
    assert!(home.keys().agent("docs").is_some());
    home.reseal(&place.unlock()).expect("reseals");
    drop(home);
    assert_eq!(place.open().expect("opens").keys().node().did(), node);
}

#[test]
fn s06_an_unlock_file_inside_the_home_is_refused() {
    let place = Place::new();
    let inside = Unlock::with_file(place.home().join("unlock"));
    assert!(matches!(Home::open(&place.home(), &inside, NOW), Err(home::OpenError::UnlockFileInside { .. })));
    assert!(!place.home().join("machine.keys").exists());
}

#[test]
fn damaged_machine_keys_are_refused_by_name() {
    let place = Place::new();
    place.open().expect("makes");
    let path = place.home().join("machine.keys");
    let bytes = fs::read(&path).expect("reads");
    for changed in
        [bytes[..bytes.len() - 1].to_vec(), [&bytes[..bytes.len() - 1], &[bytes[bytes.len() - 1] ^ 1]].concat(), vec![]]
    {
        fs::write(&path, &changed).expect("writes");
        assert!(matches!(place.open(), Err(home::OpenError::Sealed(UnsealError::Damaged))));
    }
    fs::write(&path, &bytes).expect("writes");
    assert!(place.open().is_ok());
}

#[test]
fn a_start_that_broke_off_is_finished_by_the_next() {
    let place = Place::new();
    place.open().expect("makes");
    let id = fs::read(place.home().join("home-id")).expect("reads");
    fs::remove_file(place.home().join("machine.keys")).expect("removes");
    let home = place.open().expect("makes");
    assert!(home.is_fresh());
    assert_eq!(fs::read(place.home().join("home-id")).expect("reads"), id);
}

#[test]
fn s33_a_rotated_exchange_key_is_on_disk_before_it_is_used() {
    let place = Place::new();
    let mut home = place.open().expect("makes");
    let first = home.keys().exchange().expect("there").secret.public();
    assert!(!home.rotate_exchange(NOW).expect("is young"));
    let later = NOW.after(klp::limits::EXCHANGE_LIFE);
    assert!(home.rotate_exchange(later).expect("rotates"));
    let second = home.keys().exchange().expect("there").secret.public();
    drop(home);
    let home = place.open().expect("opens");
    assert_eq!(home.keys().exchange().expect("there").secret.public(), second);
    assert!(home.keys().exchange_of(&first.id()).is_some());
    let _kept: &SecretKey = home.keys().node();
}
