//! Tests that damage the log in every way and see it named.

use std::path::Path;

use klp::{Cbor as _, Did, Timestamp};

use super::checkpoint::Mark;
use super::entry::{Kept, Leaf};
use super::*;
use crate::bench::{audit_key, database_key, did, on_disk};
use crate::error::StoreError;
use crate::store::Store;
use crate::table::{Table, TableKeys, sequence};
use crate::tamper::{change, forge, rows};

/// Writes `count` entries, each on its number.
async fn append(store: &Store, count: u64) {
    let appended = store.write(move |tx| {
        for number in 0..count {
            let entry = Entry::new("test", "counted", Timestamp(1000 + number)).by(Some(did(1))).on(number);
            tx.audit(entry.with("secret detail", "detail"))?;
        }
        Ok::<_, StoreError>(())
    });
    appended.await.expect("appends");
}

/// A log of 150 entries with checkpoints at 64, 128 and 150, closed.
async fn closed(folder: &Path) -> std::path::PathBuf {
    let store = on_disk(folder);
    append(&store, 150).await;
    store.stop(Timestamp(5000)).await.expect("stops");
    folder.join("kos.redb")
}

async fn first_bad(folder: &Path) -> Option<Bad> {
    let store = on_disk(folder);
    store.verify_log().await.expect("verifies").bad
}

fn bad(seq: u64, why: Why) -> Option<Bad> {
    Some(Bad { seq, why })
}

#[tokio::test]
async fn l0_8_a_sound_log_verifies_and_knows_its_size() {
    let folder = tempfile::tempdir().expect("folder");
    closed(folder.path()).await;
    let store = on_disk(folder.path());
    assert_eq!(store.condition(), Condition::Sound);
    let report = store.verify_log().await.expect("verifies");
    assert_eq!((report.entries, report.covered, report.bad), (150, 150, None));
    append(&store, 3).await;
    let report = store.verify_log().await.expect("verifies");
    assert_eq!((report.entries, report.covered, report.bad), (153, 150, None));
}

#[tokio::test]
async fn l0_8_an_altered_entry_is_named_and_the_store_opens_read_only() {
    let folder = tempfile::tempdir().expect("folder");
    let path = closed(folder.path()).await;
    let (key, mut value) = rows(&path, Table::AuditLeaves).swap_remove(70);
    value[20] ^= 1;
    change(&path, Table::AuditLeaves, &[(&key, Some(&value))]);
    let store = on_disk(folder.path());
    assert_eq!(store.condition(), Condition::Broken(Bad { seq: 70, why: Why::Altered }));
    assert_eq!(store.verify_log().await.expect("verifies").bad, bad(70, Why::Altered));
    let refused = store.write(|tx| tx.audit(Entry::new("test", "late", Timestamp(1)))).await;
    assert!(matches!(refused, Err(StoreError::ReadOnly)));
    assert!(crate::settings::list(&store.view().expect("view")).is_ok(), "reading still works");
}

#[tokio::test]
async fn l0_8_an_entry_altered_with_the_database_key_is_named_too() {
    let folder = tempfile::tempdir().expect("folder");
    let path = closed(folder.path()).await;
    let keys = TableKeys::derive(&database_key().0);
    for seq in [3u64, 100, 149] {
        let key = sequence(seq);
        let (_, sealed) = rows(&path, Table::AuditLeaves).swap_remove(usize::try_from(seq).expect("small"));
        let plain = keys.open(Table::AuditLeaves, &key, &sealed).expect("opens");
        let mut leaf = Leaf::from_bytes(&plain, 4096).expect("decodes");
        leaf.actor = Some(did(9));
        forge(&path, Table::AuditLeaves, &key, &leaf.to_bytes());
        assert_eq!(first_bad(folder.path()).await, bad(seq, Why::Altered));
        forge(&path, Table::AuditLeaves, &key, &plain);
        assert_eq!(first_bad(folder.path()).await, None);
    }
}

#[tokio::test]
async fn l0_8_a_forged_checkpoint_does_not_hide_an_altered_entry() {
    let folder = tempfile::tempdir().expect("folder");
    let path = closed(folder.path()).await;
    let keys = TableKeys::derive(&database_key().0);
    let key = sequence(64);
    let (_, sealed) = rows(&path, Table::AuditCheckpoints).swap_remove(0);
    let plain = keys.open(Table::AuditCheckpoints, &key, &sealed).expect("opens");
    let mark = || Mark::from_bytes(&plain, 8192).expect("decodes");
    let mut hashes = mark();
    hashes.leaves[5] = klp::Digest([0; 32]);
    let mut signer = mark();
    let other = klp::SecretKey::from_seed(&[77; 32]);
    signer.signed = klp::Verified::sign((*mark().signed.verify().expect("holds")).clone(), &other).signed().clone();
    for forged in [hashes, signer] {
        forge(&path, Table::AuditCheckpoints, &key, &forged.to_bytes());
        assert_eq!(first_bad(folder.path()).await, bad(0, Why::Checkpoint));
    }
    change(&path, Table::AuditCheckpoints, &[(&key, None)]);
    assert_eq!(first_bad(folder.path()).await, bad(0, Why::Checkpoint), "a missing checkpoint is missed");
}

#[tokio::test]
async fn l0_8_swapped_missing_and_added_entries_are_named() {
    let folder = tempfile::tempdir().expect("folder");
    let path = closed(folder.path()).await;
    let leaves = rows(&path, Table::AuditLeaves);
    let (one, other) = (&leaves[10], &leaves[11]);
    change(&path, Table::AuditLeaves, &[(&one.0, Some(&other.1)), (&other.0, Some(&one.1))]);
    assert_eq!(first_bad(folder.path()).await, bad(10, Why::Altered));
    change(&path, Table::AuditLeaves, &[(&one.0, None), (&other.0, Some(&other.1))]);
    assert_eq!(first_bad(folder.path()).await, bad(10, Why::Missing));
    change(&path, Table::AuditLeaves, &[(&one.0, Some(&one.1)), (&sequence(150), Some(&one.1))]);
    assert_eq!(first_bad(folder.path()).await, bad(150, Why::Surplus));
}

#[tokio::test]
async fn l0_8_a_log_cut_at_its_end_is_named() {
    let folder = tempfile::tempdir().expect("folder");
    let path = closed(folder.path()).await;
    let leaves = rows(&path, Table::AuditLeaves);
    let cut: Vec<_> = leaves[140..].iter().map(|(key, _)| (&key[..], None)).collect();
    change(&path, Table::AuditLeaves, &cut);
    assert_eq!(first_bad(folder.path()).await, bad(140, Why::Missing));
}

#[tokio::test]
async fn l0_8_an_older_head_put_back_is_named() {
    let folder = tempfile::tempdir().expect("folder");
    let store = on_disk(folder.path());
    append(&store, 30).await;
    drop(store);
    let path = folder.path().join("kos.redb");
    let (head, old) = rows(&path, Table::AuditHead).swap_remove(0);
    let store = on_disk(folder.path());
    append(&store, 50).await;
    drop(store);
    change(&path, Table::AuditHead, &[(&head, Some(&old))]);
    assert!(matches!(first_bad(folder.path()).await, Some(Bad { seq: 30, why: Why::Truncated })));
}

#[tokio::test]
async fn a_body_changed_or_taken_away_is_named_and_an_erased_one_is_not() {
    let folder = tempfile::tempdir().expect("folder");
    let path = closed(folder.path()).await;
    let store = on_disk(folder.path());
    let erased = store.write(|tx| {
        assert!(erase(tx, 7, None, Timestamp(6000))?);
        assert!(!erase(tx, 7, None, Timestamp(6000))?, "only once");
        assert!(!erase(tx, 150, None, Timestamp(6000))?, "not what tells of it");
        erase(tx, 1000, None, Timestamp(6000))
    });
    assert!(!erased.await.expect("erases"));
    store.stop(Timestamp(7000)).await.expect("stops");
    drop(store);
    assert_eq!(first_bad(folder.path()).await, None);
    let shown = {
        let store = on_disk(folder.path());
        list(&store.view().expect("view"), &Filter::default(), Some(8), 1).expect("lists").entries.remove(0)
    };
    assert!(shown.erased && shown.subject.is_empty() && shown.detail.is_empty());
    let key = sequence(8);
    let (_, before) = rows(&path, Table::AuditBodies).swap_remove(8);
    forge(&path, Table::AuditBodies, &key, &Kept::Erased.to_bytes());
    assert_eq!(first_bad(folder.path()).await, bad(8, Why::Body), "erased without an entry that says so");
    forge(&path, Table::AuditBodies, &key, &Kept::Body { salt: [0; 16], body: vec![1] }.to_bytes());
    assert_eq!(first_bad(folder.path()).await, bad(8, Why::Body));
    change(&path, Table::AuditBodies, &[(&key, None)]);
    assert_eq!(first_bad(folder.path()).await, bad(8, Why::Body));
    change(&path, Table::AuditBodies, &[(&key, Some(&before))]);
    assert_eq!(first_bad(folder.path()).await, None);
}

#[tokio::test]
async fn s22_a_restored_backup_is_noticed_until_the_owner_confirms() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("kos.redb");
    let store = on_disk(folder.path());
    append(&store, 70).await;
    store.stop(Timestamp(3000)).await.expect("stops");
    drop(store);
    let backup = std::fs::read(&path).expect("reads");
    let store = on_disk(folder.path());
    append(&store, 10).await;
    store.stop(Timestamp(4000)).await.expect("stops");
    drop(store);
    std::fs::write(&path, &backup).expect("restores");
    let rolled_back =
        |condition| matches!(condition, Condition::RolledBack { found: 70, anchored } if anchored.size == 80);
    let store = on_disk(folder.path());
    assert!(rolled_back(store.condition()), "{:?}", store.condition());
    assert_eq!(store.verify_log().await.expect("verifies").bad, bad(70, Why::Truncated));
    append(&store, 100).await;
    store.stop(Timestamp(5000)).await.expect("stops");
    drop(store);
    let store = on_disk(folder.path());
    assert!(matches!(store.condition(), Condition::RolledBack { found: 170, .. }), "growing past it hides nothing");
    store.confirm_rollback(Some(did(1)), Timestamp(6000)).await.expect("confirms");
    assert_eq!(store.condition(), Condition::Sound);
    assert_eq!(store.verify_log().await.expect("verifies").bad, None);
    drop(store);
    assert_eq!(on_disk(folder.path()).condition(), Condition::Sound);
}

#[tokio::test]
async fn s22_time_in_the_log_never_runs_backwards() {
    let store = Store::in_memory(&database_key(), &audit_key()).expect("opens");
    for at in [100, 50, 200, 10] {
        store.write(move |tx| tx.audit(Entry::new("test", "told", Timestamp(at)))).await.expect("appends");
    }
    let page = list(&store.view().expect("view"), &Filter::default(), None, 10).expect("lists");
    let times: Vec<_> = page.entries.iter().map(|entry| entry.at.0).collect();
    assert_eq!(times, [200, 200, 100, 100]);
}

#[tokio::test]
async fn s18_a_checkpoint_comes_after_64_entries_or_a_minute_or_at_stop() {
    let folder = tempfile::tempdir().expect("folder");
    let store = on_disk(folder.path());
    let covered = async || store.verify_log().await.expect("verifies").covered;
    append(&store, 63).await;
    assert_eq!(covered().await, 0);
    append(&store, 1).await;
    assert_eq!(covered().await, 64);
    append(&store, 1).await;
    store.tick(Timestamp(61_061)).await.expect("ticks");
    assert_eq!(covered().await, 64);
    store.tick(Timestamp(61_062)).await.expect("ticks");
    assert_eq!(covered().await, 65);
    append(&store, 1).await;
    store.stop(Timestamp(61_063)).await.expect("stops");
    assert!(
        matches!(store.verify_log().await, Err(StoreError::Stopped)),
        "the file is closed, although a handle is left"
    );
    assert_eq!(on_disk(folder.path()).verify_log().await.expect("verifies").covered, 66);
    let anchor = Anchor::load(&folder.path().join("anchor")).expect("loads").expect("there");
    assert_eq!(anchor.size, 66);
}

#[tokio::test]
async fn l0_7_signer_and_time_of_a_critical_entry_are_inside_the_signature() {
    let store = Store::in_memory(&database_key(), &audit_key()).expect("opens");
    let critical = ["grant", "vault", "contact", "config", "identity"];
    for component in critical {
        let entry = Entry::new(component, "changed", Timestamp(77)).by(Some(did(3))).on("something");
        store.write(move |tx| tx.audit(entry)).await.expect("appends");
    }
    store.stop(Timestamp(100)).await.expect("stops");
    let view = store.view().expect("view");
    let mark: Mark = view.load(Table::AuditCheckpoints, &sequence(5)).expect("reads").expect("there");
    let checkpoint = mark.signed.verify().expect("the signature holds");
    assert_eq!(checkpoint.signer(), store.auditor());
    // Rebuilt from what a reader of the log sees, actor and time included, the root is the signed one.
    let mut entries = list(&view, &Filter::default(), None, 10).expect("lists").entries;
    entries.reverse();
    let leaf = |entry: &Listed, actor: Did, at: u64| {
        let stored: Leaf = view.load(Table::AuditLeaves, &sequence(entry.seq)).expect("reads").expect("there");
        frontier::leaf_hash(&Leaf { actor: Some(actor), at: Timestamp(at), ..stored }.to_bytes())
    };
    let root = |actor, at| {
        let mut rebuilt = frontier::Frontier::default();
        entries.iter().for_each(|entry| rebuilt.push(leaf(entry, actor, at)));
        rebuilt.root()
    };
    assert_eq!(root(did(3), 77), checkpoint.root);
    assert_ne!(root(did(4), 77), checkpoint.root, "another signer");
    assert_ne!(root(did(3), 78), checkpoint.root, "another time");
}

#[tokio::test]
async fn l0_8_the_log_exports_as_json_lines_and_as_csv() {
    let store = Store::in_memory(&database_key(), &audit_key()).expect("opens");
    let told = store.write(|tx| {
        tx.audit(Entry::new("contact", "added", Timestamp(5)).by(Some(did(1))).on("a \"b\", c\nd"))?;
        tx.audit(Entry::new("vault", "set", Timestamp(6)).with("name", "x"))
    });
    told.await.expect("appends");
    let view = store.view().expect("view");
    let write = |filter: &Filter, format| {
        let mut out = Vec::new();
        let count = export(&view, filter, format, &mut out).expect("exports");
        (count, String::from_utf8(out).expect("text"))
    };
    let (count, json) = write(&Filter::default(), Format::Json);
    let lines: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).expect("json")).collect();
    assert_eq!((count, lines.len()), (2, 2));
    assert_eq!((&lines[0]["subject"], &lines[0]["seq"]), (&"a \"b\", c\nd".into(), &0.into()));
    assert_eq!(lines[1]["detail"]["name"], "x");
    let only = Filter { component: Some("contact".into()), ..Filter::default() };
    let (count, csv) = write(&only, Format::Csv);
    assert_eq!(count, 1);
    assert!(
        csv.starts_with("seq,time_ms,component,kind,actor,subject,detail,erased,leaf\r\n0,5,contact,added,did:key:")
    );
    assert!(csv.contains(",\"a \"\"b\"\", c\nd\",{},false,"), "{csv}");
}

#[tokio::test]
async fn p6_the_log_lists_newest_first_by_component_in_pages() {
    let store = Store::in_memory(&database_key(), &audit_key()).expect("opens");
    for number in 0..10u64 {
        let component = if number % 2 == 0 { "grant" } else { "contact" };
        store
            .write(move |tx| tx.audit(Entry::new(component, "added", Timestamp(number)).on(number)))
            .await
            .expect("ok");
    }
    let view = store.view().expect("view");
    let grants = Filter { component: Some("grant".into()), ..Filter::default() };
    let first = list(&view, &grants, None, 3).expect("lists");
    let numbers = |page: &Page| page.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>();
    assert_eq!(numbers(&first), [8, 6, 4]);
    let rest = list(&view, &grants, first.next, 3).expect("lists");
    assert_eq!((numbers(&rest), rest.next), (vec![2, 0], None));
    let nobody = Filter { actor: Some(did(1)), ..Filter::default() };
    assert!(list(&view, &nobody, None, 3).expect("lists").entries.is_empty());
}

#[tokio::test]
async fn s19_a_flood_of_denials_is_twenty_entries_and_one_count() {
    let store = Store::in_memory(&database_key(), &audit_key()).expect("opens");
    let deny = |who, at, times: u64| {
        store.write(move |tx| {
            for _ in 0..times {
                tx.audit_denial(who, Entry::new("permit", "denied", Timestamp(at)))?;
            }
            Ok::<_, StoreError>(())
        })
    };
    deny(Who::Known(did(1)), 1000, 50).await.expect("counts");
    deny(Who::Known(did(2)), 1000, 3).await.expect("counts");
    deny(Who::Stranger, 1000, 500).await.expect("counts");
    deny(Who::Local, 1000, 70).await.expect("counts");
    let entries = || list(&store.view().expect("view"), &Filter::default(), None, 1000).expect("lists").entries;
    assert_eq!(entries().len(), 20 + 3 + 20 + 20, "the local API has a bucket of its own");
    store.tick(Timestamp(59_999)).await.expect("ticks");
    assert_eq!(entries().len(), 63, "the minute is not over");
    store.tick(Timestamp(60_000)).await.expect("ticks");
    let mut counted: Vec<_> = entries()
        .into_iter()
        .filter(|entry| entry.kind == "denied_more")
        .map(|entry| (entry.component.clone(), entry.detail["count"].clone()))
        .collect();
    counted.sort();
    let expected = [("api", "50"), ("permit", "30"), ("permit", "480")];
    assert_eq!(counted, expected.map(|(component, count)| (component.to_owned(), count.to_owned())));
    assert_eq!(entries().len(), 66);
    deny(Who::Known(did(1)), 60_000, 1).await.expect("a new minute");
    assert_eq!(entries().len(), 67);
}

#[tokio::test]
async fn s19_strangers_have_a_quota_for_each_day() {
    let store = Store::in_memory(&database_key(), &audit_key()).expect("opens");
    let minutes = STRANGER_DENIALS_A_DAY / DENIALS_A_MINUTE + 5;
    for who in [Who::Stranger, Who::Local] {
        let flood = store.write(move |tx| {
            let mut told = 0;
            for at in (0..minutes).map(|minute| minute * 60_000) {
                for _ in 0..DENIALS_A_MINUTE {
                    told += u64::from(tx.audit_denial(who, Entry::new("permit", "denied", Timestamp(at)))?.is_some());
                }
            }
            Ok::<_, StoreError>(told)
        });
        assert_eq!(flood.await.expect("counts"), STRANGER_DENIALS_A_DAY, "{who:?} has a quota of its own");
    }
    let day = 86_400_000;
    store.tick(Timestamp(day)).await.expect("ticks");
    for who in [Who::Stranger, Who::Local] {
        let next = store.write(move |tx| tx.audit_denial(who, Entry::new("permit", "denied", Timestamp(day))));
        assert!(next.await.expect("counts").is_some(), "a new day for {who:?}");
    }
}
