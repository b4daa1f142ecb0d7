//! The files of `specs/vectors` as seeds: values that honest nodes make, and damaged ones beside them.

use serde_json::Value as Json;

pub(super) const FORWARD: &str = include_str!("../../../specs/vectors/forward.json");
pub(super) const FRAMES: &str = include_str!("../../../specs/vectors/frames.json");
pub(super) const HELLOS: &str = include_str!("../../../specs/vectors/hellos.json");
pub(super) const MESSAGES: &str = include_str!("../../../specs/vectors/messages.json");
pub(super) const PACKED: &str = include_str!("../../../specs/vectors/packed.json");
pub(super) const PAIRING: &str = include_str!("../../../specs/vectors/pairing.json");
pub(super) const PERMIT: &str = include_str!("../../../specs/vectors/permit.json");
pub(super) const RECEIPTS: &str = include_str!("../../../specs/vectors/receipts.json");
pub(super) const REFUSED: &str = include_str!("../../../specs/vectors/refused_statements.json");
pub(super) const SEALED: &str = include_str!("../../../specs/vectors/sealed.json");
pub(super) const SESSIONS: &str = include_str!("../../../specs/vectors/sessions.json");
pub(super) const STATEMENTS: &str = include_str!("../../../specs/vectors/statements.json");
pub(super) const TICKETS: &str = include_str!("../../../specs/vectors/tickets.json");

/// The cases of a file.
pub(super) fn cases(file: &str) -> Vec<Json> {
    let file: Json = serde_json::from_str(file).expect("the vectors are JSON");
    file["cases"].as_array().expect("a list of cases").clone()
}

/// The bytes that stand under this key, where they do.
pub(super) fn bytes(case: &Json, key: &str) -> Option<Vec<u8>> {
    unhex(case[key].as_str()?)
}

/// What the hexadecimal digits mean.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = |at: usize| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok();
    (0..text.len() / 2).map(digits).collect()
}

/// The field of this name in every case, each led by these bytes.
pub(super) fn led(file: &str, key: &str, lead: &[u8]) -> Vec<Vec<u8>> {
    cases(file).iter().filter_map(|case| bytes(case, key)).map(|bytes| [lead, &bytes].concat()).collect()
}

/// The payloads of all statements of this type, each led by these bytes.
pub(super) fn payloads(kind: &str, lead: &[u8]) -> Vec<Vec<u8>> {
    let of_kind = |case: &&Json| case["type"] == kind;
    let cases = cases(STATEMENTS);
    let payloads = cases.iter().filter(of_kind).filter_map(|case| bytes(case, "payload"));
    payloads.map(|payload| [lead, &payload].concat()).collect()
}

/// The statements of this type, good ones and refused ones, each led by these bytes.
pub(super) fn statements(kind: &str, lead: &[u8]) -> Vec<Vec<u8>> {
    let all = [cases(STATEMENTS), cases(REFUSED)].concat();
    let bytes = all.iter().filter(|case| case["type"] == kind).filter_map(|case| bytes(case, "statement"));
    bytes.map(|statement| [lead, &statement].concat()).collect()
}
