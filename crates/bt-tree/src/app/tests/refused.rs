//! Packages that their author signed and that break a rule all the same; grants for more than was asked.

use super::*;
use crate::envelope::{Envelope, Kind};
use bt_base::codec::encode;
use bt_base::label;
use bt_crypto::NO_TREE;

/// A package of this manifest as it is, signed by its author: what a program that keeps no rule would make.
fn unruly(manifest: &Manifest, parts: &[u8], signer: &SoftwareKeyStore) -> Vec<u8> {
    let kind = Kind { what: "manifest", label: label::PACKAGE, limit: usize::MAX };
    let signed = Envelope::by_credential(kind, &NO_TREE, signer, encode(manifest)).unwrap().to_bytes();
    [&package().as_bytes()[..8], &(signed.len() as u32).to_le_bytes(), &signed, parts].concat()
}

/// What is said to a package whose manifest was changed so.
fn said(change: impl FnOnce(&mut Manifest)) -> String {
    let mut manifest = Manifest { component: Part::of(COMPONENT), ..manifest() };
    assert!(Package::open(unruly(&manifest, COMPONENT, &author())).is_ok());
    change(&mut manifest);
    Package::open(unruly(&manifest, COMPONENT, &author())).unwrap_err().to_string()
}

#[test]
fn a_manifest_keeps_its_rules_whoever_signs() {
    let watch = |name: &str| Entry::Watch { files: name.parse().unwrap() };
    let part = |name: &str| (name.parse().unwrap(), Part::of(b""));
    let cases: [(&str, String); 13] = [
        ("no entry point", said(|manifest| manifest.entries.clear())),
        ("entry points of the manifest are not in order", said(|manifest| manifest.entries.swap(0, 1))),
        ("one is there twice", said(|manifest| manifest.entries = vec![Entry::Http, Entry::Http])),
        (
            "watches weather, which is no permission for files",
            said(|manifest| manifest.entries = vec![watch("weather")]),
        ),
        ("watches nothing", said(|manifest| manifest.entries = vec![watch("nothing")])),
        ("17 entry points, at most 16", said(|manifest| manifest.entries = vec![Entry::Http; 17])),
        ("twice for a permission notes", said(|manifest| manifest.permissions.push(files("notes", "a", false)))),
        ("the limit fuel is 0", said(|manifest| manifest.limits.fuel = Some(0))),
        ("the limit call_ms is 0", said(|manifest| manifest.limits.call_ms = 0)),
        ("at least 1 and at most 256", said(|manifest| manifest.limits.instances = 257)),
        ("assets of the manifest are not in order", said(|manifest| manifest.assets = vec![part("b"), part("a")])),
        ("/a/b is no name for an asset", said(|manifest| manifest.assets = vec![part("a"), part("a.b"), part("a/b")])),
        ("/ is no name for an asset", said(|manifest| manifest.assets = vec![part("")])),
    ];
    for (expected, found) in cases {
        assert!(found.contains(expected), "{found:?} instead of {expected:?}");
    }
}

#[test]
fn a_package_that_was_cut_changed_or_exchanged_says_so() {
    let whole = package().as_bytes().to_vec();
    let said = |bytes: &[u8]| Package::open(bytes.to_vec()).unwrap_err().to_string();
    assert!(said(b"PK\x03\x04 a zip").starts_with("this is no package"));
    assert!(said(&whole[..40]).contains("ends within its manifest"));
    assert!(said(&whole[..whole.len() - 1]).contains("was cut or added to"));
    assert!(said(&[&whole[..], b"x"].concat()).contains("was cut or added to"));
    let changed = |from_end: usize| {
        let mut bytes = whole.clone();
        *bytes.iter_mut().rev().nth(from_end).unwrap() ^= 1;
        said(&bytes)
    };
    assert!(changed(0).starts_with("the asset /index.html of the package is not what"), "{}", changed(0));
    assert!(changed(14).starts_with("the component of the package is not what"), "{}", changed(14));
    let mut newer = whole.clone();
    newer[12] = 9;
    assert!(said(&newer).contains("has format version 9, this program knows 1: use a newer bt"));
    let thief = store(22);
    let mut manifest = package().manifest().clone();
    manifest.about = "Keeps short notes!".parse().unwrap();
    let parts = &whole[whole.len() - COMPONENT.len() - 14..];
    let resigned = said(&unruly(&manifest, parts, &thief));
    let author = author().credential().id();
    assert!(resigned.contains(&format!("{author} did not sign it")), "{resigned}");
    assert!(said(&vec![0; limits::PACKAGE_BYTES + 1]).contains("longer than the limit"));
    assert!(said(packed(super::manifest()).as_bytes()).contains("notes is not signed"));
}

#[test]
fn lengths_that_overflow_are_no_lengths() {
    for len in [u64::MAX, 1 << 63, COMPONENT.len() as u64 + 1] {
        let found = said(|manifest| {
            manifest.component.len = len;
            manifest.assets = vec![("a".parse().unwrap(), Part { len, ..Part::of(b"") })];
        });
        assert!(found.contains("was cut or added to"), "{found}");
    }
}

#[test]
fn handovers_lead_to_the_author_one_after_the_other() {
    let (one, two, three) = (author(), store(22), store(23));
    let hand = |before: &SoftwareKeyStore, next: &SoftwareKeyStore| Handover::sign(before, next, NOW).unwrap();
    let check = |handovers: &[Handover]| Handover::check_all(handovers, three.credential());
    assert_eq!(check(&[]), Ok(()));
    assert_eq!(check(&[hand(&one, &two), hand(&two, &three)]), Ok(()));
    for wrong in [
        vec![hand(&one, &two)],
        vec![hand(&two, &three), hand(&one, &two)],
        vec![hand(&one, &two), hand(&one, &three)],
        vec![hand(&three, &two), hand(&two, &three)],
    ] {
        assert!(matches!(check(&wrong), Err(HandoverError::Chain { .. })), "{wrong:?}");
    }
    assert_eq!(check(&vec![hand(&two, &three); 17]), Err(HandoverError::TooMany(17)));
    // A thief can hand over to itself what it has, and accept what nobody gave it.
    let swap = |good: &Handover, other: &Handover, at: usize| {
        let mut bytes = good.to_bytes();
        let place = bytes.len() - at;
        bytes[place..][..64].copy_from_slice(&other.to_bytes()[place..][..64]);
        Handover::decode(&bytes)
    };
    let (good, other) = (hand(&two, &three), hand(&one, &three));
    assert!(matches!(swap(&good, &other, 64), Err(HandoverError::Signature { .. })));
    assert!(matches!(swap(&good, &other, 128), Err(HandoverError::NotAccepted { .. })));
    let own = author();
    let mut forged = hand(&two, &own).to_bytes();
    let end = forged.len() - 64;
    forged[end..].copy_from_slice(&hand(&three, &own).to_bytes()[end..]);
    let forged: Handover = bt_base::codec::decode_exact("handover", &forged, Handover::LIMIT).unwrap();
    let found = said(|manifest| manifest.handovers = vec![forged]);
    assert!(found.contains("is not signed by the author before"), "{found}");
    let found = said(|manifest| manifest.handovers = vec![hand(&two, &three)]);
    assert!(found.contains("do not lead to its author"), "{found}");
}

#[test]
fn an_upgrade_that_asks_for_more_is_seen() {
    let beyond = |permissions: Vec<Permission>| {
        let next = Manifest { permissions, ..manifest() };
        next.asks_beyond(&manifest()).map(|asked| asked.name.to_string()).collect::<Vec<_>>()
    };
    assert!(beyond(every_permission()).is_empty() && beyond(vec![]).is_empty());
    assert!(beyond(vec![files("notes", "elsewhere", false)]).is_empty(), "the owner's directory stays");
    assert_eq!(beyond(vec![files("photos", "notes", false)]), ["photos"]);
    let host = |host: &str, port| asked("weather", PermissionKind::Http { host: host.parse().unwrap(), port });
    assert_eq!(beyond(vec![host("api.example.com", 80)]), ["weather"]);
    assert_eq!(beyond(vec![host("api.example.org", 443)]), ["weather"]);
    assert_eq!(beyond(vec![files("post", "notes", false)]), ["post"], "another kind under a granted name");
    let (reads, writes) = (files("notes", "notes", false), files("notes", "notes", true));
    assert!(reads.is_covered_by(&writes) && !writes.is_covered_by(&reads));
}

#[test]
fn what_an_owner_reads_are_our_words_first() {
    let words: Vec<String> = every_permission().iter().map(Permission::in_words).collect();
    assert_eq!(
        words,
        [
            "read, change and delete what is in /notes of the tree",
            "send requests to api.example.com, port 443, and read the answers",
            "be given a secret that you enter, API_TOKEN",
            "send messages to other principals, and get theirs",
            "be given a value that you choose, LANGUAGE",
        ]
    );
    assert_eq!(files("all", "/", false).in_words(), "read everything in the tree");
    let inside = asked("x", PermissionKind::Http { host: "127.0.0.1".parse().unwrap(), port: 80 });
    assert!(inside.in_words().contains("the machine at 127.0.0.1"));
    assert_eq!(files("all", "/", false).to_string(), "read everything in the tree (the author says: To do its work.)");
    assert_eq!(every_grant()[4].in_words(), "be given LANGUAGE=\"de\", whoever calls it");
}

#[test]
fn the_record_of_an_installation_keeps_its_limits() {
    let said = |change: fn(&mut Installation)| {
        let mut installation = installation(every_grant());
        change(&mut installation);
        installation.to_bytes().unwrap_err().to_string()
    };
    let twice = said(|installation| installation.grants.push(installation.grants[0].clone()));
    assert_eq!(twice, "permission notes is granted twice");
    let value = said(|installation| installation.grants[4].to = GrantTo::Environment { value: "a\0b".to_owned() });
    assert_eq!(value, "the value for language has a NUL or more than 4096 bytes");
    let many = said(|installation| installation.kept = vec![installation.kept[0]; 17]);
    assert_eq!(many, "an installation has 17 earlier packages, at most 16 are allowed");
    let bytes = [&[2, 0][..], &installation(vec![]).to_bytes().unwrap()[2..]].concat();
    let newer = Installation::decode_unnamed(&bytes).unwrap_err().to_string();
    assert!(newer.contains("use a newer bt"), "{newer}");
}
