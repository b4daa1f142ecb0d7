//! One tells twenty: events pushed over sessions, and gossipsub as the crate comes, among nodes that are all connected to each other.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use klp::{NodeId, SecretKey};
use libp2p::gossipsub::{
    Behaviour, ConfigBuilder, DataTransform, Event, IdentTopic, Message, MessageAuthenticity, PublishError, RawMessage,
    TopicHash,
};
use libp2p::identity::Keypair;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, Swarm, swarm};
use mesh::Mesh;
use tokio::sync::{Notify, mpsc};

use crate::Plan;
use crate::request_response::transport;
use crate::session::{self, LONG};
use crate::side::{Side, hear, say};
use crate::table::{Target, Verdicts};

/// Who listens.
const READERS: usize = 20;
/// Messages on their way at once: an event has no credit, and a reader that has 64 to read has too many.
const WINDOW: u64 = 32;
/// Bytes of a message: its number, and something to say.
const BODY: usize = 256;
/// Gossipsub chooses whom it tells once a second.
const REST: Duration = Duration::from_secs(4);
/// What carries them.
const KINDS: [&str; 2] = ["push", "gossipsub"];

/// Deliveries a second, and how often each message came to each reader.
#[derive(Clone, Copy)]
struct Spread {
    rate: f64,
    copies: f64,
}

/// Measures both in turn.
pub(crate) fn rows(plan: &Plan, verdicts: &mut Verdicts) {
    let millis = plan.time.as_millis().to_string();
    let once = |kind| {
        let said = Side::start(&["spread", kind, &millis]).line();
        let found: Vec<f64> = said.split(' ').map(|text| text.parse().unwrap()).collect();
        Spread { rate: found[0], copies: found[1] }
    };
    let rounds: Vec<[Spread; 2]> = (0..plan.rounds).map(|_| KINDS.map(once)).collect();
    let best = |at: usize| rounds.iter().map(|round| round[at].rate).fold(f64::MIN, f64::max);
    let copies = |at: usize| rounds.iter().map(|round| round[at].copies).fold(f64::MIN, f64::max);
    let mut inside: Vec<f64> = rounds.iter().map(|[push, gossip]| push.rate / gossip.rate).collect();
    inside.sort_unstable_by(f64::total_cmp);
    let detail = format!(
        "{:.0} and {:.0} a second; inside the rounds {:.2} to {:.2}, in the middle {:.2}",
        best(0),
        best(1),
        inside[0],
        inside[inside.len() - 1],
        inside[inside.len() / 2]
    );
    verdicts.add("1 to 20, deliveries a second: push / gossipsub", best(0) / best(1), Target::AtLeast(10.0), &detail);
    let detail = format!("the most of all rounds; gossipsub {:.2}", copies(1));
    verdicts.add("1 to 20, copies of a push for each delivery", copies(0), Target::AtMost(1.0), &detail);
}

/// What has come to all readers together.
#[derive(Default)]
struct Come {
    messages: AtomicU64,
    copies: AtomicU64,
    links: AtomicU64,
    wanted: AtomicU64,
    all: Notify,
}

impl Come {
    fn message(&self) {
        if self.messages.fetch_add(1, Ordering::SeqCst) + 1 == self.wanted.load(Ordering::SeqCst) {
            self.all.notify_one();
        }
    }

    fn copy(&self) {
        self.copies.fetch_add(1, Ordering::SeqCst);
    }
}

/// Counts every copy that comes, also those that are thrown away because they were there.
struct Counting(Arc<Come>);

impl DataTransform for Counting {
    fn inbound_transform(&self, raw: RawMessage) -> io::Result<Message> {
        self.0.copy();
        let RawMessage { source, data, sequence_number, topic, .. } = raw;
        Ok(Message { source, data, sequence_number, topic })
    }

    fn outbound_transform(&self, _: &TopicHash, data: Vec<u8>) -> io::Result<Vec<u8>> {
        Ok(data)
    }
}

/// Who tells.
enum Teller {
    Push(Mesh, Vec<NodeId>),
    Gossip(mpsc::Sender<Bytes>),
}

impl Teller {
    async fn tell(&self, body: Bytes) {
        match self {
            Self::Push(mesh, readers) => readers.iter().for_each(|reader| mesh.tell(*reader, body.clone()).unwrap()),
            Self::Gossip(swarm) => swarm.send(body).await.unwrap(),
        }
    }
}

/// The role that measures: all nodes in one process, whichever way they talk. Says deliveries a second and copies for each.
pub(crate) async fn spread(kind: String, time: Duration) {
    let come = Arc::new(Come::default());
    let teller = if kind == "push" { push(&come).await } else { gossip(&come).await };
    let mut number = 0_u64;
    for time in [Duration::from_millis(300), time] {
        let (before, copies, begun) =
            (come.messages.load(Ordering::SeqCst), come.copies.load(Ordering::SeqCst), Instant::now());
        while begun.elapsed() < time {
            come.wanted.store((number + WINDOW) * READERS as u64, Ordering::SeqCst);
            for _ in 0..WINDOW {
                let mut body = vec![7; BODY];
                body[..8].copy_from_slice(&number.to_be_bytes());
                teller.tell(body.into()).await;
                number += 1;
            }
            tokio::time::timeout(LONG, come.all.notified()).await.unwrap();
        }
        let delivered = (come.messages.load(Ordering::SeqCst) - before) as f64;
        let seconds = begun.elapsed().as_secs_f64();
        if number > 0 && time != Duration::from_millis(300) {
            // Copies of the last messages may still come.
            tokio::time::sleep(Duration::from_millis(300)).await;
            let copies = (come.copies.load(Ordering::SeqCst) - copies) as f64;
            say(&format!("{} {}", delivered / seconds, copies / delivered));
        }
    }
    hear().await;
}

/// A session from one to each of the readers.
async fn push(come: &Arc<Come>) -> Teller {
    let key = |number: usize| SecretKey::from_seed(&[u8::try_from(number).unwrap() + 1; 32]);
    let (teller, events) = session::open_as(key(READERS), &[]).await;
    tokio::spawn(session::answer(events, crate::proof::Answering::new(false)));
    let mut readers = Vec::new();
    for number in 0..READERS {
        let (reader, mut events) = session::open_as(key(number), &["/ip4/127.0.0.1/tcp/0"]).await;
        teller.dial(reader.node(), vec![session::address(&reader)]).await.unwrap();
        teller.ping(reader.node(), LONG).await.unwrap();
        readers.push(reader.node());
        let come = come.clone();
        tokio::spawn(async move {
            let (_open, mut next) = (reader, 0_u64);
            while let Some(event) = events.recv().await {
                let mesh::Event::Told { body, .. } = event else { continue };
                come.copy();
                if body[..8] == next.to_be_bytes() {
                    next += 1;
                    come.message();
                }
            }
        });
    }
    Teller::Push(teller, readers)
}

fn topic() -> IdentTopic {
    IdentTopic::new("/bench/1")
}

fn open(come: &Arc<Come>) -> Swarm<Behaviour<Counting>> {
    let keypair = Keypair::generate_ed25519();
    let signed = MessageAuthenticity::Signed(keypair.clone());
    let config = ConfigBuilder::default().build().unwrap();
    let mut behaviour = Behaviour::new_with_transform(signed, config, Counting(come.clone())).unwrap();
    behaviour.subscribe(&topic()).unwrap();
    let settings = swarm::Config::with_tokio_executor().with_idle_connection_timeout(LONG);
    let mut swarm = Swarm::new(transport(&keypair), behaviour, keypair.public().to_peer_id(), settings);
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    swarm
}

/// Everybody connected to everybody.
async fn gossip(come: &Arc<Come>) -> Teller {
    let mut known: Vec<Multiaddr> = Vec::new();
    let (teller, mut bodies) = mpsc::channel(usize::try_from(WINDOW).unwrap());
    for number in 0..=READERS {
        let mut swarm = open(come);
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        for other in &known {
            swarm.dial(other.clone()).unwrap();
        }
        known.push(address);
        // The last one tells; nobody says anything to the others.
        let (_kept, silent) = mpsc::channel(1);
        let mut bodies = if number == READERS { std::mem::replace(&mut bodies, silent) } else { silent };
        let come = come.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(body) = bodies.recv() => publish(&mut swarm, &body),
                    event = swarm.select_next_some() => match event {
                        SwarmEvent::Behaviour(Event::Message { .. }) => come.message(),
                        SwarmEvent::ConnectionEstablished { .. } => {
                            come.links.fetch_add(1, Ordering::SeqCst);
                        }
                        _ => {}
                    },
                }
            }
        });
    }
    let links = (READERS * (READERS + 1)) as u64;
    while come.links.load(Ordering::SeqCst) < links {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(REST).await;
    Teller::Gossip(teller)
}

fn publish(swarm: &mut Swarm<Behaviour<Counting>>, body: &Bytes) {
    match swarm.behaviour_mut().publish(topic(), body.to_vec()) {
        Ok(_) => {}
        Err(error @ PublishError::NoPeersSubscribedToTopic) => panic!("{error}: too early"),
        Err(error) => panic!("{error}"),
    }
}
