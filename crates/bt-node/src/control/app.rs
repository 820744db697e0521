//! Apps, for people; and how a command decides what is installed next.
//!
//! The command asks for [`AppTerms`], makes the next [`Installation`] of them, has the node keep it with
//! [`crate::control::Request::AppPut`], and signs that it counts: a record of the access log, as any other
//! ([`super::access::NextRecords::app`]).

use bt_base::codec::{decode_exact, encode};
use bt_base::{PackageId, PrincipalId, RecordHash, Timestamp, TreeId};
use bt_tree::app::limits::{KEPT, MANIFEST_BYTES};
use bt_tree::app::{
    AppName, Authorship, Grant, Installation, Kept, Manifest, Package, Permission, PermissionName, Version,
};
use serde::{Deserialize, Serialize};

use super::Failure;

/// A permission that an app asks for, and whether it has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermissionReport {
    /// Its name.
    pub name: String,
    /// What it allows, in our words.
    pub allows: String,
    /// What for, in the author's.
    pub why: String,
    /// What is granted, in our words; absent where nothing is.
    pub granted: Option<String>,
    /// It holds whoever calls.
    pub as_app: bool,
}

/// An app that is installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledReport {
    /// Its name.
    pub name: String,
    /// Its version; absent where the record cannot be read.
    pub version: Option<String>,
    /// The package; absent where the record cannot be read.
    pub package: Option<PackageId>,
    /// Who wrote it.
    pub author: Option<PrincipalId>,
    /// What it does, in the author's words.
    pub about: Option<String>,
    /// What it asks for.
    pub permissions: Vec<PermissionReport>,
    /// Earlier versions that can be gone back to, oldest first.
    pub kept: Vec<String>,
    /// Whether the owner lets it answer.
    pub enabled: bool,
    /// Why it cannot be run; absent where it can.
    pub problem: Option<String>,
    /// The installation record that counts.
    pub record: RecordHash,
    /// Who signed that it does.
    pub by: PrincipalId,
    /// When.
    pub since: Timestamp,
}

/// A line that an app wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it came.
    pub time: Timestamp,
    /// To standard error.
    pub is_error: bool,
    /// The line, with control characters escaped.
    pub text: String,
}

/// A secret on its way to the node that seals it. It is shown nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretValue(pub String);

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretValue(..)")
    }
}

impl Drop for SecretValue {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// A token as it is told once: the node keeps its hash only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewToken {
    /// What a caller sends: `Authorization: Bearer ...`.
    pub token: String,
    /// What it is.
    pub report: TokenReport,
}

/// A token that holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenReport {
    /// Its id: the beginning of its hash.
    pub id: String,
    /// Whom its bearer acts for.
    pub principal: PrincipalId,
    /// When it was made.
    pub created: Timestamp,
    /// The last time at which it holds; absent for no end.
    pub until: Option<Timestamp>,
}

/// What is installed under a name, for the decision that follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppTerms {
    /// The tree.
    pub tree: TreeId,
    /// The record that counts; absent where nothing is installed.
    pub(crate) installation: Option<Vec<u8>>,
    /// The manifests of its packages, as far as they can be read: the present one and those before.
    pub(crate) manifests: Vec<(PackageId, Vec<u8>)>,
}

/// What an upgrade waits for.
#[derive(Clone, Debug)]
pub enum Upgrade {
    /// The installation that follows.
    Ready(Box<Installation>),
    /// The owner has to say whether it gets these, which the version before did not ask for.
    AsksFor(Vec<Permission>),
}

impl AppTerms {
    /// What is installed.
    pub fn installation(&self) -> Result<Option<Installation>, Failure> {
        self.installation.as_deref().map(Installation::decode_unnamed).transpose().map_err(unusable)
    }

    /// What is installed; refused where nothing is.
    pub fn installed(&self, name: &AppName) -> Result<Installation, Failure> {
        self.installation()?.ok_or_else(|| {
            Failure::refused(format!("no app {name} is installed"), "`bt app list` shows those that are")
        })
    }

    /// The manifest of a package that is installed or was.
    pub fn manifest(&self, package: &PackageId) -> Result<Manifest, Failure> {
        let found = self.manifests.iter().find(|(id, _)| id == package);
        let (_, bytes) = found.ok_or_else(|| {
            Failure::problem(
                format!("package {} is not in the tree any more", package.short()),
                "install the app again",
            )
        })?;
        decode_exact("manifest", bytes, MANIFEST_BYTES).map_err(unusable)
    }

    /// The first installation of a package.
    pub fn install(&self, package: &Package, grants: Vec<Grant>) -> Result<Installation, Failure> {
        let manifest = package.manifest();
        if self.installation.is_some() {
            let what = format!("an app {} is installed already", manifest.name);
            return Err(Failure::refused(what, "install another version with `bt app upgrade`, or remove it first"));
        }
        check_node(manifest)?;
        Grant::check_all(&grants, &manifest.permissions).map_err(not_granted)?;
        Ok(Installation {
            name: manifest.name.clone(),
            package: *package.id(),
            version: manifest.version,
            author: manifest.author.id(),
            grants,
            enabled: true,
            kept: vec![],
            generation: 1,
        })
    }

    /// A later version of what is installed. `decided` is what the owner grants beside what was granted before; without
    /// it, a version that asks for more waits.
    pub fn upgrade(&self, package: &Package, decided: Option<Vec<Grant>>, keep_id: bool) -> Result<Upgrade, Failure> {
        let manifest = package.manifest();
        let mut next = self.installed(&manifest.name)?;
        if manifest.authorship(&next.author) == Authorship::Other {
            let (name, author) = (&manifest.name, manifest.author.id());
            let what = format!("this package of {name} is by {author}, and the installed one by {}", next.author);
            return Err(Failure::refused(
                what,
                "an update comes from the same author; remove the app first to take another's",
            ));
        }
        if manifest.version <= next.version {
            let what = format!("{} {} is installed, and this is {}", manifest.name, next.version, manifest.version);
            return Err(Failure::refused(what, "versions only rise; go back with `bt app rollback`"));
        }
        check_node(manifest)?;
        let earlier = self.manifest(&next.package)?;
        let more: Vec<Permission> = manifest.asks_beyond(&earlier).cloned().collect();
        let decided = match decided {
            None if !more.is_empty() => return Ok(Upgrade::AsksFor(more)),
            decided => decided.unwrap_or_default(),
        };
        // What is asked for in another way than before is granted anew, or not at all.
        next.grants.retain(|grant| {
            let is_new = more.iter().any(|asked| asked.name == grant.permission);
            !is_new && grant.check(&manifest.permissions).is_ok()
        });
        next.grants.retain(|grant| decided.iter().all(|new| new.permission != grant.permission));
        next.grants.extend(decided);
        Grant::check_all(&next.grants, &manifest.permissions).map_err(not_granted)?;
        replace(&mut next, *package.id(), manifest.version, keep_id);
        next.author = manifest.author.id();
        Ok(Upgrade::Ready(Box::new(next)))
    }

    /// An earlier version again: the one before, or `to`.
    pub fn rollback(&self, name: &AppName, to: Option<Version>) -> Result<Installation, Failure> {
        let mut next = self.installed(name)?;
        let wanted = |kept: &&Kept| to.map_or(kept.version < next.version, |version| kept.version == version);
        let kept = next.kept.iter().rev().find(wanted).copied().ok_or_else(|| {
            let versions: Vec<String> = next.kept.iter().map(|kept| kept.version.to_string()).collect();
            let which = if versions.is_empty() { "no earlier version".to_owned() } else { versions.join(", ") };
            Failure::refused(format!("{name} has no such version to go back to; kept is {which}"), "")
        })?;
        let manifest = self.manifest(&kept.package)?;
        next.kept.retain(|other| other.package != kept.package);
        next.grants.retain(|grant| grant.check(&manifest.permissions).is_ok());
        replace(&mut next, kept.package, kept.version, false);
        Ok(next)
    }

    /// The same, answering or not.
    pub fn enable(&self, name: &AppName, enabled: bool) -> Result<Installation, Failure> {
        let next = self.installed(name)?;
        Ok(Installation { enabled, generation: next.generation + 1, ..next })
    }

    /// The same with one grant more, or another one in its place.
    pub fn grant(&self, name: &AppName, grant: Grant) -> Result<Installation, Failure> {
        let mut next = self.installed(name)?;
        grant.check(&self.manifest(&next.package)?.permissions).map_err(not_granted)?;
        next.grants.retain(|before| before.permission != grant.permission);
        next.grants.push(grant);
        next.generation += 1;
        Ok(next)
    }

    /// The same with one grant less.
    pub fn revoke(&self, name: &AppName, permission: &PermissionName) -> Result<Installation, Failure> {
        let mut next = self.installed(name)?;
        let before = next.grants.len();
        next.grants.retain(|grant| grant.permission != *permission);
        if next.grants.len() == before {
            return Err(Failure::refused(
                format!("{name} was not granted {permission}"),
                "`bt app info` shows what is granted",
            ));
        }
        next.generation += 1;
        Ok(next)
    }
}

/// The manifest as terms carry it.
pub(crate) fn manifest_bytes(manifest: &Manifest) -> Vec<u8> {
    encode(manifest)
}

/// Puts another package in the place of the present one, which is kept.
fn replace(next: &mut Installation, package: PackageId, version: Version, answers: bool) {
    next.kept.retain(|kept| kept.package != next.package);
    next.kept.push(Kept { package: next.package, version: next.version, answers });
    if next.kept.len() > KEPT {
        next.kept.remove(0);
    }
    (next.package, next.version) = (package, version);
    next.generation += 1;
}

fn check_node(manifest: &Manifest) -> Result<(), Failure> {
    let own: Version = env!("CARGO_PKG_VERSION").parse().expect("the version of this program is one");
    match manifest.minimum_node <= own {
        true => Ok(()),
        false => Err(Failure::refused(
            format!("{} {} needs bt {}, this is {own}", manifest.name, manifest.version, manifest.minimum_node),
            "use a newer bt",
        )),
    }
}

fn not_granted(error: impl std::fmt::Display) -> Failure {
    Failure::refused(error.to_string(), "`bt app info` shows what an app asks for")
}

fn unusable(error: impl std::fmt::Display) -> Failure {
    Failure::problem(format!("what is installed cannot be used: {error}"), "remove the app and install it again")
}

#[cfg(test)]
mod tests {
    use bt_crypto::{KeyStore, SoftwareKeyStore};
    use bt_tree::app::{GrantTo, Handover, PermissionKind};

    use super::*;
    use crate::apps::testing::{manifest, package};
    use crate::control::FailureKind;

    fn author(seed: u8) -> SoftwareKeyStore {
        SoftwareKeyStore::from_seed(&[seed; 32])
    }

    fn files(name: &str, write: bool) -> Permission {
        let kind = PermissionKind::Files { path: "notes".parse().unwrap(), write };
        Permission { name: name.parse().unwrap(), kind, why: "To keep notes.".parse().unwrap() }
    }

    fn version(patch: u32, permissions: Vec<Permission>) -> Package {
        let manifest = Manifest { version: Version::new(1, 0, patch), permissions, ..manifest("notes", &author(9)) };
        package(manifest, b"component", &author(9))
    }

    fn terms(installation: Option<&Installation>, packages: &[&Package]) -> AppTerms {
        AppTerms {
            tree: TreeId::default(),
            installation: installation.map(|installation| installation.to_bytes().unwrap()),
            manifests: packages.iter().map(|package| (*package.id(), manifest_bytes(package.manifest()))).collect(),
        }
    }

    fn name() -> AppName {
        "notes".parse().unwrap()
    }

    #[test]
    fn an_app_is_installed_once_with_what_it_asks_for_at_most() {
        let one = version(1, vec![files("notes", false)]);
        let all = Grant::of_all(&files("notes", false)).unwrap();
        let installation = terms(None, &[]).install(&one, vec![all.clone()]).unwrap();
        assert_eq!((installation.version, installation.enabled), (Version::new(1, 0, 1), true));
        let more = Grant { to: GrantTo::Files { path: "notes".parse().unwrap(), write: true }, ..all };
        assert!(terms(None, &[]).install(&one, vec![more]).unwrap_err().what.contains("is more"));
        let again = terms(Some(&installation), &[&one]).install(&one, vec![]).unwrap_err();
        assert_eq!(again.kind, FailureKind::Refused);
        let later = Manifest { minimum_node: Version::new(99, 0, 0), ..one.manifest().clone() };
        let refused = terms(None, &[]).install(&package(later, b"component", &author(9)), vec![]).unwrap_err();
        assert!(refused.what.contains("needs bt 99.0.0"), "{refused}");
    }

    #[test]
    fn an_upgrade_that_asks_for_more_waits_for_consent() {
        let (one, two) = (version(1, vec![files("notes", false)]), version(2, vec![files("notes", true)]));
        let granted = vec![Grant::of_all(&files("notes", false)).unwrap()];
        let first = terms(None, &[]).install(&one, granted.clone()).unwrap();
        let terms_of_one = terms(Some(&first), &[&one]);
        let Upgrade::AsksFor(more) = terms_of_one.upgrade(&two, None, false).unwrap() else {
            panic!("it did not wait")
        };
        assert_eq!(more, [files("notes", true)]);
        let Upgrade::Ready(refused) = terms_of_one.upgrade(&two, Some(vec![]), false).unwrap() else {
            panic!("decided")
        };
        assert_eq!(refused.grants, [], "what is asked for in another way is granted anew, or not at all");
        let more = vec![Grant::of_all(&files("notes", true)).unwrap()];
        let Upgrade::Ready(second) = terms_of_one.upgrade(&two, Some(more.clone()), true).unwrap() else {
            panic!("decided")
        };
        assert_eq!((second.version, &second.grants, second.generation), (Version::new(1, 0, 2), &more, 2));
        assert!(second.answers(one.id()) && second.answers(two.id()));
        let three = version(3, vec![files("notes", true)]);
        let Upgrade::Ready(third) = terms(Some(&second), &[&two]).upgrade(&three, None, false).unwrap() else {
            panic!("it asks for nothing more")
        };
        assert_eq!(third.grants, more);
        assert!(third.answers(one.id()) && !third.answers(two.id()), "the id before is retired unless kept");
    }

    #[test]
    fn versions_only_rise_and_only_by_the_same_author_or_its_successor() {
        let (one, two) = (version(1, vec![]), version(2, vec![]));
        let second = terms(None, &[]).install(&two, vec![]).unwrap();
        let terms = terms(Some(&second), &[&two]);
        assert!(terms.upgrade(&one, None, false).unwrap_err().hint.contains("only rise"));
        assert!(terms.upgrade(&two, None, false).is_err());
        let by = |manifest: Manifest, key: &SoftwareKeyStore| {
            package(
                Manifest { version: Version::new(1, 1, 0), author: *key.credential(), ..manifest },
                b"component",
                key,
            )
        };
        let stranger = terms.upgrade(&by(two.manifest().clone(), &author(5)), None, false).unwrap_err();
        assert!(stranger.hint.contains("same author"), "{stranger}");
        let handover = Handover::sign(&author(9), &author(6), Timestamp::new(0, 0)).unwrap();
        let manifest = Manifest { handovers: vec![handover], ..two.manifest().clone() };
        let Upgrade::Ready(third) = terms.upgrade(&by(manifest, &author(6)), None, false).unwrap() else {
            panic!("ready")
        };
        assert_eq!(third.author, author(6).credential().id());
    }

    #[test]
    fn going_back_is_the_owners_act_and_takes_grants_that_do_not_fit() {
        let (one, two) = (version(1, vec![]), version(2, vec![files("notes", true)]));
        let first = terms(None, &[]).install(&one, vec![]).unwrap();
        let more = Some(vec![Grant::of_all(&files("notes", true)).unwrap()]);
        let Upgrade::Ready(second) = terms(Some(&first), &[&one]).upgrade(&two, more, false).unwrap() else {
            panic!("ready")
        };
        let terms_of_two = terms(Some(&second), &[&one, &two]);
        let back = terms_of_two.rollback(&name(), None).unwrap();
        assert_eq!((back.package, &back.grants[..], back.generation), (*one.id(), &[][..], 3));
        assert_eq!(back.kept.iter().map(|kept| kept.version).collect::<Vec<_>>(), [Version::new(1, 0, 2)]);
        assert!(terms(Some(&back), &[&one, &two]).rollback(&name(), None).is_err(), "nothing is older");
        let again = terms(Some(&back), &[&one, &two]).rollback(&name(), Some(Version::new(1, 0, 2))).unwrap();
        assert_eq!(again.package, *two.id());
        assert!(terms_of_two.rollback(&name(), Some(Version::new(9, 0, 0))).unwrap_err().what.contains("1.0.1"));
    }

    #[test]
    fn grants_come_and_go_one_by_one() {
        let one = version(1, vec![files("notes", true)]);
        let first = terms(None, &[]).install(&one, vec![]).unwrap();
        let grant = Grant { as_app: true, ..Grant::of_all(&files("notes", true)).unwrap() };
        let second = terms(Some(&first), &[&one]).grant(&name(), grant.clone()).unwrap();
        assert_eq!(second.grants, [grant]);
        let third = terms(Some(&second), &[&one]).revoke(&name(), &"notes".parse().unwrap()).unwrap();
        assert_eq!((third.grants.len(), third.generation), (0, 3));
        assert!(terms(Some(&third), &[&one]).revoke(&name(), &"notes".parse().unwrap()).is_err());
        assert!(!terms(Some(&third), &[&one]).enable(&name(), false).unwrap().answers(one.id()));
    }
}
