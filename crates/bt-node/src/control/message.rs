//! Requests, answers and progress.

use bt_base::{PrincipalId, RecordHash, Revision, SegmentId, Timestamp, ZoneId};
use serde::{Deserialize, Serialize};

use super::Failure;
use super::access::AccessReport;
use super::app::{AppTerms, InstalledReport, LogLine, NewToken, SecretValue, TokenReport};
use super::log::LogReport;
use super::report::{
    BlockReport, CheckReport, DiffReport, HeadReport, ReclaimReport, RekeyReport, SegmentReport, SnapshotInfo,
    StatusReport,
};
use super::zone::ZoneTerms;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// How the node, its zone and its mount are. Answer: [`Response::Status`].
    Status,
    /// Make everything durable and commit. Answer: [`Response::Synced`].
    Sync,
    /// Verify everything from the head down. Answer: [`Response::Checked`].
    Check {
        /// Also read and verify every stored block, not only those of the index.
        deep: bool,
    },
    /// Record the tree as it is now under a name. Answer: [`Response::SnapshotCreated`].
    SnapshotCreate {
        /// A new name: 1 to 255 bytes, no slash, not `.` or `..`.
        name: String,
    },
    /// All snapshots, oldest first. Answer: [`Response::Snapshots`].
    SnapshotList,
    /// Forget a snapshot; its space is given back. Answer: [`Response::Done`].
    SnapshotDelete {
        /// The name.
        name: String,
    },
    /// What differs between a snapshot and a later one or the present. Answer: [`Response::Diff`].
    SnapshotDiff {
        /// The older snapshot.
        from: String,
        /// The newer snapshot; the present when absent.
        to: Option<String>,
    },
    /// The newest head and its stored copies. Answer: [`Response::Head`].
    InspectHead,
    /// One segment, or all. Answer: [`Response::Segments`].
    InspectSegment {
        /// The segment; all when absent.
        id: Option<SegmentId>,
    },
    /// One block, verified and opened. Answer: [`Response::Block`].
    InspectBlock {
        /// Its segment.
        segment: SegmentId,
        /// Its index in the segment.
        index: u32,
    },
    /// Copy the live blocks out of poor segments and give the rest back. Answer: [`Response::Reclaimed`].
    Reclaim {
        /// Every segment that holds dead bytes, not only poor ones.
        all: bool,
    },
    /// Who may do what in a zone. Answer: [`Response::Access`].
    AccessShow {
        /// Where the zone is entered, from the top of the tree: "/" for the top zone.
        path: String,
    },
    /// Append signed records to the access log of a zone, and obey them. Answer: [`Response::Access`], or
    /// [`Response::Outdated`] when something came between the report they were signed for and this request.
    AccessAppend {
        /// Where the zone is entered.
        path: String,
        /// The zone that the records are for.
        zone: ZoneId,
        /// The records, in their order.
        records: Vec<Vec<u8>>,
    },
    /// The heads of a zone, and those that were refused. Answer: [`Response::Log`].
    Log {
        /// Where the zone is entered.
        path: String,
        /// So many of the newest heads.
        last: u32,
    },
    /// What a zone made at a path begins with. Answer: [`Response::Terms`].
    ZoneTerms {
        /// A directory, from the top of the tree.
        path: String,
    },
    /// Make a zone of a directory, with all that is in it. Answer: [`Response::ZoneMade`].
    ZoneMake {
        /// The directory, from the top of the tree.
        path: String,
        /// The new zone's birth record, signed by an admin of the zone that the directory is in.
        birth: Vec<u8>,
        /// The new zone's access log.
        access: Vec<u8>,
    },
    /// Seal what is under earlier keys of a zone under the newest. Answer: [`Response::Rekeyed`].
    Rekey {
        /// Where the zone is entered.
        path: String,
        /// All of the present, now; else nothing is done but to say what is left.
        now: bool,
    },
    /// The apps that are installed. Answer: [`Response::Apps`].
    Apps,
    /// What is installed under a name, for the decision that follows. Answer: [`Response::AppTerms`].
    AppTerms {
        /// The app.
        name: String,
    },
    /// Keep a package and an installation record in the tree. The record counts once the access log names it. Answer:
    /// [`Response::AppRecord`].
    AppPut {
        /// The package, where it is not in the tree yet.
        package: Option<Vec<u8>>,
        /// The record.
        record: Vec<u8>,
    },
    /// The last lines that an app wrote. Answer: [`Response::AppLog`].
    AppLog {
        /// The app.
        name: String,
    },
    /// Seal a secret of an app to this node, and keep it in the tree. Answer: [`Response::Done`].
    AppSecret {
        /// The app.
        name: String,
        /// The permission that the secret is for.
        permission: String,
        /// The secret.
        value: SecretValue,
    },
    /// Make a token for callers of apps. Answer: [`Response::Token`].
    TokenCreate {
        /// Whom its bearer acts for.
        principal: PrincipalId,
        /// The last time at which it holds; none for no end.
        until: Option<Timestamp>,
    },
    /// The tokens that hold. Answer: [`Response::Tokens`].
    TokenList,
    /// Make a token worthless. Answer: [`Response::Done`].
    TokenRevoke {
        /// Its id, or the beginning of it.
        id: String,
    },
    /// Unmount, commit, close. Answer: [`Response::Done`] after the last commit is durable.
    Unmount {
        /// Detach the mount now even when programs still use it.
        lazy: bool,
    },
}

/// The answer to a request that succeeded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// It is done; nothing more to say.
    Done,
    /// To [`Request::Status`].
    Status(Box<StatusReport>),
    /// To [`Request::Sync`].
    Synced {
        /// The revision that holds everything.
        revision: Revision,
    },
    /// To [`Request::Check`].
    Checked(CheckReport),
    /// To [`Request::SnapshotCreate`].
    SnapshotCreated(SnapshotInfo),
    /// To [`Request::SnapshotList`].
    Snapshots(Vec<SnapshotInfo>),
    /// To [`Request::SnapshotDiff`].
    Diff(DiffReport),
    /// To [`Request::InspectHead`].
    Head(Box<HeadReport>),
    /// To [`Request::InspectSegment`].
    Segments(Vec<SegmentReport>),
    /// To [`Request::InspectBlock`].
    Block(Box<BlockReport>),
    /// To [`Request::Reclaim`].
    Reclaimed(ReclaimReport),
    /// To [`Request::AccessShow`] and [`Request::AccessAppend`].
    Access(Box<AccessReport>),
    /// To [`Request::Log`].
    Log(Box<LogReport>),
    /// To [`Request::ZoneTerms`].
    Terms(Box<ZoneTerms>),
    /// To [`Request::ZoneMake`].
    ZoneMade {
        /// The zone.
        zone: ZoneId,
    },
    /// To [`Request::Rekey`].
    Rekeyed(RekeyReport),
    /// To [`Request::Apps`].
    Apps(Vec<InstalledReport>),
    /// To [`Request::AppTerms`].
    AppTerms(Box<AppTerms>),
    /// To [`Request::AppPut`].
    AppRecord {
        /// The name of the record, for the access log.
        record: RecordHash,
    },
    /// To [`Request::AppLog`].
    AppLog(Vec<LogLine>),
    /// To [`Request::TokenCreate`].
    Token(NewToken),
    /// To [`Request::TokenList`].
    Tokens(Vec<TokenReport>),
    /// To [`Request::AccessAppend`]: nothing was changed; ask again, sign again.
    Outdated,
}

/// How far long work is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Units done.
    pub done: u64,
    /// Units in all; 0 when not known.
    pub total: u64,
    /// What the units are, for people: "blocks", "bytes", "segments".
    pub what: String,
}

/// One message of the server.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// More will follow.
    Progress(Progress),
    /// The last message to this request.
    Done(Response),
    /// The last message to this request.
    Failed(Failure),
}
