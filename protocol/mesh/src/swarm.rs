//! Opening a mesh: transports, behaviours, listeners.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use klp::NodeId;
use klp::hello::ReplayWindow;
use libp2p::core::Transport as _;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::core::transport::{Boxed, MemoryTransport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{
    Multiaddr, PeerId, Swarm, autonat, connection_limits, dcutr, dns, identify, memory_connection_limits, metrics,
    noise, ping, quic, relay, swarm, websocket, yamux,
};
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::behaviour::Behaviour;
use crate::blob::{self, Shelf};
use crate::config::{Config, RelayLimits, Role};
use crate::dial::is_unbuilt;
use crate::doorway::{self, Doorway, Limiter, Shaped, Shaper};
use crate::driven::Driven;
use crate::driver::Driver;
use crate::event::Event;
use crate::from_port::FromPort;
use crate::ladder::Ladder;
use crate::mesh::Mesh;
use crate::metered::Metered;
use crate::metrics::Metrics;
use crate::parting::Parting;
use crate::path::Kind;
use crate::patience::Patient;
use crate::peer::{is_loopback, is_wss, keypair, peer_of};
use crate::renewed::Renewed;
use crate::scoped::Scoped;
use crate::session::{self, Shared, Table};
use crate::state::State;
use crate::tally::Tally;
use crate::tls::TlsError;
use crate::weather;
use crate::{candidates, lookups, pulse, topics};

/// Commands that wait for the driver, which reads them before anything else.
const COMMANDS: usize = 64;
/// Notes of sessions to the driver; one that finds no room is told again.
const NOTES: usize = 256;
/// A connection without streams is closed after this long.
const IDLE: Duration = Duration::from_secs(60);
/// A connection that is not made by then is given up, on either side: who says nothing would hold its place for ever.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections that are being made to us, at once.
const PENDING: u32 = 128;

/// Why a mesh could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// An address of a bootstrap peer or a relay that does not say who is there.
    #[error("{0} does not end in /p2p/PEER")]
    NoPeer(Multiaddr),
    /// An address where nothing can listen.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: Multiaddr,
        /// Why.
        source: io::Error,
    },
    /// An address of WebRTC Direct, and a program that was built without it.
    #[error("{0}: this program was built without WebRTC Direct, the cargo feature `webrtc`")]
    NoWebRtc(Multiaddr),
    /// A listener at `/wss`, and no certificate that it could show.
    #[error("{0} needs a certificate: set tls_cert_file and tls_key_file")]
    NoCertificate(Multiaddr),
    /// What TLS needs does not fit together.
    #[error("no TLS")]
    Tls(#[from] TlsError),
    /// The operating system gives no transport.
    #[error("no transport")]
    Transport(#[source] io::Error),
    /// A setting contradicts another one.
    #[error("{0}")]
    Setting(String),
}

/// Opens a mesh. Spawn the future; it ends when the last [`Mesh`] is dropped or [`Mesh::stop`] is called. Figures go into `registry`.
///
/// # Errors
/// [`OpenError`], for an address that is no address here or is in use.
pub fn open(
    config: Config,
    registry: &mut Registry,
) -> Result<(Mesh, mpsc::Receiver<Event>, impl Future<Output = ()> + Send + use<>), OpenError> {
    if let Some(address) = config.bootstrap.iter().chain(&config.relays).find(|address| !names_peer(address)) {
        return Err(OpenError::NoPeer(address.clone()));
    }
    if let Some(address) = config.listen.iter().chain(&config.external).find(|address| is_unbuilt(address)) {
        return Err(OpenError::NoWebRtc(address.clone()));
    }
    if let Some(address) = config.listen.iter().find(|address| is_wss(address) && !config.tls.can_listen()) {
        return Err(OpenError::NoCertificate(address.clone()));
    }
    let tls = config.tls.config()?;
    #[cfg(feature = "webrtc")]
    let config = crate::webrtc::certified(config).map_err(OpenError::Transport)?;
    let setting = |error: &dyn std::fmt::Display| OpenError::Setting(error.to_string());
    let keypair = keypair(&config.key).map_err(|error| setting(&error))?;
    let me = NodeId(config.key.did());
    let (counted, ladder) = (Metrics::new(registry), Ladder::new(registry));
    let doorway = Arc::new(Doorway::new(me, &config, registry));
    let (relayed, relay_client) = relay::client::new(peer_of(me));
    let tally = Arc::new(Tally::new());
    let meter = match &doorway.shaper {
        Some(shaper) => Meter::Shaper(shaper.clone()),
        None => Meter::Tally(tally.clone()),
    };
    let transport = transport(&config, &keypair, relayed, tls, meter, registry).map_err(OpenError::Transport)?;
    let behaviour = behaviour(&config, &keypair, relay_client, &doorway).map_err(|error| setting(&error))?;
    let settings = swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(IDLE)
        .with_substream_upgrade_protocol_override(Version::V1Lazy)
        .with_smart_dial();
    let mut swarm = Swarm::new(transport, behaviour, peer_of(me), settings);
    for address in &config.listen {
        is_free(address).map_err(|source| OpenError::Listen { address: address.clone(), source })?;
        swarm.listen_on(address.clone()).map_err(|error| {
            let source = match error {
                libp2p::TransportError::Other(source) => source,
                other => io::Error::new(io::ErrorKind::Unsupported, other.to_string()),
            };
            OpenError::Listen { address: address.clone(), source }
        })?;
    }
    for address in &config.external {
        swarm.add_external_address(address.clone());
    }
    let (commands, received) = mpsc::channel(COMMANDS);
    let (events, incoming) = mpsc::channel(config.limits.events.max(1));
    let (notes, noted) = mpsc::channel(NOTES);
    let (state, watched) = watch::channel(State::default());
    let table = Arc::new(Table::new(me));
    let stop = CancellationToken::new();
    let shelf = Arc::new(Shelf::new(table.clone(), counted.clone(), config.limits.stall));
    let mesh = Mesh::new(me, commands, table.clone(), shelf.clone(), doorway.clone(), tally, watched, stop.clone());
    let shared = Arc::new(Shared {
        me,
        key: config.key.clone(),
        introduce: config.introduce.clone(),
        wall: config.wall.clone(),
        window: Mutex::new(ReplayWindow::new()),
        table,
        shelf,
        events,
        notes,
        stop,
        metrics: counted,
        doorway: doorway.clone(),
    });
    let shaper = doorway.shaper.clone();
    let figures = (metrics::Metrics::new(registry), ladder);
    let driver = Driver::new(swarm, shared, doorway, received, noted, state, &config, figures);
    let run = async move {
        tokio::select! {
            () = driver.run() => {}
            () = turns(shaper) => {}
        }
    };
    Ok((mesh, incoming, run))
}

/// Gives those who send through a relay their turns.
async fn turns(shaper: Option<Arc<Shaper>>) {
    match shaper {
        Some(shaper) => shaper.run().await,
        None => std::future::pending().await,
    }
}

/// Whether nobody listens at this TCP address yet. libp2p shares ports, so that two programs could listen at one without noticing, and
/// each would get half of the connections.
fn is_free(address: &Multiaddr) -> io::Result<()> {
    let mut parts = address.iter();
    let ip: std::net::IpAddr = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) if port != 0 => std::net::TcpListener::bind((ip, port)).map(drop),
        _ => Ok(()),
    }
}

fn names_peer(address: &Multiaddr) -> bool {
    matches!(address.iter().last(), Some(Protocol::P2p(_)))
}

/// Whether this mesh stays on this machine.
pub(crate) fn only_loopback(config: &Config) -> bool {
    config.listen.iter().chain(&config.external).all(is_loopback)
}

/// Who counts what a connection carries: a relay gives turns, a node wants to know which way it went.
#[derive(Clone)]
enum Meter {
    Shaper(Arc<Shaper>),
    Tally(Arc<Tally>),
}

fn transport(
    config: &Config,
    keypair: &Keypair,
    relayed: relay::client::Transport,
    tls: websocket::tls::Config,
    meter: Meter,
    registry: &mut Registry,
) -> io::Result<Boxed<(PeerId, StreamMuxerBox)>> {
    let noise = || noise::Config::new(keypair).map_err(io::Error::other);
    let muxer = yamux::Config::default;
    // A machine without a resolver configuration still reaches addresses.
    let has_resolver = dns::tokio::Transport::system(MemoryTransport::default()).is_ok();

    let direct = FromPort::new()
        .upgrade(Version::V1Lazy)
        .authenticate(noise()?)
        .multiplex(muxer())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(Driven::new(muxer))))
        .or_transport(
            quic::tokio::Transport::new(quic::Config::new(keypair))
                .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(Parting::new(muxer)))),
        )
        .map(|either, _| either.into_inner())
        .boxed();
    #[cfg(feature = "webrtc")]
    let direct = direct
        .or_transport(
            crate::webrtc::Direct::new(keypair, &config.key)?
                .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(Parting::new(muxer)))),
        )
        .map(|either, _| either.into_inner())
        .boxed();
    let resolved = resolve(direct, has_resolver)?;
    let mut socket = websocket::Config::new(resolve(FromPort::new(), has_resolver)?);
    socket.set_tls_config(tls);
    let socket = socket
        .upgrade(Version::V1Lazy)
        .authenticate(noise()?)
        .multiplex(muxer())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(Driven::new(muxer))));
    let memory = MemoryTransport::default()
        .and_then(weather::suffer(config.weather))
        .upgrade(Version::V1Lazy)
        .authenticate(noise()?)
        .multiplex(muxer())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(Driven::new(muxer))));
    let relayed = relayed
        .upgrade(Version::V1Lazy)
        .authenticate(noise()?)
        .multiplex(muxer())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(Driven::new(muxer))));
    let all = relayed
        .or_transport(socket)
        .map(|either, _| either.into_inner())
        .or_transport(memory)
        .map(|either, _| either.into_inner())
        .or_transport(resolved)
        .map(|either, _| either.into_inner());
    let all = metrics::BandwidthTransport::new(TransportTimeout::with_ingoing_timeout(all, HANDSHAKE), registry)
        .map(move |(peer, muxer), end| {
            let muxer = match &meter {
                Meter::Shaper(shaper) => StreamMuxerBox::new(Shaped::new(muxer, peer, shaper.clone())),
                Meter::Tally(tally) => StreamMuxerBox::new(tally.count(muxer, peer, Kind::of_end(&end, &[]))),
            };
            (peer, muxer)
        })
        .boxed();
    Ok(Patient(all).boxed())
}

fn resolve<T>(inner: T, has_resolver: bool) -> io::Result<dns::tokio::Transport<T>> {
    if has_resolver {
        dns::tokio::Transport::system(inner)
    } else {
        let config = dns::ResolverConfig::from_parts(None, Vec::new(), Vec::new());
        Ok(dns::tokio::Transport::custom(inner, config, dns::ResolverOpts::default()))
    }
}

fn behaviour(
    config: &Config,
    keypair: &Keypair,
    relay_client: relay::client::Behaviour,
    doorway: &Arc<Doorway>,
) -> Result<Behaviour, String> {
    let me = keypair.public().to_peer_id();
    let on_loopback = only_loopback(config);
    let is_node = config.role == Role::Node;
    let limits = connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(PENDING))
        .with_max_established_incoming(Some(config.limits.incoming))
        .with_max_established_per_peer(Some(config.limits.per_peer.max(4)));
    // A listen address is told to whoever identifies us; that is right only while everybody is on this machine.
    let identify = identify::Config::new("/kos/id/1".to_owned(), keypair.public())
        .with_agent_version(concat!("kos/", env!("CARGO_PKG_VERSION")).to_owned())
        .with_hide_listen_addrs(!on_loopback)
        .with_push_listen_addr_updates(true)
        .with_cache_size(0);
    let kad_admits = if on_loopback { is_loopback } else { |_: &Multiaddr| false };
    let relay = (config.role == Role::Relay).then(|| relay_server(me, &config.limits.relay, doorway.limiters()));
    let node = NodeId(config.key.did());
    Ok(Behaviour {
        doorway: doorway::Behaviour::new(node, doorway.clone(), config.relay_token.clone()),
        limits: connection_limits::Behaviour::new(limits),
        memory: memory_connection_limits::Behaviour::with_max_bytes(config.limits.memory),
        session: session::Behaviour::new(config.trust_cidr.clone()),
        blob: blob::Behaviour::default(),
        identify: Scoped::new(identify::Behaviour::new(identify), |_| true),
        ping: ping::Behaviour::default(),
        pulse: pulse::Behaviour::default(),
        kad: Scoped::new(lookups::table(me, config.role, config.limits.record_life), kad_admits),
        gossip: Toggle::from(if is_node {
            Some(Metered::new(topics::gossipsub(keypair.clone())?, doorway.clone()))
        } else {
            None
        }),
        relay_client,
        relay: Toggle::from(relay),
        dcutr: Toggle::from((is_node && !on_loopback).then(|| dcutr::Behaviour::new(me))),
        candidates: candidates::Behaviour::default(),
        // A server too must not say that it can be reached before somebody has tried.
        autonat_client: Renewed::new(Toggle::from((!on_loopback).then(autonat::v2::client::Behaviour::default))),
        autonat_server: Toggle::from((!is_node && !on_loopback).then(autonat::v2::server::Behaviour::default)),
        mdns: Scoped::new(Toggle::from(None), |address| !is_loopback(address)),
        upnp: Scoped::claiming(Toggle::from(None), |address| !is_loopback(address)),
    })
}

fn relay_server(me: PeerId, limits: &RelayLimits, [places, calls]: [Limiter; 2]) -> relay::Behaviour {
    let config = relay::Config {
        // Ours are counted in the doorway: libp2p's would refuse renewals too. A peer has a few connections, each with a reservation.
        max_reservations: limits.reservations.saturating_mul(8),
        max_reservations_per_peer: 2,
        reservation_duration: limits.reservation_time,
        max_circuits: limits.circuits,
        max_circuits_per_peer: limits.circuits_per_peer,
        max_circuit_duration: limits.circuit_time,
        max_circuit_bytes: limits.circuit_bytes,
        reservation_rate_limiters: vec![Box::new(places)],
        circuit_src_rate_limiters: vec![Box::new(calls)],
    };
    // It offers places only while it has a confirmed address: without one nobody could be reached behind it.
    relay::Behaviour::new(me, config)
}
