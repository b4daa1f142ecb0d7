//! A real mesh, and a peer that writes what it likes.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use klp::frame::{Frame, Kind};
use klp::hello::{Extras, Fresh, Hello, Memory, SessionId};
use klp::{NodeId, Refusal, SecretKey, limits};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, SwarmBuilder, noise, tcp, yamux};
use tokio::sync::mpsc;

use super::Wire;
use super::wire::Step;
use crate::answer::Ended;
use crate::event;
use crate::peer::keypair;
use crate::{Config, Mesh, Registry, Role, open, raw};

const LONG: Duration = Duration::from_secs(30);

/// A peer that says Hello when it likes.
struct Raw {
    raw: raw::Raw,
    key: SecretKey,
    nonce: u8,
    memory: Memory,
}

/// A mesh, and what it tells.
async fn mesh(seed: u8) -> (Mesh, mpsc::Receiver<event::Event>, Multiaddr) {
    let mut config = Config::new(SecretKey::from_seed(&[seed; 32]), Role::Node);
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().expect("address")];
    let (mesh, events, driver) = open(config, &mut Registry::default()).expect("opens");
    tokio::spawn(driver);
    let mut state = mesh.state();
    let address = state.wait_for(|state| !state.listen.is_empty()).await.expect("runs").listen[0].clone();
    (mesh, events, address)
}

impl Raw {
    async fn connected(seed: u8, to: Multiaddr) -> Self {
        let key = SecretKey::from_seed(&[seed; 32]);
        let raw = raw::Raw::connect(&key, to).await.expect("connects");
        Self { raw, key, nonce: 0, memory: [1; 8] }
    }

    async fn stream(&mut self, to: NodeId) -> Wire {
        self.raw.wire(to).await.expect("a stream")
    }

    fn hello(&mut self, to: NodeId, session: SessionId) -> Frame {
        self.nonce += 1;
        let now = Config::new(self.key.clone(), Role::Node).wall;
        let fresh = Fresh { nonce: [self.nonce; 16], now: now(), session, memory: self.memory };
        let hello = Hello::make(&self.key, to, fresh, Extras::default(), None);
        Frame::new(Kind::Hello, 0, hello.into())
    }
}

fn request(id: u64) -> Frame {
    Frame::new(Kind::Request, id, Bytes::from_static(b"work"))
}

async fn next(wire: &mut Wire) -> Frame {
    let reading = async {
        loop {
            if let Some(frame) = wire.frame().expect("valid") {
                return frame;
            }
            wire.step().await.expect("an open stream");
        }
    };
    tokio::time::timeout(LONG, reading).await.expect("in time")
}

async fn asked(events: &mut mpsc::Receiver<event::Event>) -> event::Request {
    let asked = async {
        loop {
            if let event::Event::Request(request) = events.recv().await.expect("runs") {
                return request;
            }
        }
    };
    tokio::time::timeout(LONG, asked).await.expect("in time")
}

/// Writes everything and returns the refusal of the bye that follows, whatever comes before it.
async fn bye_after(wire: &mut Wire, frames: impl IntoIterator<Item = Frame>) -> Option<Refusal> {
    frames.into_iter().for_each(|frame| wire.push(&frame));
    loop {
        let frame = next(wire).await;
        if frame.kind == Kind::Bye {
            return frame.reason().expect("reads").0;
        }
    }
}

#[tokio::test]
async fn s07_on_the_wire_each_broken_rule_is_named_and_others_are_still_served() {
    let (mesh, mut events, address) = mesh(1).await;
    let me = mesh.node();
    let mut raw = Raw::connected(2, address.clone()).await;
    let session = |n: u8| [n; 16];

    let mut wire = raw.stream(me).await;
    assert_eq!(bye_after(&mut wire, [request(1)]).await, Some(Refusal::Malformed), "nothing before Hello");

    let mut wire = raw.stream(me).await;
    let garbage = Frame::new(Kind::Hello, 0, Bytes::from_static(b"hello"));
    assert_eq!(bye_after(&mut wire, [garbage]).await, Some(Refusal::Malformed), "no Hello");

    let mut wire = raw.stream(me).await;
    let for_another = raw.hello(NodeId(SecretKey::from_seed(&[9; 32]).did()), session(1));
    assert_eq!(bye_after(&mut wire, [for_another]).await, Some(Refusal::NotForMe));

    let mut wire = raw.stream(me).await;
    let (first, second) = (raw.hello(me, session(2)), raw.hello(me, session(2)));
    assert_eq!(bye_after(&mut wire, [first.clone(), second]).await, Some(Refusal::Malformed), "a second Hello");

    let mut wire = raw.stream(me).await;
    assert_eq!(bye_after(&mut wire, [first]).await, Some(Refusal::Replay), "a Hello seen before");

    let mut wire = raw.stream(me).await;
    let hello = raw.hello(me, session(3));
    let huge = Frame::new(Kind::Request, 1, Bytes::from(vec![0; limits::FRAME + 1]));
    assert_eq!(bye_after(&mut wire, [hello, huge]).await, Some(Refusal::TooLarge));

    // None of it reached anybody, and a stranger of good manners is heard.
    let mut good = Raw::connected(3, address).await;
    let mut wire = good.stream(me).await;
    wire.push(&good.hello(me, session(2)));
    wire.push(&request(1));
    assert_eq!(next(&mut wire).await.kind, Kind::Hello);
    let asked = async {
        loop {
            match events.recv().await.expect("runs") {
                event::Event::Request(request) => return request,
                _ => continue,
            }
        }
    };
    let asked = tokio::time::timeout(LONG, asked).await.expect("in time");
    assert_eq!(asked.hello.node, NodeId(good.key.did()));
    asked.reply.finish("done".into());
    assert_eq!(next(&mut wire).await.body, "done");
}

#[tokio::test]
async fn s11_more_than_64_requests_are_busy_and_then_the_session_ends() {
    let (mesh, events, address) = mesh(4).await;
    let mut raw = Raw::connected(5, address).await;
    let mut wire = raw.stream(mesh.node()).await;
    let most = limits::IN_FLIGHT as u64 + limits::STRIKES;
    wire.push(&raw.hello(mesh.node(), [1; 16]));
    (1..=most).for_each(|id| wire.push(&request(id)));
    assert_eq!(next(&mut wire).await.kind, Kind::Hello);
    for _ in 0..limits::STRIKES {
        let refused = next(&mut wire).await;
        assert_eq!((refused.kind, refused.reason().expect("reads").0), (Kind::Error, Some(Refusal::Busy)));
    }
    assert_eq!(bye_after(&mut wire, [request(most + 1)]).await, Some(Refusal::Busy));
    drop(events);
}

#[tokio::test]
async fn s11_requests_that_were_cancelled_do_not_wait_for_their_owner() {
    let (mesh, mut events, address) = mesh(6).await;
    let mut raw = Raw::connected(7, address).await;
    let mut wire = raw.stream(mesh.node()).await;
    wire.push(&raw.hello(mesh.node(), [1; 16]));
    assert_eq!(next(&mut wire).await.kind, Kind::Hello);
    let many = 1000;
    for id in 1..=many {
        wire.push(&request(id));
        wire.push(&Frame::new(Kind::Cancel, id, Bytes::new()));
        let ended = next(&mut wire).await;
        assert_eq!((ended.kind, ended.id), (Kind::Error, id));
    }
    wire.push(&Frame::new(Kind::Request, many + 1, Bytes::from_static(b"the last")));
    let heard = async {
        let mut heard = 0;
        loop {
            if let event::Event::Request(request) = events.recv().await.expect("runs") {
                heard += 1;
                if request.body == "the last" {
                    return heard;
                }
            }
        }
    };
    // What has left the inbox waits in the channel to the owner, which holds 64.
    let (heard, _) = tokio::join!(tokio::time::timeout(LONG, heard), tokio::time::timeout(LONG, next(&mut wire)));
    let heard = heard.expect("in time");
    assert!(heard <= 65, "{heard} requests waited");
}

#[tokio::test]
async fn s11_a_stream_without_hello_ends_after_ten_seconds_and_few_may_wait() {
    let (mesh, _events, address) = mesh(6).await;
    let mut raw = Raw::connected(7, address).await;
    let start = tokio::time::Instant::now();
    let mut silent = Vec::new();
    for _ in 0..4 {
        let mut wire = raw.stream(mesh.node()).await;
        // Only the header of a Hello: its body never comes.
        wire.push_bytes(&Frame::new(Kind::Hello, 0, Bytes::from_static(b"hello")).header());
        assert!(matches!(wire.step().await, Ok(Step::Wrote)));
        silent.push(wire);
    }
    let mut fifth = raw.stream(mesh.node()).await;
    assert_eq!(bye_after(&mut fifth, [request(1)]).await, Some(Refusal::Busy), "five unheard streams are too many");
    assert!(start.elapsed() < limits::HELLO_WAIT);
    assert_eq!(bye_after(&mut silent[0], []).await, Some(Refusal::Timeout));
    assert!(start.elapsed() >= limits::HELLO_WAIT);
}

#[tokio::test]
async fn s10_a_peer_that_restarts_again_and_again_takes_the_place_of_what_it_left_and_of_nothing_in_use() {
    let (mesh, _events, address) = mesh(1).await;
    let me = mesh.node();
    let mut raw = Raw::connected(2, address).await;
    let mut used = Vec::new();
    for number in 1..=4 {
        let mut wire = raw.stream(me).await;
        wire.push(&raw.hello(me, [number; 16]));
        assert_eq!(next(&mut wire).await.kind, Kind::Hello);
        used.push(wire);
    }
    let mut wire = raw.stream(me).await;
    let fifth = raw.hello(me, [5; 16]);
    assert_eq!(bye_after(&mut wire, [fifth]).await, Some(Refusal::Busy), "four are in use");

    // Streams that break leave their sessions behind, for half a minute.
    drop(used);
    let restarted = async {
        loop {
            let mut wire = raw.stream(me).await;
            wire.push(&raw.hello(me, [6; 16]));
            match next(&mut wire).await {
                Frame { kind: Kind::Hello, .. } => break,
                frame => assert_eq!(frame.reason().expect("reads").0, Some(Refusal::Busy), "not noticed yet"),
            }
        }
    };
    tokio::time::timeout(LONG / 3, restarted).await.expect("takes the place of a session without a stream");
    mesh.stop();
}

#[tokio::test]
async fn s10_another_peer_cannot_go_on_with_a_session() {
    let (mesh, mut events, address) = mesh(8).await;
    let me = mesh.node();
    let (mut owner, mut thief) = (Raw::connected(9, address.clone()).await, Raw::connected(10, address).await);
    let mut wire = owner.stream(me).await;
    wire.push(&owner.hello(me, [7; 16]));
    wire.push(&request(1));
    assert_eq!(next(&mut wire).await.kind, Kind::Hello);
    let asked = asked(&mut events).await;
    // The same session id and the same request, sent again by somebody else.
    let mut stolen = thief.stream(me).await;
    stolen.push(&thief.hello(me, [7; 16]));
    let again = [&[0; 16][..], b"work"].concat();
    stolen.push(&Frame { again: true, ..Frame::new(Kind::Request, 1, again.into()) });
    assert_eq!(next(&mut stolen).await.kind, Kind::Hello);
    let refused = next(&mut stolen).await;
    assert_eq!(refused.reason().expect("reads").0, Some(Refusal::UnknownOutcome));
    asked.reply.finish("for the owner".into());
    assert_eq!(next(&mut wire).await.body, "for the owner");
}

#[tokio::test]
async fn s10_work_for_a_peer_that_has_restarted_since_does_not_answer_what_it_asks_now() {
    let (mesh, mut events, address) = mesh(13).await;
    let me = mesh.node();
    let mut raw = Raw::connected(14, address).await;
    let mut begin = async |raw: &mut Raw| {
        let mut wire = raw.stream(me).await;
        wire.push(&raw.hello(me, [7; 16]));
        [request(1), request(2), request(3)].iter().for_each(|request| wire.push(request));
        assert_eq!(next(&mut wire).await.kind, Kind::Hello);
        let replies = [asked(&mut events).await, asked(&mut events).await, asked(&mut events).await];
        (wire, replies.map(|request| request.reply))
    };
    let (broken, [first, second, third]) = begin(&mut raw).await;
    drop(broken);
    raw.memory = [2; 8];
    let (mut wire, now) = begin(&mut raw).await;

    assert!([&first, &second, &third].iter().all(|reply| reply.is_cancelled()));
    assert_eq!(first.chunk("late".into()).await, Err(Ended));
    first.finish("late".into());
    second.refuse(Refusal::Denied, "late");
    drop(third);
    for (reply, body) in now.into_iter().zip(["one", "two", "three"]) {
        assert!(!reply.is_cancelled());
        reply.finish(body.into());
        let answer = next(&mut wire).await;
        assert_eq!((answer.kind, &answer.body[..]), (Kind::Response, body.as_bytes()));
    }
}

#[tokio::test]
async fn a_peer_without_our_protocol_is_unreachable_at_once() {
    let mut other = SwarmBuilder::with_existing_identity(keypair(&SecretKey::from_seed(&[11; 32])).expect("a key"))
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .expect("a transport")
        .with_behaviour(|_| libp2p::ping::Behaviour::default())
        .expect("a behaviour")
        .build();
    other.listen_on("/ip4/127.0.0.1/tcp/0".parse().expect("address")).expect("listens");
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = other.select_next_some().await {
            break address;
        }
    };
    tokio::spawn(async move { while other.next().await.is_some() {} });
    let (mesh, _events, _) = mesh(12).await;
    let node = NodeId(SecretKey::from_seed(&[11; 32]).did());
    mesh.dial(node, vec![address]).await.expect("connects");
    let start = tokio::time::Instant::now();
    let refused = mesh.request(node, "hello".into(), LONG).await.finish().await.expect_err("nobody answers");
    assert_eq!(refused.refusal, Refusal::Unreachable, "{refused}");
    assert!(start.elapsed() < Duration::from_secs(5));
}
