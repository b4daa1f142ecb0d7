//! Where we can be reached, and which addresses of others we believe (`security.md` 25).

use std::collections::BTreeMap;
use std::time::Instant;

use klp::NodeId;
use klp::rule::address::{Audience, Cidr, Scope, may_tell};
use libp2p::Multiaddr;

use crate::peer::{ip_in, is_loopback, is_relayed};
use crate::state::Reach;

mod change;
mod mapping;
mod probes;
mod punches;
mod relays;
pub(crate) mod shown;

pub(crate) use change::{Change, Watch};
pub(crate) use mapping::Sightings;
pub(crate) use probes::Probes;
pub(crate) use punches::Punches;
pub(crate) use relays::{Loss, Relays, Step};
use shown::{OwnAddress, Witness};

/// Our own addresses.
pub(crate) struct Addresses {
    trusted: Vec<Cidr>,
    /// Addresses that the user vouches for.
    vouched: Vec<Multiaddr>,
    listen: BTreeMap<Multiaddr, Instant>,
    confirmed: BTreeMap<Multiaddr, Confirmed>,
    /// Addresses that the router says it has opened.
    opened: BTreeMap<Multiaddr, Instant>,
}

/// What is known of an address that reaches us.
struct Confirmed {
    witness: Witness,
    by: Option<NodeId>,
    since: Instant,
}

impl Addresses {
    pub(crate) fn new(trusted: Vec<Cidr>, vouched: Vec<Multiaddr>, now: Instant) -> Self {
        let confirmed =
            |address: &Multiaddr| (address.clone(), Confirmed { witness: Witness::User, by: None, since: now });
        let confirmed = vouched.iter().map(confirmed).collect();
        Self { trusted, vouched, listen: BTreeMap::new(), confirmed, opened: BTreeMap::new() }
    }

    /// How far an address reaches. One without an IP address (in memory) stays in this process.
    pub(crate) fn scope(&self, address: &Multiaddr) -> Scope {
        ip_in(address).map_or(Scope::Loopback, |ip| Scope::of(ip, &self.trusted))
    }

    /// Whether everybody can dial an address, as far as its form says.
    pub(crate) fn is_public(&self, address: &Multiaddr) -> bool {
        names_a_host(address) || self.scope(address) == Scope::Public
    }

    /// Whether to believe an address that a peer at `via` told of itself: it is the address that it may tell somebody there.
    pub(crate) fn believes(&self, address: &Multiaddr, via: &Multiaddr) -> bool {
        names_a_host(address) || may_tell(self.scope(address), true, Audience::Peer(self.scope(via)))
    }

    /// Whether an address that a third party says it has dialled counts: a public one, or one that the user vouches for. Of
    /// a circuit only its relay can say so.
    pub(crate) fn confirms(&self, address: &Multiaddr) -> bool {
        self.vouched.contains(address) || (!is_relayed(address) && self.scope(address) == Scope::Public)
    }

    /// We listen there.
    pub(crate) fn listening(&mut self, address: Multiaddr, now: Instant) {
        self.listen.entry(address).or_insert(now);
    }

    /// We listen there no longer. Says whether we did.
    pub(crate) fn deaf(&mut self, address: &Multiaddr) -> bool {
        self.listen.remove(address).is_some()
    }

    /// An address reaches us; `by` has dialled it.
    pub(crate) fn confirmed(&mut self, address: Multiaddr, by: Option<NodeId>, now: Instant) {
        let witness = if self.vouched.contains(&address) {
            Witness::User
        } else if is_relayed(&address) {
            Witness::Relay
        } else {
            Witness::Autonat
        };
        self.confirmed.entry(address).or_insert(Confirmed { witness, by, since: now }).by = by;
    }

    /// An address does not reach us any more.
    pub(crate) fn expired(&mut self, address: &Multiaddr) {
        if !self.vouched.contains(address) {
            self.confirmed.remove(address);
        } else if let Some(vouched) = self.confirmed.get_mut(address) {
            vouched.by = None;
        }
    }

    /// The router has opened a port, or has closed it.
    pub(crate) fn opened(&mut self, address: Multiaddr, open: bool, now: Instant) {
        if open {
            self.opened.insert(address, now);
        } else {
            self.opened.remove(&address);
        }
    }

    /// Addresses that hold only because somebody could dial them in the network where we were.
    pub(crate) fn probed(&self) -> Vec<Multiaddr> {
        let probed = self.confirmed.iter().filter(|(_, known)| known.witness == Witness::Autonat);
        probed.map(|(address, _)| address.clone()).collect()
    }

    /// Where we listen.
    pub(crate) fn listened(&self) -> impl Iterator<Item = &Multiaddr> {
        self.listen.keys()
    }

    /// Where others reach us.
    pub(crate) fn external(&self) -> impl Iterator<Item = &Multiaddr> {
        self.confirmed.keys()
    }

    /// Since when somebody can dial us from everywhere.
    pub(crate) fn public_since(&self) -> Option<Instant> {
        let direct = self.confirmed.iter().filter(|(address, _)| !is_relayed(address));
        direct.filter(|(address, _)| self.is_public(address)).map(|(_, known)| known.since).min()
    }

    /// All of them, with their witnesses.
    pub(crate) fn own(&self) -> Vec<OwnAddress> {
        let confirmed =
            self.confirmed.iter().map(|(address, known)| (address, Some(known.witness), known.by, known.since));
        let opened = self.opened.iter().map(|(address, since)| (address, Some(Witness::Upnp), None, *since));
        let listen = self.listen.iter().map(|(address, since)| (address, None, None, *since));
        let mut own: Vec<OwnAddress> = Vec::new();
        for (address, witness, by, since) in confirmed.chain(opened).chain(listen) {
            if !own.iter().any(|known| known.address == *address) {
                own.push(OwnAddress { address: address.clone(), witness, by, since });
            }
        }
        own
    }

    /// How others can reach us.
    pub(crate) fn reach(&self) -> Reach {
        if self.external().any(|address| !is_relayed(address) && !is_loopback(address)) {
            Reach::Public
        } else if self.external().any(is_relayed) {
            Reach::Relayed
        } else if self.listen.is_empty() {
            Reach::Unknown
        } else if self.listened().all(is_loopback) {
            Reach::Loopback
        } else {
            Reach::Private
        }
    }
}

fn names_a_host(address: &Multiaddr) -> bool {
    use libp2p::multiaddr::Protocol;
    matches!(address.iter().next(), Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().expect("address")
    }

    #[test]
    fn s25_a_peer_is_believed_only_what_it_may_tell_us_there() {
        let ours = Addresses::new(Vec::new(), Vec::new(), Instant::now());
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
        let (private, now) = (address("/ip4/10.1.2.3/tcp/1"), Instant::now());
        let none = || Addresses::new(Vec::new(), Vec::new(), now);
        assert!(!none().confirms(&private));
        assert!(Addresses::new(vec!["10.0.0.0/8".parse().expect("range")], Vec::new(), now).confirms(&private));
        let mut vouched = Addresses::new(Vec::new(), vec![private.clone()], now);
        vouched.expired(&private);
        assert!(vouched.confirms(&private) && vouched.external().eq([&private]), "the user knows better");
        let mut ours = none();
        assert_eq!(ours.reach(), Reach::Unknown);
        ours.listening(address("/ip4/127.0.0.1/tcp/1"), now);
        assert_eq!(ours.reach(), Reach::Loopback);
        ours.listening(private.clone(), now);
        assert_eq!(ours.reach(), Reach::Private);
        ours.confirmed(address("/ip4/8.8.8.8/tcp/1"), None, now);
        assert_eq!((ours.reach(), ours.public_since()), (Reach::Public, Some(now)));
        ours.expired(&address("/ip4/8.8.8.8/tcp/1"));
        assert_eq!((ours.reach(), ours.public_since()), (Reach::Private, None));
    }

    #[test]
    fn n9_each_own_address_names_its_witness() {
        let now = Instant::now();
        let relay = "/ip4/8.8.8.8/tcp/1/p2p/12D3KooWQ1pqJ1NJbbGLzVWXLeZ7RdUqLr6B8i3dBV2Ccem2RsfL/p2p-circuit";
        let mut ours = Addresses::new(Vec::new(), vec![address("/dns4/bob.example/tcp/1")], now);
        ours.listening(address("/ip4/192.168.1.2/tcp/1"), now);
        ours.confirmed(address(relay), None, now);
        ours.opened(address("/ip4/9.9.9.9/tcp/1"), true, now);
        ours.opened(address("/ip4/9.9.9.9/tcp/2"), true, now);
        ours.confirmed(address("/ip4/9.9.9.9/tcp/2"), None, now);
        let seen: Vec<_> = ours.own().into_iter().map(|own| (own.address.to_string(), own.witness)).collect();
        for (text, witness, told) in [
            ("/dns4/bob.example/tcp/1", Some(Witness::User), true),
            (relay, Some(Witness::Relay), true),
            ("/ip4/9.9.9.9/tcp/2", Some(Witness::Autonat), true),
            ("/ip4/9.9.9.9/tcp/1", Some(Witness::Upnp), false),
            ("/ip4/192.168.1.2/tcp/1", None, false),
        ] {
            assert!(seen.contains(&(text.to_owned(), witness)), "{text} {witness:?} in {seen:?}");
            let own = ours.own().into_iter().find(|own| own.address.to_string() == text).expect("there");
            assert_eq!(own.is_confirmed(), told, "{text}");
            assert_eq!(ours.external().any(|one| one.to_string() == text), told, "{text}");
        }
        assert_eq!(ours.probed(), [address("/ip4/9.9.9.9/tcp/2")]);
    }

    #[test]
    fn x2_an_own_address_names_the_node_that_has_dialled_it() {
        let node = |seed| NodeId(klp::SecretKey::from_seed(&[seed; 32]).did());
        let (vouched, probed) = (address("/ip4/10.1.2.3/tcp/1"), address("/ip4/8.8.8.8/tcp/1"));
        let now = Instant::now();
        let mut ours = Addresses::new(Vec::new(), vec![vouched.clone()], now);
        let by = |ours: &Addresses, at: &Multiaddr| {
            ours.own().into_iter().find(|own| own.address == *at).map(|own| (own.witness, own.by))
        };
        assert_eq!(by(&ours, &vouched), Some((Some(Witness::User), None)));
        for seed in [1, 2] {
            for at in [&vouched, &probed] {
                ours.confirmed(at.clone(), Some(node(seed)), now);
            }
            assert_eq!(by(&ours, &vouched), Some((Some(Witness::User), Some(node(seed)))));
            assert_eq!(by(&ours, &probed), Some((Some(Witness::Autonat), Some(node(seed)))));
        }
        ours.expired(&vouched);
        ours.expired(&probed);
        assert_eq!((by(&ours, &vouched), by(&ours, &probed)), (Some((Some(Witness::User), None)), None));
    }
}
