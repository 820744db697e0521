//! Random decisions of random people, against a model that knows nothing but the rules of `doc/format/access.md`.
//!
//! The model keeps what was accepted as a list, and answers each question by going through all of it. proptest prints
//! the smallest sequence that fails and keeps its seed in `proptest-regressions/`.

use std::sync::LazyLock;

use bt_base::{HeadHash, PrincipalId, RecordHash, Revision, Timestamp};
use bt_crypto::{KeyStore, SoftwareKeyStore};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::access::{AccessLog, Action, LastHead, Rights};
use crate::birth::Birth;
use crate::genesis::Genesis;
use crate::testing::{SeededEntropy, World, later, store};

/// People who act; the first three are the roots of the tree, one after the other.
const PEOPLE: usize = 7;
/// Apps that come and go.
const APPS: [&str; 2] = ["inbox", "notes"];
/// Seconds in which everything happens.
const SECONDS: i64 = 12;

type Person = usize;

/// What somebody tries to decide.
#[derive(Clone, Copy, Debug)]
enum Try {
    Grant { to: Person, rights: Rights, until: Option<i64> },
    Revoke { from: Person, last: Option<(u64, u8)> },
    Succeed { root: usize, last: Option<(u64, u8)> },
    App { app: usize, record: Option<u8> },
}

#[derive(Clone, Copy, Debug)]
struct Step {
    by: Person,
    at: i64,
    what: Try,
}

/// People, their names, and the tree as it was under each of its roots; the last knows all of them.
struct Tree {
    people: Vec<SoftwareKeyStore>,
    ids: Vec<PrincipalId>,
    geneses: Vec<Genesis>,
}

static TREE: LazyLock<Tree> = LazyLock::new(|| {
    let world = World::new();
    let people: Vec<SoftwareKeyStore> = [1, 11, 12, 2, 3, 4, 5].map(store).into_iter().collect();
    let mut geneses = vec![world.genesis];
    for root in 1..3 {
        let mut next = geneses[root - 1].clone();
        next.succeed(&people[root - 1], &people[root], *world.birth.zone(), later(-100)).unwrap();
        geneses.push(next);
    }
    let ids = people.iter().map(|person| person.credential().id()).collect();
    Tree { people, ids, geneses }
});

/// What was accepted, and what follows from it.
struct Model {
    creator: Person,
    born_under: usize,
    accepted: Vec<Step>,
}

impl Model {
    /// Which root counts after the first `position` records.
    fn root(&self, position: usize) -> Person {
        let mut root = self.born_under;
        for step in &self.accepted[..position] {
            if let Try::Succeed { root: next, .. } = step.what {
                root = next;
            }
        }
        root
    }

    /// Where a record takes everything from `person`, and up to which head what it signed still counts.
    fn ends(&self, at: usize, person: Person) -> Option<Option<(u64, u8)>> {
        match self.accepted[at].what {
            Try::Revoke { from, last } if from == person => Some(last),
            Try::Succeed { last, .. } if self.root(at) == person => Some(last),
            _ => None,
        }
    }

    /// The newest grant to a person among the first `position` records, unless it was taken back.
    fn grant(&self, person: Person, position: usize) -> Option<(Rights, Option<i64>)> {
        for at in (0..position).rev() {
            if self.ends(at, person).is_some() {
                return None;
            }
            match self.accepted[at].what {
                Try::Grant { to, rights, until } if to == person => return Some((rights, until)),
                _ => {}
            }
        }
        (person == self.creator).then_some((Rights::Admin, None))
    }

    fn rights(&self, person: Person, position: usize, at: i64) -> Option<Rights> {
        if person == self.root(position) {
            return Some(Rights::Admin);
        }
        let (rights, until) = self.grant(person, position)?;
        until.is_none_or(|until| at <= until).then_some(rights)
    }

    fn may_write(&self, person: Person, position: usize, at: i64) -> bool {
        self.rights(person, position, at).is_some_and(|rights| rights != Rights::Read)
    }

    fn accepts_head(&self, person: Person, position: usize, at: i64, head: (u64, u8)) -> bool {
        let counts = |last: Option<(u64, u8)>| last.is_some_and(|last| head.0 < last.0 || head == last);
        let mut ends = (position..self.accepted.len()).filter_map(|record| self.ends(record, person));
        self.may_write(person, position, at) && ends.all(counts)
    }

    fn accepts_batch(&self, person: Person, position: usize, at: i64) -> bool {
        let mut later = position..self.accepted.len();
        self.may_write(person, position, at) && later.all(|record| self.ends(record, person).is_none())
    }

    /// Whether a decision counts; the clock of the log never runs back.
    fn accepts(&self, step: &Step) -> bool {
        let position = self.accepted.len();
        let is_admin = self.rights(step.by, position, step.at) == Some(Rights::Admin);
        match step.what {
            Try::Succeed { root, .. } => step.by == root && root > self.root(position),
            Try::Revoke { from, .. } => is_admin && from != self.root(position),
            Try::App { app, record } => is_admin && (record.is_some() || self.app(app).is_some()),
            Try::Grant { to, rights, until } => {
                let replaced = self.grant(to, position);
                let lowers = replaced.is_some_and(|(old, old_until)| {
                    let ends_earlier = match (until, old_until) {
                        (Some(until), Some(old)) => until < old,
                        (until, old) => until.is_some() && old.is_none(),
                    };
                    rights < old || ends_earlier
                });
                is_admin && !lowers
            }
        }
    }

    /// Which record of an app counts, and who decided that when.
    fn app(&self, app: usize) -> Option<(u8, Person, i64)> {
        let about = self.accepted.iter().rev().find(|step| matches!(step.what, Try::App { app: a, .. } if a == app))?;
        match about.what {
            Try::App { record, .. } => record.map(|record| (record, about.by, about.at)),
            _ => None,
        }
    }

    /// Whether the records after the first `position` are all about apps.
    fn has_same_rights_since(&self, position: usize) -> bool {
        self.accepted[position..].iter().all(|step| matches!(step.what, Try::App { .. }))
    }

    fn newest_time(&self) -> i64 {
        self.accepted.last().map_or(i64::MIN, |step| step.at)
    }
}

fn head_of((revision, hash): (u64, u8)) -> (Revision, HeadHash) {
    (Revision(revision), HeadHash([hash; 32]))
}

fn time(seconds: i64) -> Timestamp {
    later(seconds)
}

fn action(what: Try) -> Action {
    let last_head = |last: Option<(u64, u8)>| {
        last.map(|last| {
            let (revision, hash) = head_of(last);
            LastHead { revision, hash }
        })
    };
    match what {
        Try::Grant { to, rights, until } => {
            Action::Grant { principal: *TREE.people[to].credential(), rights, until: until.map(time) }
        }
        Try::Revoke { from, last } => Action::Revoke { principal: TREE.ids[from], last: last_head(last) },
        Try::App { app, record } => {
            Action::App { name: APPS[app].parse().unwrap(), record: record.map(|byte| RecordHash([byte; 32])) }
        }
        Try::Succeed { root, last } => Action::Succeed {
            succession: TREE.geneses[root].newest_succession(),
            root: TREE.ids[root],
            last: last_head(last),
        },
    }
}

/// A log and its model, with the name of each position.
struct Run {
    model: Model,
    log: AccessLog,
    birth: Birth,
    names: Vec<RecordHash>,
}

impl Run {
    fn new(creator: Person, born_under: usize) -> Self {
        let mut entropy = SeededEntropy::new(2);
        let birth = Birth::create(&TREE.people[creator], &TREE.geneses[born_under], None, &mut entropy).unwrap();
        let log = AccessLog::new(&TREE.geneses[2], &birth).unwrap();
        let names = vec![log.newest()];
        Self { model: Model { creator, born_under, accepted: Vec::new() }, log, birth, names }
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        let step = Step { at: step.at.max(self.model.newest_time()), ..step };
        let expected = self.model.accepts(&step);
        let decided = self.log.decide(&TREE.people[step.by], time(step.at), action(step.what)).map(|_| ());
        prop_assert_eq!(decided.is_ok(), expected, "{:?} gave {:?}", step, decided);
        if expected {
            self.model.accepted.push(step);
            self.names.push(self.log.newest());
        }
        Ok(())
    }

    /// Compares what everybody may do at each position and time.
    fn compare(&self, log: &AccessLog) -> Result<(), TestCaseError> {
        for (position, name) in self.names.iter().enumerate() {
            for (person, id) in TREE.ids.iter().enumerate() {
                for at in -1..=SECONDS {
                    self.compare_at(log, (position, name), (person, id), at)?;
                }
            }
        }
        for (position, name) in self.names.iter().enumerate() {
            let same = log.has_same_rights_since(name).unwrap();
            prop_assert_eq!(same, self.model.has_same_rights_since(position), "since {}", position);
        }
        let apps = log.apps().iter().map(|(name, app)| (name.as_str(), (app.record.0[0], app.by, app.time)));
        let expected = (0..APPS.len()).filter_map(|app| {
            let (record, by, at) = self.model.app(app)?;
            Some((APPS[app], (record, TREE.ids[by], time(at))))
        });
        prop_assert!(apps.clone().eq(expected), "{:?}", apps.collect::<Vec<_>>());
        for at in -1..=SECONDS {
            let newest = self.names.len() - 1;
            let mut readers: Vec<_> = log.readers(time(at)).iter().map(|reader| reader.id()).collect();
            prop_assert_eq!(readers[0], TREE.ids[self.model.root(newest)]);
            readers.sort();
            let may_read = (0..PEOPLE).filter(|person| self.model.rights(*person, newest, at).is_some());
            let mut expected: Vec<_> = may_read.map(|person| TREE.ids[person]).collect();
            expected.sort();
            prop_assert_eq!(readers, expected, "at {}", at);
        }
        Ok(())
    }

    fn compare_at(
        &self,
        log: &AccessLog,
        (position, name): (usize, &RecordHash),
        (person, id): (Person, &PrincipalId),
        at: i64,
    ) -> Result<(), TestCaseError> {
        let rights = self.model.rights(person, position, at);
        for needed in [Rights::Read, Rights::Write, Rights::Admin] {
            let may = log.may(id, needed, name, time(at)).is_ok();
            prop_assert_eq!(may, rights >= Some(needed), "{} needs {} at {} after {}", person, needed, at, position);
        }
        let batch = log.accepts_batch(id, name, time(at)).is_ok();
        prop_assert_eq!(batch, self.model.accepts_batch(person, position, at), "batch of {}", person);
        for head in (0..4).flat_map(|revision| [(revision, 0), (revision, 1)]) {
            let (revision, hash) = head_of(head);
            let accepts = log.accepts_head(id, name, time(at), revision, &hash).is_ok();
            let expected = self.model.accepts_head(person, position, at, head);
            prop_assert_eq!(accepts, expected, "head {:?} of {} at {} after {}", head, person, at, position);
        }
        Ok(())
    }
}

fn last() -> impl Strategy<Value = Option<(u64, u8)>> {
    prop::option::of((0..4_u64, 0..2_u8))
}

fn step() -> impl Strategy<Value = Step> {
    let rights = prop_oneof![Just(Rights::Read), Just(Rights::Write), Just(Rights::Admin)];
    let until = prop::option::of(0..SECONDS);
    let what = prop_oneof![
        8 => (0..PEOPLE, rights, until).prop_map(|(to, rights, until)| Try::Grant { to, rights, until }),
        4 => (0..PEOPLE, last()).prop_map(|(from, last)| Try::Revoke { from, last }),
        1 => (0..3_usize, last()).prop_map(|(root, last)| Try::Succeed { root, last }),
        4 => (0..APPS.len(), prop::option::weighted(0.6, 0..3_u8)).prop_map(|(app, record)| Try::App { app, record }),
    ];
    (0..PEOPLE, 0..SECONDS, what).prop_map(|(by, at, what)| Step { by, at, what })
}

/// Mostly those who may: people decide rarely what they may not.
fn steps() -> impl Strategy<Value = Vec<(Step, bool)>> {
    vec((step(), prop::bool::weighted(0.6)), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_log_answers_as_its_rules_say(creator in 0..PEOPLE, born_under in 0..3_usize, steps in steps()) {
        let mut run = Run::new(creator, born_under);
        for (step, by_one_who_may) in steps {
            let by = match step.what {
                Try::Succeed { root, .. } if by_one_who_may => root,
                _ if by_one_who_may => run.model.root(run.model.accepted.len()),
                _ => step.by,
            };
            // Time goes on slowly, so that some grants end while others are made.
            let at = step.at.min(run.model.newest_time().max(0) + 2);
            run.step(Step { by, at, ..step })?;
        }
        run.compare(&run.log)?;
        let again = AccessLog::decode(&TREE.geneses[2], &run.birth, &run.log.to_bytes()).unwrap();
        run.compare(&again)?;
    }
}
