//! What a relay sees of a conversation that it carries: a relay whose every stream is listened to, inside its own encryption.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::{AsyncRead, AsyncWrite, StreamExt as _};
use klp::hello::Extras;
use klp::{OwnerId, SecretKey};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent, SubstreamBox};
use libp2p::core::upgrade::Version;
use libp2p::core::{Transport as _, transport::MemoryTransport};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, Swarm, identify, identity, noise, relay, swarm, yamux};
use mesh::{Kind, Role};

use crate::sessions::introduction;
use crate::support::{LONG, dense, id, key, start, within};

/// Everything that the relay has read from its streams, in clear as the relay sees it.
type Log = Arc<Mutex<Vec<u8>>>;

struct Tap<T> {
    inner: T,
    log: Log,
}

impl StreamMuxer for Tap<StreamMuxerBox> {
    type Substream = Tap<SubstreamBox>;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
        let log = self.log.clone();
        Pin::new(&mut self.inner).poll_inbound(context).map_ok(|inner| Tap { inner, log })
    }

    fn poll_outbound(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
        let log = self.log.clone();
        Pin::new(&mut self.inner).poll_outbound(context).map_ok(|inner| Tap { inner, log })
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(context)
    }

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        Pin::new(&mut self.inner).poll(context)
    }
}

impl AsyncRead for Tap<SubstreamBox> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        if let Poll::Ready(Ok(count)) = &read {
            self.log.lock().expect("whole").extend_from_slice(&buffer[..*count]);
        }
        read
    }
}

impl AsyncWrite for Tap<SubstreamBox> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(context)
    }
}

#[derive(NetworkBehaviour)]
struct Relaying {
    relay: relay::Behaviour,
    identify: identify::Behaviour,
}

/// Runs a relay that is listened to, and says where it is.
async fn tapped_relay(seed: u8, log: Log) -> Multiaddr {
    let keys = identity::Keypair::ed25519_from_bytes(*key(seed).seed()).expect("a key");
    let me = keys.public().to_peer_id();
    let transport = MemoryTransport::default()
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(&keys).expect("noise"))
        .multiplex(yamux::Config::default())
        .map(move |(peer, muxer), _| {
            let tap = Tap { inner: StreamMuxerBox::new(muxer), log: log.clone() };
            (peer, StreamMuxerBox::new(tap))
        })
        .boxed();
    let mut relay = relay::Behaviour::new(me, relay::Config::default());
    relay.set_status(Some(relay::Status::Enable));
    let identify = identify::Behaviour::new(identify::Config::new("/kos/id/1".to_owned(), keys.public()));
    let settings = swarm::Config::with_tokio_executor();
    let mut swarm = Swarm::new(transport, Relaying { relay, identify }, me, settings);
    swarm.listen_on("/memory/0".parse().expect("address")).expect("listens");
    let (told, mut heard) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                swarm.add_external_address(address.clone());
                let _told = told.try_send(address);
            }
        }
    });
    mesh::with_node(within(heard.recv()).await.expect("listens"), id(seed))
}

fn holds(hay: &[u8], needle: &[u8]) -> bool {
    hay.windows(needle.len()).any(|part| part == needle)
}

#[tokio::test]
async fn k2_what_a_relay_carries_holds_no_word_and_no_owner_of_those_who_talk() {
    let log = Log::default();
    let relay = tapped_relay(71, log.clone()).await;
    let introduces = |owner: u8, subject: u8| {
        let introduction = introduction(owner, subject);
        move |config: &mut mesh::Config| {
            config.introduce = Arc::new(move |_| Extras {
                introduction: Some(introduction.clone()),
                revocations: Some(3),
                offers: ["diary.ask".to_owned()].into(),
                ..Extras::default()
            });
        }
    };
    let at = relay.clone();
    let bob = start(72, Role::Node, |config| {
        introduces(82, 72)(config);
        config.listen = vec!["/memory/0".parse().expect("address")];
        config.relays = vec![at];
    })
    .await;
    bob.until(|state| state.reservations == [id(71)]).await;
    let alice = start(73, Role::Node, |config| {
        introduces(83, 73)(config);
        config.listen.clear();
    })
    .await;
    let circuit = mesh::with_node(format!("{relay}/p2p-circuit").parse().expect("address"), bob.id());
    let dialled = within(alice.mesh.dial(bob.id(), vec![circuit])).await.expect("connects");
    assert_eq!(dialled.path.kind, Kind::Relayed);
    let (node, _echo) = (bob.id(), bob.echo());

    let owners = [82, 83].map(|seed: u8| OwnerId(key(seed).did()));
    let agent = SecretKey::from_seed(&[84; 32]).did();
    let body = format!("a plain question of {} to {agent}: where is the garden key?", owners[1]);
    let answer = within(async { alice.mesh.request(node, Bytes::from(body.clone()), LONG).await.finish().await }).await;
    assert_eq!(answer.expect("answered"), body);
    // As it is: of what is packed on its way no word would be seen in any case.
    let parts = dense(64_000);
    let bulk = Bytes::from(parts.chunks(640).flat_map(|part| [b"garden", part].concat()).collect::<Vec<_>>());
    let answer = within(async { alice.mesh.request(node, bulk.clone(), LONG).await.finish().await }).await;
    assert_eq!(answer.expect("answered"), bulk);

    let seen = log.lock().expect("whole").clone();
    assert!(seen.len() > 2 * bulk.len(), "the relay carried it: {} bytes", seen.len());
    assert!(holds(&seen, node.0.key()), "the relay knows which nodes it connects, or the tap hears nothing");
    assert!(holds(&seen, b"/libp2p/circuit/relay/0.2.0/hop"));
    for word in ["garden", "question", "diary.ask", "did:key"] {
        assert!(!holds(&seen, word.as_bytes()), "{word}");
    }
    for did in [owners[0].0, owners[1].0, agent] {
        assert!(!holds(&seen, did.key()) && !holds(&seen, did.to_string().as_bytes()), "{did}");
    }
}
