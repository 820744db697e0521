//! Zones: what a tree's files consist of once they are sealed, signed and named, as formats and rules.
//!
//! A zone is a subtree with its own keys, writers and history. Its files, names and accounts are records of one
//! copy-on-write B+tree, the *index*; the nodes of the index and the data of files are *blocks*, each named by a
//! [`BlockRef`] that holds the hash of its sealed bytes. A signed *head* names the root of the index, and through
//! those hashes every byte of the zone.
//!
//! # What must be at hand to believe a byte
//!
//! ```text
//! Genesis (hash = tree id) ── first root's credential
//!    │     └─ Succession: from one root to the next
//!    └─ Birth (hash = zone id) ── first admin
//!         └─ AccessLog: who may read, write, administer, in one order
//!              ├─ EpochList: the zone's keys, boxed for each reader ──> Keyring
//!              ├─ SignedHead: session certificate, signature ──> root BlockRef ──> index ──> blocks
//!              └─ BatchReader: what happened since that head, batch by batch
//! ```
//!
//! A node's key certifies a [`SessionKey`] for a day at most; heads, batches and epochs are signed with that and
//! carry its certificate, so each can be verified alone, against the access log.
//!
//! # What this crate never does
//!
//! It opens no file or socket, starts no thread, reads no clock and draws no randomness: time and entropy are
//! arguments, blocks come and go through traits that a caller implements, journal bytes through buffers. It never
//! retries, never logs, and never holds a private key other than a session's.
//!
//! # Invariants
//!
//! * Bytes from outside are never trusted: each decoder has a size limit, takes exactly one value, knows its
//!   version, and answers with an error that says what is wrong with what. None panics.
//! * What is hashed or signed are the bytes as received. A record has one name whoever encodes it.
//! * Every hash and signature is bound to its purpose, the format's version and the tree.
//! * A record is judged by the time it carries and by the access record it names, and a revocation names the last
//!   head that still counts.
//! * A nonce is never used twice: a block is sealed once under its segment's key, a batch number is given once in
//!   a journal, and segment and journal ids are never used again.
//! * Whether a head is the *newest* is written in no record; it is for the caller to know.
//!
//! # Where to start
//!
//! * [`head`]: the record that holds everything together, and how it is verified.
//! * [`index`], [`schema`], [`zone`]: the B+tree, what its records say, and which blocks are alive; [`check`] finds
//!   what is wrong with them.
//! * [`batch`]: the journal, which fsync waits for.
//! * [`genesis`], [`succession`], [`birth`], [`access`], [`epoch`], [`session`]: who may do what, and with which keys.
//! * [`counter`]: what tells an older copy of everything.
//! * [`app`]: signed packages, and what an installed one may do.
//!
//! The byte tables are in `doc/format/`, known answers of each format version in `vectors/`.

pub mod access;
pub mod app;
pub mod batch;
pub mod birth;
pub mod block;
pub mod check;
pub mod checks;
pub mod counter;
#[cfg(test)]
mod decoder_tests;
mod envelope;
pub mod epoch;
mod frame;
pub mod genesis;
pub mod head;
pub mod index;
pub mod schema;
pub mod session;
pub mod succession;
#[cfg(test)]
mod testing;
pub mod zone;

pub use access::{AccessError, AccessLog, AccessRecord, Action, Grant, InstalledApp, LastHead, Rights, Statement};
pub use batch::{BATCH_ALIGN, BATCH_PAYLOAD, BatchError, BatchFrame, BatchInfo, BatchReader, BatchWriter, OpenedBatch};
pub use birth::{Birth, BirthError};
pub use block::BlockRef;
pub use counter::{CounterError, CounterRecord};
pub use epoch::{EpochError, EpochList, EpochRecord, Keyring};
pub use genesis::{Genesis, GenesisError};
pub use head::{Head, HeadError, JournalPosition, SegmentSummary, SignedHead};
pub use session::{SessionCertificate, SessionError, SessionKey};
pub use succession::{Succession, SuccessionError, SuccessionStatement};
