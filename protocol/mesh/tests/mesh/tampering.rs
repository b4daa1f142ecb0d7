//! Relays that do what they like with the bytes of a circuit: what goes through them ends with a named error, or goes on over another path.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures::{AsyncRead, AsyncWrite, StreamExt as _};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent};
use libp2p::core::upgrade::Version;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{PeerId, SwarmBuilder, Transport as _, identify, noise, relay, tcp, yamux};
use mesh::{DialError, Kind, Multiaddr, Role};
use tokio::time::Sleep;

use crate::support::{LONG, Node, address, dense, node, start};

/// Longer than any patience that a node has.
const END: Duration = Duration::from_secs(45);
/// Bytes that a circuit carries one way before its relay begins: in the middle of the making of it, and in the middle of a session.
const AT_ONCE: usize = 200;
const LATER: usize = 6000;
/// Questions of 4 KiB: the second one meets the trick.
const ASKS: usize = 4;
/// Where the words of a circuit stand in the first bytes of a stream.
const HEAD: usize = 160;
const WORDS: &[u8] = b"/libp2p/circuit/relay/0.2.0/";

/// What a relay does with a circuit's bytes once it has carried enough of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trick {
    /// Each piece ten seconds late.
    Late,
    /// Each piece twice.
    Twice,
    /// Nothing goes on, and nobody is told.
    Keep,
    /// A bit is another one.
    Flip,
}

/// A connection of such a relay.
struct Tampered<M> {
    inner: M,
    how: (Trick, usize),
}

/// A stream of it.
struct Handled<S> {
    inner: S,
    how: (Trick, usize),
    head: Vec<u8>,
    written: usize,
    late: Option<Pin<Box<Sleep>>>,
    /// What is to be written before anything else.
    owed: Vec<u8>,
}

impl<M: StreamMuxer + Unpin> StreamMuxer for Tampered<M>
where
    M::Substream: Unpin,
{
    type Substream = Handled<M::Substream>;
    type Error = M::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Self::Substream, M::Error>> {
        let inner = ready!(Pin::new(&mut self.inner).poll_inbound(context))?;
        Poll::Ready(Ok(Handled::new(inner, self.how)))
    }

    fn poll_outbound(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Self::Substream, M::Error>> {
        let inner = ready!(Pin::new(&mut self.inner).poll_outbound(context))?;
        Poll::Ready(Ok(Handled::new(inner, self.how)))
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), M::Error>> {
        Pin::new(&mut self.inner).poll_close(context)
    }

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, M::Error>> {
        Pin::new(&mut self.inner).poll(context)
    }
}

impl<S> Handled<S> {
    fn new(inner: S, how: (Trick, usize)) -> Self {
        Self { inner, how, head: Vec::new(), written: 0, late: None, owed: Vec::new() }
    }

    fn is_due(&self) -> bool {
        self.written >= self.how.1 && self.head.windows(WORDS.len()).any(|part| part == WORDS)
    }

    fn note(&mut self, bytes: &[u8]) {
        self.written += bytes.len();
        let room = HEAD.saturating_sub(self.head.len());
        self.head.extend(bytes.iter().take(room));
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Handled<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> Handled<S> {
    fn pay(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.owed.is_empty() {
            let count = ready!(Pin::new(&mut self.inner).poll_write(context, &self.owed))?;
            self.owed.drain(..count);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Handled<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.pay(context))?;
        if !this.is_due() {
            let count = ready!(Pin::new(&mut this.inner).poll_write(context, bytes))?;
            this.note(&bytes[..count]);
            return Poll::Ready(Ok(count));
        }
        match this.how.0 {
            Trick::Keep => return Poll::Ready(Ok(bytes.len())),
            Trick::Late => {
                let late = this.late.get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::from_secs(10))));
                ready!(late.as_mut().poll(context));
            }
            Trick::Twice | Trick::Flip => {}
        }
        let mut piece = bytes.to_vec();
        if this.how.0 == Trick::Flip
            && let Some(last) = piece.last_mut()
        {
            *last ^= 1;
        }
        let count = ready!(Pin::new(&mut this.inner).poll_write(context, &piece))?;
        this.late = None;
        if this.how.0 == Trick::Twice {
            this.owed = piece[..count].to_vec();
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.pay(context))?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.pay(context))?;
        Pin::new(&mut self.inner).poll_close(context)
    }
}

#[derive(NetworkBehaviour)]
struct Relay {
    identify: identify::Behaviour,
    relay: relay::Behaviour,
}

/// A relay that is none of ours and does this. Gives its address, and runs until the end of the test.
async fn relay(trick: Trick, after: usize) -> Multiaddr {
    let builder = SwarmBuilder::with_new_identity().with_tokio();
    let builder = builder.with_other_transport(|key| {
        let transport = tcp::tokio::Transport::new(tcp::Config::default()).upgrade(Version::V1Lazy);
        let transport = transport.authenticate(noise::Config::new(key).expect("noise"));
        transport.multiplex(yamux::Config::default()).map(move |(peer, inner): (PeerId, _), _| {
            (peer, StreamMuxerBox::new(Tampered { inner, how: (trick, after) }))
        })
    });
    let builder = builder.expect("a transport").with_behaviour(|key| Relay {
        identify: identify::Behaviour::new(identify::Config::new("/kos/id/1".to_owned(), key.public())),
        relay: relay::Behaviour::new(key.public().to_peer_id(), relay::Config::default()),
    });
    let mut swarm = builder.expect("a behaviour").build();
    swarm.listen_on(address("/ip4/127.0.0.1/tcp/0")).expect("listens");
    let at = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address.with_p2p(*swarm.local_peer_id()).expect("an address");
        }
    };
    swarm.add_external_address(at.clone());
    tokio::spawn(async move { while swarm.next().await.is_some() {} });
    at
}

/// Somebody who waits behind these relays.
async fn behind(relays: &[&Multiaddr]) -> Node {
    let relays: Vec<Multiaddr> = relays.iter().map(|relay| (*relay).clone()).collect();
    let count = relays.len();
    let bob = start(2, Role::Node, |config| config.relays = relays).await;
    bob.until(|state| state.reservations.len() == count).await;
    bob
}

fn circuit(relay: &Multiaddr, to: klp::NodeId) -> Multiaddr {
    mesh::with_node(address(&format!("{relay}/p2p-circuit")), to)
}

async fn ends<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(END, work).await.expect("it ends")
}

/// Both play the same trick, while the circuit is made and in the middle of a session. What comes of it is an answer that is whole, or an error
/// with a name; and a path that is none of theirs works at once.
async fn survives(trick: Trick) {
    let begun = Instant::now();
    let (early, late, honest) =
        (relay(trick, AT_ONCE).await, relay(trick, LATER).await, relay(trick, usize::MAX).await);
    let bob = behind(&[&early, &late, &honest]).await;
    let (to, alice) = (bob.id(), node(3).await);
    let bob = bob.echo();

    let dialled = ends(alice.mesh.dial(to, vec![circuit(&early, to)])).await;
    if let Err(error) = &dialled {
        let DialError::Unreachable { attempts } = error else { panic!("{error:?}") };
        assert!(attempts.iter().all(|attempt| !attempt.error.is_empty()), "{attempts:?}");
    }
    println!("{trick:?}, early: {} after {:?}", if dialled.is_ok() { "connected" } else { "refused" }, begun.elapsed());

    // Somebody else, who has no path yet.
    let carol = node(4).await;
    let dialled = ends(carol.mesh.dial(to, vec![circuit(&late, to)])).await.expect("it begins well");
    assert_eq!(dialled.path.kind, Kind::Relayed);
    let body = dense(4096);
    let mut said = Vec::new();
    for _ in 0..ASKS {
        let asked = ends(async { carol.mesh.request(to, body.clone(), LONG).await.finish().await }).await;
        match asked {
            // The session goes on over another circuit, and what was lost is said again.
            Ok(whole) => assert_eq!(whole, body, "what arrives is what was sent"),
            Err(refused) => said.push(refused.refusal),
        }
    }
    println!("{trick:?}, later: {ASKS} asked, refused {said:?}, after {:?}", begun.elapsed());

    // A way that is none of theirs.
    let dialled = ends(carol.mesh.dial(to, vec![circuit(&honest, to)])).await;
    let asked = ends(async {
        loop {
            match carol.ask(to, "again").await {
                Ok(answer) => break answer,
                // The old way is given up first.
                Err(_) => drop(carol.mesh.dial(to, vec![circuit(&honest, to)]).await),
            }
        }
    })
    .await;
    assert_eq!(asked, "again", "{dialled:?}");
    println!("{trick:?}, elsewhere: answered after {:?}", begun.elapsed());
    drop(bob);
}

#[tokio::test]
async fn k17_a_relay_that_is_ten_seconds_late_costs_no_answer_without_a_name_and_another_one_serves() {
    survives(Trick::Late).await;
}

#[tokio::test]
async fn k17_a_relay_that_says_everything_twice_costs_no_answer_without_a_name_and_another_one_serves() {
    survives(Trick::Twice).await;
}

#[tokio::test]
async fn k17_a_relay_that_forwards_nothing_costs_no_answer_without_a_name_and_another_one_serves() {
    survives(Trick::Keep).await;
}

#[tokio::test]
async fn k17_a_relay_that_changes_a_bit_costs_no_answer_without_a_name_and_another_one_serves() {
    survives(Trick::Flip).await;
}
