//! Who may be told which of our addresses. Source: `specs/04-records.md`, section 4.

use std::net::IpAddr;

/// How far an address reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// This machine only.
    Loopback,
    /// The same private network; carries the network, so that two of them are told apart.
    Private(Network),
    /// Everybody.
    Public,
}

/// A private network, as coarse as it can be without asking: the /16 of IPv4, the /48 of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network([u8; 6]);

/// A range of addresses that the user trusts as if it were public: the lab's knob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl std::str::FromStr for Cidr {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "a range is written like 10.0.0.0/8 or fd00::/8";
        let (address, prefix) = text.split_once('/').ok_or(FORM)?;
        let address: IpAddr = address.parse().map_err(|_| FORM)?;
        let prefix: u8 = prefix.parse().map_err(|_| FORM)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        if prefix > most { Err(FORM) } else { Ok(Self { address, prefix }) }
    }
}

impl Cidr {
    /// Whether the range holds this address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(range), IpAddr::V4(address)) => {
                self.prefix == 0 || (range.to_bits() ^ address.to_bits()) >> (32 - u32::from(self.prefix)) == 0
            }
            (IpAddr::V6(range), IpAddr::V6(address)) => {
                self.prefix == 0 || (range.to_bits() ^ address.to_bits()) >> (128 - u32::from(self.prefix)) == 0
            }
            _ => false,
        }
    }
}

impl Scope {
    /// How far `address` reaches; one in a trusted range counts as public.
    pub fn of(address: IpAddr, trusted: &[Cidr]) -> Self {
        if trusted.iter().any(|range| range.contains(address)) {
            return Self::Public;
        }
        match address {
            IpAddr::V4(v4) => {
                let [a, b, ..] = v4.octets();
                let shared = a == 100 && (64..128).contains(&b);
                if v4.is_loopback() || v4.is_unspecified() {
                    Self::Loopback
                } else if v4.is_private() || v4.is_link_local() || shared || v4.is_broadcast() || v4.is_multicast() {
                    Self::Private(Network([a, b, 0, 0, 0, 4]))
                } else {
                    Self::Public
                }
            }
            IpAddr::V6(v6) => {
                if let Some(v4) = v6.to_ipv4_mapped() {
                    return Self::of(IpAddr::V4(v4), trusted);
                }
                let [a, b, c, ..] = v6.segments();
                if v6.is_loopback() || v6.is_unspecified() {
                    Self::Loopback
                } else if v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_multicast() {
                    let [[a0, a1], [b0, b1], [c0, c1]] = [a.to_be_bytes(), b.to_be_bytes(), c.to_be_bytes()];
                    Self::Private(Network([a0, a1, b0, b1, c0, c1]))
                } else {
                    Self::Public
                }
            }
        }
    }
}

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// A peer that reached us, or that we reached, at an address of this scope.
    Peer(Scope),
    /// Everybody: the DHT, gossip, a record.
    Everybody,
    /// A person to whom the user hands a ticket. `only_loopback`: this node listens nowhere else.
    Ticket {
        /// Whether every listener of this node is loopback.
        only_loopback: bool,
    },
}

/// Whether an address of ours with this scope may be told. `confirmed`: a third party has dialled it, or the user vouched for it.
pub fn may_tell(address: Scope, confirmed: bool, audience: Audience) -> bool {
    match (address, audience) {
        (Scope::Public, _) => confirmed,
        (Scope::Loopback, Audience::Peer(peer)) => peer == Scope::Loopback,
        (Scope::Loopback, Audience::Ticket { only_loopback }) => only_loopback,
        // A ticket goes from hand to hand between two people, often in one house; it is no announcement.
        (Scope::Private(_), Audience::Ticket { .. }) => true,
        (Scope::Private(network), Audience::Peer(Scope::Private(peer))) => network == peer,
        // Whoever shares this machine shares its networks.
        (Scope::Private(_), Audience::Peer(Scope::Loopback)) => true,
        (Scope::Private(_), Audience::Peer(Scope::Public)) | (_, Audience::Everybody) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(address: &str) -> Scope {
        Scope::of(address.parse().expect("address"), &[])
    }

    #[test]
    fn s25_addresses_stay_in_their_scope() {
        let (home, office) = (scope("192.168.1.5"), scope("10.1.2.3"));
        let (loopback, public) = (scope("127.0.0.1"), scope("93.184.216.34"));
        assert_eq!(loopback, Scope::Loopback);
        assert_eq!(public, Scope::Public);
        for (address, confirmed, audience, told) in [
            (loopback, true, Audience::Peer(Scope::Loopback), true),
            (loopback, true, Audience::Peer(home), false),
            (loopback, true, Audience::Everybody, false),
            (loopback, true, Audience::Ticket { only_loopback: false }, false),
            (loopback, true, Audience::Ticket { only_loopback: true }, true),
            (home, true, Audience::Peer(home), true),
            (home, true, Audience::Peer(office), false),
            (home, true, Audience::Peer(public), false),
            (home, true, Audience::Everybody, false),
            (public, false, Audience::Everybody, false),
            (public, true, Audience::Everybody, true),
            (public, false, Audience::Peer(public), false),
        ] {
            assert_eq!(may_tell(address, confirmed, audience), told, "{address:?} to {audience:?}");
        }
    }

    #[test]
    fn a_trusted_range_counts_as_public() {
        let lab: Cidr = "10.9.0.0/16".parse().expect("range");
        assert_eq!(Scope::of("10.9.3.4".parse().expect("address"), &[lab]), Scope::Public);
        assert_eq!(scope("10.8.3.4"), scope("10.8.99.1"));
        assert!("10.9.0.0/40".parse::<Cidr>().is_err());
        assert_eq!(scope("::ffff:127.0.0.1"), Scope::Loopback);
    }
}
