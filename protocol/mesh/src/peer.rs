//! A node's key is its peer id: both names are made from the same 32 bytes, and no table is needed.

use std::net::IpAddr;

use klp::{Did, NodeId, SecretKey};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

/// Identity multihash (0x00) of 36 bytes: a protobuf public key of type Ed25519 with 32 bytes.
const PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// The peer id of a node.
pub(crate) fn peer_of(node: NodeId) -> PeerId {
    let bytes = [&PREFIX[..], node.0.key()].concat();
    // SAFETY: a multihash with code 0, length 36 and 36 bytes is always a peer id; only the key differs from call to call.
    PeerId::from_bytes(&bytes).expect("an identity multihash of 36 bytes is a peer id")
}

/// The node with this peer id, unless its key is no usable Ed25519 key.
pub(crate) fn node_of(peer: &PeerId) -> Option<NodeId> {
    let bytes = peer.to_bytes();
    let key = bytes.strip_prefix(&PREFIX[..])?;
    Did::from_key(key.try_into().ok()?).ok().map(NodeId)
}

/// The same key for the transport.
pub(crate) fn keypair(key: &SecretKey) -> Result<Keypair, libp2p::identity::DecodingError> {
    Keypair::ed25519_from_bytes(*key.seed())
}

/// `address/p2p/PEER`, or the address as it is when it ends so already.
pub fn with_node(address: Multiaddr, node: NodeId) -> Multiaddr {
    address.clone().with_p2p(peer_of(node)).unwrap_or(address)
}

/// The node that an address ends with, if it names one.
pub fn node_in(address: &Multiaddr) -> Option<NodeId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => node_of(&peer),
        _ => None,
    }
}

/// The IP address that an address begins with. Behind a relay this is the relay's.
pub(crate) fn ip_in(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    }
}

/// Whether an address leads through a relay.
pub(crate) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// Whether an address is one of WebRTC Direct.
pub(crate) fn is_webrtc(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::WebRTCDirect)
}

/// Whether an address is one of WebSocket over TLS: `/wss` or `/tls/ws`.
pub(crate) fn is_wss(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::Wss(_) | Protocol::Tls))
}

/// The relay that an address leads through, when it says so.
pub(crate) fn relay_in(address: &Multiaddr) -> Option<PeerId> {
    let to_relay = address.iter().take_while(|part| *part != Protocol::P2pCircuit);
    to_relay.last().and_then(|part| if let Protocol::P2p(peer) = part { Some(peer) } else { None })
}

/// Whether an address stays on this machine.
pub fn is_loopback(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        Some(Protocol::Memory(_)) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l0_1_the_peer_id_is_the_node_key_and_back() {
        let key = SecretKey::from_seed(&[7; 32]);
        let node = NodeId(key.did());
        let peer = keypair(&key).expect("a key").public().to_peer_id();
        assert_eq!(peer_of(node), peer);
        assert_eq!(node_of(&peer), Some(node));
        assert!(peer.to_string().starts_with("12D3KooW"));
        assert_eq!(
            node_of(
                &PeerId::from_multihash(libp2p::multihash::Multihash::wrap(0x12, &[3; 32]).expect("hash")).expect("id")
            ),
            None
        );
    }

    #[test]
    fn an_address_ends_with_its_node_once() {
        let node = NodeId(SecretKey::from_seed(&[7; 32]).did());
        let address: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().expect("address");
        assert_eq!(node_in(&address), None);
        let named = with_node(address, node);
        assert_eq!(node_in(&named), Some(node));
        assert_eq!(with_node(named.clone(), node), named);
    }
}
