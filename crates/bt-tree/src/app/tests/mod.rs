//! Packages and installations: what is accepted, what is refused, and with which words.

mod properties;
mod refused;

use std::collections::BTreeMap;

use bt_base::{PackageId, TreeId};
use bt_crypto::{KeyStore, SoftwareKeyStore};

use super::*;
use crate::testing::{NOW, assert_only_exact, golden, store};

const TREE: TreeId = TreeId([1; 32]);
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0 and what follows";

fn author() -> SoftwareKeyStore {
    store(21)
}

fn asked(name: &str, kind: PermissionKind) -> Permission {
    Permission { name: name.parse().unwrap(), kind, why: "To do its work.".parse().unwrap() }
}

fn files(name: &str, path: &str, write: bool) -> Permission {
    asked(name, PermissionKind::Files { path: path.parse().unwrap(), write })
}

fn every_permission() -> Vec<Permission> {
    vec![
        files("notes", "notes", true),
        asked("weather", PermissionKind::Http { host: "api.example.com".parse().unwrap(), port: 443 }),
        asked("api-token", PermissionKind::Secret),
        asked("post", PermissionKind::Messages),
        asked("language", PermissionKind::Environment),
    ]
}

fn every_grant() -> Vec<Grant> {
    let mut grants: Vec<Grant> = every_permission().iter().filter_map(Grant::of_all).collect();
    let permission = "language".parse().unwrap();
    grants.push(Grant { permission, to: GrantTo::Environment { value: "de".to_owned() }, as_app: true });
    grants
}

fn installation(grants: Vec<Grant>) -> Installation {
    Installation {
        name: "notes".parse().unwrap(),
        package: PackageId([2; 32]),
        version: Version::new(1, 2, 3),
        author: author().credential().id(),
        grants,
        enabled: true,
        kept: vec![Kept { package: PackageId([3; 32]), version: Version::new(1, 0, 0), answers: true }],
        generation: 4,
    }
}

fn manifest() -> Manifest {
    Manifest {
        name: "notes".parse().unwrap(),
        version: Version::new(1, 2, 3),
        about: "Keeps short notes.".parse().unwrap(),
        author: *author().credential(),
        handovers: vec![],
        entries: vec![Entry::Http, Entry::Watch { files: "notes".parse().unwrap() }],
        permissions: every_permission(),
        limits: Limits { fuel: Some(1_000_000), ..Limits::default() },
        minimum_node: Version::new(0, 1, 0),
        component: Part::of(b""),
        assets: vec![],
    }
}

fn assets() -> BTreeMap<TreePath, Vec<u8>> {
    let asset = |name: &str, bytes: &[u8]| (name.parse().unwrap(), bytes.to_vec());
    [asset("index.html", b"<h1>Notes</h1>"), asset("style/empty.css", b"")].into()
}

fn packed(manifest: Manifest) -> UnsignedPackage {
    UnsignedPackage::pack(manifest, COMPONENT, &assets()).unwrap()
}

fn package() -> Package {
    packed(manifest()).sign(&author()).unwrap()
}

#[test]
fn a_package_holds_what_was_packed() {
    let package = package();
    let opened = Package::open_as(package.id(), package.as_bytes().to_vec()).unwrap();
    assert_eq!(opened, package);
    assert_eq!(opened.component(), COMPONENT);
    let found: BTreeMap<_, _> = opened.assets().map(|(name, bytes)| (name.clone(), bytes.to_vec())).collect();
    assert_eq!(found, assets());
    assert_eq!(opened.manifest().permissions, manifest().permissions);
}

#[test]
fn each_bit_of_a_package_counts() {
    assert_only_exact(package().as_bytes(), |bytes| Package::open(bytes.to_vec()));
}

#[test]
fn signing_does_not_change_the_id_and_everything_else_does() {
    let unsigned = packed(manifest());
    assert!(matches!(Package::open(unsigned.as_bytes().to_vec()), Err(PackageError::NotSigned { .. })));
    let id = *unsigned.id();
    assert_eq!(*unsigned.sign(&author()).unwrap().id(), id);
    let other = Manifest { minimum_node: Version::new(0, 1, 1), ..manifest() };
    let more = UnsignedPackage::pack(manifest(), COMPONENT, &BTreeMap::new()).unwrap();
    assert!(*packed(other).id() != id && *more.id() != id);
}

#[test]
fn a_package_that_another_signed_is_refused() {
    let thief = store(22);
    let error = packed(manifest()).sign(&thief).unwrap_err();
    assert!(matches!(error, PackageError::OtherSigner { .. }), "{error}");
    // The thief's own signature under the author's manifest.
    let theirs = packed(Manifest { author: *thief.credential(), ..manifest() }).sign(&thief).unwrap();
    let mut forged = package().as_bytes().to_vec();
    let signature_at = forged.len() - COMPONENT.len() - 14 - 64;
    forged[signature_at..][..64].copy_from_slice(&theirs.as_bytes()[signature_at..][..64]);
    assert!(matches!(Package::open(forged), Err(PackageError::Signature { .. })));
    let wrong = Package::open_as(package().id(), theirs.as_bytes().to_vec()).unwrap_err();
    assert!(matches!(wrong, PackageError::OtherPackage { .. }), "{wrong}");
    assert!(Package::open_as(&PackageId([0; 32]), package().as_bytes().to_vec()).is_err());
}

#[test]
fn an_installation_is_the_record_that_the_log_names() {
    let (name, installation) = ("notes".parse().unwrap(), installation(every_grant()));
    let bytes = installation.to_bytes().unwrap();
    let hash = Installation::hash_of(&TREE, &bytes);
    assert_only_exact(&bytes, |bytes| Installation::decode(&TREE, &name, &hash, bytes));
    assert_eq!(Installation::decode(&TREE, &name, &hash, &bytes), Ok(installation.clone()));
    let other = "other".parse().unwrap();
    assert!(matches!(Installation::decode(&TREE, &other, &hash, &bytes), Err(InstallationError::OtherRecord { .. })));
    assert!(installation.answers(&PackageId([3; 32])) && !installation.answers(&PackageId([4; 32])));
    let stopped = Installation { enabled: false, ..installation };
    assert!(!stopped.answers(&PackageId([2; 32])) && !stopped.answers(&PackageId([3; 32])));
}

#[test]
fn the_golden_records_are_understood() {
    let handover = golden("author-succession-v1", || Handover::sign(&author(), &store(22), NOW).unwrap().to_bytes());
    let handover = Handover::decode(&handover).unwrap();
    assert_eq!((handover.before(), handover.next()), (author().credential(), store(22).credential()));
    let bytes = golden("package-v1", || {
        let next = Manifest { author: *store(22).credential(), handovers: vec![handover.clone()], ..manifest() };
        packed(next).sign(&store(22)).unwrap().as_bytes().to_vec()
    });
    let package = Package::open(bytes).unwrap();
    assert_eq!(package.id().to_string(), "13742c8392383201686d7cdf7bf4776aead270aa0c114002badbec3c72772c32");
    assert_eq!((package.component(), package.assets().count()), (COMPONENT, 2));
    let found = package.manifest();
    assert_eq!((&found.entries, &found.permissions), (&manifest().entries, &every_permission()));
    let bytes = golden("installation-v1", || installation(every_grant()).to_bytes().unwrap());
    assert_eq!(
        Installation::hash_of(&TREE, &bytes).to_string(),
        "5c8e53356919fa93469858b7b067610fec9d10d6bc2b3974d5f035922b6b32a1"
    );
    assert_eq!(Installation::decode_unnamed(&bytes), Ok(installation(every_grant())));
}

#[test]
fn an_author_hands_over() {
    let (first, second) = (author(), store(22));
    let handover = Handover::sign(&first, &second, NOW).unwrap();
    assert_only_exact(&handover.to_bytes(), Handover::decode);
    let next = Manifest { author: *second.credential(), handovers: vec![handover], ..manifest() };
    let package = packed(next).sign(&second).unwrap();
    let by = |store: &SoftwareKeyStore| package.manifest().authorship(&store.credential().id());
    assert_eq!([by(&second), by(&first), by(&store(23))], [Authorship::Same, Authorship::Successor, Authorship::Other]);
}
