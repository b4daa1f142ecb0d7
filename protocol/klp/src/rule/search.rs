//! Whom a search asks, which cards it believes, and which it shows. Source: `specs/04-records.md`, section 3.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::codec::Digest;
use crate::identity::{Did, NodeId};
use crate::limits;
use crate::message::Query;
use crate::refusal::Refusal;
use crate::signed::Verified;
use crate::statement::card::{Card, CardEntry};
use crate::statement::certificate::Credential;
use crate::time::Timestamp;

/// Checks a card: that it holds now, and, when a node has shown it in its answer, that it speaks of that very node. A card that came by
/// gossip was brought by somebody else and has no such node.
///
/// # Errors
/// As [`CardEntry::verify`]; `signature` for a card of another node.
pub fn believes(
    entry: &CardEntry,
    shown_by: Option<NodeId>,
    now: Timestamp,
) -> Result<(Verified<Card>, Credential), Refusal> {
    let (card, credential) = entry.verify(now)?;
    if shown_by.is_some_and(|node| node != card.node) {
        return Err(Refusal::Signature);
    }
    Ok((card, credential))
}

/// Whether a card holds every word of a query, and the capability, and is the one that is meant.
pub fn fits(card: &Card, query: &Query) -> bool {
    let has = |word: &str| {
        card.name.to_lowercase().contains(word)
            || card.tags.iter().any(|tag| tag.to_lowercase() == word)
            || card.description.to_lowercase().contains(word)
            || card.capabilities.iter().any(|one| one.name == word)
    };
    query.agent.is_none_or(|agent| card.agent.0 == agent)
        && query.capability.as_ref().is_none_or(|name| card.capabilities.iter().any(|one| one.name == *name))
        && query.text.as_ref().is_none_or(|text| text.to_lowercase().split_whitespace().all(has))
}

/// Whom to ask when there is no time to ask everybody: the best sources first, so that strangers never displace contacts; among equals an
/// order that `salt` draws anew, so that nobody is first by the choice of a key.
pub fn choose<S: Ord + Copy>(nodes: BTreeMap<NodeId, S>, salt: &[u8], most: usize) -> Vec<(NodeId, S)> {
    let mut nodes: Vec<_> = nodes.into_iter().collect();
    nodes.sort_by_cached_key(|(node, source)| (*source, Digest::of(&[salt, node.0.key()]).0));
    nodes.truncate(most);
    nodes
}

/// Whether an agent is shown whose node has not shown it in this search. One that has answered without it has it no more; of one that is
/// silent it counts how long ago it was last heard, if ever.
pub fn outlives(has_answered: bool, silent_for: Option<Duration>) -> bool {
    !has_answered && silent_for.is_some_and(|silence| silence <= limits::SILENCE)
}

/// A card that a search has found.
#[derive(Clone, Debug)]
pub struct Finding<S> {
    /// How; the least is the best.
    pub source: S,
    /// Whether its node has just answered.
    pub healthy: bool,
    /// What it is.
    pub card: Verified<Card>,
}

/// What a search has found so far: of each agent the one card that counts.
#[derive(Clone, Debug)]
pub struct Findings<S>(BTreeMap<Did, Finding<S>>);

impl<S> Default for Findings<S> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<S: Ord> Findings<S> {
    /// One more believed card. The newest one of an agent counts; of the same number one whose node has just answered, then the better
    /// source.
    pub fn add(&mut self, finding: Finding<S>) {
        let worth = |one: &Finding<S>| (one.card.seq, one.healthy);
        let better = |known: &Finding<S>| {
            worth(&finding).cmp(&worth(known)).then_with(|| known.source.cmp(&finding.source)).is_gt()
        };
        if self.0.get(&finding.card.agent.0).is_none_or(better) {
            self.0.insert(finding.card.agent.0, finding);
        }
    }

    /// In the order in which they are shown: healthy ones first, then by source and name.
    pub fn rows(self) -> Vec<Finding<S>> {
        let mut rows: Vec<_> = self.0.into_values().collect();
        rows.sort_by(|one, other| {
            (!one.healthy, &one.source, &one.card.name).cmp(&(!other.healthy, &other.source, &other.card.name))
        });
        rows
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::statement::certificate::{Certificate, Introduction, Kind};
    use crate::{AgentId, OwnerId, SecretKey};

    const NOW: Timestamp = Timestamp(1_000_000_000_000);

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn node(seed: u8) -> NodeId {
        NodeId(key(seed).did())
    }

    fn entry(agent: u8, on: u8, seq: u64) -> CardEntry {
        let (owner, expires) = (OwnerId(key(90).did()), NOW.after(Duration::from_secs(60)));
        let certificate = Certificate {
            subject: key(agent).did(),
            kind: Kind::Agent,
            owner,
            node: Some(node(on)),
            rights: Vec::new(),
            issued: NOW,
            expires,
            seq: 1,
            next_key: Digest([0; 32]),
        };
        let card = Card {
            agent: AgentId(key(agent).did()),
            owner,
            node: node(on),
            name: format!("agent {agent}"),
            description: String::new(),
            kind: "librarian".to_owned(),
            capabilities: Vec::new(),
            tags: BTreeSet::new(),
            seq,
            issued: NOW,
            expires,
        };
        let card = Verified::sign(card, &key(agent)).signed().clone();
        CardEntry { card, introduction: Introduction::make(certificate, &key(90), &key(agent), NOW) }
    }

    fn finding(entry: &CardEntry, source: u8, healthy: bool) -> Finding<u8> {
        let (card, _) = believes(entry, None, NOW).expect("holds");
        Finding { source, healthy, card }
    }

    #[test]
    fn d2_a_node_is_believed_only_what_it_says_of_itself() {
        let entry = entry(1, 50, 1);
        assert!(believes(&entry, Some(node(50)), NOW).is_ok());
        assert!(believes(&entry, None, NOW).is_ok());
        assert_eq!(believes(&entry, Some(node(51)), NOW).err(), Some(Refusal::Signature));
        let late = NOW.after(Duration::from_secs(61));
        assert_eq!(believes(&entry, Some(node(50)), late).err(), Some(Refusal::Expired));
    }

    #[test]
    fn d2_of_an_agent_the_newest_card_is_shown_whoever_brought_it_first() {
        let (old, new) = (entry(1, 50, 1), entry(1, 51, 2));
        let ways =
            [[finding(&old, 0, true), finding(&new, 4, false)], [finding(&new, 4, false), finding(&old, 0, true)]];
        for way in ways {
            let mut found = Findings::default();
            way.into_iter().for_each(|one| found.add(one));
            let rows = found.rows();
            assert_eq!(rows.iter().map(|row| row.card.seq).collect::<Vec<_>>(), [2]);
        }
    }

    #[test]
    fn of_the_same_card_the_answering_node_and_the_better_source_are_shown() {
        let same = entry(1, 50, 1);
        let mut found = Findings::default();
        for (source, healthy) in [(2, true), (1, true), (3, true), (0, false)] {
            found.add(finding(&same, source, healthy));
        }
        found.add(finding(&entry(2, 50, 9), 0, false));
        found.add(finding(&entry(3, 50, 1), 3, true));
        let rows: Vec<_> = found.rows().iter().map(|row| (row.card.name.clone(), row.source, row.healthy)).collect();
        let expected = [("agent 1", 1, true), ("agent 3", 3, true), ("agent 2", 0, false)];
        assert_eq!(rows, expected.map(|(name, source, healthy)| (name.to_owned(), source, healthy)));
    }

    #[test]
    fn d4_an_agent_outlives_the_silence_of_its_node_for_a_moment_and_its_denial_not_at_all() {
        let moment = limits::SILENCE;
        assert!(outlives(false, Some(Duration::ZERO)) && outlives(false, Some(moment)));
        assert!(!outlives(false, Some(moment + Duration::from_millis(1))), "silent for too long");
        assert!(!outlives(false, None), "never heard");
        assert!(!outlives(true, Some(Duration::ZERO)), "it answers, and does not show it");
    }

    #[test]
    fn strangers_displace_no_contact_and_nobody_is_first_by_its_key() {
        let strangers = 0..40;
        let mut nodes: BTreeMap<_, _> = strangers.map(|seed| (node(seed), 1)).collect();
        nodes.insert(node(200), 0);
        let firsts: BTreeSet<_> = (0..32_u8)
            .map(|salt| {
                let chosen = choose(nodes.clone(), &[salt], 8);
                assert_eq!((chosen.len(), chosen[0]), (8, (node(200), 0)));
                chosen[1].0
            })
            .collect();
        assert!(firsts.len() > 8, "{} different ones are asked first", firsts.len());
    }
}
