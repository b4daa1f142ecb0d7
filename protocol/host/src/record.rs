//! Which records a program stores for others and believes: signed by the node that they are about, under its own key, and fresh.
//! Source: `specs/04-records.md`.

use klp::statement::card::{NodeRecord, node_key};
use klp::{NodeId, Signed, Timestamp, limits};

use crate::health;

/// Whether a DHT record holds at this moment. `publisher` is who claims to have put it, where that is known.
pub fn holds(key: &[u8], value: &[u8], publisher: Option<NodeId>, now: Timestamp) -> bool {
    if value.len() > limits::RECORD {
        return false;
    }
    let Ok(record) = Signed::<NodeRecord>::from_bytes(value.to_vec()).verify() else { return false };
    let theirs = record.signer() == record.node.0
        && publisher.is_none_or(|publisher| publisher == record.node)
        && key == node_key(&record.node).0;
    let fresh = now <= record.expires
        && record.issued <= now.after(limits::SKEW)
        && record.expires <= now.after(limits::SKEW).after(limits::RECORD_LIFE);
    theirs && fresh
}

/// [`holds`], by the clock of this machine.
pub fn holds_now(key: &[u8], value: &[u8], publisher: Option<NodeId>) -> bool {
    holds(key, value, publisher, Timestamp(health::now_ms()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use klp::sealed::ExchangeSecret;
    use klp::{SecretKey, Verified};

    const NOW: Timestamp = Timestamp(1_000_000_000_000);

    fn record(of: &SecretKey, by: &SecretKey, issued: Timestamp, expires: Timestamp) -> Vec<u8> {
        let exchange = ExchangeSecret::from_seed([3; 32]).public();
        let record = NodeRecord { node: NodeId(of.did()), addresses: Vec::new(), exchange, seq: 1, issued, expires };
        Verified::sign(record, by).signed().as_bytes().to_vec()
    }

    #[test]
    fn s24_only_a_nodes_own_fresh_record_under_its_own_key_holds() {
        let (ada, bob) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
        let (node, other) = (NodeId(ada.did()), NodeId(bob.did()));
        let key = node_key(&node).0;
        let until = NOW.after(limits::RECORD_LIFE);
        let good = record(&ada, &ada, NOW, until);
        assert!(holds(&key, &good, Some(node), NOW));
        assert!(holds(&key, &good, None, until));

        assert!(!holds(&key, &good, Some(other), NOW), "put by somebody else");
        assert!(!holds(&node_key(&other).0, &good, None, NOW), "under another key");
        assert!(!holds(&key, &record(&ada, &bob, NOW, until), None, NOW), "signed by somebody else");
        assert!(!holds(&key, &good, None, until.after(limits::SKEW)), "past its time");
        assert!(!holds(&key, &record(&ada, &ada, until, until), None, NOW), "from the future");
        let forever = record(&ada, &ada, NOW, NOW.after(limits::RECORD_LIFE * 3));
        assert!(!holds(&key, &forever, None, NOW), "for longer than a record lives");
        let mut spoilt = good.clone();
        spoilt[good.len() - 1] ^= 1;
        assert!(!holds(&key, &spoilt, None, NOW));
        assert!(!holds(&key, &[], None, NOW) && !holds(&key, &vec![0; limits::RECORD + 1], None, NOW));
    }
}
