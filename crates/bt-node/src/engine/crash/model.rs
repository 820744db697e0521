//! What a file system must hold after a crash, computed without any of the code that is tested.
//!
//! The model numbers operations. It keeps the names as they were after each operation, every content that a file ever
//! had, and what was acknowledged as durable, when. [`Model::check`] is the rule; [`super`] states it in words.

use bt_base::RecordHash;
use bt_tree::AccessLog;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bt_base::Timestamp;

/// The type bits of a mode.
const TYPE: u32 = 0o170000;
pub(super) const DIRECTORY: u32 = 0o040000;
pub(super) const REGULAR: u32 = 0o100000;

/// An inode without its content and times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    pub(super) links: u32,
    pub(super) attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) target: Vec<u8>,
}

impl Meta {
    pub(super) fn is_regular(&self) -> bool {
        self.mode & TYPE == REGULAR
    }

    pub(super) fn is_directory(&self) -> bool {
        self.mode & TYPE == DIRECTORY
    }
}

/// Everything but the content of files: what journal records keep in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) directories: BTreeMap<u64, BTreeMap<Vec<u8>, u64>>,
    /// Inodes that a name leads to.
    pub(super) inodes: BTreeMap<u64, Meta>,
    pub(super) snapshots: BTreeMap<Vec<u8>, Arc<Image>>,
}

/// A whole state that no longer changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) names: Names,
    pub(super) contents: BTreeMap<u64, Print>,
}

/// A content, by size and hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Print {
    size: u64,
    hash: [u8; 32],
}

impl Print {
    pub(super) fn of(content: &[u8]) -> Self {
        Self { size: content.len() as u64, hash: *blake3::hash(content).as_bytes() }
    }
}

impl std::fmt::Debug for Print {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} bytes {:02x}{:02x}{:02x}{:02x}",
            self.size, self.hash[0], self.hash[1], self.hash[2], self.hash[3]
        )
    }
}

/// A state as it was read back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) names: Names,
    pub(super) contents: BTreeMap<u64, Vec<u8>>,
    /// When the content of each file last changed.
    pub(super) times: BTreeMap<u64, Timestamp>,
}

impl State {
    pub(super) fn prints(&self) -> BTreeMap<u64, Print> {
        self.contents.iter().map(|(inode, content)| (*inode, Print::of(content))).collect()
    }
}

/// What an acknowledgement covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Covers {
    /// All names, and the content of this file.
    File(u64),
    /// All names.
    Names,
    /// Everything.
    All,
}

struct Moment {
    what: String,
    /// Changes of the disk that were made before the operation began.
    begun: usize,
    names: Arc<Names>,
}

struct Version {
    operation: usize,
    print: Print,
    /// When the content changed, where it is known.
    time: Option<Timestamp>,
}

struct Acknowledged {
    /// Changes of the disk that were made before the acknowledgement.
    at: usize,
    operation: usize,
    covers: Covers,
}

/// A name that must not be there without the content that the file had then.
struct Ordered {
    operation: usize,
    inode: u64,
}

/// The file system as it should be, now and at every moment before.
pub(super) struct Model {
    pub(super) now: State,
    /// Inodes without a name that are still held.
    pub(super) orphans: BTreeMap<u64, Meta>,
    moments: Vec<Moment>,
    versions: BTreeMap<u64, Vec<Version>>,
    acknowledged: Vec<Acknowledged>,
    /// Access records that were appended, each with the changes of the disk after which it was acknowledged.
    records: Vec<(usize, RecordHash)>,
    ordered: Vec<Ordered>,
}

impl Model {
    /// Begins with a state that is durable.
    pub(super) fn new(start: State) -> Self {
        let mut model = Self {
            moments: Vec::new(),
            versions: BTreeMap::new(),
            acknowledged: vec![Acknowledged { at: 0, operation: 0, covers: Covers::All }],
            records: Vec::new(),
            ordered: Vec::new(),
            orphans: BTreeMap::new(),
            now: start,
        };
        model.moments.push(Moment { what: "start".into(), begun: 0, names: Arc::new(model.now.names.clone()) });
        for (inode, print) in model.now.prints() {
            model.versions.insert(inode, vec![Version { operation: 0, print, time: None }]);
        }
        model
    }

    /// Records an operation that began after `begun` changes of the disk.
    pub(super) fn operation(&mut self, begun: usize, what: String, change: impl FnOnce(&mut Self)) {
        let names = self.moments.last().expect("there is a start").names.clone();
        self.moments.push(Moment { what, begun, names });
        change(self);
        let moment = self.moments.last_mut().expect("just pushed");
        if *moment.names != self.now.names {
            moment.names = Arc::new(self.now.names.clone());
        }
    }

    fn current(&self) -> usize {
        self.moments.len() - 1
    }

    /// Notes the content that a file has now.
    pub(super) fn content_changed(&mut self, inode: u64) {
        let print = Print::of(&self.now.contents[&inode]);
        self.note_content(inode, print);
    }

    /// Notes a content that a file may have after a crash in the middle of the present operation, or has after it.
    pub(super) fn note_content(&mut self, inode: u64, print: Print) {
        let operation = self.current();
        self.versions.entry(inode).or_default().push(Version { operation, print, time: None });
    }

    /// Notes when the content that a file has now was made.
    pub(super) fn note_time(&mut self, inode: u64, time: Option<Timestamp>) {
        if let Some(version) = self.versions.get_mut(&inode).and_then(|versions| versions.last_mut()) {
            version.time = time;
        }
    }

    /// The present name of a file must not be durable without its present content.
    pub(super) fn order(&mut self, inode: u64) {
        if self.now.contents.contains_key(&inode) {
            let operation = self.current();
            self.ordered.push(Ordered { operation, inode });
        }
    }

    /// Something was acknowledged as durable after `at` changes of the disk.
    pub(super) fn acknowledge(&mut self, at: usize, covers: Covers) {
        let operation = self.current();
        self.acknowledged.push(Acknowledged { at, operation, covers });
    }

    /// An access record was acknowledged as obeyed after `at` changes of the disk.
    pub(super) fn acknowledge_record(&mut self, at: usize, record: RecordHash) {
        self.records.push((at, record));
        self.acknowledge(at, Covers::All);
    }

    /// Whether the access log has every record that was acknowledged before a crash after `point` changes.
    pub(super) fn check_records(&self, point: usize, access: &AccessLog) -> Result<(), String> {
        let lost = |(_, record): &&(usize, RecordHash)| access.is_at_or_after(&access.newest(), record).is_err();
        match self.records.iter().filter(|(at, _)| *at <= point).find(lost) {
            None => Ok(()),
            Some((at, record)) => Err(format!("access record {record} was acknowledged at {at} and is lost")),
        }
    }

    /// What was done last, for whoever searches an error.
    pub(super) fn story(&self) -> String {
        let first = self.moments.len().saturating_sub(40);
        let lines =
            self.moments[first..].iter().map(|moment| format!("  after {} changes: {}\n", moment.begun, moment.what));
        lines.collect()
    }

    /// The present state, as a snapshot keeps it.
    pub(super) fn image(&self) -> Image {
        let names = Names { snapshots: BTreeMap::new(), ..self.now.names.clone() };
        let mut contents = self.now.prints();
        contents.retain(|inode, _| names.inodes.contains_key(inode));
        Image { names, contents }
    }

    /// Whether `found` may be what is left after a crash after `point` changes of the disk; else why not.
    pub(super) fn check(&self, point: usize, found: &State) -> Result<(), String> {
        let last = self.moments.iter().rposition(|moment| moment.begun <= point).expect("the start is before all");
        let valid: Vec<&Acknowledged> = self.acknowledged.iter().filter(|durable| durable.at <= point).collect();
        let floor = valid.iter().map(|durable| durable.operation).max().unwrap_or(0);
        let prints = found.prints();
        let mut reasons = Vec::new();
        for prefix in self.ends_of_groups(floor, last) {
            if *self.moments[prefix].names != found.names {
                continue;
            }
            match self.check_contents(prefix, &valid, &prints, &found.times) {
                Ok(()) => return Ok(()),
                Err(why) => reasons.push(format!("after {}: {why}", self.describe(prefix))),
            }
        }
        if reasons.is_empty() {
            reasons.push(self.closest(floor, last, &found.names));
        }
        Err(format!(
            "at least {} was acknowledged, {} had begun\n  {}",
            self.describe(floor),
            self.describe(last),
            reasons.join("\n  ")
        ))
    }

    fn describe(&self, operation: usize) -> String {
        format!("operation {operation} ({})", self.moments[operation].what)
    }

    /// Operations from `floor` to `last` after which the names change, and `last`.
    fn ends_of_groups(&self, floor: usize, last: usize) -> impl Iterator<Item = usize> {
        (floor..=last)
            .filter(move |at| *at == last || !Arc::ptr_eq(&self.moments[*at].names, &self.moments[at + 1].names))
    }

    fn check_contents(
        &self,
        prefix: usize,
        valid: &[&Acknowledged],
        found: &BTreeMap<u64, Print>,
        times: &BTreeMap<u64, Timestamp>,
    ) -> Result<(), String> {
        for (inode, print) in found {
            let covers = |durable: &&&Acknowledged| match durable.covers {
                Covers::File(file) => file == *inode,
                Covers::Names => false,
                Covers::All => true,
            };
            let acknowledged = valid.iter().filter(covers).map(|durable| durable.operation).max().unwrap_or(0);
            let ordered = self.ordered.iter().filter(|ordered| ordered.inode == *inode && ordered.operation <= prefix);
            let floor = ordered.map(|ordered| ordered.operation).max().unwrap_or(0).max(acknowledged);
            let versions = self.versions.get(inode).map_or(&[][..], Vec::as_slice);
            let first = versions.iter().rposition(|version| version.operation <= floor).unwrap_or(0);
            let in_window = |version: &&Version| version.operation <= prefix && version.print == *print;
            let mut allowed = versions[first..].iter().filter(in_window).peekable();
            let is_allowed = allowed.peek().is_some();
            if allowed.any(|version| version.time.is_none_or(|time| time == times[inode])) {
                continue;
            }
            if is_allowed {
                return Err(format!(
                    "file {inode} has a content that is allowed, and {:?}, which is not its time",
                    times[inode]
                ));
            }
            let known: Vec<String> = (versions.iter())
                .filter(|version| version.print == *print)
                .map(|version| self.describe(version.operation))
                .collect();
            let known = if known.is_empty() { "never had".into() } else { format!("had after {}", known.join(", ")) };
            let wanted: Vec<String> = versions[first..]
                .iter()
                .map(|version| format!("{:?} of {}", version.print, version.operation))
                .collect();
            return Err(format!(
                "file {inode} has {print:?}, which it {known}; its durable content is of {} (ordered: {}); expected one \
                 of {}",
                self.describe(floor),
                floor > acknowledged,
                wanted.join(", ")
            ));
        }
        Ok(())
    }

    /// Says how the found names differ from the most similar ones that are allowed.
    fn closest(&self, floor: usize, last: usize, found: &Names) -> String {
        let differences = self.ends_of_groups(floor, last).map(|at| (differences(&self.moments[at].names, found), at));
        let (differences, at) = differences.min_by_key(|(differences, _)| differences.len()).expect("there is one");
        let known = (0..self.moments.len()).rev().find(|at| *self.moments[*at].names == *found);
        let known = known.map_or("they never were so".into(), |at| format!("they were so at {}", self.describe(at)));
        format!("the names are not allowed; {known}; after {}: {}", self.describe(at), differences.join("; "))
    }
}

/// What `found` has otherwise than `wanted`.
pub(super) fn differences(wanted: &Names, found: &Names) -> Vec<String> {
    let mut all = Vec::new();
    for (directory, wanted, found) in pairs(&wanted.directories, &found.directories) {
        let (wanted, found) = (wanted.cloned().unwrap_or_default(), found.cloned().unwrap_or_default());
        for (name, wanted, found) in pairs(&wanted, &found).filter(|(_, wanted, found)| wanted != found) {
            let name = name.escape_ascii();
            all.push(format!("{directory}/{name}: wanted inode {wanted:?}, found {found:?}"));
        }
    }
    for (inode, wanted, found) in pairs(&wanted.inodes, &found.inodes).filter(|(_, wanted, found)| wanted != found) {
        all.push(format!("inode {inode}: wanted {wanted:?}, found {found:?}"));
    }
    for (name, wanted, found) in pairs(&wanted.snapshots, &found.snapshots) {
        let what = format!("snapshot {}", name.escape_ascii());
        match (wanted, found) {
            (Some(wanted), Some(found)) => {
                all.extend(differences(&wanted.names, &found.names).iter().map(|text| format!("{what}: {text}")));
                for (inode, wanted, found) in pairs(&wanted.contents, &found.contents) {
                    if wanted != found {
                        all.push(format!("{what}: file {inode}: wanted {wanted:?}, found {found:?}"));
                    }
                }
            }
            (wanted, _) => all.push(format!("{what} {}", if wanted.is_some() { "is missing" } else { "is too much" })),
        }
    }
    all
}

pub(super) type Pair<'a, K, V> = (&'a K, Option<&'a V>, Option<&'a V>);

/// The values of all keys that one of two maps has.
pub(super) fn pairs<'a, K: Ord, V>(
    a: &'a BTreeMap<K, V>,
    b: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = Pair<'a, K, V>> {
    let keys: BTreeSet<&K> = a.keys().chain(b.keys()).collect();
    keys.into_iter().map(|key| (key, a.get(key), b.get(key)))
}
