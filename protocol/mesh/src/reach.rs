//! Where we can be reached, and which addresses of others we believe (`security.md` 25).

use std::collections::BTreeSet;

use klp::rule::address::{Audience, Cidr, Scope, may_tell};
use libp2p::Multiaddr;

use crate::peer::{ip_in, is_loopback, is_relayed};
use crate::state::Reach;

mod relays;

pub(crate) use relays::{Relays, Step};

/// Our own addresses.
pub(crate) struct Addresses {
    trusted: Vec<Cidr>,
    /// Addresses that the user vouches for.
    vouched: Vec<Multiaddr>,
    pub(crate) listen: BTreeSet<Multiaddr>,
    pub(crate) external: BTreeSet<Multiaddr>,
}

impl Addresses {
    pub(crate) fn new(trusted: Vec<Cidr>, vouched: Vec<Multiaddr>) -> Self {
        let external = vouched.iter().cloned().collect();
        Self { trusted, vouched, listen: BTreeSet::new(), external }
    }

    /// How far an address reaches. One without an IP address (in memory) stays in this process.
    pub(crate) fn scope(&self, address: &Multiaddr) -> Scope {
        ip_in(address).map_or(Scope::Loopback, |ip| Scope::of(ip, &self.trusted))
    }

    /// Whether to believe an address that a peer at `via` told of itself: it is the address that it may tell somebody there.
    pub(crate) fn believes(&self, address: &Multiaddr, via: &Multiaddr) -> bool {
        let names_a_host = matches!(
            address.iter().next(),
            Some(
                libp2p::multiaddr::Protocol::Dns(_)
                    | libp2p::multiaddr::Protocol::Dns4(_)
                    | libp2p::multiaddr::Protocol::Dns6(_)
            )
        );
        names_a_host || may_tell(self.scope(address), true, Audience::Peer(self.scope(via)))
    }

    /// Whether an address that a third party says it has dialled counts: a public one, a circuit, or one that the user vouches for.
    pub(crate) fn confirms(&self, address: &Multiaddr) -> bool {
        is_relayed(address) || self.vouched.contains(address) || self.scope(address) == Scope::Public
    }

    /// How others can reach us.
    pub(crate) fn reach(&self) -> Reach {
        if self.external.iter().any(|address| !is_relayed(address) && !is_loopback(address)) {
            Reach::Public
        } else if self.external.iter().any(is_relayed) {
            Reach::Relayed
        } else if self.listen.is_empty() {
            Reach::Unknown
        } else if self.listen.iter().all(is_loopback) {
            Reach::Loopback
        } else {
            Reach::Private
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().expect("address")
    }

    #[test]
    fn s25_a_peer_is_believed_only_what_it_may_tell_us_there() {
        let ours = Addresses::new(Vec::new(), Vec::new());
        for (told, via, believed) in [
            ("/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/9", true),
            ("/ip4/127.0.0.1/tcp/1", "/ip4/192.168.1.9/tcp/9", false),
            ("/ip4/127.0.0.1/tcp/1", "/ip4/8.8.8.8/tcp/9", false),
            ("/ip4/192.168.1.2/tcp/1", "/ip4/192.168.1.9/tcp/9", true),
            ("/ip4/192.168.1.2/tcp/1", "/ip4/10.0.0.9/tcp/9", false),
            ("/ip4/192.168.1.2/tcp/1", "/ip4/8.8.8.8/tcp/9", false),
            ("/ip4/8.8.4.4/tcp/1", "/ip4/8.8.8.8/tcp/9", true),
            ("/dns4/relay.example/tcp/1", "/ip4/8.8.8.8/tcp/9", true),
        ] {
            assert_eq!(ours.believes(&address(told), &address(via)), believed, "{told} via {via}");
        }
    }

    #[test]
    fn s25_a_private_address_is_not_external_unless_its_range_is_trusted() {
        let private = address("/ip4/10.1.2.3/tcp/1");
        assert!(!Addresses::new(Vec::new(), Vec::new()).confirms(&private));
        assert!(Addresses::new(vec!["10.0.0.0/8".parse().expect("range")], Vec::new()).confirms(&private));
        let vouched = Addresses::new(Vec::new(), vec![private.clone()]);
        assert!(vouched.confirms(&private) && vouched.external.contains(&private));
        let mut ours = Addresses::new(Vec::new(), Vec::new());
        assert_eq!(ours.reach(), Reach::Unknown);
        ours.listen.insert(address("/ip4/127.0.0.1/tcp/1"));
        assert_eq!(ours.reach(), Reach::Loopback);
        ours.listen.insert(private);
        assert_eq!(ours.reach(), Reach::Private);
        ours.external.insert(address("/ip4/8.8.8.8/tcp/1"));
        assert_eq!(ours.reach(), Reach::Public);
    }
}
