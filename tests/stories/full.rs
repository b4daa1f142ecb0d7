//! A disk that fills up under a running node: named, nothing lost that was told, and well again by itself once there is room.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use kos_tests::{Disk, Shell, has, is_root, shell, socket, until};
use serde_json::{Value, json};

/// The disk of the node.
const SIZE: &str = "24m";
/// What is left of it when the deeds begin.
const ROOM: u64 = 400 * 1024;

/// What was told to be kept, by kind, and the value of each secret.
#[derive(Default)]
struct Told {
    grants: Vec<String>,
    receipts: Vec<String>,
    secrets: BTreeMap<String, String>,
}

async fn call(home: &Path, method: &str, path: &str, body: Option<Value>) -> socket::Answer {
    socket::call(home, method, path, body.as_ref()).await.unwrap()
}

async fn get(home: &Path, path: &str) -> Value {
    call(home, "GET", path, None).await.unwrap()
}

impl Told {
    /// One deed of each kind; those that are refused say why.
    async fn deeds(&mut self, home: &Path, number: usize) -> [Option<String>; 3] {
        let grant = json!({ "who": "alice", "what": "house.ask", "limits": { "calls": 5 } });
        let grant = call(home, "POST", "/v1/grants", Some(grant)).await;
        let grant = grant.map(|grant| self.grants.push(grant["id"].as_str().unwrap().to_owned()));
        let question = json!({ "who": "self/house", "text": "where is the key?" });
        let asked = call(home, "POST", "/v1/ask", Some(question)).await;
        let asked = asked.map(|asked| self.receipts.push(asked["receipt"].as_str().unwrap().to_owned()));
        let (name, value) = (format!("name-{number}"), format!("{number:0>6000}"));
        let put = call(home, "PUT", &format!("/v1/vaults/main/secrets/{name}"), Some(json!({ "value": value }))).await;
        let put = put.map(|_| drop(self.secrets.insert(name, value)));
        [grant.err(), asked.err(), put.err()]
    }

    /// Holds when all of it is there, and the log verifies. A secret is handed out only when that can be written down.
    async fn is_there(&self, home: &Path, when: &str, has_room: bool) {
        let grants = get(home, "/v1/grants").await.to_string();
        for id in &self.grants {
            assert!(grants.contains(id), "{when}: grant {id} is gone");
        }
        for id in &self.receipts {
            let receipt = get(home, &format!("/v1/receipts/{id}")).await;
            assert_eq!(receipt["status"], "answered", "{when}: {receipt}");
        }
        for (name, value) in &self.secrets {
            match call(home, "GET", &format!("/v1/vaults/main/secrets/{name}"), None).await {
                Ok(kept) => assert!(kept["value"] == **value, "{when}: {name} is another"),
                Err(code) => assert!(code == "full" && !has_room, "{when}: {name}: {code}"),
            }
        }
        let names = get(home, "/v1/vaults/main/secrets").await.to_string();
        for name in self.secrets.keys() {
            assert!(names.contains(&format!("\"{name}\"")), "{when}: {name} is gone");
        }
        let verified = get(home, "/v1/audit/verify").await;
        assert_eq!(verified["valid"], true, "{when}: {verified}");
    }
}

async fn store_is(home: &Path, how: &str) {
    let mut last = String::new();
    until(&format!("the store to be {how}"), async || {
        let status = get(home, "/v1/status").await;
        let now = status["health"]["store"].as_str().unwrap();
        if now != last {
            println!("the store is {now}");
            now.clone_into(&mut last);
        }
        now.starts_with(how).then_some(())
    })
    .await;
}

fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_named_costs_nothing_that_was_told_and_heals_by_itself() {
    let story = "a_full_disk_is_named_costs_nothing_that_was_told_and_heals_by_itself";
    if !is_root(story) || !has(story, "nsenter") {
        return;
    }
    let disk = Disk::new();
    let (alice, bob) = (Shell::new(), disk.shell());
    let (house, first) = blocking(|| {
        disk.mount_small(&bob.home(), SIZE);
        let first = bob.up(&[]);
        alice.up(&[]);
        let house = bob.documents("house", &[("rules.md", b"# Rules\n\nThe key lies under the pot.\n")]);
        bob.ok(&["serve", house.to_str().unwrap(), "--as", "house"]);
        bob.ok(&["contact", "add", &alice.ticket(), "--as", "alice"]);
        alice.ok(&["contact", "add", &bob.ticket(), "--as", "bob"]);
        (house, first)
    });
    let home = disk.seen(&bob.home());
    let mut told = Told::default();
    assert_eq!(told.deeds(&home, 0).await, [None, None, None]);
    let question = ["ask", "bob/house", "where is the key?"];
    until("an answer", async || (blocking(|| alice.json(&question)).1 == 0).then_some(())).await;

    disk.fill(&bob.home(), ROOM);
    let (mut number, mut kinds) = (0, [0; 3]);
    while kinds.contains(&0) {
        number += 1;
        assert!(number < 2000, "the disk never fills");
        for (count, refused) in kinds.iter_mut().zip(told.deeds(&home, number).await) {
            *count += usize::from(refused.is_some());
            assert!(refused.is_none_or(|code| code == "full"), "another refusal than that the disk is full");
        }
    }
    disk.fill(&bob.home(), 0);
    println!("{number} rounds until each of grant, ask and vault write was refused: {kinds:?} refusals");

    // By name, with what to do, to the owner and to whoever asks from elsewhere.
    blocking(|| {
        shell::is_error(&bob.json(&["grant", "add", "alice", "house.ask"]), "full", 1);
        let asked = alice.json(&question);
        shell::is_error(&asked, "full", 1);
        assert!(asked.0["error"]["message"].as_str().unwrap().contains("the other node"), "{asked:?}");
        std::fs::write(house.join("new.md"), "# Later\n\nThe umbrella hangs behind the door.\n").unwrap();
    });
    store_is(&home, "degraded: the disk is full").await;
    told.is_there(&home, "while the disk is full", false).await;

    // Killed and started on the full disk it still shows what it has.
    assert!(Command::new("kill").args(["-9", &first["pid"].to_string()]).status().unwrap().success());
    blocking(|| bob.up(&[]));
    told.is_there(&home, "after a start on the full disk", false).await;
    // What the file itself still had room for is used up first.
    let mut number = 5000;
    loop {
        let [grant, asked, put] = told.deeds(&home, number).await;
        // An agent whose index cannot be opened says that it is not ready, and tries again by itself.
        assert!(asked.as_ref().is_none_or(|code| code == "full" || code == "state"), "{asked:?}");
        if [grant, put].iter().all(|code| code.as_deref() == Some("full")) && asked.is_some() {
            break;
        }
        number += 1;
        assert!(number < 5200, "the disk is full and the node does not say so");
    }
    store_is(&home, "degraded: the disk is full").await;

    disk.free(&bob.home());
    store_is(&home, "ok").await;
    until("everything to work again", async || (told.deeds(&home, 6000).await == [None, None, None]).then_some(()))
        .await;
    until("what was laid into the house meanwhile", async || {
        let question = json!({ "who": "self/house", "text": "where is the umbrella?" });
        let asked = call(&home, "POST", "/v1/ask", Some(question)).await.ok()?;
        asked["answer"].as_str().unwrap().contains("behind the door").then_some(())
    })
    .await;
    until("the files that say where it is", async || {
        ["api", "addresses"].iter().all(|name| home.join(name).exists()).then_some(())
    })
    .await;
    blocking(|| alice.ok(&["contact", "add", &bob.ticket(), "--as", "bob"]));
    until("an answer again", async || (blocking(|| alice.json(&question)).1 == 0).then_some(())).await;
    told.is_there(&home, "once there was room again", true).await;
    blocking(|| {
        bob.ok(&["down"]);
        bob.up(&[]);
    });
    told.is_there(&home, "after another start", true).await;
}

#[test]
fn a_first_start_on_a_full_disk_says_so_and_the_next_one_works() {
    let story = "a_first_start_on_a_full_disk_says_so_and_the_next_one_works";
    if !is_root(story) || !has(story, "nsenter") {
        return;
    }
    let disk = Disk::new();
    let bob = disk.shell();
    disk.mount_small(&bob.home(), SIZE);
    let line = ["up", "--detach", "--listen", "/ip4/127.0.0.1/tcp/0", "--api", "127.0.0.1:0", "--no-mdns"];
    // A little more room each time: it ends at another of the first steps.
    for room in [0, 4, 8, 16, 64, 1100, 1600] {
        disk.fill(&bob.home(), room * 1024);
        let refused = bob.json(&line);
        if refused.1 == 0 {
            bob.ok(&["down"]);
        } else {
            shell::is_error(&refused, "full", 1);
        }
        disk.free(&bob.home());
    }
    let owner = bob.up(&[])["did"].clone();
    assert_eq!(bob.ok(&["audit", "verify"])["valid"], true);
    bob.ok(&["down"]);
    assert_eq!(bob.up(&[])["did"], owner);
}
