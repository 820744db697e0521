//! Who may do what in a zone, for people; and how a command signs what is to change.
//!
//! The command asks for an [`AccessReport`], signs the next records with a credential that never leaves it, and sends
//! them with [`crate::control::Request::AccessAppend`]. The node verifies them from the bytes that it received.

use bt_base::{HeadHash, PrincipalId, RecordHash, Revision, Timestamp, TreeId, ZoneId};
use bt_crypto::{Credential, KeyStore};
use bt_tree::app::AppName;
use bt_tree::{AccessRecord, Action, LastHead, Rights, Statement};
use serde::{Deserialize, Serialize};

use super::Failure;
use crate::system::now;

/// What a principal may do; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// Read the zone.
    Read,
    /// Write to it.
    Write,
    /// Share it with others, and revoke.
    Admin,
}

impl From<Rights> for Right {
    fn from(rights: Rights) -> Self {
        match rights {
            Rights::Read => Self::Read,
            Rights::Write => Self::Write,
            Rights::Admin => Self::Admin,
        }
    }
}

impl From<Right> for Rights {
    fn from(right: Right) -> Self {
        match right {
            Right::Read => Self::Read,
            Right::Write => Self::Write,
            Right::Admin => Self::Admin,
        }
    }
}

/// A principal that may do something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantReport {
    /// Who.
    pub principal: PrincipalId,
    /// What.
    pub right: Right,
    /// The last time at which it may; absent for no end.
    pub until: Option<Timestamp>,
    /// Who granted it; absent for the root, and for the zone's creator while nothing was decided about it.
    pub granted_by: Option<PrincipalId>,
    /// When it was granted.
    pub granted: Option<Timestamp>,
    /// It is the root of the tree.
    pub is_root: bool,
    /// It is whom the answering process acts for.
    pub is_self: bool,
}

/// A principal that may do nothing any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedReport {
    /// Who.
    pub principal: PrincipalId,
    /// Who revoked it.
    pub revoked_by: PrincipalId,
    /// When.
    pub revoked: Timestamp,
    /// The last revision of the zone up to which its heads count; absent where none do.
    pub last_revision: Option<Revision>,
}

/// An app that is installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppReport {
    /// Its name.
    pub name: String,
    /// The installation record that counts.
    pub record: RecordHash,
    /// Who signed that it does.
    pub by: PrincipalId,
    /// When.
    pub time: Timestamp,
}

/// Who may do what in a zone, and what the next access record is to follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessReport {
    /// The tree.
    pub tree: TreeId,
    /// The zone.
    pub zone: ZoneId,
    /// Where the zone is entered, from the top of the tree, escaped.
    pub path: String,
    /// Everyone who may do something now: the root first, then in the order of ids.
    pub grants: Vec<GrantReport>,
    /// Everyone whose newest record is a revocation.
    pub revoked: Vec<RevokedReport>,
    /// The apps that are installed, by name.
    pub apps: Vec<AppReport>,
    /// Records in the access log.
    pub records: u64,
    /// The newest record.
    pub newest: RecordHash,
    /// When it was made; absent in an empty log.
    pub newest_time: Option<Timestamp>,
    /// The newest head: revision and hash.
    pub head: Option<(Revision, HeadHash)>,
    /// The newest epoch.
    pub epoch: u32,
    /// The newest epoch is for exactly those who may read now. If not, the next commit makes another.
    pub keys_are_current: bool,
}

/// Signs the records that follow those of a report, one after the other.
pub struct NextRecords<'a> {
    report: &'a AccessReport,
    signer: &'a dyn KeyStore,
    number: u64,
    previous: RecordHash,
    records: Vec<Vec<u8>>,
}

impl<'a> NextRecords<'a> {
    /// Nothing yet.
    pub fn new(report: &'a AccessReport, signer: &'a dyn KeyStore) -> Self {
        Self { report, signer, number: report.records, previous: report.newest, records: Vec::new() }
    }

    /// Gives a principal a right, up to a time or for good.
    pub fn grant(&mut self, to: &Credential, right: Right, until: Option<Timestamp>) -> Result<(), Failure> {
        self.sign(Action::Grant { principal: *to, rights: right.into(), until })
    }

    /// Takes all rights from a principal: its heads after the report's head do not count.
    pub fn revoke(&mut self, from: &PrincipalId) -> Result<(), Failure> {
        let last = self.report.head.map(|(revision, hash)| LastHead { revision, hash });
        self.sign(Action::Revoke { principal: *from, last })
    }

    /// Says which installation record of an app counts; none: it is not installed any more.
    pub fn app(&mut self, name: &AppName, record: Option<RecordHash>) -> Result<(), Failure> {
        self.sign(Action::App { name: name.clone(), record })
    }

    /// The signed records.
    pub fn finish(self) -> Vec<Vec<u8>> {
        self.records
    }

    fn sign(&mut self, action: Action) -> Result<(), Failure> {
        let statement = Statement {
            tree: self.report.tree,
            zone: self.report.zone,
            number: self.number,
            previous: self.previous,
            time: self.report.newest_time.map_or(now(), |newest| newest.max(now())),
            signer: self.signer.credential().id(),
            action,
        };
        let record = AccessRecord::sign(self.signer, statement)
            .map_err(|error| Failure::problem(format!("the access record could not be signed: {error}"), ""))?;
        (self.number, self.previous) = (self.number + 1, record.hash());
        self.records.push(record.to_bytes());
        Ok(())
    }
}
