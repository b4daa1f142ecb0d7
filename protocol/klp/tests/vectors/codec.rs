use klp::codec::{decode, encode};
use klp::limits;
use serde_json::{Value as Json, json};

use super::{bytes, hold};
use crate::cast::{diagnostic, hex, unhex};

fn accepted(hex: &str) -> Json {
    let value = decode(&unhex(hex), limits::STATEMENT).expect(hex);
    json!({ "hex": hex, "accepted": true, "diagnostic": diagnostic(&value) })
}

fn refused(hex: &str, why: &str) -> Json {
    assert!(decode(&unhex(hex), limits::STATEMENT).is_err(), "{why} was accepted");
    json!({ "hex": hex, "accepted": false, "why": why })
}

#[test]
fn codec_vectors() {
    let deep = |levels: usize| hex(&[vec![0x81; levels], vec![0x00]].concat());
    let good = ["00", "17", "1818", "18ff", "190100", "1a00010000", "1b0000000100000000", "1bffffffffffffffff"]
        .into_iter()
        .chain([
            "20",
            "3bffffffffffffffff",
            "40",
            "4401020304",
            "60",
            "63c3bc62",
            "80",
            "83010203",
            "a0",
            "f4",
            "f5",
            "f6",
        ])
        .chain(["a201020a03", "a2010a2001", "a2616101616202", "a20102616103"])
        .map(accepted);
    let bad = [
        ("", "nothing at all"),
        ("1800", "0 in two bytes"),
        ("1817", "23 in two bytes"),
        ("190017", "23 in three bytes"),
        ("1900ff", "255 in three bytes"),
        ("1a0000ffff", "65535 in five bytes"),
        ("1b00000000ffffffff", "a 32-bit number in nine bytes"),
        ("580101", "a length of 1 in two bytes"),
        ("5f4100ff", "an indefinite byte string"),
        ("7f6161ff", "an indefinite text"),
        ("9f01ff", "an indefinite array"),
        ("bf0101ff", "an indefinite map"),
        ("a201000100", "a key twice"),
        ("a202000100", "keys out of order"),
        ("a220000100", "keys out of order: -1 sorts after 1"),
        ("a26261610161 6202", "keys out of order: the shorter text is first"),
        ("a14000", "a byte string as key"),
        ("a1f500", "a boolean as key"),
        ("f90000", "a half float"),
        ("fa3f800000", "a float"),
        ("fb3ff0000000000000", "a double"),
        ("c11a514b67b0", "a tag"),
        ("c24101", "a big number"),
        ("f7", "undefined"),
        ("e0", "a simple value"),
        ("f8ff", "a simple value in two bytes"),
        ("0000", "a second item"),
        ("00ff", "a break after the item"),
        ("8201", "an array that ends early"),
        ("4401", "a byte string that ends early"),
        ("61ff", "a text that is no UTF-8"),
        ("1c", "a reserved length"),
        ("ff", "a break alone"),
    ];
    let bad = bad.into_iter().map(|(hex, why)| refused(&hex.replace(' ', ""), why));
    let depth = [accepted(&deep(limits::DEPTH)), refused(&deep(limits::DEPTH + 1), "nested one level too deep")];
    let cases = good.chain(bad).chain(depth).collect();
    let about = "Items of the strict CBOR profile, and bytes that it refuses.";
    for case in hold("codec", "specs/02-envelope.md, section 2", about, cases) {
        let bytes = bytes(&case, "hex");
        let value = decode(&bytes, limits::STATEMENT);
        assert_eq!(value.is_ok(), case["accepted"] == true, "{case}");
        assert!(value.is_ok_and(|value| encode(&value) == bytes) || case["accepted"] == false, "{case}");
    }
}
