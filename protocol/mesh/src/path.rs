//! How a peer is reached.

use std::time::Duration;

use klp::rule::address::{Cidr, Scope};
use libp2p::Multiaddr;
use libp2p::core::ConnectedPoint;
use libp2p::multiaddr::Protocol;

use crate::peer::{ip_in, is_relayed};

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// On this machine or in the same private network.
    Lan,
    /// Over the internet, without anybody in between.
    Direct,
    /// Through a relay.
    Relayed,
}

/// What carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// QUIC over UDP.
    Quic,
    /// TCP with Noise and Yamux.
    Tcp,
    /// WebSocket with Noise and Yamux.
    WebSocket,
    /// WebRTC Direct: data channels over UDP.
    WebRtc,
    /// Inside one process, for tests.
    Memory,
}

/// What a relay lets through before it cuts the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RelayLimit {
    /// Bytes of both directions together.
    pub bytes: Option<u64>,
    /// Life of the circuit.
    pub time: Option<Duration>,
}

/// One connection to a peer, as people want to see it. The best one sorts first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    /// Which way.
    pub kind: Kind,
    /// What carries it; of a relayed path, the part up to the relay.
    pub transport: Transport,
    /// The peer's end.
    pub address: Multiaddr,
    /// Of a relayed path: what the relay said.
    pub limit: Option<RelayLimit>,
    /// Whether we made it. The address of one that the peer made is only where it came from: mostly nobody listens there.
    pub dialled: bool,
}

impl Path {
    pub(crate) fn of(endpoint: &ConnectedPoint, trusted: &[Cidr]) -> Self {
        let address = endpoint.get_remote_address().clone();
        let kind = Kind::of_end(endpoint, trusted);
        let carrier = match endpoint {
            ConnectedPoint::Listener { local_addr, .. } if kind == Kind::Relayed => local_addr,
            _ => &address,
        };
        let dialled = endpoint.is_dialer();
        Self { kind, transport: transport_of(carrier), address: address.clone(), limit: None, dialled }
    }

    /// Whether it leads through a relay.
    pub fn is_relayed(&self) -> bool {
        self.kind == Kind::Relayed
    }
}

fn transport_of(address: &Multiaddr) -> Transport {
    let mut transport = Transport::Tcp;
    for part in address {
        match part {
            Protocol::QuicV1 => transport = Transport::Quic,
            Protocol::Ws(_) | Protocol::Wss(_) => transport = Transport::WebSocket,
            Protocol::WebRTCDirect => transport = Transport::WebRtc,
            Protocol::Memory(_) => transport = Transport::Memory,
            Protocol::P2pCircuit => break,
            _ => {}
        }
    }
    transport
}

impl Kind {
    /// Which way a connection leads. A listener sees only a random address of a circuit's far end, so the relay part is in its own address.
    pub(crate) fn of_end(end: &ConnectedPoint, trusted: &[Cidr]) -> Self {
        match end {
            ConnectedPoint::Listener { local_addr, .. } if is_relayed(local_addr) => Self::Relayed,
            _ => Self::of(end.get_remote_address(), trusted),
        }
    }

    /// Which way an address leads. One that names a host is taken to lead over the internet.
    pub(crate) fn of(address: &Multiaddr, trusted: &[Cidr]) -> Self {
        if is_relayed(address) {
            return Self::Relayed;
        }
        match (ip_in(address).map(|ip| Scope::of(ip, trusted)), address.iter().next()) {
            (Some(Scope::Public), _) | (_, Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_))) => {
                Self::Direct
            }
            _ => Self::Lan,
        }
    }

    /// `lan`, `direct` or `relayed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::Direct => "direct",
            Self::Relayed => "relayed",
        }
    }
}

impl Transport {
    /// `quic`, `tcp`, `ws`, `webrtc` or `memory`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Tcp => "tcp",
            Self::WebSocket => "ws",
            Self::WebRtc => "webrtc",
            Self::Memory => "memory",
        }
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} over {}", self.kind.as_str(), self.transport.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialled(address: &str) -> Path {
        let endpoint = ConnectedPoint::Dialer {
            address: address.parse().expect("address"),
            role_override: libp2p::core::Endpoint::Dialer,
            port_use: libp2p::core::transport::PortUse::Reuse,
        };
        Path::of(&endpoint, &[])
    }

    #[test]
    fn k16_whoever_is_dialled_knows_that_nobody_listens_where_the_peer_came_from() {
        let [local_addr, send_back_addr] =
            ["/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/40000"].map(|one| one.parse().expect("address"));
        assert!(!Path::of(&ConnectedPoint::Listener { local_addr, send_back_addr }, &[]).dialled);
        assert!(dialled("/ip4/127.0.0.1/tcp/1").dialled);
    }

    #[test]
    fn c16_paths_are_told_apart_and_the_direct_one_sorts_first() {
        let relay = "12D3KooWQ1pqJ1NJbbGLzVWXLeZ7RdUqLr6B8i3dBV2Ccem2RsfL";
        for (address, shown) in [
            ("/ip4/127.0.0.1/tcp/1", "lan over tcp"),
            ("/ip4/192.168.1.2/udp/1/quic-v1", "lan over quic"),
            ("/ip4/8.8.8.8/tcp/1/ws", "direct over ws"),
            ("/ip4/8.8.8.8/udp/1/webrtc-direct", "direct over webrtc"),
            ("/memory/5", "lan over memory"),
            (&format!("/ip4/8.8.8.8/udp/1/quic-v1/p2p/{relay}/p2p-circuit"), "relayed over quic"),
        ] {
            assert_eq!(dialled(address).to_string(), shown, "{address}");
        }
        let circuit = dialled(&format!("/ip4/8.8.8.8/udp/1/quic-v1/p2p/{relay}/p2p-circuit"));
        assert!(dialled("/ip4/8.8.8.8/tcp/1/ws") < circuit);
        assert!(dialled("/ip4/8.8.8.8/udp/1/webrtc-direct") < circuit);
        assert!(dialled("/ip4/8.8.8.8/tcp/1") < dialled("/ip4/8.8.8.8/udp/1/webrtc-direct"));
    }
}
