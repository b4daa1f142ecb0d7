//! Tests that reach behind the store: raw rows, raw bytes, a disk that fills up.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use klp::Timestamp;
use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, StorageBackend};

use crate::bench::{audit_key, database_key, on_disk};
use crate::error::StoreError;
use crate::file::{Content, Format, Step};
use crate::settings;
use crate::store::{OpenError, Store};
use crate::table::{Table, TableKeys};
use crate::view::definition;

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// All rows of a table, as they lie on disk.
pub(crate) fn rows(path: &Path, table: Table) -> Rows {
    let database = Database::open(path).expect("opens");
    let open = database.begin_read().expect("reads").open_table(definition(table)).expect("opens");
    let all = open.iter().expect("reads").map(|row| row.expect("reads"));
    all.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())).collect()
}

/// Changes raw rows; `None` removes.
pub(crate) fn change(path: &Path, table: Table, changes: &[(&[u8], Option<&[u8]>)]) {
    let database = Database::open(path).expect("opens");
    let transaction = database.begin_write().expect("begins");
    {
        let mut open = transaction.open_table(definition(table)).expect("opens");
        for (key, value) in changes {
            match value {
                Some(value) => drop(open.insert(*key, *value).expect("inserts")),
                None => drop(open.remove(*key).expect("removes")),
            }
        }
    }
    transaction.commit().expect("commits");
}

/// Changes rows as somebody who holds the database key would.
pub(crate) fn forge(path: &Path, table: Table, key: &[u8], plain: &[u8]) {
    let sealed = TableKeys::derive(&database_key().0).seal(table, key, plain).expect("seals");
    change(path, table, &[(key, Some(&sealed))]);
}

async fn set(store: &Store, key: &'static str, value: &'static str) -> Result<(), StoreError> {
    store.write(move |tx| settings::set(tx, key, value).map(drop)).await
}

fn get(store: &Store, key: &str) -> Result<Option<String>, StoreError> {
    settings::get(&store.view()?, key)
}

#[tokio::test]
async fn l0_10_a_flipped_byte_is_an_error_that_names_table_and_key() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("kos.redb");
    let store = on_disk(folder.path());
    set(&store, "known", "plaintext").await.expect("sets");
    drop(store);
    let (key, mut value) = rows(&path, Table::Settings).remove(0);
    let last = value.len() - 1;
    value[last] ^= 1;
    change(&path, Table::Settings, &[(&key, Some(&value))]);
    let store = on_disk(folder.path());
    let name: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let error = get(&store, "known").expect_err("refused");
    assert!(matches!(&error, StoreError::Integrity { table: "settings", key } if *key == name), "{error}");
    set(&store, "other", "fine").await.expect("the rest still works");
}

#[tokio::test]
async fn s31_two_swapped_values_are_detected() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("kos.redb");
    let store = on_disk(folder.path());
    set(&store, "one", "1").await.expect("sets");
    set(&store, "two", "2").await.expect("sets");
    drop(store);
    let both = rows(&path, Table::Settings);
    change(&path, Table::Settings, &[(&both[0].0, Some(&both[1].1)), (&both[1].0, Some(&both[0].1))]);
    let store = on_disk(folder.path());
    for key in ["one", "two"] {
        assert!(matches!(get(&store, key), Err(StoreError::Integrity { table: "settings", .. })), "{key}");
    }
}

#[tokio::test]
async fn s31_neither_values_nor_names_lie_on_disk_in_the_clear() {
    let folder = tempfile::tempdir().expect("folder");
    let store = on_disk(folder.path());
    set(&store, "a-very-private-name", "a-very-private-value").await.expect("sets");
    store.stop(Timestamp(2)).await.expect("stops");
    let bytes = std::fs::read(folder.path().join("kos.redb")).expect("reads");
    for plain in ["a-very-private-name", "a-very-private-value"] {
        assert!(!bytes.windows(plain.len()).any(|window| window == plain.as_bytes()), "{plain}");
    }
}

#[tokio::test]
async fn a_second_opening_of_the_same_file_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("kos.redb");
    let store = on_disk(folder.path());
    let second = Store::open(&path, &database_key(), &audit_key(), None, Timestamp(1));
    assert!(matches!(second, Err(OpenError::InUse { path: named }) if named == path));
    set(&store, "first", "lives on").await.expect("sets");
}

#[tokio::test]
async fn another_homes_file_and_a_file_that_is_no_database_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("kos.redb");
    drop(on_disk(folder.path()));
    let other = crate::store::DatabaseKey::from_bytes([1; 32]);
    assert!(matches!(Store::open(&path, &other, &audit_key(), None, Timestamp(1)), Err(OpenError::WrongKey { .. })));
    std::fs::write(&path, b"this is no database").expect("writes");
    let refused = Store::open(&path, &database_key(), &audit_key(), None, Timestamp(1));
    assert!(matches!(refused, Err(OpenError::Damaged { .. })));
}

#[tokio::test]
async fn l1_2_a_first_start_that_breaks_off_leaves_no_part_of_a_database() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("kos.redb");
    // What a kill in the middle of the making leaves: any beginning of the file, under the name that it has until it is whole.
    drop(on_disk(folder.path()));
    let whole = std::fs::read(&path).expect("reads");
    for part in [0, 1, 512, 4096, whole.len() - 1] {
        std::fs::remove_file(&path).expect("removes");
        std::fs::write(folder.path().join("kos.redb.new"), &whole[..part]).expect("writes");
        set(&on_disk(folder.path()), "made", "again").await.expect("sets");
        assert!(!folder.path().join("kos.redb.new").exists(), "{part}");
    }
    // And where it cannot be made there is nothing under its name.
    std::fs::remove_file(&path).expect("removes");
    std::fs::create_dir(folder.path().join("kos.redb.new")).expect("makes");
    let refused = Store::open(&path, &database_key(), &audit_key(), None, Timestamp(1));
    assert!(matches!(refused, Err(OpenError::File(_))) && !path.exists());
}

fn add_setting(transaction: &redb::WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(definition(Table::Check))?.insert(&b"migrated"[..], &b"yes"[..])?;
    Ok(())
}

fn fail(_: &redb::WriteTransaction) -> Result<(), redb::Error> {
    Err(io::Error::other("this step fails").into())
}

#[tokio::test]
async fn an_older_format_is_migrated_after_a_copy_and_a_newer_one_refused_by_name() {
    const LATER: Format = Format { known: 4, steps: &[fail as Step, fail, add_setting] };
    const FAILING: Format = Format { known: 4, steps: &[fail as Step, add_setting, fail] };
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("kos.redb");
    let store = on_disk(folder.path());
    set(&store, "kept", "yes").await.expect("sets");
    drop(store);
    assert!(Content::open(&path, &FAILING, Timestamp(2)).is_err());
    let store = on_disk(folder.path());
    assert_eq!(get(&store, "kept").expect("reads").as_deref(), Some("yes"), "a step that fails changes nothing");
    drop(store);
    drop(Content::open(&path, &LATER, Timestamp(2)).expect("migrates"));
    assert!(rows(&path, Table::Check).iter().any(|(key, _)| key == b"migrated"));
    let newer = Store::open(&path, &database_key(), &audit_key(), None, Timestamp(3));
    assert!(matches!(newer, Err(OpenError::Newer { found: 4, known: 3 })));
    let copy = folder.path().join("kos.redb.format-3");
    let store = Store::open(&copy, &database_key(), &audit_key(), None, Timestamp(3)).expect("the copy opens");
    assert_eq!(get(&store, "kept").expect("reads").as_deref(), Some("yes"));
}

#[tokio::test]
async fn a_file_of_an_older_format_gets_the_tables_that_came_since() {
    let formats: [(Format, &[Table]); 2] = [
        (Format { known: 1, steps: &[] }, &[Table::Pairings, Table::Outbox]),
        (Format { known: 2, steps: &[|_| Ok(())] }, &[Table::Outbox]),
    ];
    for (format, missing) in formats {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("kos.redb");
        drop(Content::open(&path, &format, Timestamp(1)).expect("makes"));
        let database = redb::Database::open(&path).expect("opens");
        let transaction = database.begin_write().expect("begins");
        for table in missing {
            assert!(transaction.delete_table(definition(*table)).expect("deletes"), "format {} had none", format.known);
        }
        transaction.commit().expect("commits");
        drop(database);
        let store = on_disk(folder.path());
        assert_eq!(crate::pairings::list(&store.view().expect("view")).expect("reads"), []);
        assert_eq!(crate::outbox::list(&store.view().expect("view")).expect("reads"), []);
        assert!(folder.path().join(format!("kos.redb.format-{}", format.known)).is_file());
    }
}

/// Holds the writer until told to go on, so that what is sent meanwhile shares a batch.
fn hold(store: &Store) -> mpsc::SyncSender<()> {
    let (go, wait) = mpsc::sync_channel::<()>(1);
    let (began, begun) = mpsc::sync_channel(1);
    let store = store.clone();
    tokio::spawn(async move {
        let held = store.write(move |_| {
            began.send(()).expect("somebody waits");
            let _released = wait.recv();
            Ok::<_, StoreError>(())
        });
        held.await.expect("held");
    });
    // Waiting for the condition itself: the writer is inside the first change.
    tokio::task::block_in_place(|| begun.recv()).expect("begins");
    go
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_refuses_or_panics_undoes_only_itself() {
    let folder = tempfile::tempdir().expect("folder");
    for store in [on_disk(folder.path()), Store::in_memory(&database_key(), &audit_key()).expect("opens")] {
        let go = hold(&store);
        let refuse = store.write(|tx| {
            settings::set(tx, "first", "overwritten")?;
            settings::set(tx, "refused", "no")?;
            Err::<(), _>(StoreError::ReadOnly)
        });
        let panic = store.write::<(), StoreError, _>(|tx| {
            settings::set(tx, "panicked", "no")?;
            panic!("on purpose");
        });
        let see = store.write(|tx| settings::get(tx, "first"));
        let changes = async { tokio::join!(set(&store, "first", "1"), refuse, panic, see, set(&store, "last", "2")) };
        let release = async {
            // The changes are polled, and so sent, before this is.
            tokio::task::yield_now().await;
            go.send(()).expect("held");
        };
        let ((first, refused, panicked, seen, last), ()) = tokio::join!(changes, release);
        assert!(first.is_ok() && last.is_ok());
        assert!(matches!(refused, Err(StoreError::ReadOnly)));
        assert!(matches!(panicked, Err(StoreError::Broken)));
        assert_eq!(seen.expect("reads").as_deref(), Some("1"), "a change sees those before it");
        let kept = settings::list(&store.view().expect("view")).expect("lists");
        assert_eq!(kept, [("first".to_owned(), "1".to_owned()), ("last".to_owned(), "2".to_owned())]);
    }
}

#[tokio::test]
async fn scans_see_all_layers_in_order_on_both_backends() {
    let folder = tempfile::tempdir().expect("folder");
    for store in [on_disk(folder.path()), Store::in_memory(&database_key(), &audit_key()).expect("opens")] {
        let put = |numbers: &'static [u64]| {
            store.write(move |tx| {
                numbers.iter().for_each(|number| tx.save(Table::Denials, &number.to_be_bytes(), number));
                Ok::<_, StoreError>(())
            })
        };
        put(&[2, 4, 6, 8]).await.expect("puts");
        let seen = store.write(|tx| {
            tx.remove(Table::Denials, &4u64.to_be_bytes());
            tx.save(Table::Denials, &6u64.to_be_bytes(), &60u64);
            for number in [1u64, 5, 9] {
                tx.save(Table::Denials, &number.to_be_bytes(), &number);
            }
            let scan = |order, range: (u64, u64)| {
                let mut seen = Vec::new();
                let range = range.0.to_be_bytes().to_vec()..range.1.to_be_bytes().to_vec();
                tx.scan(Table::Denials, range, order, |key, bytes| {
                    seen.push(crate::view::decode::<u64>(Table::Denials, key, &bytes)?);
                    Ok(seen.len() < 4)
                })?;
                Ok::<_, StoreError>(seen)
            };
            use crate::view::Order::{Down, Up};
            Ok::<_, StoreError>((scan(Up, (0, 99))?, scan(Down, (0, 99))?, scan(Up, (2, 6))?, scan(Down, (6, 9))?))
        });
        let (up, down, some, few) = seen.await.expect("scans");
        assert_eq!(up, [1, 2, 5, 60]);
        assert_eq!(down, [9, 8, 60, 5]);
        assert_eq!(some, [2, 5]);
        assert_eq!(few, [8, 60]);
        drop(store);
    }
}

/// A file on a disk that has no room behind `room` bytes.
#[derive(Debug)]
struct Narrow {
    file: FileBackend,
    room: Arc<AtomicU64>,
}

impl StorageBackend for Narrow {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if len > self.room.load(Ordering::SeqCst) && len > self.file.len()? {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset + data.len() as u64 > self.room.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write(offset, data)
    }
}

#[tokio::test]
async fn a_full_disk_is_an_error_by_name_and_the_writer_lives_on() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("kos.redb");
    drop(crate::disk::create_private(&path).expect("creates"));
    let room = Arc::new(AtomicU64::new(u64::MAX));
    let (owned, left) = (path.clone(), room.clone());
    let open = move || {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(&owned)?;
        Ok(Database::builder().create_with_backend(Narrow { file: FileBackend::new(file)?, room: left.clone() })?)
    };
    let content = Content::prepare(&path, Box::new(open), &Format::CURRENT, Timestamp(1)).expect("opens");
    let store = Store::over(content, &path, &database_key(), &audit_key(), None).expect("opens");
    let fill = |number: u64| {
        store.write(move |tx| {
            tx.audit(crate::audit::Entry::new("test", "filled", Timestamp(number)).on("x".repeat(500)))?;
            settings::set(tx, &format!("key {number}"), &"x".repeat(10_000)).map(drop)
        })
    };
    fill(0).await.expect("there is room");
    room.store(std::fs::metadata(&path).expect("metadata").len(), Ordering::SeqCst);
    let mut acknowledged = 1;
    let full = loop {
        match fill(acknowledged).await {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 1000, "the disk never fills");
    };
    assert!(matches!(full, StoreError::Full), "{full}");
    assert!(matches!(fill(acknowledged).await, Err(StoreError::Full)), "again, by name");
    assert_eq!(settings::list(&store.view().expect("readable")).expect("lists").len() as u64, acknowledged);
    // What is small may find room where what is large does not, and is no sign that the disk is well.
    let trouble = store.trouble();
    assert!(trouble.borrow().as_ref().is_some_and(|trouble| trouble.size > 10_000), "{:?}", trouble.borrow());
    let small = store.write(|tx| settings::remove(tx, "key 0").and_then(|_| settings::set(tx, "key 0", "x")).map(drop));
    small.await.expect("it needs less than it leaves");
    assert!(trouble.borrow().is_some(), "less was written than what found no room");
    assert!(matches!(store.try_again(Timestamp(5)).await, Err(StoreError::Full)) && trouble.borrow().is_some());
    room.store(u64::MAX, Ordering::SeqCst);
    store.try_again(Timestamp(6)).await.expect("there is room again");
    assert!(trouble.borrow().is_none());
    fill(acknowledged).await.expect("there is room again");
    assert_eq!(settings::list(&store.view().expect("view")).expect("lists").len() as u64, acknowledged + 1);
    assert_eq!(store.verify_log().await.expect("verifies").bad, None);
    drop(store);
    let store = Store::open(&path, &database_key(), &audit_key(), None, Timestamp(2)).expect("opens");
    assert_eq!(settings::list(&store.view().expect("view")).expect("lists").len() as u64, acknowledged + 1);
}
