//! Zones in one node, in memory, as the kernel would see them.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bt_crypto::{KeyStore, PassphraseCost, RootSeed, SoftwareKeyStore};
use bt_fuse::{Caller, DirSink, Entry, Errno, FileSystem, SetAttr};
use bt_store::{MemoryStorage, Storage};
use bt_tree::{AccessLog, Action, Birth, Rights};

use super::{NewZone, Resolved, Zones, open_top};
use crate::control::{Failure, Progress};
use crate::identity::NodeIdentity;
use crate::mountfs::MountedTree;
use crate::options::{InitOptions, NodeKeyOptions, OpenOptions};
use crate::system::{SystemEntropy, now};

const CALLER: Caller = Caller { uid: 0, gid: 0, pid: 1 };
const DIRECTORY: u32 = 0o755;
const FILE: u32 = 0o100_644;
pub(crate) const ROOT: u64 = 1;

/// A node in memory and its mount.
pub(crate) struct Bed {
    pub(crate) storage: MemoryStorage,
    pub(crate) root: SoftwareKeyStore,
    pub(crate) zones: Arc<Zones>,
    pub(crate) mount: MountedTree,
}

impl Bed {
    pub(crate) fn new() -> Self {
        let storage = MemoryStorage::new();
        let options =
            InitOptions { passphrase: b"secret".to_vec().into(), compression: None, node_key: NodeKeyOptions::File };
        let made = crate::init::make(Arc::new(storage.clone()), &options, PassphraseCost::LEAST).unwrap();
        let root = RootSeed::from_words(&made.words).unwrap().key_store();
        Self::open(storage, root, None)
    }

    pub(crate) fn open(storage: MemoryStorage, root: SoftwareKeyStore, who: Option<Arc<dyn KeyStore>>) -> Self {
        Self::on(Arc::new(storage.clone()), storage, root, who)
    }

    /// The same on `shared`, which may be another disk than `storage`.
    pub(crate) fn on(
        shared: Arc<dyn Storage>,
        storage: MemoryStorage,
        root: SoftwareKeyStore,
        who: Option<Arc<dyn KeyStore>>,
    ) -> Self {
        let node = match who {
            Some(who) => NodeIdentity::load_as(&*shared, who).unwrap(),
            None => NodeIdentity::load(&*shared).unwrap(),
        };
        let node = Arc::new(node);
        let top = open_top(&shared, &node, &OpenOptions::default()).unwrap();
        let zones = Arc::new(Zones::new(shared, node, top, &OpenOptions::default()).unwrap());
        zones.remove_leftovers().unwrap();
        let mount = MountedTree::new(zones.clone(), false);
        Self { storage, root, zones, mount }
    }

    /// Commits everything and opens the node again, for the node itself or for another principal.
    pub(crate) fn reopen(self, who: Option<Arc<dyn KeyStore>>) -> Self {
        self.zones.close().unwrap();
        self.zones.top().close().unwrap();
        self.crash(who)
    }

    /// Opens the node again without a last commit.
    pub(crate) fn crash(self, who: Option<Arc<dyn KeyStore>>) -> Self {
        let Self { storage, root, zones, mount } = self;
        let copy = storage.deep_copy();
        drop((mount, zones));
        Self::open(copy, root, who)
    }

    pub(crate) fn lookup(&self, parent: u64, name: &str) -> Result<Entry, Errno> {
        match self.mount.lookup(&CALLER, parent, name.as_bytes()) {
            Ok(entry) if entry.attr.node == 0 => Err(Errno::ENOENT),
            other => other,
        }
    }

    /// The node of a path.
    pub(crate) fn node(&self, path: &str) -> u64 {
        path.split('/').fold(ROOT, |node, name| self.lookup(node, name).unwrap().attr.node)
    }

    pub(crate) fn directory(&self, parent: u64, name: &str) -> u64 {
        self.mount.mkdir(&CALLER, parent, name.as_bytes(), DIRECTORY, 0).unwrap().attr.node
    }

    pub(crate) fn file(&self, parent: u64, name: &str, content: &[u8]) -> u64 {
        let node = self.mount.mknod(&CALLER, parent, name.as_bytes(), FILE, 0, 0).unwrap().attr.node;
        self.mount.write(&CALLER, node, 0, content, false).unwrap();
        node
    }

    pub(crate) fn content(&self, node: u64) -> Vec<u8> {
        let size = self.mount.getattr(node).unwrap().0.size;
        let mut out = vec![0; size as usize];
        assert_eq!(self.mount.read(node, 0, &mut out).unwrap() as u64, size);
        out
    }

    pub(crate) fn list(&self, node: u64) -> Result<Vec<String>, Errno> {
        let mut names = Names::default();
        self.mount.readdir(node, 0, true, &mut names)?;
        names.0.retain(|name| name != "." && name != "..");
        Ok(names.0)
    }

    /// Signs what a new zone at `path` begins with: the parent's grants and one more.
    pub(crate) fn sign(&self, path: &str, grant: Option<(&SoftwareKeyStore, Rights)>) -> (Birth, AccessLog) {
        let (_, parent, _) = self.zones.resolve(path.as_bytes()).unwrap();
        let identity = &parent.identity;
        let birth =
            Birth::create(&self.root, &identity.node.genesis, Some(identity.zone()), &mut SystemEntropy).unwrap();
        let mut access = AccessLog::new(&identity.node.genesis, &birth).unwrap();
        let node = Action::Grant { principal: *identity.node.who.credential(), rights: Rights::Write, until: None };
        access.decide(&self.root, now(), node).unwrap();
        if let Some((principal, rights)) = grant {
            let grant = Action::Grant { principal: *principal.credential(), rights, until: None };
            access.decide(&self.root, now(), grant).unwrap();
        }
        (birth, access)
    }

    pub(crate) fn share(&self, path: &str, grant: Option<(&SoftwareKeyStore, Rights)>) -> Result<(), Failure> {
        self.share_with(path, grant, &mut |_| ControlFlow::Continue(()))
    }

    pub(crate) fn share_with(
        &self,
        path: &str,
        grant: Option<(&SoftwareKeyStore, Rights)>,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let (birth, access) = self.sign(path, grant);
        let (slot, parent, inode) = self.zones.resolve(path.as_bytes())?;
        let new = NewZone::decode(&parent, birth.as_bytes(), &access.to_bytes())?;
        self.zones.make(slot, &parent, inode, &new, progress).map(drop)
    }

    #[track_caller]
    pub(crate) fn expect_clean(&self) {
        let report = self.zones.check(true, &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(report.problems, []);
    }
}

#[derive(Default)]
struct Names(Vec<String>);

impl DirSink for Names {
    fn add(&mut self, _: u64, _: u64, _: u32, name: &[u8], _: Option<&Entry>) -> bool {
        self.0.push(String::from_utf8(name.to_vec()).unwrap());
        true
    }
}

fn principal(seed: u8) -> SoftwareKeyStore {
    SoftwareKeyStore::from_seed(&[seed; 32])
}

#[test]
fn a_directory_becomes_a_zone_with_all_that_is_in_it() {
    let bed = Bed::new();
    let work = bed.directory(ROOT, "work");
    let below = bed.directory(work, "below");
    let large: Vec<u8> = (0..300_000u32).flat_map(|i| i.to_le_bytes()).collect();
    bed.file(below, "large", &large);
    let small = bed.file(work, "small", b"small");
    bed.mount.link(&CALLER, small, below, b"again").unwrap();
    bed.mount.symlink(&CALLER, work, b"link", b"below/large").unwrap();
    bed.mount.mknod(&CALLER, work, b"pipe", 0o010_600, 0, 0).unwrap();
    bed.mount.setxattr(&CALLER, small, b"user.color", b"blue", 0, false).unwrap();
    let sparse = bed.file(work, "sparse", b"x");
    let grow = SetAttr { size: Some(1 << 30), ..SetAttr::default() };
    bed.mount.setattr(&CALLER, sparse, &grow).unwrap();
    bed.mount.write(&CALLER, sparse, 1 << 29, b"middle", false).unwrap();
    let old = bed.mount.getattr(small).unwrap().0;
    bed.share("work", None).unwrap();

    let root = bed.lookup(ROOT, "work").unwrap().attr;
    assert_eq!(root.node, work, "the kernel goes on with the number that it has");
    assert_eq!((root.mode, root.nlink), (0o040_755, 3));
    assert_eq!(bed.list(root.node).unwrap(), ["below", "small", "link", "pipe", "sparse"]);
    assert_eq!(bed.content(bed.node("work/below/large")), large);
    let moved = bed.lookup(root.node, "small").unwrap().attr;
    assert_eq!(
        (moved.mtime, moved.ctime, moved.atime, moved.nlink, moved.mode, moved.size),
        (old.mtime, old.ctime, old.atime, 2, FILE, 5)
    );
    assert_eq!(bed.node("work/below/again"), moved.node);
    assert_eq!(bed.mount.getxattr(&CALLER, moved.node, b"user.color").unwrap(), b"blue");
    assert_eq!(bed.mount.readlink(bed.node("work/link")).unwrap(), b"below/large");
    assert_eq!(bed.lookup(root.node, "pipe").unwrap().attr.mode, 0o010_600);
    let sparse = bed.lookup(root.node, "sparse").unwrap().attr;
    assert!(sparse.size == 1 << 30 && sparse.blocks < 100, "{sparse:?}");
    let mut middle = [0; 8];
    bed.mount.read(sparse.node, (1 << 29) - 1, &mut middle).unwrap();
    assert_eq!(&middle, b"\0middle\0");

    // What was open goes on in the zone, and the old number is gone when the kernel has forgotten it.
    bed.mount.write(&CALLER, small, 5, b" and more", false).unwrap();
    assert_eq!(bed.content(bed.node("work/below/again")), b"small and more");
    bed.mount.forget(small, 1000);
    let root = bed.lookup(root.node, "small").unwrap().attr;
    assert_ne!(root.node >> 44, 0, "the number in the zone");
    assert_eq!(bed.mount.getattr(small).unwrap_err(), Errno::ESTALE);
    bed.expect_clean();
    let bed = bed.reopen(None);
    assert_ne!(bed.node("work") >> 44, 0, "another zone's root is found");
    assert_eq!(bed.content(bed.node("work/small")), b"small and more");
    bed.expect_clean();
}

#[test]
fn nothing_reaches_over_the_border_of_a_zone() {
    let bed = Bed::new();
    let outside = bed.file(ROOT, "outside", b"outside");
    bed.directory(ROOT, "work");
    bed.share("work", None).unwrap();
    let work = bed.node("work");
    let inside = bed.file(work, "inside", b"inside");
    let rename = |from, name: &[u8], to, new: &[u8]| bed.mount.rename(&CALLER, from, name, to, new, 0).unwrap_err();
    assert_eq!(rename(ROOT, b"outside", work, b"x"), Errno::EXDEV);
    assert_eq!(rename(work, b"inside", ROOT, b"x"), Errno::EXDEV);
    assert_eq!(bed.mount.link(&CALLER, inside, ROOT, b"x").unwrap_err(), Errno::EXDEV);
    assert_eq!(bed.mount.link(&CALLER, outside, work, b"x").unwrap_err(), Errno::EXDEV);
    assert_eq!(bed.mount.copy_file_range(&CALLER, outside, 0, inside, 0, 7).unwrap_err(), Errno::EXDEV);
    assert_eq!(bed.mount.rmdir(&CALLER, ROOT, b"work").unwrap_err(), Errno::EBUSY);
    bed.directory(ROOT, "other");
    assert_eq!(rename(ROOT, b"other", ROOT, b"work"), Errno::EBUSY);
    bed.mount.rename(&CALLER, ROOT, b"work", ROOT, b"renamed", 0).unwrap();
    assert_eq!(bed.node("renamed/inside"), inside);
    let snapshots = bed.lookup(work, ".snapshots").unwrap().attr.node;
    assert_eq!(bed.list(snapshots).unwrap(), [""; 0]);
    bed.zones.engine(1).unwrap().create_snapshot(b"kept").unwrap();
    bed.mount.unlink(&CALLER, work, b"inside").unwrap();
    let kept = bed.lookup(bed.lookup(snapshots, "kept").unwrap().attr.node, "inside").unwrap().attr.node;
    assert_eq!(bed.content(kept), b"inside");
    bed.expect_clean();
}

#[test]
fn a_zone_shows_each_principal_what_it_may() {
    let bed = Bed::new();
    let (reader, stranger) = (Arc::new(principal(3)), Arc::new(principal(4)));
    let work = bed.directory(ROOT, "work");
    bed.file(work, "file", b"content");
    bed.share("work", Some((&reader, Rights::Read))).unwrap();
    // Both may read the top zone: what differs is the zone below.
    let (genesis, mut access) = (bed.zones.node.genesis.clone(), bed.zones.top().identity.rights.now().access.clone());
    for who in [&reader, &stranger] {
        let grant = Action::Grant { principal: *who.credential(), rights: Rights::Read, until: None };
        access.decide(&bed.root, now(), grant).unwrap();
    }
    drop(genesis);
    let bed = bed.reopen(None);
    bed.grant_top(&access);
    let bed = bed.reopen(Some(reader));
    let file = bed.node("work/file");
    assert_eq!(bed.content(file), b"content");
    assert_eq!(bed.mount.write(&CALLER, file, 0, b"x", false).unwrap_err(), Errno::EROFS);
    assert_eq!(bed.mount.mkdir(&CALLER, bed.node("work"), b"x", DIRECTORY, 0).unwrap_err(), Errno::EROFS);
    let bed = bed.reopen(Some(stranger));
    let work = bed.lookup(ROOT, "work").unwrap();
    assert_eq!((work.attr.mode & 0o170_000, work.entry_valid), (0o040_000, Duration::ZERO));
    assert_eq!(bed.list(work.attr.node).unwrap_err(), Errno::EACCES);
    assert_eq!(bed.lookup(work.attr.node, "file").unwrap_err(), Errno::EACCES);
    let bed = bed.reopen(None);
    assert_eq!(bed.content(bed.node("work/file")), b"content");
    bed.expect_clean();
}

#[test]
fn a_grant_opens_a_zone_for_the_principal_of_the_mount() {
    let bed = Bed::new();
    let stranger = Arc::new(principal(4));
    let work = bed.directory(ROOT, "work");
    bed.file(work, "file", b"content");
    bed.share("work", None).unwrap();
    let mut access = bed.zones.top().identity.rights.now().access.clone();
    let grant = Action::Grant { principal: *stranger.credential(), rights: Rights::Read, until: None };
    access.decide(&bed.root, now(), grant.clone()).unwrap();
    let bed = bed.reopen(None);
    bed.grant_top(&access);
    let bed = bed.reopen(Some(stranger));
    let denied = bed.lookup(ROOT, "work").unwrap().attr.node;
    assert_eq!(bed.lookup(denied, "file").unwrap_err(), Errno::EACCES);
    let Resolved::Denied(slot) = bed.zones.resolve_entrance(b"/work").unwrap() else { panic!("it is denied") };
    assert!(bed.zones.resolve(b"/work").is_err() && bed.zones.resolve_entrance(b"/work/file").is_err());
    let append = |zone: &crate::engine::Engine| {
        let access = zone.identity.rights.now().access.clone();
        let statement = access.next_statement(bed.root.credential().id(), now(), grant.clone());
        let record = bt_tree::AccessRecord::sign(&bed.root, statement).unwrap().to_bytes();
        bed.zones.append_access(slot, zone, &[record]).map_err(|error| error.into_failure("granting"))
    };
    bed.zones.with_own_key(slot, append).unwrap();
    assert_eq!(bed.content(bed.node("work/file")), b"content");
    bed.expect_clean();
}

impl Bed {
    /// Puts other access records and a fresh epoch in the place of the top zone's, as an admin's command does.
    fn grant_top(&self, access: &AccessLog) {
        let identity = &self.zones.top().identity;
        let records = crate::identity::ZoneRecords::load_top(&self.storage, &identity.node).unwrap();
        let mut keys = records.epochs.open_with(&*identity.node.who).unwrap();
        let mut epochs = records.epochs.clone();
        let session =
            bt_tree::SessionKey::issue(&*identity.node.who, identity.tree(), now(), 3600, &mut SystemEntropy).unwrap();
        epochs.advance(access, &mut keys, &session, now(), &mut SystemEntropy).unwrap();
        crate::identity::write(&self.storage, &identity.layout.access(), &access.to_bytes()).unwrap();
        crate::identity::write(&self.storage, &identity.layout.epochs(), &epochs.to_bytes()).unwrap();
    }
}

#[test]
fn a_directory_swapped_for_another_zone_is_not_entered() {
    let bed = Bed::new();
    bed.directory(ROOT, "work");
    bed.share("work", None).unwrap();
    let work = bed.node("work");
    bed.directory(work, "inner");
    bed.share("work/inner", None).unwrap();
    let inner = bed.zones.engine(2).unwrap().identity.zone();
    // A writer of the top zone puts an entrance to a zone that was born elsewhere.
    bed.directory(ROOT, "swapped");
    bed.zones.top().hold_changes().enter(ROOT, b"swapped", &inner).unwrap();
    assert_eq!(bed.lookup(ROOT, "swapped").unwrap_err(), Errno::EIO);
    assert!(bed.lookup(work, "inner").is_ok());
    let report = bed.zones.check(true, &mut |_| ControlFlow::Continue(())).unwrap();
    assert!(report.problems.iter().any(|problem| problem.what.contains("not born")), "{:?}", report.problems);
}

#[test]
fn hard_links_over_the_border_are_refused_with_their_names() {
    let bed = Bed::new();
    let work = bed.directory(ROOT, "work");
    let file = bed.file(work, "file", b"x");
    bed.mount.link(&CALLER, file, ROOT, b"outside").unwrap();
    let refused = bed.share("work", None).unwrap_err();
    assert!(refused.what.contains("file"), "{refused}");
    assert_eq!(bed.content(bed.node("work/file")), b"x");
    bed.mount.unlink(&CALLER, ROOT, b"outside").unwrap();
    bed.share("work", None).unwrap();
    bed.expect_clean();
}

#[test]
fn what_changes_while_a_zone_is_filled_arrives() {
    let bed = Bed::new();
    let work = bed.directory(ROOT, "work");
    let large: Vec<u8> = (0..500_000u32).flat_map(|i| i.to_le_bytes()).collect();
    let file = bed.file(work, "file", &large);
    let gone = bed.directory(work, "gone");
    bed.file(gone, "with it", b"x");
    bed.file(work, "kept", b"kept");
    let mut step = 0;
    bed.share_with("work", None, &mut |_| {
        step += 1;
        match step {
            1 => {
                bed.mount.write(&CALLER, file, 100_000, b"changed", false).unwrap();
                bed.file(work, "late", b"late");
                bed.mount.unlink(&CALLER, gone, b"with it").unwrap();
                bed.mount.rmdir(&CALLER, work, b"gone").unwrap();
                let elsewhere = bed.directory(ROOT, "elsewhere");
                bed.mount.rename(&CALLER, work, b"kept", elsewhere, b"kept", 0).unwrap();
            }
            2 => {
                let grow = SetAttr { size: Some(150_000), ..SetAttr::default() };
                bed.mount.setattr(&CALLER, file, &grow).unwrap();
                bed.mount.rename(&CALLER, work, b"late", work, b"later", 0).unwrap();
            }
            _ => {}
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(step > 2);
    let mut expected = large[..150_000].to_vec();
    expected[100_000..100_007].copy_from_slice(b"changed");
    assert!(bed.content(bed.node("work/file")) == expected);
    let work = bed.node("work");
    assert_eq!(bed.list(work).unwrap(), ["file", "later"]);
    assert_eq!(bed.content(bed.node("work/later")), b"late");
    assert_eq!(bed.content(bed.node("elsewhere/kept")), b"kept");
    bed.expect_clean();
}

#[test]
fn a_zone_that_was_not_finished_leaves_nothing_behind() {
    let bed = Bed::new();
    let work = bed.directory(ROOT, "work");
    bed.file(work, "file", &[7; 100_000]);
    let mut copies = Vec::new();
    let stopped = bed.share_with("work", None, &mut |_| {
        copies.push(bed.storage.deep_copy());
        if copies.len() < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert!(stopped.is_err());
    copies.push(bed.storage.deep_copy());
    for storage in copies {
        let root = principal(0);
        let crashed = Bed::open(storage, root, None);
        assert_eq!(crashed.content(crashed.node("work/file")), [7; 100_000]);
        assert_eq!(crashed.zones.table().slots.zones().count(), 0);
        crashed.expect_clean();
    }
    assert_eq!(bed.content(bed.node("work/file")), [7; 100_000]);
    bed.share("work", None).unwrap();
    assert_eq!(bed.content(bed.node("work/file")), [7; 100_000]);
    let bed = bed.crash(None);
    assert_eq!(bed.content(bed.node("work/file")), [7; 100_000]);
    bed.expect_clean();
}

#[test]
fn zones_that_nobody_uses_are_closed_and_opened_again() {
    let bed = Bed::new();
    for number in 0..super::OPEN_ZONES + 3 {
        let name = format!("zone {number}");
        let directory = bed.directory(ROOT, &name);
        bed.file(directory, "file", name.as_bytes());
        bed.share(&name, None).unwrap();
    }
    for number in 0..super::OPEN_ZONES + 3 {
        let name = format!("zone {number}");
        assert_eq!(bed.content(bed.node(&format!("{name}/file"))), name.as_bytes());
        assert!(bed.zones.open_zones().len() <= super::OPEN_ZONES + 1);
    }
    let held = bed.node("zone 0/file");
    bed.zones.close_idle(Duration::ZERO);
    assert_eq!(bed.zones.open_zones().len(), 1);
    assert_eq!(bed.content(held), b"zone 0", "a node that the kernel holds opens its zone");
    // What has no name any more is kept while the kernel holds it: its zone stays open.
    let zone = bed.node("zone 0");
    bed.mount.unlink(&CALLER, zone, b"file").unwrap();
    bed.zones.close_idle(Duration::ZERO);
    assert_eq!(bed.content(held), b"zone 0");
    bed.mount.forget(held, 100);
    assert_eq!(bed.mount.getattr(held).unwrap_err(), Errno::ESTALE);
    bed.expect_clean();
}

#[test]
fn who_may_not_read_the_top_gets_a_root_of_what_it_may() {
    let bed = Bed::new();
    let reader = Arc::new(principal(5));
    let work = bed.directory(ROOT, "work");
    bed.file(work, "file", b"content");
    let inner = bed.directory(work, "inner");
    bed.file(inner, "deep", b"deep");
    bed.share("work", Some((&reader, Rights::Write))).unwrap();
    bed.share("work/inner", Some((&reader, Rights::Read))).unwrap();
    bed.directory(ROOT, "secret");
    bed.share("secret", None).unwrap();
    let bed = bed.reopen(None);
    let number = bed.node("work/file");
    let bed = bed.reopen(Some(reader));
    assert_eq!(bed.list(ROOT).unwrap(), ["work"]);
    assert_eq!(bed.node("work/file"), number, "numbers are the same for everyone");
    bed.mount.write(&CALLER, number, 7, b" and more", false).unwrap();
    assert_eq!(bed.content(bed.node("work/inner/deep")), b"deep");
    assert_eq!(bed.mount.mkdir(&CALLER, ROOT, b"x", DIRECTORY, 0).unwrap_err(), Errno::EROFS);
    assert_eq!(bed.lookup(ROOT, "secret").unwrap_err(), Errno::ENOENT);
    bed.expect_clean();
    let bed = bed.reopen(None);
    assert_eq!(bed.content(bed.node("work/file")), b"content and more");
    bed.expect_clean();
}
