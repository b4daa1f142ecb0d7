//! `kill -9` of either node in the middle of grants, asks, vault writes and revocations: what was acknowledged stays, budgets hold,
//! the logs verify, and both sides' receipts agree or name the difference. `KILLS=200 cargo test --release --workspace --test
//! stories killed -- --nocapture` kills as often as it says; `SEED` fixes the moments. Without the variables it is a short run.

mod kept;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use kos_tests::{Shell, eventually, socket, until};
use serde_json::{Value, json};

/// Kills when nobody says how many.
const SHORT: usize = 12;
/// Calls of each grant.
const CALLS: u64 = 3;
/// Names in each vault; each is written again and again.
const NAMES: u64 = 40;
/// Deeds of one kind and round at most, so that the whole run keeps within what one caller may ask in ten minutes.
const MOST: u64 = 40;
/// Milliseconds from the first deed of a round within which the kill comes.
const SPAN: u64 = 400;
/// Refusals that no crash may cause.
const NEVER: &[&str] =
    &["internal", "integrity", "signature", "malformed", "replay", "read_only", "rolled_back", "full"];

const ALICE: usize = 0;
const BOB: usize = 1;

/// What the two were told, and so must find again.
#[derive(Default)]
struct Told {
    /// Grants that Bob made, and whether he was told that they are revoked.
    grants: BTreeMap<String, bool>,
    /// Calls used of each grant, as last seen.
    used: BTreeMap<String, u64>,
    /// Grants of which it was seen, after their revocation, how much of them was used.
    ended: BTreeSet<String>,
    /// Last value told to be stored, and last value sent, by whose vault and which name.
    secrets: BTreeMap<(usize, String), (u64, u64)>,
    /// How many vault writes were told to be stored.
    writes: u64,
    /// How many grants Bob has begun to take back, and how many answers that has stopped.
    revoking: u64,
    stopped: u64,
    /// Receipts of answers that Alice was given.
    answers: Vec<String>,
    /// How many of these were counted against their grant.
    checked: usize,
    /// Answers by grant.
    spent: BTreeMap<String, u64>,
    /// Orders of which the two sides know different things, and what the program says of it.
    named: BTreeMap<String, String>,
    /// Refusals by code.
    refused: BTreeMap<String, u64>,
}

/// Two people, their nodes, and what happens between them.
struct World {
    homes: [PathBuf; 2],
    over: AtomicBool,
    told: Mutex<Told>,
    /// Deeds under way, by kind.
    flying: Mutex<BTreeMap<&'static str, u64>>,
    written: AtomicU64,
}

impl World {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap()
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// One deed: what its caller was told, if it was told anything but no.
    async fn deed(
        &self,
        kind: &'static str,
        who: usize,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Option<Value> {
        *self.flying.lock().unwrap().entry(kind).or_default() += 1;
        let answer = socket::bytes(&self.homes[who], method, path, body.as_ref()).await;
        *self.flying.lock().unwrap().entry(kind).or_default() -= 1;
        let (status, body) = answer?;
        let answer: Value = serde_json::from_slice(&body).unwrap();
        if status == 200 {
            return Some(answer);
        }
        let error = &answer["error"];
        let code = error["code"].as_str().unwrap();
        assert!(!NEVER.contains(&code), "{kind}: {error}");
        *self.told().refused.entry(code.to_owned()).or_default() += 1;
        None
    }

    /// Bob grants, and takes every third grant back.
    async fn grants(self: Arc<Self>) {
        for number in 0..MOST {
            if !self.goes_on() {
                return;
            }
            let body = json!({ "who": "alice", "what": "house.ask", "limits": { "calls": CALLS } });
            let Some(grant) = self.deed("grant", BOB, "POST", "/v1/grants", Some(body)).await else { continue };
            let id = grant["id"].as_str().unwrap().to_owned();
            self.told().grants.insert(id.clone(), false);
            if number % 3 == 1 {
                let path = format!("/v1/grants/{id}/revoke");
                self.told().revoking += 1;
                if self.deed("revocation", BOB, "POST", &path, None).await.is_some() {
                    self.told().grants.insert(id, true);
                }
            }
        }
    }

    /// Alice asks.
    async fn asks(self: Arc<Self>) {
        for _ in 0..MOST {
            if !self.goes_on() {
                return;
            }
            let body = json!({ "who": "bob/house", "text": "where is the key?", "timeout_s": 3 });
            if let Some(asked) = self.deed("ask", ALICE, "POST", "/v1/ask", Some(body)).await {
                assert_eq!(asked["verified"], true, "{asked}");
                if asked["status"] == "stopped" {
                    // Bob took the grant back while the answer was on its way, which stops the work and says so: two may be on their way.
                    let mut told = self.told();
                    told.stopped += 1;
                    assert!(told.stopped <= 2 * told.revoking, "{asked}");
                    continue;
                }
                assert_eq!(asked["status"], "answered", "{asked}");
                self.told().answers.push(asked["receipt"].as_str().unwrap().to_owned());
            }
        }
    }

    /// Somebody writes to their vault.
    async fn writes(self: Arc<Self>, who: usize) {
        for _ in 0..MOST {
            if !self.goes_on() {
                return;
            }
            let value = self.written.fetch_add(1, Ordering::Relaxed) + 1;
            let key = (who, format!("name-{}", value % NAMES));
            self.told().secrets.entry(key.clone()).or_default().1 = value;
            let (path, body) = (format!("/v1/vaults/main/secrets/{}", key.1), json!({ "value": value.to_string() }));
            if self.deed("vault write", who, "PUT", &path, Some(body)).await.is_some() {
                let mut told = self.told();
                told.secrets.entry(key).or_default().0 = value;
                told.writes += 1;
            }
        }
    }
}

/// Chance that can be repeated: splitmix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// A person whose node is always at the same port, and is killed.
struct Mortal {
    shell: Shell,
    port: u16,
    pid: u64,
}

impl Mortal {
    fn new() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut new = Self { shell: Shell::new(), port, pid: 0 };
        new.up();
        new
    }

    fn up(&mut self) {
        let listen = format!("/ip4/127.0.0.1/tcp/{}", self.port);
        let line = ["up", "--detach", "--listen", &listen, "--api", "127.0.0.1:0", "--no-mdns"];
        self.pid = self.shell.ok(&line)["pid"].as_u64().unwrap();
    }

    fn kill(&self) {
        assert!(Command::new("kill").args(["-9", &self.pid.to_string()]).status().unwrap().success());
    }
}

/// Alice and Bob, who serves a house.
fn people() -> [Mortal; 2] {
    let (alice, bob) = (Mortal::new(), Mortal::new());
    let house = bob.shell.documents("house", &[("rules.md", b"# Rules\n\nThe key lies under the pot.\n")]);
    bob.shell.ok(&["serve", house.to_str().unwrap(), "--as", "house"]);
    bob.shell.ok(&["contact", "add", &alice.shell.ticket(), "--as", "alice"]);
    alice.shell.ok(&["contact", "add", &bob.shell.ticket(), "--as", "bob"]);
    [alice, bob]
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_nodes_keep_what_they_acknowledged_and_their_receipts_agree_or_name_the_difference() {
    let kills = number("KILLS", SHORT as u64);
    let seed = number("SEED", u64::from(std::process::id()));
    println!("SEED={seed} KILLS={kills}");
    let mut chance = Chance(seed);
    let mut people = tokio::task::block_in_place(people);
    let world = Arc::new(World {
        homes: [people[ALICE].shell.home(), people[BOB].shell.home()],
        over: AtomicBool::new(false),
        told: Mutex::default(),
        flying: Mutex::default(),
        written: AtomicU64::new(0),
    });
    let (mut during, mut slowest) = (BTreeMap::new(), Duration::ZERO);
    let begun = Instant::now();
    for kill in 0..kills {
        world.over.store(false, Ordering::Relaxed);
        let running = [
            tokio::spawn(Arc::clone(&world).grants()),
            tokio::spawn(Arc::clone(&world).asks()),
            tokio::spawn(Arc::clone(&world).asks()),
            tokio::spawn(Arc::clone(&world).writes(ALICE)),
            tokio::spawn(Arc::clone(&world).writes(BOB)),
        ];
        tokio::time::sleep(Duration::from_millis(chance.below(SPAN))).await;
        let victim = usize::from(chance.below(2) == 1);
        people[victim].kill();
        for (kind, count) in world.flying.lock().unwrap().iter().filter(|(_, count)| **count > 0) {
            *during.entry(*kind).or_insert(0) += count;
        }
        world.over.store(true, Ordering::Relaxed);
        let back = Instant::now();
        tokio::task::block_in_place(|| people[victim].up());
        slowest = slowest.max(back.elapsed());
        for one in running {
            one.await.unwrap();
        }
        let what = format!("SEED={seed}, kill {kill} of {}", ["Alice", "Bob"][victim]);
        kept::check(&world, &what, kill + 1 == kills).await;
    }
    let told = world.told();
    let mut named: BTreeMap<&str, u64> = BTreeMap::new();
    told.named.values().for_each(|words| *named.entry(words).or_default() += 1);
    let revoked = told.grants.values().filter(|revoked| **revoked).count();
    println!(
        "{kills} kills in {:?}, in the middle of {during:?}; acknowledged: {} grants, {revoked} revocations, {} asks, {} \
         vault writes; all there, both logs verify, no budget exceeded; differences named: {named:?}; refused meanwhile: \
         {:?}; slowest start {slowest:?}",
        begun.elapsed(),
        told.grants.len(),
        told.answers.len(),
        told.writes,
        told.refused,
    );
    drop(told);
    for person in &people {
        tokio::task::block_in_place(|| person.shell.ok(&["down"]));
    }
}

/// Of a contact that dials, only the port is seen that it came from; where it listens stands in its ticket.
#[test]
fn k16_a_contact_that_came_from_many_ports_is_found_where_its_ticket_says() {
    let [mut alice, mut bob] = people();
    let reaches = |one: &Mortal, name: &str| {
        eventually(&format!("{name} is reached"), || (one.shell.json(&["ping", name]).1 == 0).then_some(()));
    };
    for _ in 0..klp::limits::ADDRESSES {
        bob.shell.ok(&["down"]);
        bob.shell.up(&[]);
        reaches(&bob, "alice");
    }
    bob.shell.ok(&["down"]);
    bob.up();
    alice.kill();
    alice.up();
    reaches(&alice, "bob");
    for person in [&alice, &bob] {
        person.shell.ok(&["down"]);
    }
}
