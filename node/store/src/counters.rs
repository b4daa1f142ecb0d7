//! What was used of each budget. A counter belongs to one grant of a chain, never to a whole chain (security rule 15).

use klp::codec::{CodecError, Fields, Map, Value};
use klp::{Cbor, Digest, OwnerId};

use crate::error::StoreError;
use crate::table::{Table, part};
use crate::view::{Tx, View};

/// Which budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// The grant that it belongs to.
    pub grant: Digest,
    /// Whose share, when the grant gives each holder one.
    pub holder: Option<OwnerId>,
    /// Which day (UTC, since 1970), when the budget is by the day.
    pub day: Option<u64>,
}

/// An amount: what a call costs, or what was used, or what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Amount {
    /// Calls.
    pub calls: u64,
    /// Bytes of answers.
    pub bytes: u64,
    /// Tokens of models.
    pub tokens: u64,
}

/// A limit of a budget; what is `None` is not limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Budget {
    /// Calls.
    pub calls: Option<u64>,
    /// Bytes of answers.
    pub bytes: Option<u64>,
    /// Tokens of models.
    pub tokens: Option<u64>,
}

/// Why nothing was debited.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DebitError {
    /// The budget of this grant does not cover it.
    #[error("the budget of grant {grant} does not cover it")]
    Exceeded {
        /// The grant whose budget is too small.
        grant: Digest,
        /// What is left; what is not limited counts as the largest number.
        left: Amount,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Counter {
    fn key(&self, view: &View) -> [u8; 32] {
        let holder = self.holder.map_or(Vec::new(), |holder| holder.0.key().to_vec());
        let day = self.day.map_or(Vec::new(), |day| day.to_be_bytes().to_vec());
        view.hidden(Table::Counters, &[part(&self.grant), &holder, &day])
    }
}

impl Budget {
    /// What is left of it.
    pub fn left(&self, used: &Amount) -> Amount {
        let left = |limit: Option<u64>, used: u64| limit.map_or(u64::MAX, |limit| limit.saturating_sub(used));
        Amount {
            calls: left(self.calls, used.calls),
            bytes: left(self.bytes, used.bytes),
            tokens: left(self.tokens, used.tokens),
        }
    }
}

impl Amount {
    fn plus(&self, more: &Self) -> Self {
        Self {
            calls: self.calls.saturating_add(more.calls),
            bytes: self.bytes.saturating_add(more.bytes),
            tokens: self.tokens.saturating_add(more.tokens),
        }
    }

    fn minus(&self, less: &Self) -> Self {
        Self {
            calls: self.calls.saturating_sub(less.calls),
            bytes: self.bytes.saturating_sub(less.bytes),
            tokens: self.tokens.saturating_sub(less.tokens),
        }
    }

    fn covers(&self, cost: &Self) -> bool {
        self.calls >= cost.calls && self.bytes >= cost.bytes && self.tokens >= cost.tokens
    }
}

/// What was used so far.
///
/// # Errors
/// [`StoreError`]
pub fn used(view: &View, counter: &Counter) -> Result<Amount, StoreError> {
    Ok(view.load(Table::Counters, &counter.key(view))?.unwrap_or_default())
}

/// Debits the cost from every budget of a chain, or from none.
///
/// # Errors
/// [`DebitError`]; then nothing was debited.
pub fn debit(tx: &mut Tx, chain: &[(Counter, Budget)], cost: &Amount) -> Result<(), DebitError> {
    let mut after = Vec::with_capacity(chain.len());
    for (counter, budget) in chain {
        let used = used(tx, counter)?;
        let left = budget.left(&used);
        if !left.covers(cost) {
            return Err(DebitError::Exceeded { grant: counter.grant, left });
        }
        after.push((counter.key(tx), used.plus(cost)));
    }
    for (key, used) in after {
        tx.save(Table::Counters, &key, &used);
    }
    Ok(())
}

/// Gives back what was reserved and not spent, once the deed is done. After a crash nobody calls this: then it is spent.
///
/// # Errors
/// [`StoreError`]
pub fn settle(tx: &mut Tx, counters: &[Counter], unspent: &Amount) -> Result<(), StoreError> {
    for counter in counters {
        let used = used(tx, counter)?;
        let key = counter.key(tx);
        tx.save(Table::Counters, &key, &used.minus(unspent));
    }
    Ok(())
}

impl Cbor for Amount {
    fn to_value(&self) -> Value {
        Map::new().with(1, &self.calls).with(2, &self.bytes).with(3, &self.tokens).build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let amount = Self { calls: fields.take(1)?, bytes: fields.take(2)?, tokens: fields.take(3)? };
        fields.end()?;
        Ok(amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{self, did};

    const ONE: Amount = Amount { calls: 1, bytes: 10, tokens: 0 };

    fn counter(grant: u8) -> Counter {
        Counter { grant: Digest([grant; 32]), holder: None, day: None }
    }

    #[test]
    fn s15_every_grant_of_the_chain_is_debited_or_none() {
        bench::on_each(|tx| {
            let wide = (counter(1), Budget { calls: Some(5), ..Budget::default() });
            let narrow = (counter(2), Budget { bytes: Some(25), ..Budget::default() });
            for _ in 0..2 {
                debit(tx, &[wide, narrow], &ONE).expect("covers");
            }
            let refused = debit(tx, &[wide, narrow], &ONE);
            assert!(
                matches!(refused, Err(DebitError::Exceeded { grant, left }) if grant == narrow.0.grant && left.bytes == 5)
            );
            assert_eq!(used(tx, &wide.0).expect("reads").calls, 2, "the wide grant paid for nothing");
            settle(tx, &[wide.0, narrow.0], &Amount { bytes: 5, ..Amount::default() }).expect("settles");
            debit(tx, &[wide, narrow], &ONE).expect("covers again");
        });
    }

    #[test]
    fn s15_holders_and_days_have_counters_of_their_own() {
        bench::on_each(|tx| {
            let daily = Budget { calls: Some(1), ..Budget::default() };
            let share = |holder, day| Counter { holder: Some(OwnerId(did(holder))), day: Some(day), ..counter(1) };
            debit(tx, &[(share(1, 7), daily)], &ONE).expect("covers");
            assert!(debit(tx, &[(share(1, 7), daily)], &ONE).is_err());
            debit(tx, &[(share(2, 7), daily)], &ONE).expect("another holder");
            debit(tx, &[(share(1, 8), daily)], &ONE).expect("another day");
        });
    }
}
