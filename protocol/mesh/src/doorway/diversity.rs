//! Which peers enter the routing table: few of one network, so that nobody with many keys and few addresses can fill it.

use std::collections::HashMap;
use std::net::IpAddr;

use libp2p::PeerId;

use super::network::{Block, Network};

/// Peers of one network among the neighbours at one distance: a search asks some at each distance, and some must be others.
const IN_BUCKET: usize = 2;
/// Peers of one network in the whole table.
const OF_NETWORK: usize = 10;
/// Peers of one provider's block in the whole table.
const OF_BLOCK: usize = 32;

/// Where the peers of the table are.
#[derive(Debug, Default)]
pub(crate) struct Diversity {
    origins: HashMap<PeerId, IpAddr>,
}

impl Diversity {
    /// Whether a peer at this address may enter the table, which holds `table`: who, and at which distance.
    pub(crate) fn admits(&mut self, peer: PeerId, ip: IpAddr, distance: u32, table: &[(PeerId, u32)]) -> bool {
        self.origins.retain(|known, _| table.iter().any(|(present, _)| present == known));
        let (network, block) = (Network::of(ip), Block::of(ip));
        let (mut near, mut neighbours, mut block_mates) = (0, 0, 0);
        for (present, at) in table.iter().filter(|(present, _)| *present != peer) {
            let Some(origin) = self.origins.get(present) else { continue };
            let same = Network::of(*origin) == network;
            near += usize::from(same && *at == distance);
            neighbours += usize::from(same);
            block_mates += usize::from(Block::of(*origin) == block);
        }
        let admitted = near < IN_BUCKET && neighbours < OF_NETWORK && block_mates < OF_BLOCK;
        if admitted {
            self.origins.insert(peer, ip);
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Table(Diversity, Vec<(PeerId, u32)>);

    impl Table {
        fn add(&mut self, ip: &str, distance: u32) -> bool {
            let peer = PeerId::random();
            let admitted = self.0.admits(peer, ip.parse().expect("address"), distance, &self.1);
            if admitted {
                self.1.push((peer, distance));
            }
            admitted
        }
    }

    #[test]
    fn x3_a_thousand_keys_at_one_address_get_two_places_at_one_distance_and_ten_in_all() {
        let mut table = Table::default();
        assert_eq!((0..1000).filter(|_| table.add("203.0.113.7", 255)).count(), 2);
        assert_eq!((0..255).filter(|distance| table.add("203.0.113.8", *distance)).count(), 8);
        assert!(table.add("203.0.114.1", 255), "others find a place there");
        let spread = (0..1000).filter(|at| table.add(&format!("203.0.{}.1", at % 250), 1 + at / 4)).count();
        assert_eq!(spread, OF_BLOCK - 11, "neither does a whole provider fill it");
        assert!(table.add("2001:db8::1", 255));
    }

    #[test]
    fn x3_a_peer_that_left_makes_room_and_one_that_stays_may_say_so_again() {
        let mut table = Table::default();
        assert!(table.add("203.0.113.7", 9) && table.add("203.0.113.7", 9) && !table.add("203.0.113.7", 9));
        let (first, _) = table.1[0];
        assert!(table.0.admits(first, "203.0.113.7".parse().expect("address"), 9, &table.1), "it is there already");
        table.1.remove(0);
        assert!(table.add("203.0.113.7", 9));
        assert_eq!(table.0.origins.len(), 2);
    }
}
