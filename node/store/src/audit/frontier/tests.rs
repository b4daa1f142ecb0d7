//! Our tree against those of others: Certificate Transparency's known answers, and proofs that another library makes.

use super::*;

/// The leaves that Certificate Transparency's own tests use, as in all its libraries since `merkle_tree_test.cc`.
const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex")).collect()
}

/// Our tree of the first leaves.
fn tree(size: u64) -> Frontier {
    let mut frontier = Frontier::default();
    LEAVES.iter().zip(0..size).for_each(|(leaf, _)| frontier.push(leaf_hash(&unhex(leaf))));
    frontier
}

fn path(text: &str) -> Vec<Digest> {
    unhex(text).chunks_exact(32).map(|hash| Digest(hash.try_into().expect("32 bytes"))).collect()
}

/// The leaves' roots.
#[test]
fn the_reference_roots_of_certificate_transparency() {
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
    for (size, root) in (0..).zip(roots) {
        assert_eq!(tree(size).root().to_string(), root, "{size} leaves");
    }
}

/// `rfc6962_test.go` of transparency-dev/merkle: a leaf and an inner node by themselves.
#[test]
fn leaves_and_nodes_are_hashed_apart() {
    let leaf = leaf_hash(b"L123456");
    assert_eq!(leaf.to_string(), "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56");
    let node = Digest::of(&[&[1], b"N123", b"N456"]);
    assert_eq!(node.to_string(), "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb");
    let as_leaf = leaf_hash(&[leaf.0, node.0].concat());
    assert_ne!(node_hash(&leaf, &node), as_leaf, "a node is never a leaf");
}

/// RFC 9162, section 2.1.3.2.
fn includes(root: Digest, size: u64, index: u64, leaf: Digest, path: &[Digest]) -> bool {
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    for step in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(step, &hash);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, step);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && hash == root
}

/// RFC 9162, section 2.1.4.2, for two different sizes.
fn continues(old: (Digest, u64), new: (Digest, u64), path: &[Digest]) -> bool {
    let lead = old.1.is_power_of_two().then_some(old.0);
    let mut path = lead.into_iter().chain(path.iter().copied());
    let (mut at, mut last) = (old.1 - 1, new.1 - 1);
    while at & 1 == 1 {
        (at, last) = (at >> 1, last >> 1);
    }
    let Some(first) = path.next() else { return false };
    let (mut left, mut whole) = (first, first);
    for step in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            (left, whole) = (node_hash(&step, &left), node_hash(&step, &whole));
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            whole = node_hash(&whole, &step);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && (left, whole) == (old.0, new.0)
}

/// `reference_test.go` of transparency-dev/merkle: what its libraries prove about these leaves is true of our roots.
#[test]
fn the_reference_proofs_lead_to_our_roots() {
    const A: &str = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
    const B: &str = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
    const C: &str = "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125";
    const D: &str = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
    const E: &str = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";
    const F: &str = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4";
    const G: &str = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";
    const H: &str = "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7";
    const I: &str = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";
    let inclusion: [(u64, u64, &[&str]); 7] = [
        (1, 0, &[]),
        (2, 0, &[A]),
        (2, 1, &[B]),
        (3, 2, &[C]),
        (5, 1, &[B, D, E]),
        (8, 0, &[A, D, F]),
        (8, 5, &[E, G, H]),
    ];
    for (size, index, proof) in inclusion {
        let leaf = leaf_hash(&unhex(LEAVES[usize::try_from(index).expect("small")]));
        let proof = path(&proof.concat());
        assert!(includes(tree(size).root(), size, index, leaf, &proof), "leaf {index} of {size}");
        assert!(!includes(tree(size - 1).root(), size, index, leaf, &proof), "another root");
        assert!(!includes(tree(size).root(), size, index, leaf_hash(b"other"), &proof), "another leaf");
    }
    let consistency: [(u64, u64, &[&str]); 3] = [(1, 8, &[A, D, F]), (2, 5, &[D, E]), (6, 8, &[I, G, H])];
    for (old, new, proof) in consistency {
        let root = |size: u64| (tree(size).root(), size);
        let proof = path(&proof.concat());
        assert!(continues(root(old), root(new), &proof), "{old} leaves, then {new}");
        assert!(!continues((tree(old + 1).root(), old), root(new), &proof), "another beginning");
        assert!(!continues(root(old), (tree(old).root(), new), &proof), "another end");
    }
}

/// All proofs between trees of at most 64 leaves, made by another library and checked as the RFC says, against our roots.
#[test]
fn every_proof_of_another_library_leads_to_our_roots() {
    let mut theirs = ct_merkle::mem_backed_tree::MemoryBackedTree::<sha2::Sha256, Vec<u8>>::new();
    let (mut frontier, mut roots, mut leaves) = (Frontier::default(), Vec::new(), Vec::new());
    for size in 1u64..=64 {
        let leaf = size.to_be_bytes().to_vec();
        leaves.push(leaf_hash(&leaf));
        frontier.push(leaf_hash(&leaf));
        theirs.push(leaf);
        roots.push(frontier.root());
        let steps = |bytes: &[u8]| path(&bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        for (index, leaf) in leaves.iter().enumerate() {
            let mut proof = steps(theirs.prove_inclusion(index).as_bytes());
            assert!(includes(frontier.root(), size, index as u64, *leaf, &proof), "leaf {index} of {size}");
            if let Some(step) = proof.last_mut() {
                step.0[0] ^= 1;
                assert!(!includes(frontier.root(), size, index as u64, *leaf, &proof), "a changed proof");
            }
        }
        for old in 1..size {
            let added = usize::try_from(size - old).expect("small");
            let proof = steps(theirs.prove_consistency(added).as_bytes());
            let before = (roots[usize::try_from(old).expect("small") - 1], old);
            assert!(continues(before, (frontier.root(), size), &proof), "{old} leaves, then {size}");
        }
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
