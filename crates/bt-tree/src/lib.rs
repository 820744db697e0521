//! bt-tree.

pub mod access;
pub mod batch;
pub mod birth;
pub mod block;
mod envelope;
pub mod epoch;
mod frame;
pub mod genesis;
pub mod head;
pub mod index;
pub mod schema;
pub mod session;
#[cfg(test)]
mod testing;
pub mod zone;

pub use access::{AccessError, AccessLog, AccessRecord, Action, LastHead, Rights};
pub use batch::{BATCH_ALIGN, BATCH_PAYLOAD, BatchError, BatchFrame, BatchInfo, BatchReader, BatchWriter, OpenedBatch};
pub use birth::{Birth, BirthError};
pub use block::BlockRef;
pub use epoch::{EpochError, EpochList, EpochRecord, Keyring};
pub use genesis::{Genesis, GenesisError};
pub use head::{Head, HeadError, JournalPosition, SegmentSummary, SignedHead};
pub use session::{SessionCertificate, SessionError, SessionKey};
