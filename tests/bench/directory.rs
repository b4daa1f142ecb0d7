//! The DHT of fifty: round trips and messages of a search, of a record and of what is provided.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use klp::rule::record::Standing;
use klp::{Digest, SecretKey, Timestamp};
use kos_tests::Distance;
use mesh::{Config, Mesh, Multiaddr, Registry, Role};
use tokio::time::Instant;

use crate::DELAY;
use crate::side::{Side, say};
use crate::table::{Target, Verdicts};

/// Everybody who answers lookups.
const MEMBERS: u64 = 50;
/// How often everything is done, each time with another key.
const TIMES: u64 = 8;
/// Nobody asks anybody anything for so long: all has been said.
const QUIET: Duration = Duration::from_secs(2);
/// What goes on after the answer has come by then.
const REST: Duration = Duration::from_millis(500);
const LOOPBACK: &str = "/ip4/127.0.0.1/tcp/0";

/// What is measured, in the order in which it is said.
const PARTS: [&str; 3] = ["search", "put", "provide"];

/// Measures, and writes the rows.
pub(crate) fn rows(verdicts: &mut Verdicts) {
    let said = Side::start(&["directory"]).line();
    let found: Vec<f64> = said.split(' ').map(|text| text.parse().unwrap()).collect();
    let [parts @ .., dead] = &found[..] else { panic!("{said}") };
    let line = format!("the least of {TIMES}, on lines of {DELAY:?} each way, all connected");
    for (name, shown) in PARTS.iter().zip(parts.chunks(2)) {
        // A search is the way to the closest ones; what is stored takes one more.
        let (trips, messages) = if *name == "put" { (4.6, 90.0) } else { (3.6, 70.0) };
        verdicts.add(&format!("DHT of {MEMBERS}, round trips: {name}"), shown[0], Target::AtMost(trips), &line);
        let detail = format!("requests and answers, the mean of {TIMES}");
        verdicts.add(&format!("DHT of {MEMBERS}, messages: {name}"), shown[1], Target::AtMost(messages), &detail);
    }
    let detail = format!("the longest of {TIMES}, on the same lines");
    verdicts.add("DHT, search with a dead peer in the table, seconds", *dead, Target::AtMost(1.5), &detail);
}

struct Member {
    mesh: Mesh,
    registry: Registry,
}

async fn open(number: u64, role: Role, change: impl FnOnce(&mut Config)) -> Member {
    let mut seed = [51; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    let mut config = Config::new(SecretKey::from_seed(&seed), role);
    config.check_record = Arc::new(|_, _, _| Some(Standing { seq: 1, expires: Timestamp(u64::MAX) }));
    change(&mut config);
    let (listens, mut registry) = (config.listen.len(), Registry::default());
    let (mesh, events, driver) = mesh::open(config, &mut registry).unwrap();
    drop(events);
    tokio::spawn(driver);
    mesh.state().wait_for(|state| state.listen.len() >= listens).await.unwrap();
    Member { mesh, registry }
}

fn listen(mesh: &Mesh) -> Multiaddr {
    mesh.state().borrow().listen[0].clone()
}

/// Kademlia messages that all members together have heard, and said in answer.
fn messages(members: &[Member]) -> u64 {
    let count = |member: &Member| {
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &member.registry).unwrap();
        let lines = page.lines().filter(|line| line.contains("kad_inbound_requests_total{"));
        // What is provided is not answered.
        let each = |line: &str| if line.contains("AddProvider") { 1 } else { 2 };
        lines.map(|line| each(line) * line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>()
    };
    members.iter().map(count).sum()
}

async fn quiet(members: &[Member]) -> u64 {
    let mut before = messages(members);
    loop {
        tokio::time::sleep(QUIET).await;
        let now = messages(members);
        if now == before {
            return now;
        }
        before = now;
    }
}

/// Where the near end of a line is.
fn near(line: &Distance) -> Multiaddr {
    format!("/ip4/127.0.0.1/tcp/{}", line.near().port()).parse().unwrap()
}

/// Connects to all members over lines, and to all at once: whoever is known and not connected would be dialled at its own address.
async fn connect(seeker: &Mesh, members: &[Member]) -> Vec<Distance> {
    let mut lines = Vec::new();
    for member in members {
        let text = listen(&member.mesh).to_string();
        let parts: Vec<&str> = text.split('/').collect();
        let at: SocketAddr = format!("{}:{}", parts[2], parts[4]).parse().unwrap();
        lines.push(Distance::tcp(at, DELAY).await);
    }
    let dials = members.iter().zip(&lines).map(|(member, line)| seeker.dial(member.mesh.node(), vec![near(line)]));
    for dialled in futures::future::join_all(dials).await {
        dialled.unwrap();
    }
    lines
}

/// Whether everything that the seeker says to a member goes over its line.
fn goes_through(seeker: &Mesh, members: &[Member], lines: &[Distance]) -> bool {
    let state = seeker.state();
    let peers = &state.borrow().peers;
    members.iter().zip(lines).all(|(member, line)| {
        let start = near(line).to_string();
        let paths = peers.get(&member.mesh.node()).map(|peer| &peer.paths[..]).unwrap_or_default();
        !paths.is_empty() && paths.iter().all(|path| path.address.to_string().starts_with(&start))
    })
}

/// The role that measures.
pub(crate) async fn measure() {
    let hub = open(0, Role::Bootstrap, |config| config.listen = vec![LOOPBACK.parse().unwrap()]).await;
    let there = listen(&hub.mesh);
    let mut members = vec![hub];
    for number in 1..MEMBERS {
        let bootstrap = vec![there.clone()];
        let join = |config: &mut Config| {
            (config.listen, config.bootstrap) = (vec![LOOPBACK.parse().unwrap()], bootstrap);
        };
        members.push(open(number, Role::Bootstrap, join).await);
    }
    for member in &members {
        member.mesh.state().wait_for(|state| state.routing >= 20).await.unwrap();
    }
    quiet(&members).await;
    let seeker = open(MEMBERS, Role::Node, |_| {}).await.mesh;
    let lines = connect(&seeker, &members).await;
    seeker.state().wait_for(|state| state.routing >= 30).await.unwrap();
    quiet(&members).await;

    let key = |part: &str, number: u64| Digest::of(&[part.as_bytes(), &number.to_be_bytes()]);
    let mut found = Vec::new();
    for part in PARTS {
        let (mut least, mut total) = (f64::MAX, 0);
        for number in 0..TIMES {
            if part == "search" {
                let giver = &members[usize::try_from(number).unwrap()].mesh;
                giver.provide(key(part, number)).await.unwrap();
            }
            let (key, before, begun) = (key(part, number), quiet(&members).await, Instant::now());
            match part {
                "search" => assert_eq!(seeker.find_providers(key).await.unwrap().len(), 1),
                "put" => seeker.put(key, b"where somebody is".to_vec()).await.unwrap(),
                _ => seeker.provide(key).await.unwrap(),
            }
            least = least.min(begun.elapsed().as_secs_f64() / (2.0 * DELAY.as_secs_f64()));
            tokio::time::sleep(REST).await;
            total += messages(&members) - before;
        }
        assert!(goes_through(&seeker, &members, &lines), "a way around the lines");
        found.extend([least, total as f64 / TIMES as f64]);
    }
    found.push(with_a_dead_peer(&seeker, |number| key("search", number)).await);
    let found: Vec<String> = found.iter().map(|found| format!("{found:.2}")).collect();
    say(&found.join(" "));
}

/// Seconds of the longest search, when somebody in the table takes connections and says nothing.
async fn with_a_dead_peer(seeker: &Mesh, key: impl Fn(u64) -> Digest) -> f64 {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let there: Multiaddr = format!("/ip4/127.0.0.1/tcp/{}", silent.local_addr().unwrap().port()).parse().unwrap();
    let dead = open(MEMBERS + 1, Role::Bootstrap, |config| {
        (config.listen, config.external) = (vec![LOOPBACK.parse().unwrap()], vec![there]);
    })
    .await
    .mesh;
    seeker.dial(dead.node(), vec![listen(&dead)]).await.unwrap();
    tokio::time::sleep(REST).await;
    dead.stop();
    seeker.state().wait_for(|state| !state.peers.contains_key(&dead.node())).await.unwrap();
    let mut longest = 0.0;
    for number in 0..TIMES {
        let begun = Instant::now();
        assert_eq!(seeker.find_providers(key(number)).await.unwrap().len(), 1);
        longest = f64::max(longest, begun.elapsed().as_secs_f64());
    }
    longest
}
