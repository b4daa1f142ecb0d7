//! What the world knows and no node does: everything that was ever signed, and so whether somebody believes what it must not.

use std::collections::{BTreeMap, BTreeSet};

use klp::rule::record::Standing;
use klp::rule::search::Finding;
use klp::statement::card::{Card, CardEntry};
use klp::{Did, Digest, Signed, Timestamp, limits};

use super::node::{Round, Source};

/// What must hold.
#[derive(Debug, Default)]
pub(super) struct Truth {
    /// Every card that its own agent signed, and until when it was announced.
    cards: BTreeMap<Digest, Timestamp>,
    /// Every record that its own node signed.
    records: BTreeMap<Digest, Standing>,
    /// The newest card of an agent that a node has believed.
    newest: BTreeMap<(usize, Did), u64>,
    /// The given agent, and when its node left.
    pub(super) given: Option<Did>,
    pub(super) left: Option<Timestamp>,
    /// Who has found it while it was there, and who has looked for it when all was over.
    pub(super) found: BTreeSet<usize>,
    pub(super) looked: BTreeSet<usize>,
    pub(super) searches: u64,
}

fn name(card: &Signed<Card>) -> Digest {
    Digest::of(&[card.as_bytes()])
}

impl Truth {
    pub(super) fn signs(&mut self, entry: &CardEntry, expires: Timestamp) {
        self.cards.insert(name(&entry.card), expires);
    }

    pub(super) fn puts(&mut self, value: &[u8], standing: Standing) {
        self.records.insert(Digest::of(&[value]), standing);
    }

    /// A node keeps a record for others, in the place of another one.
    pub(super) fn keeps(&self, value: &[u8], known: Option<Standing>, now: Timestamp) -> Result<(), String> {
        let standing = self.believes(value, now)?;
        match known.filter(|known| now <= known.expires && known.seq >= standing.seq) {
            Some(known) => Err(format!("a record with number {} replaces number {}", standing.seq, known.seq)),
            None => Ok(()),
        }
    }

    /// A node believes where somebody is.
    pub(super) fn believes(&self, value: &[u8], now: Timestamp) -> Result<Standing, String> {
        let standing = self.records.get(&Digest::of(&[value])).ok_or("a forged record is believed")?;
        if now > standing.expires { Err("a record is believed after its time".to_owned()) } else { Ok(*standing) }
    }

    /// A node remembers a card.
    pub(super) fn remembers(&mut self, node: usize, card: &Card) {
        let newest = self.newest.entry((node, card.agent.0)).or_default();
        *newest = card.seq.max(*newest);
    }

    /// A search shows these.
    pub(super) fn shows(
        &mut self,
        node: usize,
        round: Round,
        rows: &[Finding<Source>],
        now: Timestamp,
    ) -> Result<(), String> {
        self.searches += 1;
        for row in rows {
            let card = &row.card;
            let expires = self.cards.get(&name(card.signed())).ok_or_else(|| format!("{node} shows a forged card"))?;
            if now > *expires {
                return Err(format!("{node} shows a card {:?} after its lifetime", now.since(*expires)));
            }
            let newest = self.newest.get(&(node, card.agent.0)).copied().unwrap_or_default();
            if card.seq < newest {
                return Err(format!("{node} shows card {} though it has seen {newest}", card.seq));
            }
            let is_given = self.given == Some(card.agent.0);
            if is_given && self.left.is_some_and(|left| now > left.after(limits::RECORD_LIFE)) {
                return Err(format!("{node} shows the agent whose node has left"));
            }
            if is_given && row.healthy && self.left.is_some_and(|left| now > left.after(super::world::PATIENCE * 2)) {
                return Err(format!("{node} calls an agent healthy whose node has left"));
            }
            if is_given && row.healthy && matches!(round, Round::There(_)) {
                self.found.insert(node);
            }
        }
        if round == Round::Over {
            self.looked.insert(node);
        }
        Ok(())
    }
}
