//! The power fails: a disk that forgets what was not synced, all of it or a part, torn and out of order, at hundreds of moments.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use klp::{Digest, OwnerId, Timestamp};
use redb::{Database, StorageBackend};

use crate::audit::{Condition, Entry};
use crate::bench::{audit_key, database_key, did};
use crate::cipher::Key;
use crate::counters::{self, Amount, Budget, Counter};
use crate::file::{Content, Format};
use crate::passphrase::{Cost, Secret};
use crate::seal::{MachineSecret, Opener};
use crate::store::{Store, lock};
use crate::vault::MAIN;
use crate::{StoreError, Tx, VaultError, Vaults, grants, receipts, revocations};

const NOW: Timestamp = Timestamp(1_700_000_000_000);
/// Moments at which the power fails.
const CUTS: usize = 320;
/// Operations at the beginning after each of which it fails as well.
const FIRST: usize = 40;
/// Of these, every so many lose the power once more while the store comes back.
const TWICE: usize = 8;
/// What a disk writes whole.
const SECTOR: usize = 512;
const WRITERS: u64 = 4;
const CHANGES: u64 = 40;

const BUDGET: (Counter, Budget) = (
    Counter { grant: Digest([3; 32]), holder: None, day: None },
    Budget { calls: Some(100_000), bytes: None, tokens: None },
);

/// What the store asked its disk for.
#[derive(Clone, Debug)]
enum Op {
    Write(usize, Vec<u8>),
    Length(usize),
    Sync,
}

/// A disk that remembers all that was asked of it, with the anchor file as it was at each of these moments.
#[derive(Clone, Debug)]
struct Disk(Arc<Mutex<Platter>>);

#[derive(Debug)]
struct Platter {
    bytes: Vec<u8>,
    ops: Vec<Op>,
    anchor: PathBuf,
    anchors: Vec<(usize, Vec<u8>)>,
    /// The operation that fails.
    fails: Option<usize>,
}

impl Disk {
    fn with(bytes: Vec<u8>, anchor: &Path) -> Self {
        let (ops, anchors) = (Vec::new(), Vec::new());
        Self(Arc::new(Mutex::new(Platter { bytes, ops, anchor: anchor.to_owned(), anchors, fails: None })))
    }

    fn content(&self) -> Content {
        let disk = self.clone();
        let open = move || Ok(Database::builder().create_with_backend(disk.clone())?);
        Content::prepare(Path::new("platter"), Box::new(open), &Format::CURRENT, NOW).expect("opens")
    }

    fn open(&self) -> Store {
        let (path, content) = (Path::new("platter"), self.content());
        let anchor = lock(&self.0).anchor.clone();
        Store::over(content, path, &database_key(), &audit_key(), Some(&anchor)).expect("opens")
    }

    /// How many operations there were so far.
    fn position(&self) -> usize {
        lock(&self.0).ops.len()
    }

    fn note(&self, op: Op) -> io::Result<()> {
        let mut platter = lock(&self.0);
        let position = platter.ops.len();
        let anchor = std::fs::read(&platter.anchor).unwrap_or_default();
        if platter.anchors.last().is_none_or(|(_, last)| *last != anchor) {
            platter.anchors.push((position, anchor));
        }
        if platter.fails.take_if(|fails| *fails <= position).is_some() {
            return Err(io::Error::other("on purpose"));
        }
        apply(&mut platter.bytes, &op);
        platter.ops.push(op);
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.0).bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = lock(&self.0);
        let offset = usize::try_from(offset).expect("a small file");
        let bytes = platter.bytes.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.note(Op::Length(usize::try_from(len).expect("a small file")))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.note(Op::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.note(Op::Write(usize::try_from(offset).expect("a small file"), data.to_vec()))
    }
}

fn apply(bytes: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Sync => {}
        Op::Length(len) => bytes.resize(*len, 0),
        Op::Write(at, data) => {
            bytes.resize(bytes.len().max(at + data.len()), 0);
            bytes[*at..at + data.len()].copy_from_slice(data);
        }
    }
}

/// Chance that can be repeated: splitmix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).expect("below a usize")
    }

    /// Not more than `count` different moments below `limit`, in order.
    fn moments(&mut self, count: usize, limit: usize) -> Vec<usize> {
        let all: std::collections::BTreeSet<_> = (0..count).map(|_| self.below(limit)).collect();
        all.into_iter().collect()
    }

    fn shuffle<T>(&mut self, all: &mut [T]) {
        (1..all.len()).for_each(|last| all.swap(last, self.below(last + 1)));
    }
}

/// A disk whose power does not fail.
fn all(ops: &[Op]) -> Vec<u8> {
    let mut bytes = Vec::new();
    ops.iter().for_each(|op| apply(&mut bytes, op));
    bytes
}

/// What is left of a disk whose power fails after these operations: all that was synced, and what chance leaves of the rest.
fn left(before: &[u8], ops: &[Op], chance: &mut Chance) -> Vec<u8> {
    let synced = ops.iter().rposition(|op| matches!(op, Op::Sync)).map_or(0, |last| last + 1);
    let mut bytes = before.to_vec();
    ops[..synced].iter().for_each(|op| apply(&mut bytes, op));
    let mut rest: Vec<Op> = ops[synced..].to_vec();
    let how = chance.below(5);
    if how == 4 {
        // Each sector of each write by itself, in any order.
        rest = rest.into_iter().flat_map(sectors).collect();
    }
    if how >= 3 {
        chance.shuffle(&mut rest);
    }
    match how {
        0 => rest.clear(),
        1 => {}
        _ => rest.retain(|_| chance.below(2) == 0),
    }
    rest.iter().for_each(|op| apply(&mut bytes, op));
    bytes
}

fn sectors(op: Op) -> Vec<Op> {
    let Op::Write(at, data) = op else { return vec![op] };
    let mut torn = Vec::new();
    let mut begin = 0;
    while begin < data.len() {
        let end = data.len().min(((at + begin) / SECTOR + 1) * SECTOR - at);
        torn.push(Op::Write(at + begin, data[begin..end].to_vec()));
        begin = end;
    }
    torn
}

/// The changes, by number: a grant that costs something, a secret, a revocation, a receipt.
fn change(tx: &mut Tx, vaults: &Vaults, number: u64) -> Result<(), VaultError> {
    let id = Digest::of(&[&number.to_be_bytes()]);
    match number % 4 {
        0 => {
            let held = grants::Held {
                id,
                side: grants::Side::Received,
                other: did(4),
                parent: None,
                expires: NOW,
                signed: vec![1],
                added: Timestamp(number),
            };
            counters::debit(tx, &[BUDGET], &Amount { calls: 1, ..Amount::default() })
                .map_err(|_| StoreError::Broken)?;
            grants::add(tx, &held)?;
        }
        1 => drop(vaults.set(tx, MAIN, &format!("secret {number}"), &Secret::new(value(number)), NOW)?),
        2 => drop(revocations::deny(tx, revocations::Target::Statement(id), OwnerId(did(4)), NOW)?),
        _ => receipts::put(
            tx,
            &receipts::Receipt {
                id,
                role: receipts::Role::Answered,
                other: did(5),
                agent: "docs".into(),
                at: NOW,
                order: vec![1],
                outcome: Some(vec![2]),
                acknowledgement: None,
                certificates: Vec::new(),
                request: Vec::new(),
                answer: vec![7; usize::try_from(number % 5).unwrap_or(0) * 3000],
            },
        )?,
    }
    tx.audit(Entry::new("test", "changed", NOW).on(number))?;
    Ok(())
}

fn value(number: u64) -> Vec<u8> {
    format!("the value of {number}").into_bytes()
}

fn opener() -> Opener {
    Opener::Machine(MachineSecret(Key::from_bytes([9; 32])))
}

/// The vault, made when it is not there yet.
async fn unlocked(store: &Store) -> Vaults {
    let vaults = Vaults::new(None);
    if let Err(VaultError::Unknown { .. }) = vaults.unlock(store, MAIN, opener(), NOW).await {
        vaults.create(store, MAIN, opener(), Cost::MINIMUM, NOW).await.expect("creates");
    }
    assert!(vaults.is_open(MAIN));
    vaults
}

/// A change and the number of operations when it was acknowledged.
type Told = (u64, usize);

/// Runs the changes with several writers at once.
async fn work(disk: &Disk, store: &Store, vaults: &Vaults, from: u64) -> Vec<Told> {
    let writers = (0..WRITERS).map(|writer| {
        let (disk, store, vaults) = (disk.clone(), store.clone(), vaults.clone());
        tokio::spawn(async move {
            let mut told = Vec::new();
            for number in (from + writer..from + WRITERS * CHANGES).step_by(4) {
                let vaults = vaults.clone();
                if store.write(move |tx| change(tx, &vaults, number)).await.is_ok() {
                    told.push((number, disk.position()));
                }
            }
            told
        })
    });
    let mut all = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        all.extend(writer.await.expect("works"));
    }
    all
}

/// Holds when a store has all that was acknowledged before `cut`, never more than was spent, and a log that verifies.
async fn holds(store: &Store, told: &[Told], cut: usize, what: &str) {
    assert_eq!(store.condition(), Condition::Sound, "{what}");
    let vaults = Vaults::new(None);
    if told.iter().any(|(number, position)| number % 4 == 1 && *position <= cut) {
        vaults.unlock(store, MAIN, opener(), NOW).await.expect("unlocks");
    }
    let view = store.view().expect("view");
    for (number, _) in told.iter().filter(|(_, position)| *position <= cut) {
        let id = Digest::of(&[&number.to_be_bytes()]);
        let there = match number % 4 {
            0 => grants::get(&view, &id).expect("reads").is_some(),
            1 => vaults
                .get(&view, MAIN, &format!("secret {number}"), NOW)
                .expect("reads")
                .is_some_and(|kept| kept.expose() == value(*number)),
            2 => {
                revocations::get(&view, &revocations::Target::Statement(id), &OwnerId(did(4))).expect("reads").is_some()
            }
            _ => receipts::get(&view, &id).expect("reads").is_some(),
        };
        assert!(there, "{what}: {number} was acknowledged and is gone");
    }
    // Grant and debit are one change, and so is each with its entry.
    let spent = counters::used(&view, &BUDGET.0).expect("reads").calls;
    assert_eq!(spent, grants::list(&view).expect("lists").len() as u64, "{what}");
    let report = store.verify_log().await.expect("verifies");
    assert!(report.bad.is_none(), "{what}: {report:?}");
}

/// A disk on which all changes were made, with what was acknowledged when, and how many operations had made the file: it gets its name
/// only after these.
async fn worked(folder: &Path) -> (Disk, Vec<Told>, usize) {
    let disk = Disk::with(Vec::new(), &folder.join("anchor"));
    drop(disk.content());
    let made = disk.position();
    let store = disk.open();
    let vaults = unlocked(&store).await;
    let told = work(&disk, &store, &vaults, 0).await;
    assert_eq!(told.len() as u64, WRITERS * CHANGES);
    store.stop(NOW).await.expect("stops");
    (disk, told, made)
}

/// Puts the anchor file back as it was after so many operations.
fn anchor_at(anchors: &[(usize, Vec<u8>)], cut: usize, path: &Path) {
    // There may be none yet.
    let _old = std::fs::remove_file(path);
    if let Some((_, bytes)) = anchors.iter().rev().find(|(position, _)| *position <= cut)
        && !bytes.is_empty()
    {
        crate::disk::create_private(path).and_then(|mut file| file.write_all(bytes)).expect("writes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l1_2_after_the_power_fails_nothing_acknowledged_is_missing_and_the_log_verifies() {
    let folder = tempfile::tempdir().expect("folder");
    let (disk, told, made) = worked(folder.path()).await;
    let (ops, anchors) = {
        let platter = lock(&disk.0);
        (platter.ops.clone(), platter.anchors.clone())
    };
    let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let mut chance = Chance(seed);
    let (mut lost, mut again) = (0, 0);
    // The beginning is cut at each operation.
    let moments = (0..FIRST).chain(chance.moments(CUTS, ops.len() - made)).map(|moment| made + moment);
    for (number, cut) in moments.enumerate() {
        let what = format!("seed {seed}, cut {cut} of {}", ops.len());
        let anchor = folder.path().join(format!("anchor {number}"));
        anchor_at(&anchors, cut, &anchor);
        let before = left(&[], &ops[..cut], &mut chance);
        lost += usize::from(before != all(&ops[..cut]));
        let back = Disk::with(before.clone(), &anchor);
        let store = back.open();
        holds(&store, &told, cut, &what).await;
        let unlocked = unlocked(&store).await;
        store.write(move |tx| change(tx, &unlocked, 1_000_000)).await.expect("writes again");
        holds(&store, &[(1_000_000, 0)], cut, &what).await;
        drop(store);
        if number % TWICE == 0 {
            let (coming_back, anchors) = {
                let platter = lock(&back.0);
                (platter.ops.clone(), platter.anchors.clone())
            };
            for second in chance.moments(4, coming_back.len()) {
                anchor_at(&anchors, second, &anchor);
                let twice = Disk::with(left(&before, &coming_back[..second], &mut chance), &anchor);
                holds(&twice.open(), &told, cut, &format!("{what}, and again at {second}")).await;
                again += 1;
            }
        }
    }
    println!(
        "{} changes, {} operations; the power failed at {CUTS} moments, {again} times while coming back",
        told.len(),
        ops.len()
    );
    assert!(again > 0 && lost > 0, "nothing was ever lost: this disk keeps everything");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l1_2_an_operation_that_fails_costs_only_what_was_not_acknowledged() {
    let folder = tempfile::tempdir().expect("folder");
    let (disk, _, _) = worked(folder.path()).await;
    let mut chance = Chance(2);
    let mut told: Vec<Told> = Vec::new();
    let store = disk.open();
    let vaults = unlocked(&store).await;
    let mut refused = 0;
    for round in 1..=24 {
        let fails = disk.position() + chance.below(60);
        lock(&disk.0).fails = Some(fails);
        let done = work(&disk, &store, &vaults, round * 1000).await;
        refused += WRITERS * CHANGES - done.len() as u64;
        told.extend(done);
        holds(&store, &told, usize::MAX, &format!("round {round}")).await;
        if round % 6 == 0 {
            // And as a new process would find it.
            let bytes = lock(&disk.0).bytes.clone();
            let anchor = folder.path().join("anchor");
            holds(&Disk::with(bytes, &anchor).open(), &told, usize::MAX, &format!("round {round}, opened again")).await;
        }
    }
    assert!(refused > 0, "nothing failed");
}
