use klp::blob::Message;
use klp::{Digest, Refusal, limits};
use serde_json::{Value as Json, json};

use super::{bytes, hold};
use crate::cast::{hex, unhex};

/// What a reader makes of one message.
fn read(bytes: &[u8]) -> Json {
    match Message::decode(bytes) {
        Err(refusal) => json!({ "refused": refusal.code() }),
        Ok(Message::Ask { digest, offset, most }) => {
            json!({ "kind": "ask", "digest": digest.to_string(), "offset": offset, "most": most })
        }
        Ok(Message::Total(total)) => json!({ "kind": "total", "total": total }),
        Ok(Message::Refused(refusal, text)) => json!({ "kind": "refused", "refusal": refusal.code(), "text": text }),
    }
}

fn case(what: &str, bytes: &[u8]) -> Json {
    json!({ "what": what, "bytes": hex(bytes), "read": read(bytes) })
}

#[test]
fn s13_blob_vectors() {
    let digest = Digest::of(&[b"a blob"]);
    let ask = |offset, most| Message::Ask { digest, offset, most }.encode();
    let refused = |refusal, text: &str| Message::Refused(refusal, text.into()).encode();
    let body = hex(&ask(0, u64::MAX)[4..]);
    let made = [
        ("the whole of a blob", ask(0, u64::MAX)),
        ("its last byte", ask(5, 1)),
        ("how long it is, and no byte of it", ask(0, 0)),
        ("the answer: six bytes in all", Message::Total(6).encode()),
        ("the answer about an empty blob", Message::Total(0).encode()),
        ("the longest blob", Message::Total(limits::BLOB).encode()),
        ("it is not offered to the asker", refused(Refusal::NotFound, "nothing of this digest is offered to you")),
        ("a refusal without a text", refused(Refusal::Busy, "")),
    ];
    let by_hand = [
        ("nothing", String::new()),
        ("half a header", "0101".to_owned()),
        ("version 0", format!("00010030{body}")),
        ("version 2, longer than any message of version 1", "0209ffff".to_owned()),
        ("kind 0", "01000000".to_owned()),
        ("kind 4", "01040000".to_owned()),
        ("an ask of 49 bytes", format!("01010031{body}00")),
        ("an ask of 47 bytes", format!("0101002f{}", &body[2..])),
        ("an ask that is cut short", format!("01010030{}", &body[2..])),
        ("a byte after an ask", format!("01010030{body}00")),
        ("a total of 4 bytes", "0102000400000006".to_owned()),
        ("a refusal without number", "0103000111".to_owned()),
        ("a refusal with number 0", "010300020000".to_owned()),
        ("a refusal of 515 bytes", "01030203".to_owned()),
        ("a text that is no UTF-8", "010300030011ff".to_owned()),
        ("a number of a later version counts as failed", "01030002ffff".to_owned()),
    ];
    let by_hand = by_hand.iter().map(|(what, hex)| case(what, &unhex(hex)));
    let cases = made.iter().map(|(what, bytes)| case(what, bytes)).chain(by_hand).collect();
    let about = "Messages of a blob stream, and what a reader makes of them. The digest is that of the text `a blob`.";
    for case in hold("blobs", "specs/08-blobs.md, section 2", about, cases) {
        assert_eq!(read(&bytes(&case, "bytes")), case["read"], "{}", case["what"]);
    }
}
