//! The chain of a zone's access records, verified, and the answers it gives.

use std::collections::{BTreeMap, HashMap};

use bt_base::{HeadHash, PrincipalId, RecordHash, Revision, Timestamp, TreeId, ZoneId};
use bt_crypto::{Credential, KeyStore};

use super::AccessError;
use super::record::{AccessRecord, Action, LastHead, Rights, Statement};
use crate::app::AppName;
use crate::birth::Birth;
use crate::checks::{Check, enforce};
use crate::frame;
use crate::genesis::Genesis;

const WHAT: &str = "access log";

/// A position in the log: how many of its records count.
type Position = usize;

/// Everything that was decided about one principal, oldest first, each with the position it made.
#[derive(Clone, Debug)]
struct History {
    credential: Option<Credential>,
    changes: Vec<(Position, Change)>,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Granted { rights: Rights, until: Option<Timestamp> },
    Revoked { last: Option<LastHead> },
}

/// What a principal may do now, and by whose word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grant {
    /// Who.
    pub principal: PrincipalId,
    /// What.
    pub rights: Rights,
    /// The last time at which it holds; none for no end.
    pub until: Option<Timestamp>,
    /// Who granted it and when; none for the root, and for the zone's creator while no record is about it.
    pub granted: Option<(PrincipalId, Timestamp)>,
}

/// An app that is installed, and by whose word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InstalledApp {
    /// The installation record that counts.
    pub record: RecordHash,
    /// Who signed that it does.
    pub by: PrincipalId,
    /// When.
    pub time: Timestamp,
}

/// A verified access log.
///
/// The root that the zone obeys may do everything, and no record but a succession can change that; until the first one
/// it is the root under which the zone was born. The zone's creator is an admin from position
/// 0 until a record is about it. Everything else is as the newest record about a principal says.
#[derive(Clone, Debug)]
pub struct AccessLog {
    tree: TreeId,
    zone: ZoneId,
    genesis: Genesis,
    /// The root that the zone obeys.
    root: Credential,
    /// The same, with all before it: from which position on, and which of the tree's roots.
    roots: Vec<(Position, usize, Credential)>,
    records: Vec<AccessRecord>,
    positions: HashMap<RecordHash, Position>,
    histories: BTreeMap<PrincipalId, History>,
    /// The newest position that changed somebody's rights.
    rights_changed: Position,
    apps: BTreeMap<AppName, InstalledApp>,
}

impl AccessLog {
    /// The most records of one log.
    pub const RECORDS: usize = 65_536;
    /// The most apps that are installed in one zone.
    pub const APPS: usize = 1024;

    /// The log of a zone in which nothing was decided yet.
    pub fn new(genesis: &Genesis, birth: &Birth) -> Result<Self, AccessError> {
        let (tree, zone) = (*genesis.tree(), *birth.zone());
        if birth.tree() != genesis.tree() {
            return Err(AccessError::Chain { number: 0 });
        }
        let unknown = || AccessError::UnknownSuccession(*birth.succession());
        let (place, root) = genesis.root_under(birth.succession()).ok_or_else(unknown)?;
        let creator = *birth.creator();
        let first = Change::Granted { rights: Rights::Admin, until: None };
        Ok(Self {
            tree,
            zone,
            root: *root,
            roots: vec![(0, place, *root)],
            genesis: genesis.clone(),
            records: Vec::new(),
            positions: HashMap::from([(RecordHash(zone.0), 0)]),
            histories: BTreeMap::from([(
                creator.id(),
                History { credential: Some(creator), changes: vec![(0, first)] },
            )]),
            rights_changed: 0,
            apps: BTreeMap::new(),
        })
    }

    /// Decodes and verifies the log of a zone.
    pub fn decode(genesis: &Genesis, birth: &Birth, bytes: &[u8]) -> Result<Self, AccessError> {
        let mut log = Self::new(genesis, birth)?;
        for record in frame::split(WHAT, bytes, Self::RECORDS)? {
            log.append(AccessRecord::decode(record)?)?;
        }
        Ok(log)
    }

    /// The encoded log.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.records.iter().for_each(|record| frame::push(&mut bytes, &record.to_bytes()));
        bytes
    }

    /// Makes, signs and appends the next record. `time` is raised to that of the record before, if it is earlier.
    pub fn decide(
        &mut self,
        signer: &dyn KeyStore,
        time: Timestamp,
        action: Action,
    ) -> Result<&AccessRecord, AccessError> {
        let statement = self.next_statement(signer.credential().id(), time, action);
        self.append(AccessRecord::sign(signer, statement)?)
    }

    /// What the next record would say, for `signer` to sign elsewhere. `time` is raised as [`AccessLog::decide`] does.
    pub fn next_statement(&self, signer: PrincipalId, time: Timestamp, action: Action) -> Statement {
        Statement {
            tree: self.tree,
            zone: self.zone,
            number: self.records.len() as u64,
            previous: self.newest(),
            time: time.max(self.newest_time()),
            signer,
            action,
        }
    }

    /// Verifies a record and appends it.
    pub fn append(&mut self, record: AccessRecord) -> Result<&AccessRecord, AccessError> {
        self.check(&record)?;
        let position = self.records.len() + 1;
        let Statement { signer, time, action, .. } = record.statement();
        if !matches!(action, Action::App { .. }) {
            self.rights_changed = position;
        }
        match action {
            Action::Grant { principal, rights, until } => {
                let history = self.history(principal.id());
                history.credential = Some(*principal);
                history.changes.push((position, Change::Granted { rights: *rights, until: *until }));
            }
            Action::Revoke { principal, last } => {
                self.history(*principal).changes.push((position, Change::Revoked { last: *last }));
            }
            Action::Succeed { succession, last, .. } => {
                let (place, root) = self.genesis.root_under(succession).expect("it was checked");
                self.roots.push((position, place, *root));
                let before = std::mem::replace(&mut self.root, *root);
                let history = self.history(before.id());
                history.credential = Some(before);
                history.changes.push((position, Change::Revoked { last: *last }));
            }
            Action::App { name, record: Some(record) } => {
                self.apps.insert(name.clone(), InstalledApp { record: *record, by: *signer, time: *time });
            }
            Action::App { name, record: None } => drop(self.apps.remove(name)),
        }
        self.positions.insert(record.hash(), position);
        self.records.push(record);
        Ok(&self.records[position - 1])
    }

    /// The record that everything made now is to name: the last, or the zone's id in an empty log.
    pub fn newest(&self) -> RecordHash {
        self.records.last().map_or(RecordHash(self.zone.0), AccessRecord::hash)
    }

    /// Checks that `principal` may write at the time `at` under everything decided up to `record`.
    pub fn may_write(&self, principal: &PrincipalId, record: &RecordHash, at: Timestamp) -> Result<(), AccessError> {
        self.may(principal, Rights::Write, record, at)
    }

    /// Checks that `principal` has `needed` at the time `at` under everything decided up to `record`.
    pub fn may(
        &self,
        principal: &PrincipalId,
        needed: Rights,
        record: &RecordHash,
        at: Timestamp,
    ) -> Result<(), AccessError> {
        let position = self.position(record)?;
        let right = match self.rights(principal, position, at) {
            Some(rights) if rights >= needed => Ok(()),
            _ => Err(AccessError::Denied { principal: *principal, needed, record: *record, at }),
        };
        enforce(Check::Rights, right)
    }

    /// Checks that a head counts: its signer may write under the record it names, and no revocation after that
    /// record ends the signer's heads before this one.
    pub fn accepts_head(
        &self,
        signer: &PrincipalId,
        record: &RecordHash,
        at: Timestamp,
        revision: Revision,
        head: &HeadHash,
    ) -> Result<(), AccessError> {
        self.may_write(signer, record, at)?;
        let position = self.position(record)?;
        let later = self.changes(signer).iter().filter(|(made, _)| *made > position);
        let ended = later.into_iter().any(|(_, change)| match change {
            Change::Granted { .. } => false,
            Change::Revoked { last: None } => true,
            Change::Revoked { last: Some(last) } => {
                revision > last.revision || (revision == last.revision && *head != last.hash)
            }
        });
        let counts = match ended {
            true => Err(AccessError::Revoked { principal: *signer, head: *head, revision }),
            false => Ok(()),
        };
        enforce(Check::Revocation, counts)
    }

    /// What `principal` may do at the time `at` under all records, and the last time at which that holds (none for no
    /// end); none where it may do nothing.
    pub fn standing(&self, principal: &PrincipalId, at: Timestamp) -> Option<(Rights, Option<Timestamp>)> {
        let rights = self.rights(principal, self.records.len(), at)?;
        let until = match self.changes(principal).last() {
            Some((_, Change::Granted { until, .. })) if *principal != self.root.id() => *until,
            _ => None,
        };
        Some((rights, until))
    }

    /// Checks that a journal batch counts: its signer may write under the record of the head that the journal follows,
    /// and no later record revokes it. (Whoever is granted the right again begins with a head under the new record.)
    pub fn accepts_batch(&self, signer: &PrincipalId, record: &RecordHash, at: Timestamp) -> Result<(), AccessError> {
        self.may_write(signer, record, at)?;
        let position = self.position(record)?;
        let mut later = self.changes(signer).iter().filter(|(made, _)| *made > position);
        match later.any(|(_, change)| matches!(change, Change::Revoked { .. })) {
            true => Err(AccessError::Ended { principal: *signer }),
            false => Ok(()),
        }
    }

    /// Everyone who may read at the time `at` under all records, the root always and first, each once.
    pub fn readers(&self, at: Timestamp) -> Vec<Credential> {
        let root = self.root.id();
        let others = self.histories.iter().filter(|(principal, _)| **principal != root);
        let may_read = others.filter(|(principal, _)| self.rights(principal, self.records.len(), at).is_some());
        let credentials = may_read.filter_map(|(_, history)| history.credential);
        std::iter::once(self.root).chain(credentials).collect()
    }

    /// What everyone may do at the time `at` under all records, the root first, then in the order of ids.
    pub fn grants(&self, at: Timestamp) -> Vec<Grant> {
        let root = self.root.id();
        let others = self.histories.keys().filter(|principal| **principal != root);
        let granted = std::iter::once(&root).chain(others).filter_map(|principal| self.newest_grant(principal));
        granted.filter(|grant| grant.until.is_none_or(|until| at <= until)).collect()
    }

    /// What the newest record gives a principal, whether or not its time is over; none where it gives nothing.
    pub fn newest_grant(&self, principal: &PrincipalId) -> Option<Grant> {
        if *principal == self.root.id() {
            return Some(Grant { principal: *principal, rights: Rights::Admin, until: None, granted: None });
        }
        self.grant_of(principal, self.changes(principal).last()?)
    }

    /// What a principal may do under everything decided up to `record`, whether or not its time is over; none where
    /// that is nothing, or the record is not in the log.
    pub fn grant_under(&self, principal: &PrincipalId, record: &RecordHash) -> Option<Grant> {
        let position = self.position(record).ok()?;
        if *principal == self.root_at(position).id() {
            return Some(Grant { principal: *principal, rights: Rights::Admin, until: None, granted: None });
        }
        let change = self.changes(principal).iter().rev().find(|(made, _)| *made <= position)?;
        self.grant_of(principal, change)
    }

    fn grant_of(&self, principal: &PrincipalId, change: &(Position, Change)) -> Option<Grant> {
        let (position, change) = *change;
        let Change::Granted { rights, until } = change else { return None };
        let record = position.checked_sub(1).map(|at| self.records[at].statement());
        let granted = record.map(|statement| (statement.signer, statement.time));
        Some(Grant { principal: *principal, rights, until, granted })
    }

    /// The last time, from `at` on, at which everyone who may do something at the time `at` still may; none where
    /// nobody's rights have an end.
    pub fn holds_until(&self, at: Timestamp) -> Option<Timestamp> {
        let root = self.root.id();
        let others = self.histories.iter().filter(|(principal, _)| **principal != root);
        let ends = others.filter_map(|(_, history)| match history.changes.last()?.1 {
            Change::Granted { until, .. } => until.filter(|until| at <= *until),
            Change::Revoked { .. } => None,
        });
        ends.min()
    }

    /// Whether the record `later` is the record `earlier` or comes after it.
    pub fn is_at_or_after(&self, later: &RecordHash, earlier: &RecordHash) -> Result<bool, AccessError> {
        Ok(self.position(later)? >= self.position(earlier)?)
    }

    /// The records, oldest first.
    pub fn records(&self) -> &[AccessRecord] {
        &self.records
    }

    /// The root that the zone obeys.
    pub fn root(&self) -> &Credential {
        &self.root
    }

    /// Whom the record at a place of the log, from 0, takes all rights from: a succession does so to the root before.
    pub fn taken_from(&self, place: usize) -> Option<PrincipalId> {
        match &self.records.get(place)?.statement().action {
            Action::Grant { .. } | Action::App { .. } => None,
            Action::Revoke { principal, .. } => Some(*principal),
            Action::Succeed { .. } => Some(self.root_at(place).id()),
        }
    }

    /// Whether nobody's rights were changed by a record after this one.
    pub fn has_same_rights_since(&self, record: &RecordHash) -> Result<bool, AccessError> {
        Ok(self.rights_changed <= self.position(record)?)
    }

    /// The apps that are installed, by name.
    pub fn apps(&self) -> &BTreeMap<AppName, InstalledApp> {
        &self.apps
    }

    /// Whether the zone obeys the tree's newest root, as far as successions are known here.
    pub fn obeys_newest_root(&self) -> bool {
        self.root == *self.genesis.root()
    }

    /// The tree.
    pub fn tree(&self) -> &TreeId {
        &self.tree
    }

    /// The zone.
    pub fn zone(&self) -> &ZoneId {
        &self.zone
    }

    fn check(&self, record: &AccessRecord) -> Result<(), AccessError> {
        let statement = record.statement();
        let number = self.records.len() as u64;
        if self.records.len() == Self::RECORDS {
            return Err(AccessError::Full { records: Self::RECORDS });
        }
        enforce(Check::RecordChain, self.check_place(number, statement))?;
        let not_admin = || AccessError::NotAdmin { number, signer: statement.signer };
        if let Action::Succeed { succession, root, .. } = &statement.action {
            return self.check_succession(record, succession, root);
        }
        let signed = match self.credential(&statement.signer) {
            None => Err(not_admin()),
            Some(signer) if !record.is_signed_by(&signer.verifying_key) => Err(AccessError::Signature { number }),
            Some(_) => match self.rights(&statement.signer, self.records.len(), statement.time) {
                Some(Rights::Admin) => Ok(()),
                _ => Err(not_admin()),
            },
        };
        enforce(Check::RecordSigner, signed)?;
        self.check_action(number, &statement.action)
    }

    /// A record continues the log of its zone, and no time goes back.
    fn check_place(&self, number: u64, statement: &Statement) -> Result<(), AccessError> {
        if statement.tree != self.tree || statement.zone != self.zone {
            return Err(AccessError::OtherZone { number, expected: self.zone, found: statement.zone });
        }
        let follows = statement.number == number && statement.previous == self.newest();
        match follows && statement.time >= self.newest_time() {
            true => Ok(()),
            false => Err(AccessError::Chain { number }),
        }
    }

    /// Only the root that follows says that it does, in each zone.
    fn check_succession(
        &self,
        record: &AccessRecord,
        succession: &RecordHash,
        root: &PrincipalId,
    ) -> Result<(), AccessError> {
        let Statement { number, signer, .. } = *record.statement();
        let unknown = || AccessError::UnknownSuccession(*succession);
        let (place, successor) = self.genesis.root_under(succession).ok_or_else(unknown)?;
        if signer != successor.id() || signer != *root {
            return Err(AccessError::NotAdmin { number, signer });
        }
        if !record.is_signed_by(&successor.verifying_key) {
            return Err(AccessError::Signature { number });
        }
        match self.roots.last().is_some_and(|(_, newest, _)| place > *newest) {
            true => Ok(()),
            false => Err(AccessError::NotNewer { number }),
        }
    }

    /// Losing rights always takes a revocation, because only that names the last head that still counts.
    fn check_action(&self, number: u64, action: &Action) -> Result<(), AccessError> {
        match action {
            Action::Revoke { principal, .. } if *principal == self.root.id() => {
                Err(AccessError::RevokesRoot { number })
            }
            Action::Revoke { .. } | Action::Succeed { .. } => Ok(()),
            Action::Grant { principal, rights, until } => match self.changes(&principal.id()).last() {
                Some((_, Change::Granted { rights: old, until: old_until }))
                    if rights < old || ends_before(*until, *old_until) =>
                {
                    Err(AccessError::Lowers { number, principal: principal.id() })
                }
                _ => Ok(()),
            },
            Action::App { name, record } => self.check_app(number, name, record.is_some()),
        }
    }

    fn check_app(&self, number: u64, name: &AppName, installs: bool) -> Result<(), AccessError> {
        match (self.apps.contains_key(name), installs) {
            (false, false) => Err(AccessError::NoSuchApp { number, name: name.clone() }),
            (false, true) if self.apps.len() == Self::APPS => {
                Err(AccessError::TooManyApps { number, apps: Self::APPS })
            }
            _ => Ok(()),
        }
    }

    fn rights(&self, principal: &PrincipalId, position: Position, at: Timestamp) -> Option<Rights> {
        if *principal == self.root_at(position).id() {
            return Some(Rights::Admin);
        }
        let newest = self.changes(principal).iter().rev().find(|(made, _)| *made <= position)?;
        match newest.1 {
            Change::Granted { rights, until } if until.is_none_or(|until| at <= until) => Some(rights),
            _ => None,
        }
    }

    /// The root that counted when the log had so many records.
    fn root_at(&self, position: Position) -> &Credential {
        let obeyed = self.roots.iter().rev().find(|(from, ..)| *from <= position);
        &obeyed.expect("a zone obeys a root from its birth on").2
    }

    fn history(&mut self, principal: PrincipalId) -> &mut History {
        self.histories.entry(principal).or_insert_with(|| History { credential: None, changes: Vec::new() })
    }

    fn changes(&self, principal: &PrincipalId) -> &[(Position, Change)] {
        self.histories.get(principal).map_or(&[], |history| &history.changes)
    }

    fn credential(&self, principal: &PrincipalId) -> Option<&Credential> {
        match *principal == self.root.id() {
            true => Some(&self.root),
            false => self.histories.get(principal)?.credential.as_ref(),
        }
    }

    fn position(&self, record: &RecordHash) -> Result<Position, AccessError> {
        let known = self.positions.get(record).copied().ok_or(AccessError::UnknownRecord(*record));
        enforce(Check::KnownRecord, known.as_ref().map(drop).map_err(|_| AccessError::UnknownRecord(*record)))?;
        Ok(known.unwrap_or(self.records.len()))
    }

    fn newest_time(&self) -> Timestamp {
        self.records.last().map_or(Timestamp::new(i64::MIN, 0), |record| record.statement().time)
    }
}

fn ends_before(end: Option<Timestamp>, other: Option<Timestamp>) -> bool {
    match (end, other) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(end), Some(other)) => end < other,
    }
}
