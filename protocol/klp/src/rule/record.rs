//! Which published statements are stored for others and believed, and which of two counts. Source: `specs/04-records.md`, section 1.

use crate::identity::NodeId;
use crate::limits;
use crate::refusal::Refusal;
use crate::signed::{Signed, Verified};
use crate::statement::card::{Card, NodeRecord, RelayOffer, node_key};
use crate::time::Timestamp;

/// What a statement that holds says of its place among others by the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Rises with every statement: the higher one counts.
    pub seq: u64,
    /// Until when it may be kept and shown.
    pub expires: Timestamp,
}

/// What keeping a statement comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It was not known, or only an older one.
    Kept,
    /// The same number is known.
    Known,
    /// A newer one is known.
    Stale,
    /// It has expired.
    Expired,
}

impl Standing {
    /// Whether it is not to be kept or shown any more.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires <= now
    }
}

impl From<&Card> for Standing {
    fn from(card: &Card) -> Self {
        Self { seq: card.seq, expires: card.expires }
    }
}

impl From<&RelayOffer> for Standing {
    fn from(offer: &RelayOffer) -> Self {
        Self { seq: offer.seq, expires: offer.expires }
    }
}

/// Whether a statement takes the place of the one that is known of its publisher. Of two with the same number the first one stays,
/// and an older one never comes back while the newer one is known, however fresh it still is.
pub fn put(known: Option<&Standing>, new: &Standing, now: Timestamp) -> Put {
    match known {
        _ if new.has_expired(now) => Put::Expired,
        Some(known) if known.seq == new.seq => Put::Known,
        Some(known) if known.seq > new.seq => Put::Stale,
        _ => Put::Kept,
    }
}

/// The standing of a DHT record at this moment, or `None` when it does not hold: it must be signed by the node that it is about, lie
/// under that node's key, and be fresh. `publisher` is who claims to have put it, where that is known.
pub fn standing(key: &[u8], value: &[u8], publisher: Option<NodeId>, now: Timestamp) -> Option<Standing> {
    if value.len() > limits::RECORD {
        return None;
    }
    let record = Signed::<NodeRecord>::from_bytes(value.to_vec()).verify().ok()?;
    holds(&record, key, publisher, now).then_some(Standing { seq: record.seq, expires: record.expires })
}

/// Whether a record whose signature has been checked holds under this key at this moment.
pub fn holds(record: &Verified<NodeRecord>, key: &[u8], publisher: Option<NodeId>, now: Timestamp) -> bool {
    let theirs = record.signer() == record.node.0
        && publisher.is_none_or(|publisher| publisher == record.node)
        && key == node_key(&record.node).0;
    let fresh = now <= record.expires
        && record.issued <= now.after(limits::SKEW)
        && record.expires <= now.after(limits::SKEW).after(limits::RECORD_LIFE);
    theirs && fresh
}

/// The relays that `node` offers, if it has signed that itself and the offer holds at this moment.
///
/// # Errors
/// `signature` also when it is another node's, `malformed`, `clock`, `expired`; `too_large` when an address is, or when it is to hold for longer than may be.
pub fn offer(signed: &Signed<RelayOffer>, node: &NodeId, now: Timestamp) -> Result<Verified<RelayOffer>, Refusal> {
    let offer = signed.verify().map_err(|error| Refusal::from(&error))?;
    let standing = Standing::from(&*offer);
    let oversized = offer.relays.iter().any(|address| address.len() > limits::ADDRESS);
    if offer.node != *node || offer.signer() != node.0 {
        Err(Refusal::Signature)
    } else if offer.issued > now.after(limits::SKEW) {
        Err(Refusal::Clock)
    } else if standing.has_expired(now) {
        Err(Refusal::Expired)
    } else if oversized || standing.expires > now.after(limits::SKEW).after(limits::RELAYS_LIFE) {
        Err(Refusal::TooLarge)
    } else {
        Ok(offer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SecretKey;
    use crate::sealed::ExchangeSecret;

    const NOW: Timestamp = Timestamp(1_000_000_000_000);

    fn record(of: &SecretKey, by: &SecretKey, issued: Timestamp, expires: Timestamp) -> Vec<u8> {
        let exchange = ExchangeSecret::from_seed([3; 32]).public();
        let record = NodeRecord { node: NodeId(of.did()), addresses: Vec::new(), exchange, seq: 1, issued, expires };
        Verified::sign(record, by).signed().as_bytes().to_vec()
    }

    fn held(key: &[u8], value: &[u8], publisher: Option<NodeId>, now: Timestamp) -> bool {
        standing(key, value, publisher, now).is_some()
    }

    #[test]
    fn s24_only_a_nodes_own_fresh_record_under_its_own_key_holds() {
        let (ada, bob) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
        let (node, other) = (NodeId(ada.did()), NodeId(bob.did()));
        let key = node_key(&node).0;
        let until = NOW.after(limits::RECORD_LIFE);
        let good = record(&ada, &ada, NOW, until);
        assert_eq!(standing(&key, &good, Some(node), NOW), Some(Standing { seq: 1, expires: until }));
        assert!(held(&key, &good, None, until));

        assert!(!held(&key, &good, Some(other), NOW), "put by somebody else");
        assert!(!held(&node_key(&other).0, &good, None, NOW), "under another key");
        assert!(!held(&key, &record(&ada, &bob, NOW, until), None, NOW), "signed by somebody else");
        assert!(!held(&key, &good, None, until.after(limits::SKEW)), "past its time");
        assert!(!held(&key, &record(&ada, &ada, until, until), None, NOW), "from the future");
        let forever = record(&ada, &ada, NOW, NOW.after(limits::RECORD_LIFE * 3));
        assert!(!held(&key, &forever, None, NOW), "for longer than a record lives");
        let mut spoilt = good.clone();
        spoilt[good.len() - 1] ^= 1;
        assert!(!held(&key, &spoilt, None, NOW));
        assert!(!held(&key, &[], None, NOW) && !held(&key, &vec![0; limits::RECORD + 1], None, NOW));
    }

    #[test]
    fn d2_an_older_statement_never_takes_the_place_of_a_newer_one() {
        let standing = |seq, expires| Standing { seq, expires: Timestamp(expires) };
        let (old, new, now) = (standing(4, 200), standing(5, 100), Timestamp(10));
        assert_eq!(put(None, &old, now), Put::Kept);
        assert_eq!(put(Some(&old), &new, now), Put::Kept);
        assert_eq!(put(Some(&new), &old, now), Put::Stale, "though it would live longer");
        assert_eq!(put(Some(&new), &standing(5, 200), now), Put::Known);
        assert_eq!(put(Some(&old), &new, Timestamp(100)), Put::Expired, "the last moment is over");
        assert_eq!(put(None, &new, Timestamp(99)), Put::Kept);
    }

    #[test]
    fn s24_an_offer_of_relays_counts_only_as_the_word_of_the_node_that_gives_it() {
        let [bob, eve] = [1, 2].map(|seed| SecretKey::from_seed(&[seed; 32]));
        let said = |of: &SecretKey, by: &SecretKey, issued: Timestamp, expires: Timestamp| {
            let relays = vec!["/ip4/93.184.216.34/tcp/4711/p2p/R".to_owned()];
            let offer = RelayOffer { node: NodeId(of.did()), relays, seq: 1, issued, expires };
            Verified::sign(offer, by).signed().clone()
        };
        let (week, skew, second) = (limits::RELAYS_LIFE, limits::SKEW, std::time::Duration::from_secs(1));
        let later = NOW.after(week);
        let past = Timestamp(NOW.0 - 1);
        for (signed, outcome) in [
            (said(&bob, &bob, NOW, later), Ok(())),
            (said(&bob, &bob, NOW.after(skew), later.after(skew)), Ok(())),
            (said(&eve, &eve, NOW, later), Err(Refusal::Signature)),
            (said(&bob, &eve, NOW, later), Err(Refusal::Signature)),
            (said(&eve, &bob, NOW, later), Err(Refusal::Signature)),
            (said(&bob, &bob, NOW.after(skew).after(second), later), Err(Refusal::Clock)),
            (said(&bob, &bob, past, NOW), Err(Refusal::Expired)),
            (said(&bob, &bob, NOW, later.after(skew).after(second)), Err(Refusal::TooLarge)),
        ] {
            assert_eq!(offer(&signed, &NodeId(bob.did()), NOW).map(drop), outcome);
        }
        let many = RelayOffer {
            node: NodeId(bob.did()),
            relays: vec![String::new(); limits::RELAYS_OFFERED + 1],
            seq: 1,
            issued: NOW,
            expires: later,
        };
        let many = Verified::sign(many, &bob).signed().clone();
        assert!(offer(&many, &NodeId(bob.did()), NOW).is_err(), "more than an offer may name");
    }
}
