use std::future::poll_fn;
use std::time::Duration;

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt as _};
use libp2p::core::transport::{Boxed, DialOpts, ListenerId, MemoryTransport, PortUse, TransportEvent};
use libp2p::core::upgrade::Version;
use libp2p::core::{Endpoint, Transport as _};
use libp2p::identity::Keypair;
use libp2p::{noise, yamux};

use super::Driven;

/// Less than the window of a stream, and more than one packet.
const SIZE: usize = 100_000;
const LONG: Duration = Duration::from_secs(20);

fn transport() -> Boxed<StreamMuxerBox> {
    MemoryTransport::default()
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(&Keypair::generate_ed25519()).expect("a key"))
        .multiplex(yamux::Config::default())
        .map(|(_, muxer), _| StreamMuxerBox::new(Driven::new(muxer)))
        .boxed()
}

/// Both ends of one connection.
async fn pair() -> (StreamMuxerBox, StreamMuxerBox) {
    let mut listener = transport();
    listener.listen_on(ListenerId::next(), "/memory/0".parse().expect("an address")).expect("listens");
    let TransportEvent::NewAddress { listen_addr, .. } = listener.select_next_some().await else {
        panic!("no address");
    };
    let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    let dialled = transport().dial(listen_addr, options).expect("dials");
    let came = async {
        loop {
            if let TransportEvent::Incoming { upgrade, .. } = listener.select_next_some().await {
                break upgrade.await.expect("comes");
            }
        }
    };
    let (dialled, came) = tokio::join!(dialled, came);
    (dialled.expect("connects"), came)
}

#[tokio::test]
async fn bytes_move_while_nobody_asks_the_connection() {
    let moved = async {
        let (mut near, mut far) = pair().await;
        let mut asking = poll_fn(|context| near.poll_outbound_unpin(context)).await.expect("opens");
        asking.write_all(&[7; SIZE]).await.expect("writes");
        asking.flush().await.expect("flushes");
        let mut answering = poll_fn(|context| far.poll_inbound_unpin(context)).await.expect("comes");
        let mut come = vec![0; SIZE];
        answering.read_exact(&mut come).await.expect("reads");
        answering.write_all(b"thanks").await.expect("writes");
        answering.flush().await.expect("flushes");
        let mut thanks = [0; 6];
        asking.read_exact(&mut thanks).await.expect("reads");
        assert!(come.iter().all(|byte| *byte == 7) && thanks == *b"thanks");
    };
    tokio::time::timeout(LONG, moved).await.expect("in time");
}

#[tokio::test]
async fn streams_that_nobody_takes_wait_and_lose_nothing() {
    let all = async {
        let (mut near, mut far) = pair().await;
        let mut asking = Vec::new();
        for number in 0..3 * super::COME {
            let mut stream = poll_fn(|context| near.poll_outbound_unpin(context)).await.expect("opens");
            stream.write_all(&[u8::try_from(number).expect("small")]).await.expect("writes");
            stream.flush().await.expect("flushes");
            asking.push(stream);
        }
        for number in 0..asking.len() {
            let mut stream = poll_fn(|context| far.poll_inbound_unpin(context)).await.expect("comes");
            let mut come = [0];
            stream.read_exact(&mut come).await.expect("reads");
            assert_eq!(usize::from(come[0]), number);
        }
    };
    tokio::time::timeout(LONG, all).await.expect("in time");
}

#[tokio::test]
async fn the_end_of_a_connection_is_heard_whether_it_is_closed_or_dropped() {
    let ended = async {
        let (mut near, mut far) = pair().await;
        poll_fn(|context| near.poll_close_unpin(context)).await.expect("closes");
        assert!(poll_fn(|context| far.poll_unpin(context)).await.is_err());
        poll_fn(|context| far.poll_close_unpin(context)).await.expect("what is over closes at once");

        let (near, mut far) = pair().await;
        drop(near);
        assert!(poll_fn(|context| far.poll_unpin(context)).await.is_err());
    };
    tokio::time::timeout(LONG, ended).await.expect("in time");
}
