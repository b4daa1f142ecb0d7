//! Reads every file of `specs/vectors/` and holds the code to it. With `KOS_BLESS=1` the files are written anew; the
//! difference is then for a person to judge.

mod addresses;
mod blobs;
mod codec;
mod did_key;
mod digests;
pub mod forward;
mod frames;
mod hellos;
pub mod messages;
mod packed;
pub mod pairing;
mod permit;
mod receipts;
pub mod refused;
pub mod sealed;
mod sessions;
pub mod statements;
pub mod tickets;

use std::path::PathBuf;

use serde_json::{Value as Json, json};

/// Compares what the code makes with the file of that name, and returns the file's cases for the way back.
fn hold(name: &str, source: &str, about: &str, cases: Vec<Json>) -> Vec<Json> {
    let made = json!({ "about": about, "source": source, "cases": cases });
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../specs/vectors/{name}.json"));
    if std::env::var_os("KOS_BLESS").is_some_and(|bless| bless == "1") {
        let text = serde_json::to_string_pretty(&made).expect("encodes");
        std::fs::write(&path, text + "\n").expect("the file can be written");
    }
    let text = std::fs::read_to_string(&path).expect("the vectors are there");
    let file: Json = serde_json::from_str(&text).expect("the vectors are JSON");
    let found = file["cases"].as_array().expect("a list of cases");
    for (index, (found, made)) in found.iter().zip(made["cases"].as_array().expect("a list")).enumerate() {
        assert_eq!(found, made, "{name}.json, case {index}");
    }
    assert_eq!(file, made, "{name}.json");
    found.clone()
}

fn text<'a>(case: &'a Json, key: &str) -> &'a str {
    case[key].as_str().unwrap_or_else(|| panic!("{key} is missing in {case}"))
}

fn bytes(case: &Json, key: &str) -> Vec<u8> {
    crate::cast::unhex(text(case, key))
}
