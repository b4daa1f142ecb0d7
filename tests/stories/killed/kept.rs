//! What must hold once both nodes are up again.

use std::collections::BTreeMap;

use super::{ALICE, BOB, CALLS, World, json, socket, until};
use klp::Cbor as _;
use klp::statement::receipt::Receipt;
use serde_json::Value;

/// Receipts of one list.
const LIST: &str = "/v1/receipts?limit=1000";

async fn get(world: &World, who: usize, path: &str) -> Value {
    let answer = socket::call(&world.homes[who], "GET", path, None).await;
    answer.unwrap_or_else(|| panic!("{path}: nobody is there")).unwrap_or_else(|code| panic!("{path}: {code}"))
}

/// Holds when nothing that was told is missing, no budget was exceeded, both logs verify, and the receipts of both sides agree or
/// name the difference. `all` looks at every receipt once more, not only at the new ones.
pub(super) async fn check(world: &World, what: &str, all: bool) {
    for who in [ALICE, BOB] {
        let verified = get(world, who, "/v1/audit/verify").await;
        assert_eq!(verified["valid"], true, "{what}: {verified}");
        let health = &get(world, who, "/v1/status").await["health"];
        assert_eq!(health["store"], "ok", "{what}: {health}");
    }
    grants(world, what).await;
    secrets(world, what).await;
    answers(world, what, all).await;
    together(world, what).await;
}

/// Every grant is there, what was taken back stays so, and what was used never grows beyond the budget nor shrinks.
async fn grants(world: &World, what: &str) {
    let rows = get(world, BOB, "/v1/grants").await;
    let rows: BTreeMap<&str, &Value> =
        rows.as_array().unwrap().iter().map(|row| (row["id"].as_str().unwrap(), row)).collect();
    let mut told = world.told();
    let grants: Vec<(String, bool)> = told.grants.iter().map(|(id, revoked)| (id.clone(), *revoked)).collect();
    for (id, revoked) in grants {
        let row = rows.get(id.as_str()).unwrap_or_else(|| panic!("{what}: grant {id} is gone"));
        assert!(!revoked || row["revoked"] == true, "{what}: grant {id} was revoked: {row}");
        let (calls, left) = (row["calls"].as_u64().unwrap(), row["calls_left"].as_u64().unwrap());
        assert!(calls == CALLS && left <= CALLS, "{what}: {row}");
        let before = told.used.insert(id.clone(), calls - left).unwrap_or(0);
        assert!(calls - left >= before, "{what}: grant {id} had {before} calls used, and now {}", calls - left);
        assert!(
            !told.ended.contains(&id) || calls - left == before,
            "{what}: grant {id} was used after its revocation"
        );
        if revoked {
            told.ended.insert(id);
        }
    }
}

/// Every secret has the value that was last told to be stored, or a later one that was sent.
async fn secrets(world: &World, what: &str) {
    let all: Vec<_> = world.told().secrets.iter().map(|(key, values)| (key.clone(), *values)).collect();
    for ((who, name), (stored, sent)) in all.into_iter().filter(|(_, (stored, _))| *stored > 0) {
        let value = get(world, who, &format!("/v1/vaults/main/secrets/{name}")).await;
        let value: u64 = value["value"].as_str().unwrap().parse().unwrap();
        assert!((stored..=sent).contains(&value), "{what}: {name} has {value}, told {stored}, sent {sent}");
    }
}

/// Every answer that was given has its receipts on both sides, and no grant has more answers than it was debited.
async fn answers(world: &World, what: &str, all: bool) {
    let (new, checked) = {
        let told = world.told();
        (if all { told.answers.clone() } else { told.answers[told.checked..].to_vec() }, told.checked)
    };
    let first = if all { 0 } else { checked };
    for (number, id) in new.iter().enumerate() {
        let (mine, his) = (
            get(world, ALICE, &format!("/v1/receipts/{id}")).await,
            get(world, BOB, &format!("/v1/receipts/{id}")).await,
        );
        assert_eq!((&mine["state"], &mine["status"]), (&json!("acknowledged"), &json!("answered")), "{what}: {mine}");
        assert_eq!(his["status"], "answered", "{what}: {his}");
        if first + number < checked {
            continue;
        }
        let export = socket::bytes(&world.homes[ALICE], "GET", &format!("/v1/receipts/{id}/export"), None).await;
        let receipt = Receipt::from_bytes(&export.unwrap().1, 2 * klp::limits::MESSAGE).unwrap();
        let grant = receipt.verify().unwrap().order.grant.unwrap().to_string();
        *world.told().spent.entry(grant).or_default() += 1;
    }
    let mut told = world.told();
    told.checked = told.answers.len();
    for (grant, spent) in &told.spent {
        // A grant that Bob was not told of was made all the same; its budget holds for the answers that came.
        let used = told.used.get(grant).copied().unwrap_or(CALLS);
        assert!(*spent <= used, "{what}: grant {grant} gave {spent} answers and was debited {used} times");
    }
}

/// They find each other again by themselves, and what their receipts say of each other is explained.
async fn together(world: &World, what: &str) {
    let body = json!({ "who": "alice", "what": "house.ask", "limits": { "calls": CALLS } });
    let grant = socket::call(&world.homes[BOB], "POST", "/v1/grants", Some(&body)).await.unwrap().unwrap();
    world.told().grants.insert(grant["id"].as_str().unwrap().to_owned(), false);
    let question = json!({ "who": "bob/house", "text": "where is the key?", "timeout_s": 3 });
    let asked = until(&format!("{what}: an answer"), async || {
        let answer = socket::call(&world.homes[ALICE], "POST", "/v1/ask", Some(&question)).await.unwrap();
        // What the last one says stands in the output of a test that fails.
        answer.inspect_err(|code| println!("{what}: refused: {code}")).ok()
    })
    .await;
    let receipt = asked["receipt"].as_str().unwrap().to_owned();
    world.told().answers.push(receipt);
    let mut why = String::new();
    for _ in 0..200 {
        match compare(&get(world, ALICE, LIST).await, &get(world, BOB, LIST).await) {
            Ok(named) => {
                world.told().named.extend(named);
                return;
            }
            Err(unexplained) => why = unexplained,
        }
        // Work whose caller has gone ends, and acknowledgements that are owed come, in their own time.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{what}: {why}");
}

/// What differs between the two sides, by order and in words; an error is a difference that neither side explains.
fn compare(mine: &Value, his: &Value) -> Result<BTreeMap<String, String>, String> {
    let by_id = |rows: &Value| -> BTreeMap<String, Value> {
        rows.as_array().unwrap().iter().map(|row| (row["id"].as_str().unwrap().to_owned(), row.clone())).collect()
    };
    let text = |row: &Value| format!("{} {}", row["state"].as_str().unwrap(), row["status"].as_str().unwrap());
    let oldest =
        mine.as_array().unwrap().iter().filter_map(|row| row["issued"].as_str()).min().unwrap_or("").to_owned();
    let (mine, his) = (by_id(mine), by_id(his));
    let mut named = BTreeMap::new();
    for (id, row) in &mine {
        let here = text(row);
        match (here.as_str(), his.get(id).map(text).as_deref()) {
            // What was stopped was stopped by a grant that Bob took back, which whoever asks has counted.
            ("acknowledged answered", Some("acknowledged answered"))
            | ("acknowledged stopped", Some("acknowledged stopped")) => {}
            (
                "ordered unanswered",
                there @ (None
                | Some("answered answered" | "answered stopped" | "answered cancelled" | "ordered interrupted")),
            ) => {
                named.insert(id.clone(), format!("asked: {here}, host: {}", there.unwrap_or("has none")));
            }
            (_, there) => return Err(format!("order {id}: she has {here}, he has {there:?}")),
        }
    }
    // An order is durable before it leaves; she may have older ones that her list does not show.
    let lost = his.iter().find(|(id, row)| row["issued"].as_str() > Some(oldest.as_str()) && !mine.contains_key(*id));
    match lost {
        Some((id, row)) => Err(format!("order {id}: he has {}, she has none", text(row))),
        None => Ok(named),
    }
}
