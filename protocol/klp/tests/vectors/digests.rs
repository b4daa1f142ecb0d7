use klp::Digest;
use klp::statement::card::{did_key, node_key, tag_key};
use klp::statement::receipt::request_digest;
use klp::statement::revocation::root;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

use super::{bytes, hold, text};
use crate::cast::*;

fn request(salt: [u8; 16], capability: &str, arguments: &BTreeMap<String, String>) -> Json {
    json!({
        "kind": "request", "salt": hex(&salt), "capability": capability, "arguments": arguments,
        "digest": request_digest(&salt, capability, arguments).to_string(),
    })
}

fn revocations(targets: &[Digest]) -> Json {
    let names: Vec<String> = targets.iter().map(ToString::to_string).collect();
    json!({ "kind": "revocations", "targets": names, "digest": root(targets).to_string() })
}

fn pairs(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn digest_vectors() {
    let targets: Vec<Digest> = (1..=3).map(|seed| Digest([seed; 32])).collect();
    let bob = owner(BOB);
    let key = |kind: &str, of: &str, digest: Digest| json!({ "kind": kind, "of": of, "digest": digest.to_string() });
    let cases = vec![
        request([9; 16], "ask", &arguments()),
        request([9; 16], "ask", &BTreeMap::new()),
        request([8; 16], "ask", &arguments()),
        request([9; 16], "as", &arguments()),
        // The length comes before the letters: "text" is after "z" in this order.
        request([9; 16], "ask", &pairs(&[("text", "ü"), ("z", "1"), ("ab", "")])),
        revocations(&[]),
        revocations(&targets[..1]),
        revocations(&targets),
        revocations(&[targets[2], targets[1], targets[0]]),
        key("node_key", &node(BOB_NODE).to_string(), node_key(&node(BOB_NODE))),
        key("did_key", &bob.to_string(), did_key(&bob.0)),
        key("tag_key", "rust", tag_key("rust")),
        key("tag_key", "Rust", tag_key("Rust")),
        key("next_key", &hex(crate::cast::key(BOB_NEXT).did().key()), next_key(BOB_NEXT)),
        key("exchange_id", &hex(&exchange(BOB_EXCHANGE).public().0), Digest::of(&[&exchange(BOB_EXCHANGE).public().0])),
    ];
    let about =
        "Digests: of a request, of a list of revocations, of DHT keys, of the next owner key, of an exchange key.";
    for case in hold("digests", "specs/04-records.md, 05-grants.md and 06-receipts.md", about, cases) {
        let digest = match text(&case, "kind") {
            "request" => {
                let salt: [u8; 16] = bytes(&case, "salt").try_into().expect("16 bytes");
                let map = case["arguments"].as_object().expect("a map").iter();
                let map = map.map(|(name, value)| (name.clone(), value.as_str().expect("a text").to_owned())).collect();
                request_digest(&salt, text(&case, "capability"), &map)
            }
            "revocations" => {
                let list = case["targets"].as_array().expect("a list");
                let list: Vec<Digest> =
                    list.iter().map(|text| text.as_str().expect("text").parse().expect("a digest")).collect();
                root(&list)
            }
            "node_key" => node_key(&text(&case, "of").parse().expect("a DID")),
            "did_key" => did_key(&text(&case, "of").parse().expect("a DID")),
            "tag_key" => tag_key(text(&case, "of")),
            _ => Digest::of(&[&bytes(&case, "of")]),
        };
        assert_eq!(digest.to_string(), text(&case, "digest"), "{case}");
    }
}
