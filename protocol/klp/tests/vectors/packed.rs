use bytes::BytesMut;
use klp::Digest;
use klp::frame::Frame;
use serde_json::{Value as Json, json};

use super::{bytes, hold};
use crate::cast::{hex, unhex};

/// What a reader that has agreed to packed frames makes of the bytes of one.
fn read(bytes: &[u8]) -> Json {
    let mut rest = BytesMut::from(bytes);
    match Frame::read(&mut rest) {
        Err(refusal) => json!({ "refused": refusal.code() }),
        Ok(None) => json!({ "waits": true }),
        Ok(Some(mut frame)) => {
            assert!(frame.packed);
            match frame.unpack() {
                Err(refusal) => json!({ "refused": refusal.code() }),
                Ok(()) => json!({
                    "kind": format!("{:?}", frame.kind).to_lowercase(), "more": frame.more, "again": frame.again, "id": frame.id,
                    "length": frame.body.len(), "sha256": hex(&Digest::of(&[&frame.body]).0),
                }),
            }
        }
    }
}

fn case(what: &str, bytes: &[u8]) -> Json {
    json!({ "what": what, "bytes": hex(bytes), "read": read(bytes) })
}

/// Kind and flags, and a body; all but the last were made by zlib.
fn given(what: &str, kind: u8, flags: u8, body: &str) -> Json {
    let id = if matches!(kind, 2..=6 | 8) { 7 } else { 0 };
    let length = body.len() / 2;
    case(what, &unhex(&format!("{length:08x}{kind:02x}{flags:02x}0000{id:016x}{body}")))
}

/// "A hive needs a queen, and a queen needs a hive. ", 30 times, in one block and in two.
const HIVE: &str = "7354c8c82c4b55c84b4d4d29564854282c4d4dcdd35148cc4b8171e05220757a0a8ea3ea47d58faa1f553faa9e2eea01";
const BLOCKS: &str = "7254c8c82c4b55c84b4d4d29564854282c4d4dcdd35148cc4b8171e05220757a0a8ea3ea47d50f12f500000000ffff2b2c4d4dcd53c84b4d4d29564854c8c82c4bd5537004d370c14290121d85c4bc14186754fda8fa21a41e00";
/// 1500 letters with a code of their own.
const OWN_CODE: &str = "edce8115c3200800d1598da8c4102328519cbeed00ddc01be0de77ce1d1e22667a44cda7abea8a24335073271bf2ca1d8a654d2d303048ec38c8711a3728c15ba2c915acdde867af84e1b0a18deb537e3d959b0e3b0252edd3e3dd2c5c62b1bc400af748ec68608ff23d736849b315e879311a9fae5198427169bd923795873246f087fbb5d55bbdd55bbdd57fd51f";
/// One letter, 1024 and 1023 times.
const LEAST: &str = "aba81805a360148c540000";
const LESS: &str = "aba81805a360148c500000";

fn cases() -> Vec<Json> {
    let zeros = "00".repeat(60);
    let most = format!("edc101010000008090feafee080a{}6a", "00".repeat(63));
    let over = format!("edc101010000008220ffafae2140010{}c00d", "0".repeat(123));
    let stored = format!("010004fffb{}", "7a".repeat(1024));
    vec![
        given("a request", 2, 4, HIVE),
        given("the last fragment of a request that is sent again", 2, 6, HIVE),
        given("a fragment of an answer", 3, 5, HIVE),
        given("a piece of an answer", 4, 4, HIVE),
        given("two blocks with an empty one between them", 4, 4, BLOCKS),
        given("a block with a code of its own", 4, 4, OWN_CODE),
        given("a block that is stored as it is: no shorter, and read all the same", 4, 4, &stored),
        given("the shortest", 4, 4, LEAST),
        given("a byte less", 4, 4, LESS),
        given("the longest", 4, 4, &most),
        given("a byte more", 4, 4, &over),
        given("a byte after the end", 4, 4, &format!("{HIVE}00")),
        given("a second stream after the end", 4, 4, &format!("{HIVE}{HIVE}")),
        given("without its last byte", 4, 4, &HIVE[..HIVE.len() - 2]),
        given("the header of zlib", 4, 4, &format!("789c{HIVE}a0e4e06a")),
        given("zeros", 4, 4, &zeros),
        given("a block of a type that there is not", 4, 4, "07"),
        given("a copy of what comes before the beginning", 4, 4, "030200"),
        given("plain text", 2, 4, "7768617420646f6573206120686976652065617420696e2077696e7465723f"),
        given("nothing, known from the header", 2, 4, ""),
        given("a packed Hello, known from the header", 1, 4, HIVE),
        given("a packed event", 7, 4, HIVE),
        given("a packed refusal", 8, 4, HIVE),
        given("a packed bye", 9, 4, HIVE),
        given("packed credit", 5, 4, &LEAST[..16]),
    ]
}

#[test]
fn c15_packed_vectors() {
    let about = "Packed frames as a reader sees them that has agreed to them: unpacked, or refused.";
    for case in hold("packed", "specs/03-session.md, section 2", about, cases()) {
        assert_eq!(read(&bytes(&case, "bytes")), case["read"], "{}", case["what"]);
    }
}
