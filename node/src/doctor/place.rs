//! What a multiaddr says in words: a host, a transport, a port.

use std::net::{IpAddr, SocketAddr};

/// What carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// TCP, also below WebSocket.
    Tcp,
    /// UDP, which is QUIC.
    Udp,
}

/// The part of a multiaddr up to the port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// An IP address or a name.
    pub(super) host: String,
    pub(super) carrier: Carrier,
    pub(super) port: u16,
}

impl Place {
    /// Of an address that begins with a host and a port; a circuit's is its relay's.
    pub(super) fn of(address: &str) -> Option<Self> {
        let mut parts = address.split('/').skip(1);
        let host = match parts.next()? {
            "ip4" | "ip6" | "dns" | "dns4" | "dns6" => parts.next()?.to_owned(),
            _ => return None,
        };
        let carrier = match parts.next()? {
            "tcp" => Carrier::Tcp,
            "udp" => Carrier::Udp,
            _ => return None,
        };
        Some(Self { host, carrier, port: parts.next()?.parse().ok()? })
    }

    /// The name that must be looked up first, if the host is one.
    pub(super) fn name(&self) -> Option<&str> {
        self.host.parse::<IpAddr>().is_err().then_some(&self.host)
    }

    /// As a socket address, unless the host is a name.
    pub(super) fn socket(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.host.parse().ok()?, self.port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_from_every_form_of_address() {
        let place = |address| Place::of(address).map(|place| (place.host.clone(), place.carrier, place.port));
        assert_eq!(place("/ip4/192.0.2.1/udp/4711/quic-v1"), Some(("192.0.2.1".into(), Carrier::Udp, 4711)));
        assert_eq!(place("/ip6/::1/tcp/1/ws/p2p/X"), Some(("::1".into(), Carrier::Tcp, 1)));
        assert_eq!(place("/dns4/a.example/tcp/2"), Some(("a.example".into(), Carrier::Tcp, 2)));
        for other in ["", "/memory/5", "/ip4/192.0.2.1", "/ip4/192.0.2.1/tcp/x", "/dnsaddr/a.example/p2p/X"] {
            assert_eq!(place(other), None, "{other}");
        }
        let named = Place::of("/dns4/a.example/tcp/2").expect("place");
        assert_eq!((named.name(), named.socket()), (Some("a.example"), None));
        let plain = Place::of("/ip4/192.0.2.1/tcp/2").expect("place");
        assert_eq!((plain.name(), plain.socket().map(|at| at.port())), (None, Some(2)));
    }
}
