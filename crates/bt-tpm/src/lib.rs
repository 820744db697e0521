//! Keys of a node that live in a TPM 2.0, which uses them and never gives them out.
//!
//! [`TpmKeyStore`] is a [`bt_crypto::KeyStore`]. Both keys are made in the TPM, below a primary key that the TPM derives
//! again from its own seed whenever it is asked, so the TPM stores nothing: the node's directory holds the two private
//! halves, wrapped by the TPM ([`file`](TpmKeyStore::encode)), which no other TPM unwraps. The keys may be bound to PCRs,
//! the TPM's record of what the machine was started with, with a passphrase that binds them anew ([`TpmKeyStore::rebind`]).
//! With a [`Counter`] older copies of a directory can be told.
//!
//! Start reading at `store.rs`; `actor.rs` is the thread that owns the TPM, `connection.rs` what it does there.
//!
//! Invariants:
//! * One thread talks to a TPM; every call of it has a time limit, and a TPM that is absent, busy, locked, another one or
//!   differently started gives its own error.
//! * Whatever is loaded into the TPM is flushed by the function that loaded it, also after an error.
//! * Uses of keys are authorised in sessions whose secret is sealed to the primary key, whose name the file holds: who
//!   listens on the bus between processor and TPM learns no shared secret, and cannot answer in the TPM's place.
//! * This crate has no `unsafe` and writes no files.

mod actor;
mod binding;
mod connection;
mod counter;
mod error;
mod file;
mod key;
pub mod limits;
mod pcr;
mod store;
mod tcti;

pub use counter::Counter;
pub use error::TpmError;
pub use file::TpmFileError;
pub use pcr::{Pcrs, PcrsError};
pub use store::{TpmKeyOptions, TpmKeyStore, Uses};
