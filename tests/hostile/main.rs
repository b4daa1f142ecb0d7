//! Hostile bytes: every entry of `kos_tests::hostile` with its seeds, and with 20,000 mutations of them.
//!
//! A finding is printed as `ENTRY NUMBER` and as bytes, and is had again by either:
//!
//! ```text
//! KOS_REPLAY="frame 17" cargo test --release -p kos-tests --test hostile replay
//! KOS_REPLAY="frame 0x00ff" cargo test --release -p kos-tests --test hostile replay
//! ```
//!
//! `KOS_SEEDS=FOLDER` makes the same test write the seeds there, a folder for each entry, and the tokens of mutations as a dictionary, as libFuzzer
//! wants them (`tests/fuzz/run`).

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod findings;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use kos_tests::hostile::{ENTRIES, Entry, FACTOR, entry, mutation};

/// Mutations of each entry.
const MUTATIONS: u64 = 20_000;
/// No input takes longer, on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(10);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// Gives an entry these bytes; what it was called when it fails.
fn give(entry: &Entry, name: &str, input: &[u8]) {
    let begun = Instant::now();
    let mut run = Ok(());
    let memory = allocation_counter::measure(|| run = catch_unwind(AssertUnwindSafe(|| (entry.run)(input))));
    let most = 1024 * entry.honest + FACTOR * input.len() as u64;
    let wrong = match run {
        Err(_) => Some("panics".to_owned()),
        Ok(()) if memory.bytes_max > most => {
            Some(format!("takes {} bytes of memory, {most} at most", memory.bytes_max))
        }
        Ok(()) if begun.elapsed() > PATIENCE => Some(format!("takes {:?}", begun.elapsed())),
        Ok(()) => None,
    };
    if let Some(wrong) = wrong {
        panic!("{} {name} {wrong}, on 0x{}", entry.name, hex(input));
    }
}

/// The seeds, then the mutations.
fn withstand(name: &str) {
    let entry = entry(name).expect("an entry");
    let seeds = (entry.seeds)();
    assert!(seeds.len() > 2, "{name} has seeds");
    for (number, seed) in seeds.iter().enumerate() {
        give(entry, &format!("seed {number}"), seed);
    }
    let begun = Instant::now();
    for number in 0..MUTATIONS {
        give(entry, &number.to_string(), &mutation::mutated(entry, &seeds, number));
    }
    println!("{name}: {} seeds, {MUTATIONS} mutations in {:?}", seeds.len(), begun.elapsed());
}

macro_rules! withstands {
    ($($test:ident $name:literal;)+) => {
        $(#[test] fn $test() { withstand($name); })+

        #[test]
        fn every_entry_is_driven() {
            assert_eq!([$($name,)+], ENTRIES.each_ref().map(|entry| entry.name));
        }
    };
}

withstands! {
    hostile_bytes_as_frames "frame";
    hostile_bytes_as_a_hello "hello";
    hostile_bytes_as_a_statement "envelope";
    hostile_bytes_as_a_record_or_a_card "record";
    hostile_bytes_for_the_directory "directory";
    hostile_bytes_as_a_ticket "ticket";
    hostile_bytes_as_a_grant "grant";
    hostile_bytes_as_a_chain_of_grants "chain";
    hostile_bytes_as_a_receipt "receipt";
    hostile_bytes_in_a_session "session";
    hostile_bytes_as_a_message "message";
    hostile_bytes_in_a_pairing "pairing";
    hostile_bytes_as_a_sealed_body "sealed";
    hostile_bytes_as_a_forwarded_request "forward";
    hostile_bytes_as_a_settings_file "settings";
}

#[test]
fn a_number_makes_the_same_input_every_time() {
    for entry in &ENTRIES {
        let (once, again) = ((entry.seeds)(), (entry.seeds)());
        assert_eq!(once, again, "{}", entry.name);
        for number in 0..50 {
            let input = mutation::mutated(entry, &once, number);
            assert_eq!(input, mutation::mutated(entry, &again, number), "{} {number}", entry.name);
            assert!(input.len() <= entry.longest);
        }
    }
}

#[test]
fn replay() {
    if let Ok(wanted) = std::env::var("KOS_REPLAY") {
        let (name, input) = wanted.split_once(' ').expect("ENTRY NUMBER, or ENTRY 0xHEX");
        let entry = entry(name).expect("an entry");
        let bytes = match input.strip_prefix("0x") {
            Some(digits) => unhex(digits),
            None => mutation::mutated(entry, &(entry.seeds)(), input.parse().unwrap()),
        };
        give(entry, input, &bytes);
    }
    if let Some(folder) = std::env::var_os("KOS_SEEDS") {
        for entry in &ENTRIES {
            let folder = Path::new(&folder).join(entry.name);
            std::fs::create_dir_all(&folder).unwrap();
            for (number, seed) in (entry.seeds)().iter().enumerate() {
                std::fs::write(folder.join(format!("seed-{number:03}")), seed).unwrap();
            }
        }
        let token = |token: &&[u8]| token.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
        let tokens = mutation::TOKENS.iter().map(|bytes| format!("\"{}\"\n", token(bytes)));
        std::fs::write(Path::new(&folder).join("tokens.dict"), tokens.collect::<String>()).unwrap();
    }
}
