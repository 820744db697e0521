//! What every hash, key derivation and signature begins with, and the hash itself.
//!
//! The frame is `name length (u8) ‖ name ‖ label version (u16 LE) ‖ tree id (32 bytes)`. Parts that follow it
//! are written as `length (u64 LE) ‖ bytes`, so that no two lists of parts give the same bytes.

use bt_base::TreeId;
use bt_base::label::Label;

/// Stands for the tree where there is none yet: credentials, root files, keys from seeds.
pub const NO_TREE: TreeId = TreeId([0; 32]);

/// BLAKE3 over the label, the tree and the parts; the parts cannot run into one another.
pub fn labelled_hash(label: Label, tree: &TreeId, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    frame(label, tree, |bytes| {
        hasher.update(bytes);
    });
    each_part(parts, |bytes| {
        hasher.update(bytes);
    });
    *hasher.finalize().as_bytes()
}

/// Hands the frame of `label` and `tree` to `sink`, piece by piece.
pub(crate) fn frame(label: Label, tree: &TreeId, mut sink: impl FnMut(&[u8])) {
    let name_len = u8::try_from(label.name.len()).expect("a label's name is shorter than 256 bytes");
    sink(&[name_len]);
    sink(label.name.as_bytes());
    sink(&label.version.to_le_bytes());
    sink(&tree.0);
}

/// Hands the parts with their lengths to `sink`.
pub(crate) fn each_part(parts: &[&[u8]], mut sink: impl FnMut(&[u8])) {
    for part in parts {
        sink(&(part.len() as u64).to_le_bytes());
        sink(part);
    }
}

#[cfg(test)]
mod tests {
    use bt_base::label::{GENESIS, HEAD};

    use super::*;

    #[test]
    fn a_hash_is_that_of_the_documented_bytes() {
        let tree = TreeId([7; 32]);
        let mut bytes = vec![14];
        bytes.extend(b"blocktree/head");
        bytes.extend([1, 0]);
        bytes.extend([7; 32]);
        bytes.extend([2, 0, 0, 0, 0, 0, 0, 0, b'a', b'b']);
        assert_eq!(labelled_hash(HEAD, &tree, &[b"ab"]), *blake3::hash(&bytes).as_bytes());
    }

    #[test]
    fn label_tree_and_the_limits_of_parts_all_count() {
        let tree = TreeId([1; 32]);
        let hash = labelled_hash(HEAD, &tree, &[b"ab", b"c"]);
        assert_ne!(hash, labelled_hash(GENESIS, &tree, &[b"ab", b"c"]));
        assert_ne!(hash, labelled_hash(HEAD, &TreeId([2; 32]), &[b"ab", b"c"]));
        assert_ne!(hash, labelled_hash(HEAD, &tree, &[b"a", b"bc"]));
        assert_ne!(hash, labelled_hash(HEAD, &tree, &[b"abc"]));
    }
}
