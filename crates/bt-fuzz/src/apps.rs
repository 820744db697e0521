//! Packages of apps, and what is said about them.

use std::collections::BTreeMap;

use bt_base::TreeId;
use bt_crypto::SoftwareKeyStore;
use bt_tree::app::{Handover, Installation, Package, UnsignedPackage, limits};

use crate::vector;

pub(crate) fn package(data: &[u8]) {
    if let Ok(package) = Package::open(data.to_vec()) {
        assert_eq!(package.as_bytes(), data, "a package keeps its bytes");
    }
    if let Ok(unsigned) = UnsignedPackage::open(data.to_vec()) {
        assert_eq!(unsigned.manifest().check(), Ok(()), "a manifest that was read keeps its rules");
        assert!(data.len() <= limits::PACKAGE_BYTES);
    }
}

pub(crate) fn package_seeds() -> Vec<Vec<u8>> {
    let author = SoftwareKeyStore::from_seed(&[22; 32]);
    let manifest = Package::open(vector("bt-tree/vectors/package-v1.hex")).expect("it is a package").manifest().clone();
    let small = UnsignedPackage::pack(manifest, b"\0asm", &BTreeMap::new()).expect("it keeps the rules");
    let signed = small.clone().sign(&author).expect("it is the author").as_bytes().to_vec();
    vec![vector("bt-tree/vectors/package-v1.hex"), small.as_bytes().to_vec(), signed]
}

pub(crate) fn handover(data: &[u8]) {
    if let Ok(handover) = Handover::decode(data) {
        assert_eq!(handover.to_bytes(), data, "a handover has one encoding");
    }
}

pub(crate) fn handover_seeds() -> Vec<Vec<u8>> {
    vec![vector("bt-tree/vectors/author-succession-v1.hex")]
}

pub(crate) fn installation(data: &[u8]) {
    let Ok(found) = Installation::decode_unnamed(data) else { return };
    assert_eq!(found.to_bytes().as_deref(), Ok(data), "a record has one encoding");
    let tree = TreeId([1; 32]);
    let hash = Installation::hash_of(&tree, data);
    assert_eq!(Installation::decode(&tree, &found.name.clone(), &hash, data), Ok(found));
}

pub(crate) fn installation_seeds() -> Vec<Vec<u8>> {
    vec![vector("bt-tree/vectors/installation-v1.hex")]
}
