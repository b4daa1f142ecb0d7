//! Two hundred nodes and one bootstrap peer in one process, with bad connections, comings and goings, and a peer that lies.
//!
//! The seed fixes the faults: whose dials fail, which connections are cut and when, who leaves and who joins. Another one is taken from
//! the variable `SEED`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use klp::message::{Cards, Query, Request, kind};
use klp::rule::record::{self, Put, Standing};
use klp::rule::search::{Finding, Findings, believes, choose, fits};
use klp::sealed::ExchangeSecret;
use klp::statement::card::{Card, CardEntry, NodeRecord, node_key, tag_key};
use klp::statement::certificate::{Certificate, Introduction, Kind};
use klp::{AgentId, Cbor as _, Did, Digest, NodeId, OwnerId, SecretKey, Signed, Timestamp, Verified, limits};
use mesh::{Event, Mesh, Role, Weather};

use crate::support::{Node, address, begin};

/// Nodes beside the bootstrap peer.
const NODES: u64 = 200;
/// Those that leave, and those that join instead.
const LEAVE: usize = 50;
const JOIN: u64 = 40;
/// How long what is announced here lives.
const LIFE: Duration = Duration::from_secs(15);
/// Searches at once: more only wait for the processor.
const AT_ONCE: usize = 24;
/// No part of the story takes longer, also on a busy machine.
const BOUND: Duration = Duration::from_secs(90);
const NAME: &str = "bees";

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    Timestamp(u64::try_from(since.as_millis()).expect("a number"))
}

/// Something drawn from the seed: the same for the same question.
fn drawn(seed: u64, what: &str, number: u64) -> [u8; 32] {
    Digest::of(&[&seed.to_be_bytes(), what.as_bytes(), &number.to_be_bytes()]).0
}

fn key(seed: u64, number: u64) -> SecretKey {
    SecretKey::from_seed(&drawn(seed, "node", number))
}

/// The keys behind the one listed agent.
struct Keys {
    owner: SecretKey,
    agent: SecretKey,
    node: NodeId,
}

impl Keys {
    fn new(seed: u64, node: NodeId) -> Self {
        let [owner, agent] = ["owner", "agent"].map(|what| SecretKey::from_seed(&drawn(seed, what, 0)));
        Self { owner, agent, node }
    }

    fn id(&self) -> Did {
        self.agent.did()
    }

    /// A fresh card that says the agent lives on `node`, signed by `signer`.
    fn card(&self, node: NodeId, signer: &SecretKey) -> CardEntry {
        let (now, owner) = (now(), OwnerId(self.owner.did()));
        let certificate = Certificate {
            subject: self.id(),
            kind: Kind::Agent,
            owner,
            node: Some(node),
            rights: Vec::new(),
            issued: now,
            expires: now.after(limits::CERTIFICATE_LIFE),
            seq: 1,
            next_key: Digest([0; 32]),
        };
        let card = Card {
            agent: AgentId(self.id()),
            owner,
            node,
            name: NAME.to_owned(),
            description: "what bees know".to_owned(),
            kind: "librarian".to_owned(),
            capabilities: Vec::new(),
            tags: [NAME.to_owned()].into(),
            seq: now.0,
            issued: now,
            expires: now.after(LIFE),
        };
        let card = Verified::sign(card, signer).signed().clone();
        CardEntry { card, introduction: Introduction::make(certificate, &self.owner, &self.agent, now) }
    }
}

fn record(of: NodeId, by: &SecretKey, life: Duration) -> Vec<u8> {
    let (now, exchange) = (now(), ExchangeSecret::from_seed([3; 32]).public());
    let (issued, expires) = (now, now.after(life));
    let record = NodeRecord { node: of, addresses: Vec::new(), exchange, seq: now.0, issued, expires };
    Verified::sign(record, by).signed().as_bytes().to_vec()
}

/// Somebody who looks for the agent, and what it remembers.
struct Seeker {
    mesh: Mesh,
    memory: Mutex<BTreeMap<Did, (Standing, Verified<Card>)>>,
}

impl Seeker {
    /// As `kos find` does: the DHT names nodes, each is asked, what holds is remembered and shown.
    async fn find(&self) -> Vec<Finding<bool>> {
        let query = Query { text: Some(NAME.to_owned()), capability: None, agent: None };
        let mut findings = Findings::default();
        let mut named: BTreeMap<_, _> =
            self.mesh.find_providers(tag_key(NAME)).await.unwrap_or_default().into_iter().collect();
        let candidates = named.keys().map(|node| (*node, ())).collect();
        for (node, ()) in choose(candidates, self.mesh.node().0.key(), 32) {
            for entry in self.ask(node, named.remove(&node).unwrap_or_default(), &query).await {
                if let Ok((card, _)) = believes(&entry, Some(node), now())
                    && fits(&card, &query)
                {
                    self.remember(&card);
                    findings.add(Finding { source: false, healthy: true, card });
                }
            }
        }
        for (standing, card) in self.memory.lock().expect("whole").values() {
            if !standing.has_expired(now()) {
                findings.add(Finding { source: true, healthy: false, card: card.clone() });
            }
        }
        findings.rows()
    }

    async fn ask(&self, node: NodeId, addresses: Vec<mesh::Multiaddr>, query: &Query) -> Vec<CardEntry> {
        const PATIENCE: Duration = Duration::from_secs(5);
        if self.mesh.dial(node, addresses).await.is_err() {
            return Vec::new();
        }
        let request = Bytes::from(Request::new(kind::DIRECTORY, query).to_bytes());
        let answer = self.mesh.request(node, request, PATIENCE).await.finish().await;
        let cards = answer.ok().and_then(|bytes| Cards::from_bytes(&bytes, limits::MESSAGE).ok());
        cards.map(|cards| cards.cards).unwrap_or_default()
    }

    fn remember(&self, card: &Verified<Card>) {
        let standing = Standing::from(&**card);
        let mut memory = self.memory.lock().expect("whole");
        if record::put(memory.get(&card.agent.0).map(|(known, _)| known), &standing, now()) == Put::Kept {
            memory.insert(card.agent.0, (standing, card.clone()));
        }
    }
}

async fn open(seed: u64, number: u64, role: Role, bootstrap: Vec<mesh::Multiaddr>) -> Node {
    begin(key(seed, number), role, |config| {
        config.listen = vec![address("/memory/0")];
        if !bootstrap.is_empty() {
            let of_node =
                drawn(seed, "weather", number).iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte));
            config.weather = Some(Weather { seed: of_node, refused: 150, cut: 200, bytes: 64 * 1024 });
        }
        config.bootstrap = bootstrap;
        config.check_record = Arc::new(|key, value, publisher| record::standing(key, value, publisher, now()));
        config.limits.record_life = LIFE;
        config.limits.memory = usize::MAX;
    })
    .await
}

/// Answers every question for cards with the card that `fresh` makes.
fn show(node: Node, fresh: impl Fn() -> CardEntry + Send + 'static) -> Mesh {
    let mesh = node.mesh.clone();
    tokio::spawn(async move {
        let mut events = node.events;
        while let Some(event) = events.recv().await {
            if let Event::Request(request) = event {
                request.reply.finish(Bytes::from(Cards { cards: vec![fresh()] }.to_bytes()));
            }
        }
    });
    mesh
}

fn seek(node: Node) -> Arc<Seeker> {
    let mesh = node.mesh.clone();
    tokio::spawn(async move {
        let mut events = node.events;
        while events.recv().await.is_some() {}
    });
    Arc::new(Seeker { mesh, memory: Mutex::default() })
}

/// Does the same for many, some at once.
async fn each<T, R>(all: impl IntoIterator<Item = T>, work: impl AsyncFn(T) -> R) -> Vec<R> {
    let work = &work;
    let done = futures::stream::iter(all).map(|one| work(one)).buffer_unordered(AT_ONCE).collect();
    tokio::time::timeout(BOUND, done).await.expect("in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_two_hundred_nodes_in_bad_weather_find_an_agent_and_lose_it_when_it_has_gone() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let begun = Instant::now();
    let say = |what: &str| println!("seed {seed}: {what} after {:?}", begun.elapsed());

    let hub = open(seed, 0, Role::Bootstrap, Vec::new()).await;
    let at = hub.addresses();
    let joined = |number: u64| {
        let at = at.clone();
        async move {
            let node = open(seed, number, Role::Node, at).await;
            node.until(|state| state.routing > 0).await;
            node
        }
    };
    let mut nodes = each(1..=NODES, joined).await;
    nodes.sort_by_key(Node::id);
    say("all have joined");

    // One of them lists an agent and keeps saying so; another one lies.
    let (publisher, liar) = (nodes.swap_remove(0), nodes.swap_remove(1));
    let keys = Arc::new(Keys::new(seed, publisher.id()));
    let (its_key, its_id) = ((1..=NODES).map(|number| key(seed, number)), publisher.id());
    let its_key = its_key.into_iter().find(|key| NodeId(key.did()) == its_id).expect("one of them");
    let old = record(its_id, &its_key, limits::RECORD_LIFE);
    let forged = record(its_id, &SecretKey::from_seed(&[9; 32]), limits::RECORD_LIFE);
    let shown = keys.clone();
    let publisher = show(publisher, move || shown.card(shown.node, &shown.agent));
    let lied = keys.clone();
    let liar_id = liar.id();
    let liar = show(liar, move || lied.card(liar_id, &SecretKey::from_seed(&[9; 32])));
    let announcing = publisher.clone();
    let announce = tokio::spawn(async move {
        loop {
            let _said = announcing.provide(tag_key(NAME)).await;
            let _put = announcing.put(node_key(&its_id), record(its_id, &its_key, LIFE)).await;
            tokio::time::sleep(LIFE / 4).await;
        }
    });
    let lying = tokio::spawn(async move {
        loop {
            let _said = liar.provide(tag_key(NAME)).await;
            for value in [&old, &forged] {
                let _refused = liar.put(node_key(&its_id), value.clone()).await;
            }
            tokio::time::sleep(LIFE / 4).await;
        }
    });

    // Some leave without waiting for anything, others join, and those that stay look for the agent meanwhile.
    nodes.sort_by_key(|node| {
        drawn(seed, "leaves", u64::from(node.id().0.key()[0]) << 8 | u64::from(node.id().0.key()[1]))
    });
    let stay = nodes.split_off(LEAVE);
    let seekers: Vec<_> = stay.into_iter().map(seek).collect();
    let (_, late, _) = tokio::join!(
        each(nodes, async |node: Node| {
            node.driver.abort();
            node.driver.await.expect_err("it is gone");
        }),
        each(NODES + 1..=NODES + JOIN, joined),
        each(seekers.iter().take(AT_ONCE).cloned(), async |seeker: Arc<Seeker>| seeker.find().await),
    );
    let seekers: Vec<_> = seekers.into_iter().chain(late.into_iter().map(seek)).collect();
    say("some have left and others joined");

    // Everybody finds it, and nobody anything else.
    let tries = each(seekers.iter().cloned(), async |seeker: Arc<Seeker>| {
        for tries in 1.. {
            let rows = seeker.find().await;
            assert!(rows.iter().all(|row| row.card.agent.0 == keys.id() && row.card.node == its_id), "seed {seed}");
            if rows.iter().any(|row| row.healthy) {
                return tries;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        0
    })
    .await;
    say(&format!("{} nodes have found it, the last one at try {:?}", tries.len(), tries.iter().max()));
    assert_eq!(tries.len(), seekers.len());
    assert!(seekers.len() as u64 >= NODES - LEAVE as u64 - 2 + JOIN);
    let located = each(seekers.iter().cloned(), async |seeker: Arc<Seeker>| {
        let value = seeker.mesh.get(node_key(&its_id)).await.ok().flatten()?;
        let record = Signed::<NodeRecord>::from_bytes(value).verify().expect("only what holds is told");
        assert_eq!((record.node, record.signer()), (its_id, its_id.0), "seed {seed}");
        assert!(record.expires <= now().after(LIFE), "seed {seed}: the old record, which would live an hour");
        Some(())
    })
    .await;
    assert!(located.iter().flatten().count() > seekers.len() / 2, "seed {seed}: most lookups succeed in this weather");

    // It leaves without a word. What it has announced runs out, and with it what everybody remembers.
    announce.abort();
    publisher.stop();
    let left = Instant::now();
    let gone = tokio::time::timeout(LIFE + Duration::from_secs(2), async {
        while !seekers[0].find().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    gone.await.expect("it disappears within its lifetime");
    say(&format!("the first has lost it {:?} after it left, and nobody is to find it", left.elapsed()));
    tokio::time::sleep_until((left + LIFE).into()).await;
    let rows = each(seekers.iter().cloned(), async |seeker: Arc<Seeker>| seeker.find().await.len()).await;
    assert_eq!(rows.iter().sum::<usize>(), 0, "seed {seed}: somebody still shows it");
    let named = each(seekers.iter().cloned(), async |seeker: Arc<Seeker>| {
        seeker.mesh.find_providers(tag_key(NAME)).await.unwrap_or_default()
    })
    .await;
    assert!(named.iter().flatten().all(|(node, _)| *node != its_id), "seed {seed}: the directory still names it");
    assert!(named.iter().flatten().any(|(node, _)| *node == liar_id), "seed {seed}: the directory answers");
    lying.abort();
    say("nobody shows it any more");
}
