//! Which addresses of a node once worked, so that the next dial tries them first.

use klp::codec::{CodecError, Fields, Map, Value};
use klp::{Cbor, NodeId, Timestamp, limits};

use crate::error::StoreError;
use crate::table::Table;
use crate::view::{Tx, View};

/// One address of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The multiaddr.
    pub address: String,
    /// When it last worked.
    pub worked: Timestamp,
    /// Failures since then.
    pub failures: u64,
}

/// Says that an address worked. At most 16 are kept for each node; the one that worked longest ago goes.
///
/// # Errors
/// [`StoreError`]
pub fn worked(tx: &mut Tx, node: &NodeId, address: &str, now: Timestamp) -> Result<(), StoreError> {
    if address.len() > limits::ADDRESS {
        return Err(StoreError::TooLarge { size: address.len(), limit: limits::ADDRESS });
    }
    let mut known = of(tx, node)?;
    known.retain(|known| known.address != address);
    known.insert(0, Remembered { address: address.to_owned(), worked: now, failures: 0 });
    known.truncate(limits::ADDRESSES);
    let key = tx.hidden(Table::Addresses, &[node.0.key()]);
    tx.save(Table::Addresses, &key, &known);
    Ok(())
}

/// Says that a remembered address failed. What never worked is not remembered for failing.
///
/// # Errors
/// [`StoreError`]
pub fn failed(tx: &mut Tx, node: &NodeId, address: &str) -> Result<(), StoreError> {
    let mut known = of(tx, node)?;
    let Some(place) = known.iter().position(|known| known.address == address) else { return Ok(()) };
    known[place].failures = known[place].failures.saturating_add(1);
    let key = tx.hidden(Table::Addresses, &[node.0.key()]);
    tx.save(Table::Addresses, &key, &known);
    Ok(())
}

/// The addresses of a node, best first: fewest failures, then latest success.
///
/// # Errors
/// [`StoreError`]
pub fn of(view: &View, node: &NodeId) -> Result<Vec<Remembered>, StoreError> {
    let known: Option<Vec<Remembered>> =
        view.load(Table::Addresses, &view.hidden(Table::Addresses, &[node.0.key()]))?;
    let mut known = known.unwrap_or_default();
    known.sort_by_key(|known| (known.failures, std::cmp::Reverse(known.worked)));
    Ok(known)
}

/// Forgets all addresses of a node.
pub fn forget(tx: &mut Tx, node: &NodeId) {
    let key = tx.hidden(Table::Addresses, &[node.0.key()]);
    tx.remove(Table::Addresses, &key);
}

impl Cbor for Remembered {
    fn to_value(&self) -> Value {
        Map::new().with(1, &self.address).with(2, &self.worked).with(3, &self.failures).build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let known =
            Self { address: fields.text(1, limits::ADDRESS)?, worked: fields.take(2)?, failures: fields.take(3)? };
        fields.end()?;
        Ok(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{self, did};

    #[test]
    fn the_address_that_worked_last_comes_first_and_failures_go_back() {
        bench::on_each(|tx| {
            let node = NodeId(did(1));
            for number in 0..20u64 {
                worked(tx, &node, &format!("/ip4/127.0.0.1/tcp/{number}"), Timestamp(number)).expect("keeps");
            }
            let known = of(tx, &node).expect("reads");
            assert_eq!((known.len(), known[0].address.as_str()), (limits::ADDRESSES, "/ip4/127.0.0.1/tcp/19"));
            failed(tx, &node, "/ip4/127.0.0.1/tcp/19").expect("counts");
            failed(tx, &node, "/ip4/10.0.0.1/tcp/1").expect("is not known");
            let known = of(tx, &node).expect("reads");
            assert_eq!(known[0].address, "/ip4/127.0.0.1/tcp/18");
            assert_eq!((known.len(), known[15].failures), (limits::ADDRESSES, 1));
            forget(tx, &node);
            assert!(of(tx, &node).expect("reads").is_empty());
        });
    }
}
