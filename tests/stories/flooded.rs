//! Floods of gossip and of the directory's records, from one peer, and of connections, from one address, at real programs: whoever asks
//! meanwhile is answered, the program keeps its size, and the offender is limited, then sent away, and counted.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use klp::{Digest, SecretKey};
use kos_tests::{Lan, Person, Program, Shell, eventually, figure, has, is_root, memory, until};
use mesh::raw::{RawGossip, packet};
use mesh::{Multiaddr, Role, Topic};
use serde_json::Value;

/// What a program may grow by whatever one peer sends it, in kilobytes.
const GROWTH: u64 = 48 * 1024;
/// Longest time until a peer is sent away, on a busy machine.
pub(crate) const GONE: Duration = Duration::from_secs(20);
/// The slowest of a hundred answers may take so long meanwhile.
pub(crate) const SLOW: Duration = Duration::from_secs(2);
/// Messages in each piece of a flood, and how often a piece goes out: 10,000 a second.
const PIECE: u64 = 100;
const EVERY: Duration = Duration::from_millis(10);

/// How long each of many took.
#[derive(Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn at(&mut self, percent: usize) -> Duration {
        self.0.sort_unstable();
        self.0[(self.0.len() - 1) * percent / 100]
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Works on while `over` is false, at least twenty times, and says how long each time took.
pub(crate) async fn timed(over: &AtomicBool, mut work: impl AsyncFnMut()) -> Times {
    let mut times = Times::default();
    while !over.load(Ordering::Relaxed) || times.0.len() < 20 {
        let begun = Instant::now();
        work().await;
        times.0.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    times
}

/// Sends pieces at their rate until the other side hangs up, and says how many messages went out.
async fn flood(raw: &mut RawGossip, mut piece: impl FnMut(u64) -> Vec<u8>) -> u64 {
    let mut sent = 0;
    let mut rate = tokio::time::interval(EVERY);
    loop {
        rate.tick().await;
        let bytes: Vec<u8> = (sent..sent + PIECE).flat_map(&mut piece).collect();
        if raw.write(&bytes).await.is_err() {
            return sent;
        }
        sent += PIECE;
    }
}

/// Makes the packet of this number.
type Shape = (&'static str, fn(&SecretKey, u64) -> Vec<u8>);

/// Why gossip was refused so far, all reasons together: whichever comes first ends a flood.
fn refused(metrics: &str) -> u64 {
    let line = |reason| format!("kos_door_refusals_total{{what=\"gossip\",reason=\"{reason}\"}}");
    ["often", "forged", "invalid"].map(|reason| figure(metrics, &line(reason))).iter().sum()
}

const SHAPES: [Shape; 4] = [
    ("one message again and again", |key, _| packet(key, Topic::Revocations, 1, b"again", true)),
    ("messages that nobody signed", |key, number| packet(key, Topic::Directory, number, b"garbage", false)),
    ("garbage that is well signed", |key, number| packet(key, Topic::Revocations, number, &number.to_be_bytes(), true)),
    ("more and more of it in a card's place", |key, number| packet(key, Topic::Directory, number, &[7; 200], true)),
];

#[tokio::test(flavor = "multi_thread")]
async fn x3_a_flood_of_gossip_is_limited_then_cut_off_and_contacts_are_answered() {
    let alice = Person::new(&[]).await;
    let ticket = alice.node.contacts.ticket().await.unwrap().ticket;
    let (bob, up, hers) = tokio::task::spawn_blocking(move || {
        let bob = Shell::new();
        let up = bob.up(&["--metrics", "127.0.0.1:0"]);
        let house = bob.documents("house", &[("rules.md", b"# Rules\n\nThe key lies under the third pot.\n")]);
        bob.ok(&["serve", house.to_str().unwrap(), "--as", "house"]);
        bob.ok(&["contact", "add", &ticket, "--as", "alice"]);
        bob.ok(&["grant", "add", "alice", "house.ask", "--calls", "100000"]);
        let hers = bob.ticket();
        (bob, up, hers)
    })
    .await
    .unwrap();
    let bob = Arc::new(bob);
    alice.node.contacts.add(&hers, "bob").await.unwrap();
    let ask = async || drop(alice.ask("bob/house", "where is the key?").await.unwrap());
    until("an answer", async || alice.ask("bob/house", "where is the key?").await.ok()).await;
    let address: Multiaddr = text(&up["listen"][0]).parse().unwrap();
    let pid = up["pid"].as_u64().unwrap();
    let status = bob.clone();
    let metrics = tokio::task::spawn_blocking(move || text(&status.ok(&["status"])["metrics"])).await.unwrap();
    let quiet = AtomicBool::new(true);
    let mut calm = timed(&quiet, ask).await;
    let before = memory(pid);
    println!("calm: an ask takes {:?}, {:?} at most; {before} kB", calm.at(50), calm.at(99));
    for (number, (what, shape)) in SHAPES.into_iter().enumerate() {
        let key = SecretKey::from_seed(&[150 + u8::try_from(number).unwrap(); 32]);
        let counted = refused(&metrics);
        let over = AtomicBool::new(false);
        let flooding = async {
            let mut raw = RawGossip::connect(&key, address.clone()).await.unwrap();
            let begun = Instant::now();
            let sent = tokio::time::timeout(GONE, flood(&mut raw, |number| shape(&key, number))).await;
            over.store(true, Ordering::Relaxed);
            (sent.unwrap_or_else(|_| panic!("{what}: it is still there")), begun.elapsed())
        };
        let ((sent, took), mut times) = tokio::join!(flooding, timed(&over, ask));
        let (middle, slow, refused) = (times.at(50), times.at(99), refused(&metrics) - counted);
        println!(
            "{what}: cut off after {sent} in {took:?}; an ask takes {middle:?}, {slow:?} at most; refused {refused}"
        );
        assert!(slow < SLOW, "{what}: {slow:?}");
        assert!(refused >= 512, "{what}: only {refused} are counted");
        let again = RawGossip::connect(&key, address.clone()).await;
        assert!(again.is_err(), "{what}: it may come back at once");
    }
    until("the bans are counted", async || (figure(&metrics, "kos_door_bans") >= 4).then_some(())).await;
    let after = memory(pid);
    println!("{after} kB afterwards");
    assert!(after < before + GROWTH, "{after} kB, from {before} kB");
    ask().await;
    alice.stop().await;
    tokio::task::spawn_blocking(move || bob.ok(&["down"])).await.unwrap();
}

async fn joined(seed: u8, hub: &Multiaddr) -> mesh::Mesh {
    let mut config = mesh::Config::new(SecretKey::from_seed(&[seed; 32]), Role::Node);
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    config.bootstrap = vec![hub.clone()];
    let (mesh, events, driver) = mesh::open(config, &mut mesh::Registry::default()).unwrap();
    drop(events);
    tokio::spawn(driver);
    mesh.state().wait_for(|state| state.routing > 0).await.unwrap();
    mesh
}

#[tokio::test(flavor = "multi_thread")]
async fn x3_ten_thousand_records_or_providers_of_one_peer_cost_a_bootstrap_peer_nothing_and_others_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("hub");
    let listen = ["--json", "--listen", "/ip4/127.0.0.1/tcp/0", "--metrics", "127.0.0.1:0"];
    let mut hub = Program::start("kos-bootstrap", &home, listen);
    let said = hub.json();
    let at: Multiaddr = text(&said["listen"][0]).parse().unwrap();
    let (metrics, pid) = (text(&said["metrics"]), u64::from(hub.pid()));
    let alice = joined(160, &at).await;
    let number = std::cell::Cell::new(0_u32);
    let look = async || {
        number.set(number.get() + 1);
        let key = Digest::of(&[&(number.get() % 8).to_be_bytes()]);
        assert!(alice.get(key).await.is_ok(), "a lookup of somebody else");
    };
    let before = memory(pid);
    for (what, seed) in [("record", 161), ("provider", 162)] {
        let mallory = joined(seed, &at).await;
        let over = AtomicBool::new(false);
        let begun = Instant::now();
        let one = async |number: u32| {
            let key = Digest::of(&[what.as_bytes(), &number.to_be_bytes()]);
            if what == "record" {
                let _refused = mallory.put(key, vec![7; 500]).await;
            } else {
                let _refused = mallory.provide(key).await;
                let _room = mallory.stop_providing(key).await;
            }
        };
        let flooding = async {
            let (mut sent, gone) =
                (0, || !mallory.state().borrow().peers.keys().any(|node| mesh::node_in(&at) == Some(*node)));
            while sent < 10_000 && !gone() {
                futures::future::join_all((sent..sent + 50).map(&one)).await;
                sent += 50;
            }
            over.store(true, Ordering::Relaxed);
            sent
        };
        let (sent, mut times) = tokio::join!(flooding, timed(&over, look));
        let line = |reason| format!("kos_door_refusals_total{{what=\"{what}\",reason=\"{reason}\"}}");
        let refused = figure(&metrics, &line("quota")) + figure(&metrics, &line("invalid"));
        let (middle, slow) = (times.at(50), times.at(99));
        println!(
            "{what}: gone after {sent} in {:?}; a lookup takes {middle:?}, {slow:?} at most; refused {refused}",
            begun.elapsed()
        );
        assert!(sent < 10_000 && refused >= 512, "{what}: {sent} were sent and {refused} refused");
        assert!(slow < SLOW, "{what}: {slow:?}");
        until("it is turned away", async || {
            (figure(&metrics, "kos_door_refusals_total{what=\"connection\",reason=\"banned_peer\"}") > 0).then_some(())
        })
        .await;
        mallory.stop();
    }
    let after = memory(pid);
    println!("{before} kB before and {after} kB after");
    assert!(after < before + GROWTH, "{after} kB, from {before} kB");
    alice.stop();
    hub.stop();
}

/// Opens connections to 10.77.0.1 from 10.77.0.3, says each hundred and when they are enough, and goes on. None says a word.
const CONNECTIONS: &str = r#"
import itertools, resource, socket, sys, time
port, most = int(sys.argv[1]), int(sys.argv[2])
limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
held = []
for number in itertools.count():
    if number == most:
        print("enough", flush=True)
    elif number < most and number % 100 == 0:
        print(number, flush=True)
    try:
        held.append(socket.create_connection(("10.77.0.1", port), 5, ("10.77.0.3", 0)))
    except OSError:
        pass
    if len(held) + 200 > min(limit, 20000):
        held.clear()
    time.sleep(0.002)
"#;

/// `FLOOD=10000` runs it in full.
#[test]
fn x3_a_node_answers_its_contacts_while_one_address_floods_it_with_connections() {
    let story = "x3_a_node_answers_its_contacts_while_one_address_floods_it_with_connections";
    if !is_root(story) || !has(story, "python3") {
        return;
    }
    let most = std::env::var("FLOOD").unwrap_or_else(|_| "800".to_owned());
    let lan = Lan::new();
    let python = |machine, script: &str, arguments: &[&str]| {
        let mut command = lan.command(machine, Path::new("python3"));
        command.args(["-c", script]).args(arguments);
        command
    };
    let (bob, alice) = (lan.shell(0), lan.shell(1));
    let up = |person: &Shell, listen: &str, more: &[&str]| {
        let line = ["up", "--detach", "--api", "127.0.0.1:0", "--no-mdns", "--listen", listen];
        person.ok(&[&line[..], more].concat())
    };
    let pid = up(&bob, "/ip4/10.77.0.1/tcp/4711", &["--metrics", "127.0.0.1:0"])["pid"].as_u64().unwrap();
    up(&alice, "/ip4/10.77.0.2/tcp/0", &[]);
    let house = bob.documents("house", &[("rules.md", b"# Rules\n\nThe key lies under the third pot.\n")]);
    bob.ok(&["serve", house.to_str().unwrap(), "--as", "house"]);
    bob.ok(&["contact", "add", &alice.ticket(), "--as", "alice"]);
    bob.ok(&["grant", "add", "alice", "house.ask", "--calls", "100000"]);
    alice.ok(&["contact", "add", &bob.ticket(), "--as", "bob"]);
    let ask = || alice.ok(&["ask", "bob/house", "where is the key?"]);
    eventually("an answer", || (alice.json(&["ask", "bob/house", "where is the key?"]).1 == 0).then_some(()));
    let metrics = text(&bob.ok(&["status"])["metrics"]);
    let turned = || {
        let page = lan.metrics(0, &metrics);
        let line = "kos_door_refusals_total{what=\"connection\",reason=\"banned_address\"} ";
        page.lines().find_map(|shown| shown.strip_prefix(line)).map_or(0, |count| count.parse::<u64>().unwrap())
    };
    assert_eq!(turned(), 0);

    lan.also_at(1, "10.77.0.3");
    let before = memory(pid);
    let (mut times, mut held) = (Times::default(), before);
    let mut flood = Program::run(python(1, CONNECTIONS, &["4711", &most]), alice.folder().join("flood.log"));
    flood.line();
    thread::scope(|scope| {
        let flooding = scope.spawn(|| while flood.line() != "enough" {});
        while !flooding.is_finished() || times.0.len() < 20 {
            let begun = Instant::now();
            let answer = ask();
            times.0.push(begun.elapsed());
            assert_eq!(answer["verified"], true, "{answer}");
            held = held.max(memory(pid));
            if times.0.len() == 5 {
                // She comes once more through the door that is knocked at.
                alice.ok(&["down"]);
                up(&alice, "/ip4/10.77.0.2/tcp/0", &[]);
            }
        }
    });
    let (count, middle, slowest) = (times.0.len(), times.at(50), times.at(100));
    let turned = eventually("the flood is turned away", || Some(turned()).filter(|turned| *turned > 0));
    println!("{most} connections and more: {turned} turned away; {count} asks take {middle:?}, {slowest:?} at most");
    println!("{before} kB before, {} kB more", held - before);
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    assert!(held - before < 64 * 1024, "{} kB for connections that never said a word", held - before);
    ask();
    drop(flood);
    for person in [&alice, &bob] {
        person.ok(&["down"]);
    }
}
