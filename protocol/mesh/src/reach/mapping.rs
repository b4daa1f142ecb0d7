//! How others see us, and what it says of the router in front of us.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::shown::{Mapping, Mappings, Observed};
use crate::peer::ip_in;

/// Observers that are remembered for each transport.
const OBSERVERS: usize = 32;
/// A sighting that was not repeated says nothing any more: routers forget, and restart.
const FRESH: Duration = Duration::from_secs(10 * 60);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Carrier {
    Udp,
    Tcp,
}

#[derive(Debug)]
struct Sighting {
    /// From where we were seen.
    from: SocketAddr,
    /// Under which address.
    address: Multiaddr,
    socket: SocketAddr,
    at: Instant,
}

/// What peers say of the address under which they see us. Only connections that we made from our listen port count.
#[derive(Debug, Default)]
pub(crate) struct Sightings(BTreeMap<(Carrier, PeerId), Sighting>);

impl Sightings {
    /// A peer that we dialled at `via` sees us at `observed`.
    pub(crate) fn seen(&mut self, peer: PeerId, via: &Multiaddr, observed: &Multiaddr, now: Instant) {
        self.0.retain(|_, sighting| now.saturating_duration_since(sighting.at) < FRESH);
        let (Some((_, from)), Some((carrier, socket))) = (socket_of(via), socket_of(observed)) else { return };
        let known = self.0.keys().filter(|(kind, _)| *kind == carrier).count();
        if known < OBSERVERS || self.0.contains_key(&(carrier, peer)) {
            self.0.insert((carrier, peer), Sighting { from, address: observed.clone(), socket, at: now });
        }
    }

    /// The network has changed: nothing of it holds any more.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }

    /// What it all says.
    pub(crate) fn shown(&self) -> Mappings {
        Mappings { udp: self.of(Carrier::Udp), tcp: self.of(Carrier::Tcp) }
    }

    /// Whether every hole that we could punch would be one that its peer cannot find.
    pub(crate) fn is_symmetric(&self) -> bool {
        let Mappings { udp, tcp } = self.shown();
        udp.mapping == Mapping::Dependent && tcp.mapping != Mapping::Independent
    }

    fn of(&self, carrier: Carrier) -> Observed {
        let seen: Vec<&Sighting> =
            self.0.iter().filter(|((kind, _), _)| *kind == carrier).map(|(_, sighting)| sighting).collect();
        let mut addresses: Vec<(Multiaddr, usize)> = Vec::new();
        for sighting in &seen {
            match addresses.iter_mut().find(|(address, _)| *address == sighting.address) {
                Some((_, count)) => *count += 1,
                None => addresses.push((sighting.address.clone(), 1)),
            }
        }
        addresses.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Observed { mapping: mapping(&seen), addresses }
    }
}

/// Two who stand at different addresses and see the same are enough, and so are two who see different things: of one and the same
/// address family, for IPv4 and IPv6 have routers of their own.
fn mapping(seen: &[&Sighting]) -> Mapping {
    let mut mapping = Mapping::Unknown;
    for (at, one) in seen.iter().enumerate() {
        for other in seen.iter().skip(at + 1).filter(|other| other.socket.is_ipv4() == one.socket.is_ipv4()) {
            if one.socket != other.socket {
                return Mapping::Dependent;
            }
            if one.from.ip() != other.from.ip() {
                mapping = Mapping::Independent;
            }
        }
    }
    mapping
}

/// Which transport an address is of, and its socket. WebSocket and WebRTC leave from no listen port.
fn socket_of(address: &Multiaddr) -> Option<(Carrier, SocketAddr)> {
    let ip: IpAddr = ip_in(address)?;
    let mut parts = address.iter().skip(1);
    let (carrier, port) = match parts.next()? {
        Protocol::Udp(port) => (Carrier::Udp, port),
        Protocol::Tcp(port) => (Carrier::Tcp, port),
        _ => return None,
    };
    let web = parts
        .any(|part| matches!(part, Protocol::Ws(_) | Protocol::Wss(_) | Protocol::WebRTCDirect | Protocol::P2pCircuit));
    (!web).then_some((carrier, (ip, port).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n12_the_router_is_known_by_what_two_others_see() {
        let (a, b) = ("/ip4/11.0.0.1", "/ip4/12.0.0.1");
        let quic = |port: u16| format!("/ip4/9.9.9.9/udp/{port}/quic-v1");
        let tcp = |port: u16| format!("/ip4/9.9.9.9/tcp/{port}");
        let webrtc = |port: u16| format!("/ip4/9.9.9.9/udp/{port}/webrtc-direct");
        for (name, seen, udp, tcp_is) in [
            ("nobody", vec![], Mapping::Unknown, Mapping::Unknown),
            ("one", vec![(a, 1, quic(5))], Mapping::Unknown, Mapping::Unknown),
            ("two agree", vec![(a, 1, quic(5)), (b, 1, quic(5))], Mapping::Independent, Mapping::Unknown),
            ("two at one address agree", vec![(a, 1, quic(5)), (a, 2, quic(5))], Mapping::Unknown, Mapping::Unknown),
            ("two at one address differ", vec![(a, 1, quic(5)), (a, 2, quic(6))], Mapping::Dependent, Mapping::Unknown),
            ("two differ", vec![(a, 1, quic(5)), (b, 1, quic(6))], Mapping::Dependent, Mapping::Unknown),
            ("tcp is for itself", vec![(a, 1, quic(5)), (b, 1, tcp(6))], Mapping::Unknown, Mapping::Unknown),
            ("tcp too", vec![(a, 1, tcp(6)), (b, 1, tcp(6))], Mapping::Unknown, Mapping::Independent),
            ("no web", vec![(a, 1, tcp(6) + "/ws"), (b, 1, tcp(7) + "/ws")], Mapping::Unknown, Mapping::Unknown),
            ("no webrtc", vec![(a, 1, webrtc(6)), (b, 1, webrtc(7))], Mapping::Unknown, Mapping::Unknown),
        ] {
            let (mut sightings, now) = (Sightings::default(), Instant::now());
            for (host, port, observed) in &seen {
                let via: Multiaddr = format!("{host}/tcp/{port}").parse().expect("address");
                sightings.seen(PeerId::random(), &via, &observed.parse().expect("address"), now);
            }
            let shown = sightings.shown();
            assert_eq!((shown.udp.mapping, shown.tcp.mapping), (udp, tcp_is), "{name}");
        }
    }

    #[test]
    fn n12_a_router_that_was_restarted_is_seen_anew() {
        let (mut sightings, start) = (Sightings::default(), Instant::now());
        let via = |host: u8| format!("/ip4/11.0.0.{host}/tcp/1").parse::<Multiaddr>().expect("address");
        let seen = |port: u16| format!("/ip4/9.9.9.9/udp/{port}/quic-v1").parse::<Multiaddr>().expect("address");
        let (one, other) = (PeerId::random(), PeerId::random());
        sightings.seen(one, &via(1), &seen(5), start);
        sightings.seen(other, &via(2), &seen(5), start);
        assert_eq!(sightings.shown().udp.addresses, [(seen(5), 2)]);
        sightings.seen(one, &via(1), &seen(9), start + FRESH);
        assert_eq!(sightings.shown().udp.mapping, Mapping::Unknown, "what the other one saw is too old to contradict");
        sightings.seen(other, &via(2), &seen(8), start + FRESH);
        assert!(sightings.is_symmetric());
        sightings.forget();
        assert_eq!(sightings.shown(), Mappings::default());
    }
}
