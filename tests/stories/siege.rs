//! Peers that break the protocol, on the real wire at a real `kos`: each is refused by name, counted, and cut off; the node keeps its size,
//! and a peer of good manners is answered meanwhile.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use klp::frame::{Frame, Kind};
use klp::hello::{Extras, Fresh, Hello};
use klp::statement::revocation::{Revocation, Target};
use klp::{Cbor as _, NodeId, OwnerId, Refusal, SecretKey, Timestamp, Verified, limits};
use kos_tests::puppet::now;
use kos_tests::{Puppet, Shell, figure, memory, until};
use mesh::Multiaddr;
use mesh::raw::{Raw, RawStream};
use serde_json::Value;

/// What a node may grow by whatever peers send it, in kilobytes.
pub(crate) const GROWTH: u64 = 48 * 1024;
/// Longest time until a peer is cut off: 30 seconds of silence, and what a busy machine adds.
pub(crate) const CUT: Duration = Duration::from_secs(50);

/// A running node of somebody, seen from outside.
pub(crate) struct Siege {
    pub(crate) owner: Shell,
    pub(crate) pid: u64,
    pub(crate) node: NodeId,
    pub(crate) address: Multiaddr,
    pub(crate) metrics: String,
}

impl Siege {
    pub(crate) async fn lay() -> Self {
        tokio::task::spawn_blocking(|| {
            let owner = Shell::new();
            let up = owner.up(&["--metrics", "127.0.0.1:0"]);
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let metrics = text(&owner.ok(&["status"])["metrics"]);
            let address: Multiaddr = text(&up["listen"][0]).parse().unwrap();
            let node = mesh::node_in(&address).unwrap();
            Self { owner, pid: up["pid"].as_u64().unwrap(), node, address, metrics }
        })
        .await
        .unwrap()
    }

    /// How often the node has refused for this reason.
    pub(crate) fn refused(&self, refusal: Refusal) -> u64 {
        figure(&self.metrics, &format!("kos_session_refusals_total{{code=\"{}\"}}", refusal.code()))
    }

    /// Waits until its session streams take nothing more: for a second nothing has gone out.
    pub(crate) async fn blocked(&self) {
        let (mut before, mut since) = (0, Instant::now());
        until("nothing goes out any more", async || {
            let out = figure(&self.metrics, "kos_session_bytes_total{way=\"out\"}");
            if std::mem::replace(&mut before, out) != out {
                since = Instant::now();
            }
            (since.elapsed() > Duration::from_secs(1)).then_some(())
        })
        .await;
    }

    /// Waits until it has refused more often than before.
    pub(crate) async fn counts(&self, refusal: Refusal, before: u64, what: &str) {
        until(&format!("{what} is counted as {refusal}"), async || (self.refused(refusal) > before).then_some(()))
            .await;
    }

    pub(crate) async fn peer(&self, seed: u8) -> Mallory {
        let key = SecretKey::from_seed(&[seed; 32]);
        let raw = Raw::connect(&key, self.address.clone()).await.unwrap();
        Mallory { key, raw, node: self.node, nonce: 0 }
    }

    pub(crate) async fn down(self) {
        tokio::task::spawn_blocking(move || self.owner.ok(&["down"])).await.unwrap();
    }
}

/// A peer that says what it likes.
pub(crate) struct Mallory {
    key: SecretKey,
    raw: Raw,
    node: NodeId,
    nonce: u64,
}

impl Mallory {
    pub(crate) async fn stream(&mut self) -> RawStream {
        self.try_stream().await.unwrap()
    }

    pub(crate) async fn try_stream(&mut self) -> std::io::Result<RawStream> {
        self.raw.open(self.node).await
    }

    fn fresh(&mut self, time: Timestamp) -> Fresh {
        self.nonce += 1;
        let nonce = u128::from(self.nonce).to_be_bytes();
        Fresh { nonce, now: time, session: nonce, memory: [1; 8] }
    }

    /// The bytes of a Hello that holds, changed before it is signed.
    fn hello_with(&mut self, change: impl FnOnce(&mut Hello)) -> Vec<u8> {
        let fresh = self.fresh(now());
        let bytes = Hello::make(&self.key, self.node, fresh, Extras::default(), None);
        let mut hello = (*klp::Signed::<Hello>::from_bytes(bytes).verify().unwrap()).clone();
        change(&mut hello);
        Verified::sign(hello, &self.key).signed().as_bytes().to_vec()
    }

    pub(crate) fn hello(&mut self) -> Vec<u8> {
        self.hello_with(|_| {})
    }
}

pub(crate) fn frame(kind: Kind, id: u64, body: impl Into<Vec<u8>>) -> Vec<u8> {
    written(&Frame::new(kind, id, Bytes::from(body.into())))
}

fn written(frame: &Frame) -> Vec<u8> {
    let mut out = BytesMut::new();
    frame.write(&mut out);
    out.to_vec()
}

/// A header by hand: length, kind, flags, reserved bits and id.
fn header(length: u32, kind: u8, flags: u8, reserved: u16, id: u64) -> Vec<u8> {
    [&length.to_be_bytes()[..], &[kind, flags], &reserved.to_be_bytes(), &id.to_be_bytes()].concat()
}

/// A Hello frame around any bytes.
pub(crate) fn greets(hello: impl Into<Vec<u8>>) -> Vec<u8> {
    frame(Kind::Hello, 0, hello)
}

/// The reason of the bye that ends the stream, or of the first error before it.
pub(crate) async fn reason(stream: &mut RawStream, of: Kind) -> Option<Refusal> {
    let reading = async {
        loop {
            let Ok(frame) = stream.next().await else { return None };
            if frame.kind == of {
                return frame.reason().unwrap().0;
            }
        }
    };
    tokio::time::timeout(CUT, reading).await.expect("the node says why, or hangs up")
}

/// What a peer writes, and what the node says: at the stream (`Bye`) or at one request (`Error`).
type Shape = (&'static str, Kind, Refusal, fn(&mut Mallory) -> Vec<u8>);

/// The bytes of a Hello in which these bytes stand in the place of those, which must be there.
fn forged(mallory: &mut Mallory, old: &[u8], new: &[u8]) -> Vec<u8> {
    let hello = mallory.hello();
    let at = hello.windows(old.len()).position(|part| part == old).unwrap();
    greets([&hello[..at], new, &hello[at + old.len()..]].concat())
}

/// After a Hello that holds.
fn opened(mallory: &mut Mallory, then: Vec<u8>) -> Vec<u8> {
    [greets(mallory.hello()), then].concat()
}

/// The order of the group, which added to a signature's second half gives another that lax verification takes.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

fn malleated(mut statement: Vec<u8>) -> Vec<u8> {
    let mut carry = 0u16;
    let at = statement.len() - 32;
    for (byte, more) in statement[at..].iter_mut().zip(ORDER) {
        carry += u16::from(*byte) + u16::from(more);
        *byte = carry.to_le_bytes()[0];
        carry >>= 8;
    }
    statement
}

/// A Hello under the key of these first, thirty middle and last bytes, with the neutral point as R, and S = 0: under that point as key it holds
/// for every message where nobody looks at the order.
fn under(mallory: &mut Mallory, [first, middle, last]: [u8; 3]) -> Vec<u8> {
    let (own, key) = (*mallory.key.did().key(), [&[first][..], &[middle; 30], &[last]].concat());
    let mut hello = mallory.hello();
    while let Some(at) = hello.windows(32).position(|part| part == own) {
        hello[at..at + 32].copy_from_slice(&key);
    }
    let at = hello.len() - 64;
    hello[at..].copy_from_slice(&[&[1][..], &[0; 63]].concat());
    greets(hello)
}

const SHAPES: &[Shape] = &[
    ("a frame over the limit", Kind::Bye, Refusal::TooLarge, |m| {
        opened(m, header(limits::FRAME as u32 + 1, 2, 0, 0, 1))
    }),
    ("a frame over the limit before Hello", Kind::Bye, Refusal::TooLarge, |_| header(u32::MAX, 1, 0, 0, 0)),
    ("an unknown kind", Kind::Bye, Refusal::Malformed, |m| opened(m, header(0, 10, 0, 0, 1))),
    ("an unknown flag", Kind::Bye, Refusal::Malformed, |m| opened(m, header(1, 2, 0x80, 0, 1))),
    ("reserved bits", Kind::Bye, Refusal::Malformed, |m| opened(m, header(1, 2, 0, 1, 1))),
    ("a request without number", Kind::Bye, Refusal::Malformed, |m| opened(m, header(1, 2, 0, 0, 0))),
    ("a request before Hello", Kind::Bye, Refusal::Malformed, |_| frame(Kind::Request, 1, "x")),
    ("a Hello that is none", Kind::Bye, Refusal::Malformed, |_| greets("hello")),
    ("a second Hello", Kind::Bye, Refusal::Malformed, |m| {
        let second = greets(m.hello());
        opened(m, second)
    }),
    ("a Hello for another node", Kind::Bye, Refusal::NotForMe, |m| {
        greets(m.hello_with(|hello| hello.to = NodeId(SecretKey::from_seed(&[9; 32]).did())))
    }),
    ("a Hello recorded from another peer", Kind::Bye, Refusal::NotForMe, |m| {
        let fresh = m.fresh(now());
        greets(Hello::make(&SecretKey::from_seed(&[9; 32]), m.node, fresh, Extras::default(), None))
    }),
    ("a stale Hello", Kind::Bye, Refusal::Clock, |m| {
        greets(m.hello_with(|hello| hello.time = Timestamp(now().0 - 301_000)))
    }),
    ("a Hello of the future", Kind::Bye, Refusal::Clock, |m| {
        greets(m.hello_with(|hello| hello.time = Timestamp(now().0 + 310_000)))
    }),
    ("another version", Kind::Bye, Refusal::Version, |m| greets(m.hello_with(|hello| hello.versions = vec![3]))),
    ("a Hello that answers nothing of ours", Kind::Bye, Refusal::Malformed, |m| {
        greets(m.hello_with(|hello| hello.answers = Some(klp::Digest([1; 32]))))
    }),
    ("limits too small to talk", Kind::Bye, Refusal::Malformed, |m| {
        greets(m.hello_with(|hello| hello.limits.in_flight = 0))
    }),
    ("an unprotected header", Kind::Bye, Refusal::Malformed, |m| {
        // It stands, empty, behind the protected one, which is a byte string with its length in the third byte.
        let hello = m.hello();
        let at = 3 + usize::from(hello[2]);
        greets([&hello[..at], &[0xa1, 0x01, 0x26], &hello[at + 1..]].concat())
    }),
    ("an indefinite length", Kind::Bye, Refusal::Malformed, |m| {
        let hello = m.hello();
        greets([&[0x9f], &hello[1..], &[0xff]].concat())
    }),
    ("a length that is longer than need be", Kind::Bye, Refusal::Malformed, |m| {
        let hello = m.hello();
        greets([&[0x98, 0x04], &hello[1..]].concat())
    }),
    ("a key twice", Kind::Bye, Refusal::Malformed, |m| {
        // The protected header {1: -19, 4: kid} with 1 in the place of 4.
        forged(m, &[0x04, 0x58, 0x20], &[0x01, 0x58, 0x20])
    }),
    ("a tag", Kind::Bye, Refusal::Malformed, |m| greets([vec![0xd2], m.hello()].concat())),
    ("bytes behind the end", Kind::Bye, Refusal::Malformed, |m| greets([m.hello(), vec![0]].concat())),
    ("another algorithm", Kind::Bye, Refusal::Malformed, |m| forged(m, &[0x01, 0x32], &[0x01, 0x27])),
    ("a flipped bit", Kind::Bye, Refusal::Signature, |m| {
        let mut hello = m.hello();
        *hello.last_mut().unwrap() ^= 1;
        greets(hello)
    }),
    ("a signature of the same point that is not reduced", Kind::Bye, Refusal::Signature, |m| {
        greets(malleated(m.hello()))
    }),
    ("a signature of nobody under a key of small order", Kind::Bye, Refusal::Malformed, |m| under(m, [1, 0, 0])),
    // The modulus and one, which is one where nobody looks.
    ("the same key in a form that is not reduced", Kind::Bye, Refusal::Malformed, |m| under(m, [0xee, 0xff, 0x7f])),
    ("a statement of another domain", Kind::Bye, Refusal::Signature, |m| {
        let revocation = Revocation {
            issuer: OwnerId(m.key.did()),
            kind: Target::Grant,
            target: klp::Digest([1; 32]),
            seq: 1,
            issued: now(),
        };
        greets(Verified::sign(revocation, &m.key).signed().as_bytes())
    }),
    ("a number that was used", Kind::Bye, Refusal::Malformed, |m| {
        opened(m, [frame(Kind::Request, 5, "x"), frame(Kind::Request, 5, "x")].concat())
    }),
    ("a message over the limit", Kind::Bye, Refusal::TooLarge, |m| {
        let whole = Bytes::from(vec![0; limits::MESSAGE + 1]);
        let parts: Vec<u8> = Frame::fragments(Kind::Request, 1, false, whole).flat_map(|part| written(&part)).collect();
        opened(m, parts)
    }),
    ("a message in two pieces with another in between", Kind::Bye, Refusal::Malformed, |m| {
        let first = Frame { more: true, ..Frame::new(Kind::Request, 1, Bytes::from_static(b"x")) };
        opened(m, [written(&first), frame(Kind::Request, 2, "y")].concat())
    }),
    ("fragments without bytes", Kind::Bye, Refusal::Malformed, |m| {
        let empty = Frame { more: true, ..Frame::new(Kind::Request, 1, Bytes::new()) };
        opened(m, written(&empty))
    }),
    ("credit for what was never sent", Kind::Bye, Refusal::Malformed, |m| {
        opened(m, [frame(Kind::Request, 1, ""), written(&Frame::credit(1, 1 << 40))].concat())
    }),
    ("a chunk that nobody asked for", Kind::Bye, Refusal::Malformed, |m| opened(m, frame(Kind::Chunk, 7, "x"))),
    ("a response that nobody asked for", Kind::Bye, Refusal::Malformed, |m| opened(m, frame(Kind::Response, 7, "x"))),
    ("an error that nobody asked for", Kind::Bye, Refusal::Malformed, |m| {
        opened(m, written(&Frame::refusal(Kind::Error, 7, Some(Refusal::Denied), "no")))
    }),
    ("ten thousand requests at once", Kind::Bye, Refusal::Busy, |m| {
        opened(m, (1..=10_000).flat_map(|id| frame(Kind::Request, id, "x")).collect())
    }),
    ("a request that is no CBOR", Kind::Error, Refusal::Malformed, |m| opened(m, frame(Kind::Request, 1, "hello"))),
    ("a request of indefinite length", Kind::Error, Refusal::Malformed, |m| {
        opened(m, frame(Kind::Request, 1, [0xbf, 0x01, 0x61, b'x', 0x02, 0xa0, 0xff]))
    }),
    ("a request with a key twice", Kind::Error, Refusal::Malformed, |m| {
        opened(m, frame(Kind::Request, 1, [0xa2, 0x01, 0x61, b'x', 0x01, 0x61, b'x']))
    }),
    ("a request nested a hundred deep", Kind::Error, Refusal::Malformed, |m| {
        opened(m, frame(Kind::Request, 1, [vec![0x81; 100], vec![0]].concat()))
    }),
    ("a kind of request that nobody answers", Kind::Error, Refusal::NoHandler, |m| {
        let request = klp::message::Request::new("org.example.none", &klp::message::Empty);
        opened(m, frame(Kind::Request, 1, request.to_bytes()))
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn s11_each_hostile_shape_on_the_wire_is_named_and_counted_and_costs_nobody_else() {
    let siege = Siege::lay().await;
    let friend = Puppet::open(121).await;
    friend.mesh().dial(siege.node, vec![siege.address.clone()]).await.unwrap();
    let before = memory(siege.pid);
    for (number, (what, kind, refusal, bytes)) in SHAPES.iter().enumerate() {
        let counted = siege.refused(*refusal);
        let mut mallory = siege.peer(130 + u8::try_from(number).unwrap()).await;
        let bytes = bytes(&mut mallory);
        let mut stream = mallory.stream().await;
        // The node may hang up before it has read all of it.
        let writing = tokio::time::timeout(CUT, stream.write(&bytes));
        let _written = writing.await.expect("the node reads, or hangs up");
        assert_eq!(reason(&mut stream, *kind).await, Some(*refusal), "{what}");
        siege.counts(*refusal, counted, what).await;
        let begun = Instant::now();
        friend.mesh().ping(siege.node, CUT).await.unwrap_or_else(|refused| panic!("{what}: {refused:?}"));
        assert!(begun.elapsed() < Duration::from_secs(5), "{what}: {:?}", begun.elapsed());
    }

    // Whoever takes each request back at once is answered each time, or sent away when the answers pile up.
    let mut mallory = siege.peer(127).await;
    let both = |id| [frame(Kind::Request, id, "x"), frame(Kind::Cancel, id, "")].concat();
    let bytes = opened(&mut mallory, (1..=10_000).flat_map(both).collect());
    let mut stream = mallory.stream().await;
    let writing = tokio::time::timeout(CUT, stream.write(&bytes));
    let _written = writing.await.expect("the node reads, or hangs up");
    let ended = async {
        let mut answered = 0;
        while answered < 10_000 {
            let frame = stream.next().await.unwrap();
            match (frame.kind, frame.reason()) {
                (Kind::Error, _) => answered += 1,
                (Kind::Bye, said) => return assert_eq!(said.unwrap().0, Some(Refusal::Busy)),
                _ => {}
            }
        }
    };
    tokio::time::timeout(CUT, ended).await.expect("each is answered, or the session ends");
    friend.mesh().ping(siege.node, CUT).await.unwrap();

    // What was heard once is not heard again: on another stream, and on another connection.
    let counted = siege.refused(Refusal::Replay);
    let mut mallory = siege.peer(128).await;
    let hello = greets(mallory.hello());
    let mut first = mallory.stream().await;
    first.write(&hello).await.unwrap();
    assert_eq!(first.next().await.unwrap().kind, Kind::Hello);
    let mut again = mallory.stream().await;
    again.write(&hello).await.unwrap();
    assert_eq!(reason(&mut again, Kind::Bye).await, Some(Refusal::Replay), "the same session");
    let mut elsewhere = siege.peer(128).await;
    let mut other = elsewhere.stream().await;
    other.write(&hello).await.unwrap();
    assert_eq!(reason(&mut other, Kind::Bye).await, Some(Refusal::Replay), "another connection");
    siege.counts(Refusal::Replay, counted + 1, "a Hello that was heard twice more").await;

    let after = memory(siege.pid);
    assert!(after < before + GROWTH, "{after} kB, from {before} kB");
    friend.close();
    siege.down().await;
}

/// How a slow peer begins, what it goes on with once a second, and what becomes of it.
type Slow = (&'static str, Refusal, fn(&mut Mallory) -> Vec<u8>, &'static [u8]);

const SLOW: &[Slow] = &[
    ("a stream that says nothing", Refusal::Timeout, |_| Vec::new(), b""),
    ("a Hello of a byte a second", Refusal::Timeout, |m| greets(m.hello())[..20].to_vec(), &[0]),
    (
        "a frame that was cut short",
        Refusal::Stalled,
        |m| opened(m, frame(Kind::Request, 1, "whole")[..18].to_vec()),
        b"",
    ),
    ("a header that was cut short", Refusal::Stalled, |m| opened(m, header(5, 2, 0, 0, 1)[..7].to_vec()), b""),
    ("a frame of a byte a second", Refusal::Stalled, |m| opened(m, header(60_000, 2, 0, 0, 1)), b"a"),
    (
        "a message of which no end comes",
        Refusal::Stalled,
        |m| opened(m, written(&Frame { more: true, ..Frame::new(Kind::Request, 1, Bytes::from_static(b"x")) })),
        b"",
    ),
];

/// Plays one slow peer until the node has cut it off.
async fn cut_off(siege: &Siege, number: usize, (what, refusal, begins, goes_on): Slow) {
    let counted = siege.refused(refusal);
    let mut mallory = siege.peer(200 + u8::try_from(number).unwrap()).await;
    let begun = begins(&mut mallory);
    let mut stream = mallory.stream().await;
    let since = Instant::now();
    stream.write(&begun).await.unwrap();
    loop {
        match tokio::time::timeout(Duration::from_secs(1), reason(&mut stream, Kind::Bye)).await {
            Ok(said) => {
                assert_eq!(said, Some(refusal), "{what}");
                break;
            }
            Err(_) => stream.write(goes_on).await.unwrap_or_else(|error| panic!("{what}: {error}")),
        }
        assert!(since.elapsed() < CUT, "{what} is still there");
    }
    siege.counts(refusal, counted, what).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s11_slow_peers_are_cut_off_by_name_and_others_are_served() {
    let siege = Siege::lay().await;
    let friend = Puppet::open(122).await;
    friend.mesh().dial(siege.node, vec![siege.address.clone()]).await.unwrap();
    let before = memory(siege.pid);
    let slow = SLOW.iter().enumerate().map(|(number, shape)| cut_off(&siege, number, *shape));
    let served = async {
        loop {
            let begun = Instant::now();
            friend.mesh().ping(siege.node, CUT).await.unwrap();
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        _ = futures::future::join_all(slow) => {}
        () = served => {}
    }
    let after = memory(siege.pid);
    assert!(after < before + GROWTH, "{after} kB, from {before} kB");
    friend.close();
    siege.down().await;
}
