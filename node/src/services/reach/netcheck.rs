//! One line about how this node is reached, for somebody who wants to know what to do. Pure: facts in, words out.

use crate::view::{Check, NetcheckRelay};

/// What is known of the network in front of this node.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts<'a> {
    /// `unknown`, `loopback`, `private`, `relayed` or `public`.
    pub(super) reach: &'a str,
    /// How the router maps UDP: `unknown`, `independent` or `dependent`.
    pub(super) mapping: &'a str,
    /// `off`, `asked`, `mapped`, `no_gateway` or `not_public`.
    pub(super) upnp: &'a str,
    pub(super) relays: &'a [NetcheckRelay],
    /// The doctor's checks of the network.
    pub(super) checks: &'a [Check],
}

const RELAY: &str = "start it with `kos up --relay MULTIADDR`; whoever runs a relay has its address";
const FORWARD: &str = "forward a UDP port on your router to this machine and start with `--listen /ip4/0.0.0.0/udp/PORT/quic-v1 \
                       --external /ip4/YOUR-ADDRESS/udp/PORT/quic-v1`, or turn UPnP on in the router";

impl Facts<'_> {
    fn failed(&self, name: &str) -> bool {
        self.checks.iter().any(|check| check.name == name && check.state == "failed")
    }

    fn has_relay(&self) -> bool {
        self.relays.iter().any(|relay| relay.state == "active")
    }
}

/// How this node is reached, and what to do about it; empty when there is nothing to do.
pub(super) fn headline(facts: &Facts<'_>) -> (String, String) {
    let has_relay = facts.has_relay();
    let (told, fix) = match (facts.reach, facts.mapping) {
        ("loopback", _) => (
            "This node listens on this machine only: nobody else can reach it.",
            "start it without `--listen`, or with `--listen /ip4/0.0.0.0/udp/0/quic-v1`",
        ),
        ("public", _) => ("Everybody can reach you directly.", ""),
        _ if facts.failed("bootstrap") && !has_relay => (
            "You are cut off: no bootstrap peer answers, and no relay holds a place for you.",
            "run `kos doctor`: it names the cause and what to do",
        ),
        (_, "dependent") if has_relay => (
            "You are behind a symmetric NAT: your router shows each peer another port, so that others reach you through a relay only.",
            FORWARD,
        ),
        (_, "dependent") => {
            ("You are behind a symmetric NAT and have no relay: nobody outside your network can reach you.", RELAY)
        }
        _ if facts.failed("udp") && has_relay => (
            "UDP is blocked in your network: others reach you through a relay over TCP, and no direct path will be found.",
            "let UDP out in the firewall; a phone's hotspot shows whether it is the network",
        ),
        _ if facts.failed("udp") => {
            ("UDP is blocked in your network, and you have no relay: nobody can reach you.", RELAY)
        }
        (_, "independent") if has_relay => (
            "You are behind a router that lets holes be punched: others find a direct path, and until then a relay carries it.",
            "",
        ),
        (_, "independent") => (
            "You are behind a router that would let holes be punched, but no relay helps you to begin: nobody outside can reach you.",
            RELAY,
        ),
        _ if has_relay => (
            "Others reach you through a relay. Whether a direct path is possible is not known yet.",
            "wait a minute and look again: it takes peers at two addresses to tell",
        ),
        ("unknown", _) => ("Nothing is known yet.", "wait some seconds and look again"),
        _ => ("Only your own network can reach you.", RELAY),
    };
    let fix = match facts.upnp {
        // Asking it once more is no advice.
        "no_gateway" | "not_public" if fix == FORWARD => fix.trim_end_matches(", or turn UPnP on in the router"),
        _ => fix,
    };
    (told.to_owned(), fix.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, state: &str) -> Check {
        Check { name: name.into(), state: state.into(), cause: String::new(), fix: String::new() }
    }

    fn told(reach: &str, mapping: &str, relays: usize, failed: &[&str]) -> (String, String) {
        let relay = NetcheckRelay { state: "active".into(), ..NetcheckRelay::default() };
        let (relays, checks) =
            (vec![relay; relays], failed.iter().map(|name| check(name, "failed")).collect::<Vec<_>>());
        headline(&Facts { reach, mapping, upnp: "off", relays: &relays, checks: &checks })
    }

    #[test]
    fn n12_each_kind_of_network_has_a_line_of_its_own_and_says_what_to_do() {
        for (reach, mapping, relays, failed, words, what) in [
            ("loopback", "unknown", 0, &[][..], "this machine only", "--listen"),
            ("public", "independent", 0, &[], "Everybody", ""),
            ("private", "unknown", 0, &["bootstrap", "udp"], "cut off", "kos doctor"),
            ("relayed", "dependent", 1, &[], "symmetric NAT: your router", "forward a UDP port"),
            ("private", "dependent", 0, &[], "symmetric NAT and have no relay", "--relay"),
            ("relayed", "unknown", 1, &["udp"], "UDP is blocked", "firewall"),
            ("private", "unknown", 0, &["udp"], "UDP is blocked", "--relay"),
            ("relayed", "independent", 1, &[], "holes be punched", ""),
            ("private", "independent", 0, &[], "would let holes be punched", "--relay"),
            ("relayed", "unknown", 1, &[], "through a relay", "look again"),
            ("unknown", "unknown", 0, &[], "Nothing is known", "look again"),
            ("private", "unknown", 0, &[], "Only your own network", "--relay"),
        ] {
            let (line, fix) = told(reach, mapping, relays, failed);
            assert!(line.contains(words) && fix.contains(what), "{reach} {mapping} {relays} {failed:?}: {line} {fix}");
            assert!(!line.contains('\n') && !fix.contains('\n') && fix.is_empty() == what.is_empty(), "{line} {fix}");
        }
        let relays = [NetcheckRelay { state: "active".into(), ..NetcheckRelay::default() }];
        let facts = Facts { reach: "relayed", mapping: "dependent", upnp: "no_gateway", relays: &relays, checks: &[] };
        assert!(!headline(&facts).1.contains("UPnP"), "there is no router that can be asked");
    }
}
