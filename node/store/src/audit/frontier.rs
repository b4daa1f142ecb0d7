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
mod tests {
    use super::*;

    /// The leaves and roots that Certificate Transparency's own tests use.
    #[test]
    fn the_reference_roots_of_certificate_transparency() {
        let leaves =
            ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut frontier = Frontier::default();
        assert_eq!(frontier.root().to_string(), roots[0]);
        for (leaf, root) in leaves.iter().zip(&roots[1..]) {
            let bytes: Vec<u8> =
                (0..leaf.len() / 2).map(|i| u8::from_str_radix(&leaf[2 * i..2 * i + 2], 16).expect("hex")).collect();
            frontier.push(leaf_hash(&bytes));
            assert_eq!(frontier.root().to_string(), *root);
        }
    }

    #[test]
    fn every_size_agrees_with_a_tree_that_keeps_all_leaves() {
        let mut tree = ct_merkle::mem_backed_tree::MemoryBackedTree::<sha2::Sha256, Vec<u8>>::new();
        let mut frontier = Frontier::default();
        for number in 0u64..200 {
            let leaf = number.to_be_bytes().to_vec();
            frontier.push(leaf_hash(&leaf));
            tree.push(leaf);
            assert_eq!(&frontier.root().0[..], &tree.root().as_bytes()[..], "size {}", number + 1);
            assert_eq!(Frontier::from_bytes(&frontier.to_bytes(), 4096), Ok(frontier.clone()));
        }
    }

    #[test]
    fn a_frontier_of_another_shape_is_refused() {
        let wrong = Frontier { size: 3, peaks: vec![Digest([0; 32])] };
        assert!(Frontier::from_bytes(&wrong.to_bytes(), 4096).is_err());
    }
}
