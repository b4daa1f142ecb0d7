//! libp2p request-response with CBOR: a stream for each request, as the crate is used by most.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use ciborium::Value;
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, StreamExt as _};
use libp2p::core::Transport as _;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, noise, swarm, tcp, yamux};
use libp2p_request_response::{Behaviour, Codec, Config, Event, Message, ProtocolSupport, ResponseChannel};
use tokio::sync::{mpsc, oneshot};

use crate::load::Caller;
use crate::proof::Answering;
use crate::side::say;

/// Far more than anything here says.
const MOST: u64 = 1 << 20;
/// Streams at once: more than are ever in flight.
const STREAMS: usize = 1000;
/// What waits for the loop.
const QUEUE: usize = 256;

/// Byte strings in CBOR, one for each direction of a stream. It is what the crate's own codec does with them, over the library that we have.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cbor;

async fn read(from: &mut (impl AsyncRead + Unpin + Send)) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    from.take(MOST).read_to_end(&mut bytes).await?;
    match ciborium::from_reader(&bytes[..]) {
        Ok(Value::Bytes(body)) => Ok(body.into()),
        other => Err(io::Error::other(format!("{other:?}"))),
    }
}

async fn write(to: &mut (impl AsyncWrite + Unpin + Send), body: Bytes) -> io::Result<()> {
    let mut bytes = Vec::new();
    ciborium::into_writer(&Value::Bytes(body.into()), &mut bytes).map_err(io::Error::other)?;
    to.write_all(&bytes).await
}

impl Codec for Cbor {
    type Protocol = StreamProtocol;
    type Request = Bytes;
    type Response = Bytes;

    async fn read_request<T: AsyncRead + Unpin + Send>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Bytes> {
        read(io).await
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Bytes> {
        read(io).await
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        body: Bytes,
    ) -> io::Result<()> {
        write(io, body).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        body: Bytes,
    ) -> io::Result<()> {
        write(io, body).await
    }
}

/// TCP, Noise, Yamux: what our own sessions run over.
pub(crate) fn transport(keypair: &Keypair) -> Boxed<(PeerId, StreamMuxerBox)> {
    tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(keypair).unwrap())
        .multiplex(yamux::Config::default())
        .boxed()
}

fn open() -> Swarm<Behaviour<Cbor>> {
    let keypair = Keypair::generate_ed25519();
    let protocols = [(StreamProtocol::new("/bench/echo/1"), ProtocolSupport::Full)];
    let behaviour = Behaviour::new(protocols, Config::default().with_max_concurrent_streams(STREAMS));
    let settings = swarm::Config::with_tokio_executor().with_idle_connection_timeout(Duration::from_secs(60));
    Swarm::new(transport(&keypair), behaviour, keypair.public().to_peer_id(), settings)
}

/// Answers for ever, from the loop itself or, where it is work, from tasks beside it.
pub(crate) async fn serve(answering: Answering) {
    let mut swarm = open();
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let (done, mut answers) = mpsc::channel::<(ResponseChannel<Bytes>, Bytes)>(QUEUE);
    loop {
        let event = tokio::select! {
            Some((channel, answer)) = answers.recv() => {
                swarm.behaviour_mut().send_response(channel, answer).unwrap();
                continue;
            }
            event = swarm.select_next_some() => event,
        };
        match event {
            SwarmEvent::NewListenAddr { address, .. } => {
                say(&address.with(Protocol::P2p(*swarm.local_peer_id())).to_string());
            }
            SwarmEvent::Behaviour(Event::Message { message: Message::Request { request, channel, .. }, .. }) => {
                if answering.is_work() {
                    let (answering, done) = (answering.clone(), done.clone());
                    tokio::spawn(async move { done.send((channel, answering.to(request))).await });
                } else {
                    swarm.behaviour_mut().send_response(channel, answering.to(request)).unwrap();
                }
            }
            _ => {}
        }
    }
}

/// Asks through the loop of a swarm.
#[derive(Clone)]
pub(crate) struct Asker(mpsc::Sender<(Bytes, oneshot::Sender<Bytes>)>);

impl Asker {
    /// Connects.
    pub(crate) async fn connect(address: &str) -> Self {
        let address: Multiaddr = address.parse().unwrap();
        let Some(Protocol::P2p(peer)) = address.iter().last() else { panic!("{address} names no peer") };
        let mut swarm = open();
        swarm.dial(address).unwrap();
        while !swarm.is_connected(&peer) {
            swarm.select_next_some().await;
        }
        let (asker, mut asked) = mpsc::channel::<(Bytes, oneshot::Sender<Bytes>)>(QUEUE);
        tokio::spawn(async move {
            let mut waiting = HashMap::new();
            loop {
                tokio::select! {
                    Some((body, answer)) = asked.recv() => {
                        waiting.insert(swarm.behaviour_mut().send_request(&peer, body), answer);
                    }
                    event = swarm.select_next_some() => match event {
                        SwarmEvent::Behaviour(Event::Message {
                            message: Message::Response { request_id, response }, ..
                        }) => {
                            // Who asked may have stopped waiting.
                            let _ = waiting.remove(&request_id).unwrap().send(response);
                        }
                        SwarmEvent::Behaviour(Event::OutboundFailure { error, .. }) => panic!("{error}"),
                        _ => {}
                    },
                }
            }
        });
        Self(asker)
    }
}

impl Caller for Asker {
    async fn call(&self, body: Bytes) -> Bytes {
        let (sender, answer) = oneshot::channel();
        self.0.send((body, sender)).await.unwrap();
        answer.await.unwrap()
    }
}
