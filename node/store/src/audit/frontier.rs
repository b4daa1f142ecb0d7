//! The right edge of an RFC 6962 tree: enough to append and to know the root, in 32 bytes for each level.

use klp::codec::{CodecError, Fields, Map, Value};
use klp::{Cbor, Digest};

/// Levels of a tree; 2^63 leaves are more than ever will be.
const LEVELS: usize = 63;

/// The roots of the full subtrees that a tree of `size` leaves consists of, largest first.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Frontier {
    size: u64,
    peaks: Vec<Digest>,
}

/// The hash of a leaf (RFC 6962, section 2.1).
pub(crate) fn leaf_hash(leaf: &[u8]) -> Digest {
    Digest::of(&[&[0], leaf])
}

fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Digest::of(&[&[1], &left.0, &right.0])
}

impl Frontier {
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn push(&mut self, leaf: Digest) {
        let mut hash = leaf;
        let mut size = self.size;
        while size & 1 == 1 {
            let Some(left) = self.peaks.pop() else { break };
            hash = node_hash(&left, &hash);
            size >>= 1;
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    pub(crate) fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else { return Digest::of(&[]) };
        peaks.fold(*last, |right, left| node_hash(left, &right))
    }
}

impl Cbor for Frontier {
    fn to_value(&self) -> Value {
        Map::new().with(1, &self.size).with(2, &self.peaks).build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let frontier = Self { size: fields.take(1)?, peaks: fields.list(2, LEVELS)? };
        fields.end()?;
        if u64::from(frontier.size.count_ones()) == frontier.peaks.len() as u64 {
            Ok(frontier)
        } else {
            Err(CodecError::Field { field: 2, expected: "one root for each bit of the size" })
        }
    }
}

#[cfg(test)]
mod tests;
