use bytes::{Bytes, BytesMut};
use klp::Refusal;
use klp::frame::{Frame, Kind};
use klp::limits;
use serde_json::{Value as Json, json};

use super::{bytes, hold};
use crate::cast::{hex, unhex};

/// What a reader makes of the bytes of one frame.
fn read(bytes: &[u8]) -> Json {
    let mut rest = BytesMut::from(bytes);
    match Frame::read(&mut rest) {
        Err(refusal) => json!({ "refused": refusal.code() }),
        Ok(None) => json!({ "waits": true }),
        Ok(Some(frame)) => {
            let mut read = json!({
                "kind": format!("{:?}", frame.kind).to_lowercase(), "more": frame.more, "again": frame.again,
                "id": frame.id, "body": hex(&frame.body),
            });
            if matches!(frame.kind, Kind::Error | Kind::Bye) {
                let (refusal, text) = frame.reason().expect("a reason");
                read["refusal"] = refusal.map(Refusal::code).into();
                read["text"] = text.into();
            }
            read
        }
    }
}

fn case(what: &str, bytes: &[u8]) -> Json {
    json!({ "what": what, "bytes": hex(bytes), "read": read(bytes) })
}

fn good(what: &str, frame: &Frame) -> Json {
    let mut bytes = Vec::new();
    frame.write(&mut bytes);
    case(what, &bytes)
}

#[test]
fn frame_vectors() {
    let body = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let part = |more: bool, again: bool| Frame { more, again, ..Frame::new(Kind::Request, 7, body("question")) };
    let made = [
        good("a Hello", &Frame::new(Kind::Hello, 0, body("statement"))),
        good("a request", &part(false, false)),
        good("a request with further fragments", &part(true, false)),
        good("a request that is sent again", &part(false, true)),
        good("an empty request: a ping", &Frame::new(Kind::Request, 1, Bytes::new())),
        good("a final answer", &Frame::new(Kind::Response, u64::MAX, body("answer"))),
        good("a piece of an answer", &Frame::new(Kind::Chunk, 7, body("piece"))),
        good("credit", &Frame::credit(7, 65_552)),
        good("cancel", &Frame::new(Kind::Cancel, 7, Bytes::new())),
        good("an event", &Frame::new(Kind::Event, 0, body("news"))),
        good("a refusal", &Frame::refusal(Kind::Error, 7, Some(Refusal::Denied), "not allowed")),
        good("a bye, all is well", &Frame::refusal(Kind::Bye, 0, None, "")),
        good("a bye with a reason", &Frame::refusal(Kind::Bye, 0, Some(Refusal::Clock), "your clock is 9 minutes off")),
    ];
    let length = u32::try_from(limits::FRAME).expect("fits");
    let by_hand = [
        ("half a header", "0000000102".to_owned()),
        ("a header whose body has not come", "00000001020000000000000000000007".to_owned()),
        ("the longest body, not here yet", format!("{length:08x}020000000000000000000007")),
        ("one byte too long, known from the header", format!("{:08x}020000000000000000000007", length + 1)),
        ("kind 0", "0000000000000000000000000000000700".to_owned()),
        ("kind 10", "000000010a000000000000000000000700".to_owned()),
        ("an unknown flag", "0000000102080000000000000000000700".to_owned()),
        ("a reserved bit", "0000000102000001000000000000000700".to_owned()),
        ("a request without id", "0000000102000000000000000000000000".to_owned()),
        ("a Hello with id", "0000000101000000000000000000000100".to_owned()),
        ("an event with id", "0000000107000000000000000000000100".to_owned()),
        ("more on a chunk", "0000000104010000000000000000000100".to_owned()),
        ("again on an answer", "0000000103020000000000000000000100".to_owned()),
        ("an empty chunk", "00000000040000000000000000000001".to_owned()),
        ("an empty Hello", "00000000010000000000000000000000".to_owned()),
        ("credit of 7 bytes", "0000000705000000000000000000000100000000000000".to_owned()),
        ("cancel with a body", "0000000106000000000000000000000100".to_owned()),
        ("a refusal without number", "0000000108000000000000000000000100".to_owned()),
        ("a bye longer than 514 bytes", "00000203090000000000000000000000".to_owned()),
    ];
    let by_hand = by_hand.iter().map(|(what, hex)| case(what, &unhex(hex)));
    let cases = made.into_iter().chain(by_hand).collect();
    let about =
        "Frames, and what a reader makes of them: read, refused from the header alone, or waiting for more bytes.";
    for case in hold("frames", "specs/03-session.md, section 2", about, cases) {
        assert_eq!(read(&bytes(&case, "bytes")), case["read"], "{}", case["what"]);
    }
}
