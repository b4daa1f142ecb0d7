//! What the router of a home does with packets, as rules of nftables. Its interfaces are `wan` and `lan`.

use std::net::Ipv4Addr;

use crate::scenario::Nat;

/// The port on which every program in the lab listens.
pub(super) const PORT: u16 = 4711;
/// What a remapping router makes of it outside.
const OTHER: u16 = 51_001;

/// The rules. What nobody behind it has asked for is dropped and not answered: an answer, or a packet that the router takes for itself,
/// would spoil a hole that is punched a moment later. What the router itself has turned inwards passes.
pub(super) fn rules(nat: Nat, outside: Ipv4Addr, first: Ipv4Addr) -> String {
    let out = match nat {
        Nat::Open => return String::new(),
        Nat::FullCone | Nat::PortRestricted | Nat::UdpBlocked => "oifname \"wan\" masquerade".to_owned(),
        Nat::PortRemapping => format!(
            "oifname \"wan\" meta l4proto udp udp sport {PORT} snat to {outside}:{OTHER}
             oifname \"wan\" meta l4proto tcp tcp sport {PORT} snat to {outside}:{OTHER}
             oifname \"wan\" masquerade"
        ),
        Nat::Symmetric => "oifname \"wan\" masquerade fully-random".to_owned(),
    };
    let come = match nat {
        Nat::FullCone => format!("iifname \"wan\" meta l4proto {{ tcp, udp }} dnat to {first}"),
        _ => String::new(),
    };
    let pass = match nat {
        Nat::FullCone => "iifname \"wan\" accept",
        Nat::UdpBlocked => "iifname \"lan\" meta l4proto udp drop",
        _ => "",
    };
    format!(
        "table ip home {{
           chain come {{ type nat hook prerouting priority dstnat; {come}
           }}
           chain go {{ type nat hook postrouting priority srcnat; {out}
           }}
           chain pass {{ type filter hook forward priority filter; policy drop; {pass}
             ct state established,related accept
             ct status dnat accept
             iifname \"lan\" accept
           }}
           chain own {{ type filter hook input priority filter; policy accept; iifname \"wan\" ct state new drop
           }}
         }}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_router_but_the_open_one_drops_what_nobody_asked_for() {
        for nat in Nat::ALL {
            let rules = rules(nat, Ipv4Addr::new(11, 10, 0, 2), Ipv4Addr::new(10, 10, 0, 10));
            assert_eq!(rules.is_empty(), nat == Nat::Open, "{}", nat.as_str());
            assert_eq!(rules.contains("policy drop"), nat != Nat::Open);
            assert_eq!(rules.contains("fully-random"), nat == Nat::Symmetric);
            assert_eq!(rules.contains("dnat to 10.10.0.10"), nat == Nat::FullCone);
            assert_eq!(rules.contains("snat to 11.10.0.2:51001"), nat == Nat::PortRemapping);
            assert_eq!(rules.contains("udp drop"), nat == Nat::UdpBlocked);
        }
    }
}
