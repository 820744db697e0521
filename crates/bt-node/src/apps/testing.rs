//! Packages for tests.

use bt_crypto::{KeyStore, SoftwareKeyStore};
use bt_tree::app::{Entry, Limits, Manifest, Package, Part, UnsignedPackage, Version};

/// A manifest of version 1.0.0 that asks for nothing.
pub(crate) fn manifest(name: &str, author: &SoftwareKeyStore) -> Manifest {
    Manifest {
        name: name.parse().unwrap(),
        version: Version::new(1, 0, 0),
        about: "A test.".parse().unwrap(),
        author: *author.credential(),
        handovers: vec![],
        entries: vec![Entry::Http],
        permissions: vec![],
        limits: Limits::default(),
        minimum_node: Version::new(0, 1, 0),
        component: Part { hash: [0; 32], len: 0 },
        assets: vec![],
    }
}

/// The package of a manifest and a component.
pub(crate) fn package(manifest: Manifest, component: &[u8], author: &SoftwareKeyStore) -> Package {
    UnsignedPackage::pack(manifest, component, &Default::default()).unwrap().sign(author).unwrap()
}
