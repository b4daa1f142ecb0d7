//! A real mesh, and a peer that writes what it likes.

use std::time::Duration;

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use klp::blob::{Held, Message};
use klp::{Digest, NodeId, Refusal, SecretKey, limits};
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Stream, Swarm, SwarmBuilder, noise, tcp, yamux};
use tokio::sync::oneshot;

use super::{Behaviour, hear};
use crate::peer::{keypair, node_of};
use crate::{Config, Mesh, Registry, Role, open};

const LONG: Duration = Duration::from_secs(20);

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, work).await.expect("in time")
}

/// A mesh that listens, and cuts streams after this long.
async fn mesh(seed: u8, stall: Duration) -> (Mesh, Multiaddr) {
    let mut config = Config::new(SecretKey::from_seed(&[seed; 32]), Role::Node);
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().expect("address")];
    config.limits.stall = stall;
    let (mesh, mut events, driver) = open(config, &mut Registry::default()).expect("opens");
    tokio::spawn(driver);
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    let mut state = mesh.state();
    let address = within(state.wait_for(|state| !state.listen.is_empty())).await.expect("runs").listen[0].clone();
    (mesh, address)
}

fn raw(seed: u8) -> Swarm<Behaviour> {
    SwarmBuilder::with_existing_identity(keypair(&SecretKey::from_seed(&[seed; 32])).expect("a key"))
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .expect("a transport")
        .with_behaviour(|_| Behaviour::default())
        .expect("a behaviour")
        .build()
}

/// A peer with our behaviour and nothing above it, connected to a mesh.
struct Asker {
    swarm: Swarm<Behaviour>,
    to: (PeerId, ConnectionId),
}

impl Asker {
    async fn connected(seed: u8, to: Multiaddr) -> Self {
        let mut swarm = raw(seed);
        swarm.dial(to).expect("dials");
        loop {
            if let SwarmEvent::ConnectionEstablished { peer_id, connection_id, .. } =
                within(swarm.select_next_some()).await
            {
                return Self { swarm, to: (peer_id, connection_id) };
            }
        }
    }

    async fn stream(&mut self) -> Stream {
        let (want, mut opened) = oneshot::channel();
        self.swarm.behaviour_mut().open(self.to.0, self.to.1, want);
        let opening = async {
            loop {
                tokio::select! {
                    opened = &mut opened => return opened.expect("a stream").stream,
                    _ = self.swarm.select_next_some() => {}
                }
            }
        };
        within(opening).await
    }

    /// Writes this and hears the answer.
    async fn ask(&mut self, bytes: &[u8]) -> Message {
        let mut stream = self.stream().await;
        let (swarm, asking) = (&mut self.swarm, async {
            stream.write_all(bytes).await.expect("writes");
            stream.flush().await.expect("writes");
            hear(&mut stream, LONG).await.expect("an answer")
        });
        tokio::pin!(asking);
        loop {
            tokio::select! {
                answer = &mut asking => return answer,
                _ = swarm.select_next_some() => {}
            }
        }
    }

    async fn refusal(&mut self, bytes: &[u8]) -> Refusal {
        match self.ask(bytes).await {
            Message::Refused(refusal, _) => refusal,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn s13_questions_that_break_the_protocol_are_refused_by_name() {
    let (_mesh, address) = mesh(31, LONG).await;
    let mut asker = Asker::connected(32, address).await;
    let good = Message::Ask { digest: Digest::of(&[b"a blob"]), offset: 0, most: u64::MAX }.encode();
    assert_eq!(asker.refusal(&good).await, Refusal::NotFound, "a stranger has no offers");
    // From the header alone: nothing follows it.
    assert_eq!(asker.refusal(&[2, 1, 0, 48]).await, Refusal::Version);
    assert_eq!(asker.refusal(&[1, 1, 0, 49]).await, Refusal::TooLarge);
    assert_eq!(asker.refusal(&[1, 1, 255, 255]).await, Refusal::TooLarge);
    assert_eq!(asker.refusal(&[1, 1, 0, 47]).await, Refusal::Malformed);
    assert_eq!(asker.refusal(&[1, 9, 0, 48]).await, Refusal::Malformed);
    assert_eq!(asker.refusal(&Message::Total(7).encode()).await, Refusal::Malformed, "an answer is no question");
    assert_eq!(asker.refusal(&good).await, Refusal::NotFound, "others are still heard");
}

#[tokio::test]
async fn s13_a_stream_that_asks_nothing_is_cut_and_few_may_be_silent() {
    const STALL: Duration = Duration::from_secs(1);
    let (_mesh, address) = mesh(33, STALL).await;
    let mut asker = Asker::connected(34, address).await;
    let good = Message::Ask { digest: Digest::of(&[b"a blob"]), offset: 0, most: 1 }.encode();
    let start = tokio::time::Instant::now();
    let mut silent = Vec::new();
    for _ in 0..limits::BLOB_STREAMS {
        let mut stream = asker.stream().await;
        // Half a header: what V1Lazy has not sent yet goes with it.
        stream.write_all(&good[..2]).await.expect("writes");
        stream.flush().await.expect("writes");
        silent.push(stream);
    }
    assert_eq!(asker.refusal(&good).await, Refusal::Busy, "one silent stream too many");
    let mut first = silent.remove(0);
    let told = tokio::spawn(async move { hear(&mut first, LONG).await });
    let swarm = async { while asker.swarm.next().await.is_some() {} };
    tokio::select! {
        told = told => assert!(matches!(told, Ok(Ok(Message::Refused(Refusal::Stalled, _)))), "{told:?}"),
        () = swarm => {}
    }
    assert!(start.elapsed() >= STALL);
    assert_eq!(asker.refusal(&good).await, Refusal::NotFound, "and there is room again");
}

/// What a mesh makes of a server that answers every question with these bytes, and then closes.
async fn served(seed: u8, held: Held, digest: Digest, answer: Vec<u8>) -> Result<Vec<u8>, Refusal> {
    let mut server = raw(seed);
    server.listen_on("/ip4/127.0.0.1/tcp/0".parse().expect("address")).expect("listens");
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = within(server.select_next_some()).await {
            break address;
        }
    };
    let node = node_of(server.local_peer_id()).expect("a node");
    let task = tokio::spawn(async move {
        loop {
            if let SwarmEvent::Behaviour((_, _, came)) = server.select_next_some().await {
                let (mut stream, answer) = (came.opened.stream, answer.clone());
                tokio::spawn(async move {
                    let heard = hear(&mut stream, LONG).await;
                    assert!(matches!(heard, Ok(Message::Ask { .. })), "{heard:?}");
                    stream.write_all(&answer).await.expect("writes");
                    stream.close().await.expect("closes");
                    let _asker_gone = stream.read(&mut [0]).await;
                });
            }
        }
    });
    let got = fetched(seed + 1, node, address, held, digest).await;
    task.abort();
    got
}

async fn fetched(seed: u8, node: NodeId, at: Multiaddr, held: Held, digest: Digest) -> Result<Vec<u8>, Refusal> {
    let (mesh, _) = mesh(seed, LONG).await;
    within(mesh.dial(node, vec![at])).await.expect("connects");
    let fetching = async {
        let mut fetch = mesh.fetch(node, digest, held, u64::MAX).await?;
        let mut bytes = Vec::new();
        let mut buffer = [0; 7];
        loop {
            match fetch.read(&mut buffer).await? {
                0 => break,
                count => bytes.extend_from_slice(&buffer[..count]),
            }
        }
        assert!(fetch.is_proven());
        Ok(bytes)
    };
    within(fetching).await.map_err(|refused: crate::Refused| refused.refusal)
}

#[tokio::test]
async fn s13_a_server_that_lies_is_noticed() {
    let digest = Digest::of(&[b"hello"]);
    let answer = |total: u64, bytes: &[u8]| [&Message::Total(total).encode()[..], bytes].concat();
    let held = |bytes: &[u8]| {
        let mut held = Held::default();
        held.add(bytes);
        held
    };
    let none = Held::default;
    assert_eq!(served(40, none(), digest, answer(5, b"hello")).await, Ok(b"hello".to_vec()));
    assert_eq!(served(42, held(b"he"), digest, answer(5, b"llo and more")).await, Ok(b"llo".to_vec()));
    for (at, (what, held, answer, refusal)) in [
        ("other bytes", none(), answer(5, b"hallo"), Refusal::Signature),
        ("fewer bytes, and it says so", none(), answer(4, b"hell"), Refusal::Signature),
        ("what was held was wrong", held(b"ha"), answer(5, b"llo"), Refusal::Signature),
        ("fewer bytes than it says", none(), answer(5, b"he"), Refusal::Unreachable),
        ("less than is held already", held(b"hello!"), answer(5, b""), Refusal::Malformed),
        ("more than any blob has", none(), answer(limits::BLOB + 1, b""), Refusal::TooLarge),
        ("a later version", none(), vec![2, 2, 0, 8], Refusal::Version),
        ("a question for an answer", none(), Message::Ask { digest, offset: 0, most: 0 }.encode(), Refusal::Malformed),
        ("nothing", none(), Vec::new(), Refusal::Unreachable),
    ]
    .into_iter()
    .enumerate()
    {
        let seed = 50 + 2 * u8::try_from(at).expect("small");
        assert_eq!(served(seed, held, digest, answer).await, Err(refusal), "{what}");
    }
}
