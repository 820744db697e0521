//! Names: against maps, across commits and crashes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use bt_base::limits::NAME_SIZE;
use bt_tree::schema::{Inode, ROOT_INODE};

use super::bed::{Bed, Committing};
use super::{EventLog, Random, with_seeds};
use crate::view::{self, DIRECTORY, REGULAR, SYMLINK, is_directory};
use crate::{AttributeFlags, Creator, Refusal, RenameFlags, VfsError};

/// What an inode should be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Thing {
    mode: u32,
    uid: u32,
    attribute: Option<Vec<u8>>,
    target: Vec<u8>,
}

/// All names and what they stand for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Model {
    names: BTreeMap<(u64, Vec<u8>), u64>,
    things: BTreeMap<u64, Thing>,
}

impl Model {
    fn is_directory(&self, inode: u64) -> bool {
        inode == ROOT_INODE || is_directory(self.things[&inode].mode)
    }

    fn entries(&self, directory: u64) -> BTreeMap<Vec<u8>, u64> {
        let within = self.names.range((directory, Vec::new())..(directory + 1, Vec::new()));
        within.map(|((_, name), inode)| (name.clone(), *inode)).collect()
    }

    fn parent(&self, directory: u64) -> u64 {
        self.names.iter().find(|(_, inode)| **inode == directory).map_or(ROOT_INODE, |((parent, _), _)| *parent)
    }

    fn is_inside(&self, mut directory: u64, ancestor: u64) -> bool {
        while directory != ROOT_INODE && directory != ancestor {
            directory = self.parent(directory);
        }
        directory == ancestor
    }

    fn nlink(&self, inode: u64) -> u32 {
        if self.is_directory(inode) {
            let below = self.entries(inode).values().filter(|child| self.is_directory(**child)).count();
            2 + below as u32
        } else {
            self.names.values().filter(|named| **named == inode).count() as u32
        }
    }

    /// Forgets an inode that has no name any more.
    fn lose(&mut self, inode: u64) -> Option<u64> {
        if self.names.values().any(|named| *named == inode) {
            return None;
        }
        self.things.remove(&inode);
        Some(inode)
    }

    fn unlink(&mut self, directory: u64, name: &[u8], remove_directory: bool) -> Result<Option<u64>, Refusal> {
        let key = (directory, name.to_vec());
        let inode = *self.names.get(&key).ok_or(Refusal::NotFound)?;
        match (self.is_directory(inode), remove_directory) {
            (true, false) => return Err(Refusal::IsDirectory),
            (false, true) => return Err(Refusal::NotDirectory),
            (true, true) if !self.entries(inode).is_empty() => return Err(Refusal::NotEmpty),
            _ => {}
        }
        self.names.remove(&key);
        Ok(self.lose(inode))
    }

    fn rename(&mut self, from: (u64, &[u8]), to: (u64, &[u8]), flags: RenameFlags) -> Result<Option<u64>, Refusal> {
        let (old_key, new_key) = ((from.0, from.1.to_vec()), (to.0, to.1.to_vec()));
        let old = *self.names.get(&old_key).ok_or(Refusal::NotFound)?;
        let new = self.names.get(&new_key).copied();
        match (flags, new) {
            (RenameFlags::NoReplace, Some(_)) => return Err(Refusal::Exists),
            (RenameFlags::Exchange, None) => return Err(Refusal::NotFound),
            (_, Some(new)) if new == old => return Ok(None),
            _ => {}
        }
        if self.is_directory(old) && self.is_inside(to.0, old) {
            return Err(Refusal::Invalid);
        }
        if let Some(new) = new {
            match (flags == RenameFlags::Exchange, self.is_directory(old), self.is_directory(new)) {
                (true, _, true) if self.is_inside(from.0, new) => return Err(Refusal::Invalid),
                (true, ..) => {}
                (_, true, false) => return Err(Refusal::NotDirectory),
                (_, false, true) => return Err(Refusal::IsDirectory),
                (_, true, true) if !self.entries(new).is_empty() => return Err(Refusal::NotEmpty),
                _ => {}
            }
        }
        self.names.remove(&old_key);
        let replaced = self.names.insert(new_key, old);
        match (replaced, flags) {
            (Some(new), RenameFlags::Exchange) => {
                self.names.insert(old_key, new);
                Ok(None)
            }
            (Some(new), _) => Ok(self.lose(new)),
            (None, _) => Ok(None),
        }
    }
}

struct Run<'a> {
    bed: Bed,
    random: Random,
    log: &'a mut EventLog,
    model: Model,
    /// The model after each log record that ended an operation.
    history: BTreeMap<u64, Model>,
    /// The newest record that the journal or a head has.
    durable: u64,
    commit: Option<(Committing, u64)>,
}

impl<'a> Run<'a> {
    fn new(random: Random, log: &'a mut EventLog) -> Self {
        let bed = Bed::new();
        let history = BTreeMap::from([(bed.vfs.last_record(), Model::default())]);
        Self { bed, random, log, model: Model::default(), history, durable: 0, commit: None }
    }

    fn directory(&mut self) -> u64 {
        let mut all = vec![ROOT_INODE];
        all.extend(self.model.things.keys().filter(|inode| self.model.is_directory(**inode)));
        self.random.pick(&all)
    }

    /// A name out of few, so that operations meet.
    fn name(&mut self) -> Vec<u8> {
        match self.random.below(30) {
            0 => vec![b'x'; NAME_SIZE],
            1 => vec![0xff, b'\n', 0x80],
            n => format!("n{}", n % 9).into_bytes(),
        }
    }

    fn thing(&mut self) -> Option<u64> {
        let all: Vec<u64> = self.model.things.keys().copied().collect();
        (!all.is_empty()).then(|| self.random.pick(&all))
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..30 => self.make(),
            30..40 => self.link(),
            40..55 => self.unlink(),
            55..75 => self.rename(),
            75..85 => self.attributes(),
            85..90 => self.sync(),
            90..95 => self.commit(),
            95..97 => self.crash(),
            _ => self.compare(),
        }
        self.history.insert(self.bed.vfs.last_record(), self.model.clone());
    }

    fn make(&mut self) {
        let (directory, name) = (self.directory(), self.name());
        let mode = self.random.pick(&[REGULAR | 0o644, DIRECTORY | 0o755, SYMLINK | 0o777, 0o010_600]);
        let target: &[u8] = if mode == SYMLINK | 0o777 { b"../target" } else { b"" };
        let creator = Creator { uid: 7, gid: 8, umask: 0, now: self.bed.now() };
        let made = self.bed.vfs.make(&self.bed.memory, directory, &name, mode, 0, target, &creator);
        self.log.push(format!("make {mode:o} {directory}/{}: {:?}", name.escape_ascii(), made.as_ref().map(|m| m.0)));
        if self.model.names.contains_key(&(directory, name.clone())) {
            return assert!(matches!(made, Err(VfsError::Refused(Refusal::Exists))));
        }
        let (inode, _) = made.expect("the name is free");
        let thing = Thing { mode, uid: 7, attribute: None, target: target.to_vec() };
        assert_eq!(self.model.things.insert(inode, thing), None, "a number is given once");
        self.model.names.insert((directory, name), inode);
    }

    fn link(&mut self) {
        let Some(inode) = self.thing() else { return };
        let (directory, name) = (self.directory(), self.name());
        self.log.push(format!("link {inode} to {directory}/{}", name.escape_ascii()));
        let now = self.bed.now();
        let linked = self.bed.vfs.link(&self.bed.memory, inode, directory, &name, now).map(drop);
        let expected = if self.model.is_directory(inode) {
            Err(Refusal::NotPermitted)
        } else if self.model.names.contains_key(&(directory, name.clone())) {
            Err(Refusal::Exists)
        } else {
            self.model.names.insert((directory, name), inode);
            Ok(())
        };
        assert_eq!(refusal(linked), expected);
    }

    fn unlink(&mut self) {
        let (directory, name, as_directory) = (self.directory(), self.name(), self.random.below(2) == 0);
        self.log.push(format!("unlink {directory}/{} directory: {as_directory}", name.escape_ascii()));
        let now = self.bed.now();
        let lost = self.bed.vfs.unlink(&self.bed.memory, directory, &name, as_directory, now);
        let lost = refusal(lost);
        assert_eq!(lost, self.model.unlink(directory, &name, as_directory));
        self.free(lost);
    }

    fn rename(&mut self) {
        let (from, name, to, new_name) = (self.directory(), self.name(), self.directory(), self.name());
        let flags = self.random.pick(&[
            RenameFlags::Replace,
            RenameFlags::Replace,
            RenameFlags::NoReplace,
            RenameFlags::Exchange,
        ]);
        let (old, new) = (name.escape_ascii(), new_name.escape_ascii());
        self.log.push(format!("rename {from}/{old} to {to}/{new} {flags:?}"));
        let now = self.bed.now();
        let lost = self.bed.vfs.rename(&self.bed.memory, from, &name, to, &new_name, flags, now);
        let lost = refusal(lost);
        assert_eq!(lost, self.model.rename((from, &name), (to, &new_name), flags));
        self.free(lost);
    }

    /// What lost its last name is freed now, or by a crash.
    fn free(&mut self, lost: Result<Option<u64>, Refusal>) {
        if let Ok(Some(inode)) = lost {
            assert!(self.bed.vfs.is_orphan(inode));
            if self.random.below(3) > 0 {
                while !self.bed.vfs.free(&self.bed.memory, inode).expect("the index is whole").done {}
            }
        }
    }

    fn attributes(&mut self) {
        let Some(inode) = self.thing() else { return };
        let now = self.bed.now();
        let (vfs, memory) = (&mut self.bed.vfs, &self.bed.memory);
        let thing = self.model.things.get_mut(&inode).expect("picked from there");
        match self.random.below(3) {
            0 => {
                let uid = self.random.below(100) as u32;
                let change = crate::op::Change { uid: Some(uid), ..Default::default() };
                vfs.change(memory, inode, &change, now).expect("it exists");
                thing.uid = uid;
            }
            1 => {
                let value = vec![self.random.next() as u8; self.random.below(9000).min(8192) as usize];
                let flags = AttributeFlags::Any;
                vfs.set_attribute(memory, inode, b"user.test", &value, flags, false, now).expect("it fits");
                thing.attribute = Some(value);
            }
            _ => {
                let removed = refusal(vfs.remove_attribute(memory, inode, b"user.test", now));
                assert_eq!(removed, thing.attribute.take().map(drop).ok_or(Refusal::NoAttribute));
            }
        }
        self.log.push(format!("change {inode}"));
    }

    fn sync(&mut self) {
        self.log.push("sync".to_string());
        self.bed.sync(None);
        self.durable = self.bed.vfs.last_record();
    }

    fn commit(&mut self) {
        if let Some((committing, covered)) = self.commit.take() {
            self.log.push("finish a commit".to_string());
            self.bed.finish_commit(committing);
            self.durable = self.durable.max(covered);
        } else {
            self.log.push("begin a commit".to_string());
            self.commit = Some((self.bed.begin_commit(), self.bed.vfs.last_record()));
        }
    }

    fn crash(&mut self) {
        self.log.push("crash".to_string());
        self.commit = None;
        self.bed.crash();
        let last = self.bed.vfs.last_record();
        assert!(last >= self.durable, "record {} was durable, recovery ends at {last}", self.durable);
        let (_, model) = self.history.range(..=last).next_back().expect("it begins with an empty directory");
        self.model = model.clone();
        self.history = BTreeMap::from([(last, self.model.clone())]);
        self.durable = last;
        self.compare();
        assert_eq!(self.bed.vfs.record().inodes, self.model.things.len() as u64 + 1, "all else was freed");
    }

    /// Compares every directory and every inode.
    fn compare(&self) {
        let mut seen = BTreeSet::new();
        let mut directories = vec![ROOT_INODE];
        while let Some(directory) = directories.pop() {
            let entries = self.model.entries(directory);
            assert_eq!(self.list(directory), entries, "the entries of {directory}");
            let inode = self.inode(directory);
            assert_eq!(inode.entries, entries.len() as u64, "the number of entries of {directory}");
            assert_eq!(inode.nlink, self.model.nlink(directory), "the links of directory {directory}");
            assert_eq!(inode.parent, self.model.parent(directory), "the parent of {directory}");
            for (name, child) in entries {
                let found = self.bed.vfs.lookup(&self.bed.memory, directory, &name).expect("the index is whole");
                assert_eq!(found.map(|found| found.0), Some(child));
                if seen.insert(child) {
                    self.compare_thing(child);
                    directories.extend(self.model.is_directory(child).then_some(child));
                }
            }
        }
        assert!(self.model.things.keys().eq(seen.iter()), "every inode has a name");
    }

    fn compare_thing(&self, number: u64) {
        let (inode, thing) = (self.inode(number), &self.model.things[&number]);
        assert_eq!((inode.mode, inode.uid), (thing.mode, thing.uid), "the attributes of {number}");
        assert_eq!(inode.nlink, self.model.nlink(number), "the links of {number}");
        let value = self.bed.vfs.attribute(&self.bed.memory, number, b"user.test");
        assert_eq!(refusal(value), thing.attribute.clone().ok_or(Refusal::NoAttribute));
        let tree = self.bed.vfs.zone().tree();
        let target = view::inline(tree, &self.bed.memory, number).expect("the index is whole");
        assert_eq!(target.unwrap_or_default(), thing.target);
    }

    fn inode(&self, number: u64) -> Inode {
        self.bed.vfs.inode(&self.bed.memory, number).expect("it exists")
    }

    /// Lists in parts, each after the cookie of the one before.
    fn list(&self, directory: u64) -> BTreeMap<Vec<u8>, u64> {
        let (mut all, mut after) = (BTreeMap::new(), 0);
        loop {
            let before = after;
            let mut room = 3;
            view::list(self.bed.vfs.zone().tree(), &self.bed.memory, directory, after, &mut |entry| {
                assert!(entry.sequence > after, "cookies rise");
                after = entry.sequence;
                assert_eq!(all.insert(entry.name.to_vec(), entry.inode), None, "a name is listed once");
                room -= 1;
                if room == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .expect("the index is whole");
            if after == before {
                return all;
            }
        }
    }
}

fn refusal<T>(result: crate::Result<T>) -> Result<T, Refusal> {
    result.map_err(|error| match error {
        VfsError::Refused(refusal) => refusal,
        VfsError::Zone(error) => panic!("the index is whole, but: {error}"),
    })
}

#[test]
fn random_changes_of_names() {
    with_seeds("random_changes_of_names", 40, |random, log| {
        let mut run = Run::new(random, log);
        for _ in 0..300 {
            run.step();
        }
        run.compare();
    });
}

fn bed_with_names(names: &[&[u8]]) -> Bed {
    let mut bed = Bed::new();
    for name in names {
        let creator = Creator { uid: 0, gid: 0, umask: 0, now: bed.now() };
        bed.vfs.make(&bed.memory, ROOT_INODE, name, REGULAR | 0o644, 0, b"", &creator).expect("the name is free");
    }
    bed
}

#[test]
fn a_listing_gives_each_name_that_stays_once_whatever_changes_beside_it() {
    let names: Vec<Vec<u8>> = (0..40).map(|i| format!("name {i}").into_bytes()).collect();
    let mut bed = bed_with_names(&names.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let (mut found, mut after) = (Vec::new(), 0);
    for round in 0..40 {
        let mut next = None;
        view::list(bed.vfs.zone().tree(), &bed.memory, ROOT_INODE, after, &mut |entry| {
            next = Some((entry.sequence, entry.name.to_vec()));
            ControlFlow::Break(())
        })
        .expect("the index is whole");
        let Some((sequence, name)) = next else { break };
        after = sequence;
        found.push(name.clone());
        // What was listed goes and comes back under another name; what comes last goes.
        let now = bed.now();
        if round % 2 == 0 {
            let again = format!("again {round}");
            let flags = RenameFlags::Replace;
            bed.vfs
                .rename(&bed.memory, ROOT_INODE, &name, ROOT_INODE, again.as_bytes(), flags, now)
                .expect("it exists");
        } else if round < 10 {
            let last = format!("name {}", 39 - round);
            bed.vfs.unlink(&bed.memory, ROOT_INODE, last.as_bytes(), false, now).expect("it exists");
        }
        if round == 20 {
            bed.commit();
        }
    }
    let listed: Vec<&Vec<u8>> = found.iter().filter(|name| name.starts_with(b"name")).collect();
    let stayed: Vec<&Vec<u8>> =
        names.iter().filter(|name| !(30..39).step_by(2).any(|i| **name == format!("name {i}").into_bytes())).collect();
    assert_eq!(listed, stayed);
}

#[test]
fn names_that_no_file_can_have_are_refused() {
    let mut bed = bed_with_names(&[b"here"]);
    let long = [b'x'; NAME_SIZE + 1];
    let cases: [(&[u8], Refusal); 6] = [
        (b"", Refusal::NotFound),
        (b".", Refusal::Invalid),
        (b"..", Refusal::Invalid),
        (b"a/b", Refusal::Invalid),
        (b"a\0b", Refusal::Invalid),
        (&long, Refusal::NameTooLong),
    ];
    for (name, expected) in cases {
        let creator = Creator { uid: 0, gid: 0, umask: 0, now: bed.now() };
        let (vfs, memory) = (&mut bed.vfs, &bed.memory);
        let made = vfs.make(memory, ROOT_INODE, name, REGULAR, 0, b"", &creator);
        assert_eq!(refusal(made.map(drop)), Err(expected), "{}", name.escape_ascii());
        let renamed = vfs.rename(memory, ROOT_INODE, b"here", ROOT_INODE, name, RenameFlags::Replace, creator.now);
        assert_eq!(refusal(renamed), Err(expected), "{}", name.escape_ascii());
    }
}

#[test]
fn an_unnamed_file_lives_until_it_is_let_go_unless_it_gets_a_name() {
    let mut bed = Bed::new();
    let creator = Creator { uid: 0, gid: 0, umask: 0, now: bed.now() };
    let make = |bed: &mut Bed| {
        let made = bed.vfs.make_unnamed(&bed.memory, ROOT_INODE, REGULAR | 0o600, &creator);
        made.expect("a directory takes it").0
    };
    let (kept, lost) = (make(&mut bed), make(&mut bed));
    for inode in [kept, lost] {
        bed.vfs.write(&bed.memory, inode, 0, b"content", false, creator.now).expect("it fits");
    }
    bed.commit();
    bed.vfs.link(&bed.memory, kept, ROOT_INODE, b"kept", creator.now).expect("it has no name yet");
    bed.sync(None);
    bed.crash();
    assert_eq!(bed.read(kept, 0, 100), b"content");
    assert!(matches!(bed.vfs.inode(&bed.memory, lost), Err(VfsError::Refused(Refusal::Stale))));
    assert_eq!(bed.vfs.record().inodes, 2);
}
