//! Whose neighbours share a fate: the networks that limits count.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What one customer of a provider usually has: the /24 of IPv4, the /48 of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Network(IpAddr);

/// What one provider usually has: the /16 of IPv4, the /32 of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Block(IpAddr);

impl Network {
    pub(crate) fn of(ip: IpAddr) -> Self {
        Self(cut(ip, 24, 48))
    }
}

impl Block {
    pub(crate) fn of(ip: IpAddr) -> Self {
        Self(cut(ip, 16, 32))
    }
}

/// One host: in IPv6 everybody has a whole /64 to change addresses in.
pub(crate) fn host(ip: IpAddr) -> IpAddr {
    cut(ip, 32, 64)
}

fn cut(ip: IpAddr, four: u32, six: u32) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & !(u32::MAX.checked_shr(four).unwrap_or(0))).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !(u128::MAX.checked_shr(six).unwrap_or(0))).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_a_network_also_in_other_clothes() {
        let of = |text: &str| Network::of(text.parse().expect("address"));
        let host = |text: &str| host(text.parse().expect("address"));
        assert_eq!(of("203.0.113.7"), of("203.0.113.250"));
        assert_ne!(of("203.0.113.7"), of("203.0.114.7"));
        assert_eq!(of("::ffff:203.0.113.7"), of("203.0.113.9"));
        assert_eq!(of("2001:db8:1:2::3"), of("2001:db8:1:ffff::9"));
        assert_ne!(of("2001:db8:1::1"), of("2001:db8:2::1"));
        assert_ne!(host("203.0.113.7"), host("203.0.113.8"));
        assert_eq!(host("2001:db8::1"), host("2001:db8::2"));
        assert_eq!(
            Block::of("203.0.113.7".parse().expect("address")),
            Block::of("203.0.1.1".parse().expect("address"))
        );
    }
}
