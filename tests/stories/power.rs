//! The power fails under a running node. Its home, its unlock file and its anchor lie on a disk of their own, whose image is copied in
//! the middle of the work: what was not synced is not in the copy. A node that is started on the copy has all that was told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use klp::Cbor as _;
use klp::statement::receipt::Receipt;
use kos_tests::{Disk, Person, Puppet, Shell, has, is_root, needs, socket, until};
use serde_json::{Value, json};

/// How often the power fails at work, when nobody says how often (`CUTS`).
const CUTS: u64 = 5;
/// And in the middle of the first start.
const AT_START: u64 = 4;

/// Calls of each grant.
const CALLS: u64 = 3;

/// A fresh disk image of 64 MB in this folder.
fn image(folder: &Path) -> PathBuf {
    let image = folder.join("disk.img");
    std::fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image).stdout(Stdio::null()).status().unwrap();
    assert!(made.success());
    image
}

/// Somebody whose whole folder is on a disk of its own. In this order: the disk goes once the node on it was stopped.
struct Place {
    shell: Shell,
    disk: Disk,
}

/// On this image; `None` where the system has no loop devices.
fn on(image: &Path) -> Option<Place> {
    let disk = Disk::new();
    let shell = disk.shell();
    let place = Place { shell, disk };
    place.disk.mount_image(image, place.shell.folder()).then_some(place)
}

fn signal(name: &str, pid: u64) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

/// What is on the disk at this moment.
fn cut(image: &Path, number: u64) -> PathBuf {
    let copy = image.with_extension(format!("{number}"));
    std::fs::copy(image, &copy).unwrap();
    // The system may have been writing: then the copy is of no one moment.
    while std::fs::read(image).unwrap() != std::fs::read(&copy).unwrap() {
        std::fs::copy(image, &copy).unwrap();
    }
    copy
}

/// What was told to be kept.
#[derive(Default)]
struct Told {
    secrets: BTreeMap<String, (u64, u64)>,
    receipts: Vec<String>,
}

impl Told {
    /// Writes and asks for a while.
    async fn work(&mut self, home: &Path, from: u64, until: tokio::time::Instant) -> u64 {
        let mut number = from;
        while tokio::time::Instant::now() < until {
            number += 1;
            let name = format!("name-{}", number % 20);
            self.secrets.entry(name.clone()).or_default().1 = number;
            let body = json!({ "value": number.to_string() });
            call(home, "PUT", &format!("/v1/vaults/main/secrets/{name}"), Some(body)).await;
            self.secrets.entry(name).or_default().0 = number;
            let asked = call(home, "POST", "/v1/ask", Some(json!({ "who": "self/guide", "text": "passphrase" }))).await;
            self.receipts.push(asked["receipt"].as_str().unwrap().to_owned());
        }
        number
    }

    async fn is_there(&self, home: &Path, what: &str) {
        let status = call(home, "GET", "/v1/status", None).await;
        assert_eq!(status["health"]["store"], "ok", "{what}: {status}");
        let verified = call(home, "GET", "/v1/audit/verify", None).await;
        assert_eq!(verified["valid"], true, "{what}: {verified}");
        for (name, (stored, sent)) in self.secrets.iter().filter(|(_, (stored, _))| *stored > 0) {
            let value = call(home, "GET", &format!("/v1/vaults/main/secrets/{name}"), None).await;
            let value: u64 = value["value"].as_str().unwrap().parse().unwrap();
            assert!((*stored..=*sent).contains(&value), "{what}: {name} has {value}, told {stored}, sent {sent}");
        }
        for id in &self.receipts {
            let receipt = call(home, "GET", &format!("/v1/receipts/{id}"), None).await;
            assert_eq!(receipt["state"], "acknowledged", "{what}: {receipt}");
        }
    }
}

async fn call(home: &Path, method: &str, path: &str, body: Option<Value>) -> Value {
    socket::call(home, method, path, body.as_ref()).await.unwrap().unwrap_or_else(|code| panic!("{path}: {code}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_power_failed_a_node_has_all_that_it_told() {
    let story = "after_the_power_failed_a_node_has_all_that_it_told";
    if !is_root(story) || !has(story, "mkfs.ext4") || !has(story, "nsenter") {
        return;
    }
    let cuts = std::env::var("CUTS").map_or(CUTS, |cuts| cuts.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    // In the middle of the first start, at four moments of it: the next start ends what this one began, or begins.
    for moment in 0..AT_START {
        let image = image(folder.path());
        let Some(first) = on(&image) else {
            needs(story, "loop devices", false);
            return;
        };
        let line = ["up", "--listen", "/ip4/127.0.0.1/tcp/0", "--api", "127.0.0.1:0", "--no-mdns"];
        let mut child = first.shell.command(&line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(20 + 60 * moment)).await;
        signal("-STOP", u64::from(child.id()));
        let copy = cut(&image, moment);
        child.kill().unwrap();
        child.wait().unwrap();
        let again = on(&copy).unwrap();
        let again = &again.shell;
        tokio::task::block_in_place(|| {
            let owner = again.up(&[])["did"].clone();
            assert_eq!(again.ok(&["audit", "verify"])["valid"], true);
            again.ok(&["down"]);
            assert_eq!(again.up(&[])["did"], owner);
        });
    }
    let image = image(folder.path());
    let place = on(&image).unwrap();
    let bob = &place.shell;
    let (home, mut told, mut number) = (place.disk.seen(&bob.home()), Told::default(), 0);
    let pid = tokio::task::block_in_place(|| bob.up(&[]))["pid"].as_u64().unwrap();
    until("the guide", async || {
        socket::call(&home, "POST", "/v1/ask", Some(&json!({ "who": "self/guide", "text": "vault" }))).await?.ok()
    })
    .await;
    for round in 0..cuts {
        let end = tokio::time::Instant::now() + Duration::from_millis(150 + 37 * (round % 10));
        number = told.work(&home, number, end).await;
        signal("-STOP", pid);
        let copy = tokio::task::block_in_place(|| cut(&image, 100 + round));
        signal("-CONT", pid);
        let again = on(&copy).unwrap();
        tokio::task::block_in_place(|| again.shell.up(&[]));
        told.is_there(&again.disk.seen(&again.shell.home()), &format!("cut {round}")).await;
        drop(again);
        std::fs::remove_file(copy).unwrap();
    }
    println!("power failed {cuts} times at work and {AT_START} times in a first start; {} deeds told", 2 * number);
    told.is_there(&home, "on the disk that lived on").await;
}

/// What two were told: the grants that Bob made, with whether he took them back, and the answers that Alice was given.
#[derive(Default)]
struct Between {
    grants: BTreeMap<String, bool>,
    answers: Vec<String>,
}

impl Between {
    /// Grants, takes back and asks for a while.
    async fn work(&mut self, home: &Path, alice: &Person, until: tokio::time::Instant) {
        while tokio::time::Instant::now() < until {
            for (who, is_taken_back) in [("alice", false), ("carol", true)] {
                let body = json!({ "who": who, "what": "house.ask", "limits": { "calls": CALLS } });
                let grant = call(home, "POST", "/v1/grants", Some(body)).await;
                let id = grant["id"].as_str().unwrap().to_owned();
                self.grants.insert(id.clone(), false);
                if is_taken_back {
                    call(home, "POST", &format!("/v1/grants/{id}/revoke"), None).await;
                    self.grants.insert(id, true);
                }
            }
            let (_, asked) = alice.ask("bob/house", "where is the key?").await.unwrap();
            assert!(asked.verified, "{asked:?}");
            self.answers.push(asked.receipt);
        }
    }

    /// Every grant is there, with what was used of it, what was taken back stays so, and both have the receipt of each answer.
    async fn holds(&self, home: &Path, alice: &Person, what: &str) {
        let verified = call(home, "GET", "/v1/audit/verify", None).await;
        assert_eq!(verified["valid"], true, "{what}: {verified}");
        let mut spent = BTreeMap::<String, u64>::new();
        for id in &self.answers {
            let (mine, his) = (
                alice.node.receipts.show(id).await.unwrap(),
                call(home, "GET", &format!("/v1/receipts/{id}"), None).await,
            );
            assert_eq!(
                (mine.state.as_str(), his["status"].as_str()),
                ("acknowledged", Some("answered")),
                "{what}: {his}"
            );
            let receipt = alice.node.receipts.export(id).await.unwrap();
            let receipt = Receipt::from_bytes(&receipt, 2 * klp::limits::MESSAGE).unwrap();
            *spent.entry(receipt.verify().unwrap().order.grant.unwrap().to_string()).or_default() += 1;
        }
        let rows = call(home, "GET", "/v1/grants", None).await;
        let rows: BTreeMap<&str, &Value> =
            rows.as_array().unwrap().iter().map(|row| (row["id"].as_str().unwrap(), row)).collect();
        for (id, is_taken_back) in &self.grants {
            let row = rows.get(id.as_str()).unwrap_or_else(|| panic!("{what}: grant {id} is gone"));
            assert!(!is_taken_back || row["revoked"] == true, "{what}: {row}");
            let left = row["calls_left"].as_u64().unwrap();
            let spent = spent.get(id).copied().unwrap_or(0);
            assert!(left <= CALLS && spent <= CALLS - left, "{what}: {spent} answers of {row}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_power_failed_grants_budgets_and_receipts_are_as_both_sides_were_told() {
    let story = "after_the_power_failed_grants_budgets_and_receipts_are_as_both_sides_were_told";
    if !is_root(story) || !has(story, "mkfs.ext4") || !has(story, "nsenter") {
        return;
    }
    let cuts = std::env::var("CUTS").map_or(CUTS, |cuts| cuts.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut image = image(folder.path());
    let Some(mut place) = on(&image) else {
        needs(story, "loop devices", false);
        return;
    };
    let house = folder.path().join("house");
    std::fs::create_dir(&house).unwrap();
    std::fs::write(house.join("rules.md"), "# Rules\n\nThe key lies under the third pot.\n").unwrap();
    let (alice, carol) = (Person::new(&[]).await, Puppet::open(175).await);
    let hers = alice.node.contacts.ticket().await.unwrap().ticket;
    // At the same address each time, so that Alice finds him without a third party.
    let up = |place: &Place, listen: &str| {
        let said = place.shell.ok(&["up", "--detach", "--listen", listen, "--api", "127.0.0.1:0", "--no-mdns"]);
        (said["pid"].as_u64().unwrap(), said["listen"][0].as_str().unwrap().to_owned())
    };
    let (mut pid, listen) = tokio::task::block_in_place(|| {
        let bob = &place.shell;
        let (pid, listen) = up(&place, "/ip4/127.0.0.1/tcp/0");
        bob.ok(&["serve", house.to_str().unwrap(), "--as", "house"]);
        bob.ok(&["contact", "add", &hers, "--as", "alice"]);
        bob.ok(&["contact", "add", &carol.ticket(), "--as", "carol"]);
        bob.ok(&["grant", "add", "alice", "house.ask", "--calls", "1000"]);
        (pid, listen.split("/p2p/").next().unwrap().to_owned())
    });
    let his = tokio::task::block_in_place(|| place.shell.ticket());
    alice.node.contacts.add(&his, "bob").await.unwrap();
    let mut between = Between::default();
    for round in 0..cuts {
        let what = format!("cut {round}");
        let home = place.disk.seen(&place.shell.home());
        until("Alice is answered", async || {
            // What the last one says stands in the output of a test that fails.
            alice.ask("bob/house", "where is the key?").await.inspect_err(|why| println!("{what}: {why:?}")).ok()
        })
        .await;
        let end = tokio::time::Instant::now() + Duration::from_millis(150 + 37 * (round % 10));
        between.work(&home, &alice, end).await;
        // What was not synced is gone, and so is the node: it goes on over what is left.
        signal("-STOP", pid);
        image = tokio::task::block_in_place(|| cut(&image, round));
        signal("-KILL", pid);
        place = on(&image).unwrap();
        pid = tokio::task::block_in_place(|| up(&place, &listen)).0;
        between.holds(&place.disk.seen(&place.shell.home()), &alice, &what).await;
    }
    println!("{} grants and {} answers over {cuts} cuts", between.grants.len(), between.answers.len());
    until("Alice is answered", async || alice.ask("bob/house", "where is the key?").await.ok()).await;
    alice.stop().await;
    carol.close();
}
