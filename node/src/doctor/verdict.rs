//! What it means that some were heard and others not.

use std::collections::BTreeSet;

use klp::NodeId;

use super::network::{Answer, Heard, Seat};
use super::{Targets, check, failed, ok, skipped};
use crate::view::Check;

/// How a clock is set.
pub(super) const SET_CLOCK: &str = "set the clock of this machine, best by itself: `timedatectl set-ntp true`";

/// The checks of the network.
pub(super) fn verdicts(targets: &Targets, heard: &Heard) -> Vec<Check> {
    vec![dns(heard), bootstrap(targets, heard), udp(heard), clock(heard), relays(heard)]
}

fn dns(heard: &Heard) -> Check {
    if heard.names.is_empty() {
        return skipped("dns", "no address in the settings has a name", "");
    }
    let lost: Vec<String> =
        heard.names.iter().filter_map(|(name, why)| Some(format!("{name} ({})", why.as_ref()?))).collect();
    if lost.is_empty() {
        return ok("dns", format!("{} names were found", heard.names.len()));
    }
    let cause = format!("DNS does not answer for {}", lost.join(", "));
    failed(
        "dns",
        cause,
        "check the name servers of this machine (/etc/resolv.conf), or name peers by IP address: /ip4/…",
    )
}

fn bootstrap(targets: &Targets, heard: &Heard) -> Check {
    let nodes: BTreeSet<NodeId> = targets.bootstrap.iter().filter_map(mesh::node_in).collect();
    if nodes.is_empty() {
        let cause = "no bootstrap peer is set: only contacts and this network are found";
        return skipped("bootstrap", cause, "name one with --bootstrap to find others");
    }
    let silent: Vec<String> =
        nodes.iter().filter(|node| !is_there(heard, node)).map(|node| silence(heard, node)).collect();
    match silent.len() {
        0 => ok("bootstrap", format!("{} of {} answer", nodes.len(), nodes.len())),
        some if some < nodes.len() => {
            let cause = format!("{} of {} answer; silent: {}", nodes.len() - some, nodes.len(), silent.join("; "));
            check("bootstrap", "ok", cause, "take the silent ones out of the settings if they do not come back")
        }
        _ => {
            let cause = format!("no bootstrap peer answers: {}", silent.join("; "));
            failed("bootstrap", cause, "check the network and the address, or name another peer with --bootstrap")
        }
    }
}

fn over<'a>(heard: &'a Heard, carrier: &'static str) -> impl Iterator<Item = (NodeId, &'a Answer)> {
    heard.peers.iter().filter(move |((_, over), _)| *over == carrier).map(|((node, _), answer)| (*node, answer))
}

fn answered(answer: &Answer) -> bool {
    !matches!(answer, Answer::Silent(_))
}

fn is_there(heard: &Heard, node: &NodeId) -> bool {
    heard.peers.iter().any(|((one, _), answer)| one == node && answered(answer))
}

fn silence(heard: &Heard, node: &NodeId) -> String {
    let told = heard.peers.iter().filter(|((one, _), _)| one == node).filter_map(|(_, answer)| match answer {
        Answer::Silent(why) => Some(why.as_str()),
        _ => None,
    });
    let told: Vec<&str> = told.collect();
    if told.is_empty() { format!("{} was not asked", node.0.short()) } else { told.join(", ") }
}

fn udp(heard: &Heard) -> Check {
    let (mut asked, mut here) = (0, 0);
    for (_, answer) in over(heard, "udp") {
        asked += 1;
        here += usize::from(answered(answer));
    }
    let by_tcp = over(heard, "tcp").any(|(_, answer)| answered(answer));
    match (asked, here) {
        (0, _) => skipped("udp", "no peer in the settings has a QUIC address (/udp/…/quic-v1) to try it with", ""),
        (_, 0) if by_tcp => failed(
            "udp",
            format!("UDP does not get through: {asked} peers were silent over QUIC while TCP reaches the same network"),
            "let UDP out in the firewall of this network; until then TCP and relays carry everything, and more slowly",
        ),
        (_, 0) => skipped("udp", "nobody answers, over TCP neither", "see the bootstrap peers first"),
        _ => ok("udp", format!("{here} of {asked} peers answer over QUIC")),
    }
}

fn clock(heard: &Heard) -> Check {
    let here: BTreeSet<NodeId> =
        heard.peers.iter().filter(|(_, answer)| answered(answer)).map(|((node, _), _)| *node).collect();
    let off: BTreeSet<NodeId> =
        heard.peers.iter().filter(|(_, answer)| **answer == Answer::Clock).map(|((node, _), _)| *node).collect();
    match (here.len(), off.len()) {
        (0, _) => skipped("clock", "nobody was there to compare the clock with", ""),
        (_, 0) => ok("clock", "it agrees with the clocks of others"),
        // One against one: nobody knows whose it is; more are right together.
        (here, off) if off * 2 >= here => failed(
            "clock",
            format!(
                "the clock of this machine is off by more than 5 minutes: {off} of {here} peers refuse what it signs"
            ),
            SET_CLOCK,
        ),
        (here, off) => ok(
            "clock",
            format!("{off} of {here} peers have a clock that is off; this machine's agrees with the others"),
        ),
    }
}

fn relays(heard: &Heard) -> Check {
    if heard.relays.is_empty() {
        return skipped("relay", "no relay is set", "behind a router name one with --relay");
    }
    if heard.relays.values().all(|place| *place == Seat::Unasked) {
        return skipped("relay", "it was not asked: the key of this node is locked", "see the vault first");
    }
    let mut lost = Vec::new();
    for (node, place) in &heard.relays {
        match place {
            Seat::Given | Seat::Unasked => {}
            Seat::Refused(_) if !is_there(heard, node) => lost.push(format!("no answer: {}", silence(heard, node))),
            Seat::Silent => lost.push(format!("no answer: {}", silence(heard, node))),
            Seat::Refused(why) if why.is_empty() => {
                lost.push(format!("the relay {} answers and refuses a place", node.0.short()));
            }
            Seat::Refused(why) => lost.push(format!("the relay {} refuses a place: {why}", node.0.short())),
        }
    }
    if lost.is_empty() {
        return ok("relay", format!("{} hold a place for this node", heard.relays.len()));
    }
    let refused = lost.iter().any(|text| text.contains("refuses"));
    let fix = if refused {
        "it may be full or may not serve you: ask who runs it, or name another with --relay"
    } else {
        "check the address, or name another with --relay"
    };
    failed("relay", lost.join("; "), fix)
}

#[cfg(test)]
mod tests {
    use klp::SecretKey;

    use super::*;

    fn node(seed: u8) -> NodeId {
        NodeId(SecretKey::from_seed(&[seed; 32]).did())
    }

    fn silent() -> Answer {
        Answer::Silent("/ip4/192.0.2.1/udp/1 (timed out)".to_owned())
    }

    fn heard(peers: &[(u8, &'static str, Answer)]) -> Heard {
        let peers = peers.iter().map(|(seed, over, answer)| ((node(*seed), *over), answer.clone()));
        Heard { peers: peers.collect(), ..Heard::default() }
    }

    #[test]
    fn n12_udp_is_blamed_only_when_tcp_gets_through() {
        for (peers, state) in [
            (vec![], "skipped"),
            (vec![(1, "tcp", Answer::Here)], "skipped"),
            (vec![(1, "tcp", silent()), (1, "udp", silent())], "skipped"),
            (vec![(1, "tcp", Answer::Here), (1, "udp", silent())], "failed"),
            (vec![(1, "tcp", Answer::Here), (1, "udp", silent()), (2, "udp", Answer::Here)], "ok"),
        ] {
            assert_eq!(udp(&heard(&peers)).state, state, "{peers:?}");
        }
    }

    #[test]
    fn n12_a_clock_is_blamed_when_most_others_say_so() {
        for (peers, state) in [
            (vec![], "skipped"),
            (vec![(1, "tcp", Answer::Here)], "ok"),
            (vec![(1, "tcp", Answer::Clock)], "failed"),
            (vec![(1, "tcp", Answer::Clock), (1, "udp", Answer::Clock), (2, "tcp", Answer::Here)], "failed"),
            (vec![(1, "tcp", Answer::Clock), (2, "tcp", Answer::Here), (3, "tcp", Answer::Here)], "ok"),
        ] {
            assert_eq!(clock(&heard(&peers)).state, state, "{peers:?}");
        }
    }

    #[test]
    fn n12_a_relay_that_refuses_is_another_fault_than_one_that_is_silent() {
        let with = |seat: Seat, answer: Answer| {
            let relays = [(node(1), seat)].into();
            super::relays(&Heard { relays, ..heard(&[(1, "tcp", answer)]) })
        };
        assert_eq!(with(Seat::Given, Answer::Here).state, "ok");
        assert_eq!(with(Seat::Unasked, Answer::Here).state, "skipped");
        let refused = with(Seat::Refused("resource limit".to_owned()), Answer::Here);
        assert!(
            refused.cause.contains("refuses a place: resource limit") && refused.fix.contains("full"),
            "{refused:?}"
        );
        for gone in [with(Seat::Silent, silent()), with(Seat::Refused(String::new()), silent())] {
            assert!(
                gone.state == "failed" && gone.cause.contains("no answer") && !gone.fix.contains("full"),
                "{gone:?}"
            );
        }
        assert_eq!(relays(&heard(&[])).state, "skipped");
    }
}
