//! Random manifests, grants and damage. Grants are compared with a model that lists what each one allows.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn permission_name() -> impl Strategy<Value = PermissionName> {
    "[ab](-?[c0])?".prop_map(|name| name.parse().unwrap())
}

fn path() -> impl Strategy<Value = TreePath> {
    "([a-zé. ]{1,3}x(/[a-z]{1,3}){0,3})?".prop_map(|path| path.parse().unwrap())
}

fn host() -> impl Strategy<Value = Host> {
    prop_oneof!["[ab]\\.(example|test)".prop_map(|name| name.parse().unwrap()), Just("::1".parse().unwrap())]
}

fn kind() -> impl Strategy<Value = PermissionKind> {
    prop_oneof![
        (path(), any::<bool>()).prop_map(|(path, write)| PermissionKind::Files { path, write }),
        (host(), 80..82u16).prop_map(|(host, port)| PermissionKind::Http { host, port }),
        Just(PermissionKind::Secret),
        Just(PermissionKind::Messages),
        Just(PermissionKind::Environment),
    ]
}

fn permission() -> impl Strategy<Value = Permission> {
    (permission_name(), kind(), "[a-z]{1,20}").prop_map(|(name, kind, why)| Permission {
        name,
        kind,
        why: why.parse().unwrap(),
    })
}

fn permissions() -> impl Strategy<Value = Vec<Permission>> {
    vec(permission(), 0..6).prop_map(|mut permissions| {
        permissions.sort_by(|one, other| one.name.cmp(&other.name));
        permissions.dedup_by(|one, other| one.name == other.name);
        permissions
    })
}

fn grant() -> impl Strategy<Value = Grant> {
    let to = prop_oneof![
        (path(), any::<bool>()).prop_map(|(path, write)| GrantTo::Files { path, write }),
        (host(), 80..82u16).prop_map(|(host, port)| GrantTo::Http { host, port }),
        Just(GrantTo::Secret),
        Just(GrantTo::Messages),
        "[a-z]{0,9}".prop_map(|value| GrantTo::Environment { value }),
    ];
    (permission_name(), to, any::<bool>()).prop_map(|(permission, to, as_app)| Grant { permission, to, as_app })
}

fn any_manifest() -> impl Strategy<Value = Manifest> {
    let numbers = (any::<(u32, u32, u32)>(), 1..=limits::MEMORY_BYTES, proptest::option::of(1..u64::MAX));
    ("[a-z][a-z0-9-]{0,38}[a-z0-9]", numbers, permissions(), any::<bool>()).prop_map(
        |(name, ((major, minor, patch), memory_bytes, fuel), permissions, job)| {
            let watched = permissions.iter().filter(|asked| matches!(asked.kind, PermissionKind::Files { .. }));
            let watches = watched.map(|asked| Entry::Watch { files: asked.name.clone() });
            Manifest {
                name: name.parse().unwrap(),
                version: Version { major, minor, patch },
                entries: [if job { Entry::Job } else { Entry::Http }].into_iter().chain(watches).collect(),
                limits: Limits { memory_bytes, fuel, ..Limits::default() },
                permissions,
                ..manifest()
            }
        },
    )
}

/// What may be done under a permission, as text, item by item.
fn asked_for(permission: &Permission) -> BTreeSet<String> {
    let items: Vec<String> = match &permission.kind {
        PermissionKind::Files { write: true, .. } => vec!["read files".into(), "write files".into()],
        PermissionKind::Files { write: false, .. } => vec!["read files".into()],
        PermissionKind::Http { host, port } => vec![format!("http {host} {port}")],
        PermissionKind::Secret => vec!["secret".into()],
        PermissionKind::Messages => vec!["messages".into()],
        PermissionKind::Environment => vec!["value".into()],
    };
    items.into_iter().map(|item| format!("{} {item}", permission.name)).collect()
}

fn given(grant: &Grant) -> BTreeSet<String> {
    let kind = match grant.to.clone() {
        GrantTo::Files { path, write } => PermissionKind::Files { path, write },
        GrantTo::Http { host, port } => PermissionKind::Http { host, port },
        GrantTo::Secret => PermissionKind::Secret,
        GrantTo::Messages => PermissionKind::Messages,
        GrantTo::Environment { .. } => PermissionKind::Environment,
    };
    asked_for(&Permission { name: grant.permission.clone(), kind, why: "x".parse().unwrap() })
}

proptest! {
    #[test]
    fn packages_survive(manifest in any_manifest(), component in vec(any::<u8>(), 0..300), asset in vec(any::<u8>(), 0..99)) {
        let assets: BTreeMap<TreePath, Vec<u8>> = [("a/b".parse().unwrap(), asset)].into();
        let package = UnsignedPackage::pack(manifest.clone(), &component, &assets).unwrap().sign(&author()).unwrap();
        let opened = Package::open_as(package.id(), package.as_bytes().to_vec()).unwrap();
        let parts = |found: &Manifest| Manifest { component: found.component, assets: found.assets.clone(), ..manifest };
        prop_assert_eq!(opened.manifest(), &parts(opened.manifest()));
        prop_assert_eq!(opened.component(), &component);
        prop_assert!(opened.assets().eq(assets.iter().map(|(name, bytes)| (name, &bytes[..]))));
    }

    #[test]
    fn damaged_packages_are_refused(at in any::<prop::sample::Index>(), patch in vec(any::<u8>(), 1..40)) {
        let whole = package().as_bytes().to_vec();
        let mut changed = whole.clone();
        let at = at.index(changed.len());
        let end = changed.len().min(at + patch.len());
        changed[at..end].copy_from_slice(&patch[..end - at]);
        prop_assert_eq!(Package::open(changed.clone()).is_ok(), changed == whole);
    }

    #[test]
    fn a_grant_never_gives_what_was_not_asked_for(asked in permissions(), grants in vec(grant(), 0..4)) {
        let may: BTreeSet<String> = asked.iter().flat_map(asked_for).collect();
        for grant in &grants {
            let within = given(grant).is_subset(&may);
            prop_assert_eq!(grant.check(&asked).is_ok(), within, "{:?} of {:?}", grant, asked);
        }
        let names: BTreeSet<&PermissionName> = grants.iter().map(|grant| &grant.permission).collect();
        let all = names.len() == grants.len() && grants.iter().flat_map(given).all(|item| may.contains(&item));
        prop_assert_eq!(Grant::check_all(&grants, &asked).is_ok(), all);
    }

    #[test]
    fn consent_is_asked_for_exactly_what_is_new(before in permissions(), after in permissions()) {
        let manifest = |permissions| Manifest { permissions, ..manifest() };
        let (old, new) = (manifest(before.clone()), manifest(after.clone()));
        let had: BTreeSet<String> = before.iter().flat_map(asked_for).collect();
        let expected: Vec<&Permission> = after.iter().filter(|asked| !asked_for(asked).is_subset(&had)).collect();
        prop_assert_eq!(new.asks_beyond(&old).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn all_that_is_asked_for_can_be_granted(asked in permissions()) {
        let grants: Vec<Grant> = asked.iter().filter_map(Grant::of_all).collect();
        prop_assert!(Grant::check_all(&grants, &asked).is_ok());
        prop_assert!(grants.iter().all(|grant| !grant.as_app));
        let values = asked.iter().filter(|asked| asked.kind == PermissionKind::Environment).count();
        prop_assert_eq!(grants.len() + values, asked.len());
    }

    #[test]
    fn installations_survive(grants in vec(grant(), 0..6), generation in any::<u64>(), enabled in any::<bool>()) {
        let installation = Installation { generation, enabled, ..installation(grants) };
        if let Ok(bytes) = installation.to_bytes() {
            let hash = Installation::hash_of(&TREE, &bytes);
            prop_assert_eq!(Installation::decode(&TREE, &installation.name.clone(), &hash, &bytes), Ok(installation));
        }
    }

    #[test]
    fn random_bytes_are_nothing(bytes in vec(any::<u8>(), 0..600)) {
        prop_assert!(Handover::decode(&bytes).is_err());
        prop_assert!(Package::open([&package().as_bytes()[..8], &bytes].concat()).is_err());
        if let Ok(found) = Installation::decode_unnamed(&bytes) {
            prop_assert_eq!(found.to_bytes(), Ok(bytes));
        }
    }
}
