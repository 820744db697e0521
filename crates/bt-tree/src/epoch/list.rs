//! The chain of a zone's epochs, verified.

use bt_base::{Entropy, RecordHash, Timestamp, TreeId, ZoneId};
use bt_crypto::{EpochKey, KeyStore};

use super::record::{EpochRecord, EpochStatement};
use super::{EpochError, Keyring};
use crate::access::AccessLog;
use crate::frame;
use crate::session::SessionKey;

const WHAT: &str = "epoch list";

/// A verified list of epochs, each signed by one who could write the zone then.
#[derive(Clone, Debug)]
pub struct EpochList {
    tree: TreeId,
    zone: ZoneId,
    records: Vec<EpochRecord>,
}

impl EpochList {
    /// The most epochs of one zone.
    pub const EPOCHS: usize = 65_536;

    /// The list of a zone that has no keys yet.
    pub fn new(log: &AccessLog) -> Self {
        Self { tree: *log.tree(), zone: *log.zone(), records: Vec::new() }
    }

    /// Decodes and verifies the list of the zone that `log` is about.
    pub fn decode(log: &AccessLog, bytes: &[u8]) -> Result<Self, EpochError> {
        let mut list = Self::new(log);
        for record in frame::split(WHAT, bytes, Self::EPOCHS)? {
            list.push(EpochRecord::decode(record)?, log)?;
        }
        Ok(list)
    }

    /// The encoded list.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.records.iter().for_each(|record| frame::push(&mut bytes, &record.to_bytes()));
        bytes
    }

    /// Verifies a record and appends it; its signer must have the right to write under the newest access record too.
    pub fn append(&mut self, record: EpochRecord, log: &AccessLog) -> Result<(), EpochError> {
        let EpochStatement { number, time, .. } = *record.statement();
        log.may_write(&record.certificate().node().id(), &log.newest(), time)
            .map_err(|error| EpochError::Access { number, error })?;
        self.push(record, log)
    }

    /// Makes the next epoch: a new key for everyone who may read at `time`, added to the list and to `keyring`.
    ///
    /// `keyring` must hold the keys of the list so far, an empty one before the first epoch. Returns the epoch.
    pub fn advance(
        &mut self,
        log: &AccessLog,
        keyring: &mut Keyring,
        session: &SessionKey,
        time: Timestamp,
        entropy: &mut dyn Entropy,
    ) -> Result<u32, EpochError> {
        let newest = self.newest_number();
        let held = keyring.newest().map_or(0, |(epoch, _)| epoch);
        if held != newest {
            return Err(EpochError::StaleKeyring { held, newest });
        }
        let time = session.certificate().no_earlier(time);
        let time = self.records.last().map_or(time, |last| time.max(last.statement().time));
        let number = newest + 1;
        let statement = EpochStatement {
            tree: self.tree,
            zone: self.zone,
            number,
            previous: self.newest_hash(),
            access: log.newest(),
            time,
        };
        let key = EpochKey::generate(entropy);
        let previous = keyring.newest().map(|(_, key)| key);
        let record = EpochRecord::make(statement, &key, previous, &log.readers(time), session, entropy)?;
        self.append(record, log)?;
        keyring.insert(number, key);
        Ok(number)
    }

    /// Whether the newest epoch is for exactly those who may read at the time `at`. If not, [`EpochList::advance`]
    /// before anything more is written.
    pub fn is_current(&self, log: &AccessLog, at: Timestamp) -> bool {
        self.records.last().is_some_and(|last| {
            let EpochStatement { access, time, .. } = *last.statement();
            log.has_same_rights_since(&access).unwrap_or(false) && log.readers(time) == log.readers(at)
        })
    }

    /// The last time at which [`EpochList::is_current`] holds for a clock that never goes back; none where it does
    /// not hold any more.
    pub fn current_until(&self, log: &AccessLog) -> Option<Timestamp> {
        let EpochStatement { access, time, .. } = *self.records.last()?.statement();
        let is_of_now = log.has_same_rights_since(&access).unwrap_or(false);
        is_of_now.then(|| log.holds_until(time).unwrap_or(Timestamp::new(i64::MAX, 0)))
    }

    /// Opens the newest epoch's box of the principal in `store`, and with that key all epochs before.
    pub fn open_with(&self, store: &dyn KeyStore) -> Result<Keyring, EpochError> {
        let mut records = self.records.iter().rev();
        let mut newer = records.next().ok_or(EpochError::NoEpoch)?;
        let mut key = newer.open_with(store)?;
        let mut keyring = Keyring::default();
        for record in records {
            let previous = newer.open_previous(&key, record)?;
            keyring.insert(newer.statement().number, key);
            (newer, key) = (record, previous);
        }
        keyring.insert(newer.statement().number, key);
        Ok(keyring)
    }

    /// The records, oldest first.
    pub fn records(&self) -> &[EpochRecord] {
        &self.records
    }

    /// The newest epoch; 0 where there is none.
    pub fn newest_number(&self) -> u32 {
        u32::try_from(self.records.len()).expect("a list has at most 65,536 epochs")
    }

    fn push(&mut self, record: EpochRecord, log: &AccessLog) -> Result<(), EpochError> {
        let number = self.newest_number() + 1;
        if self.records.len() == Self::EPOCHS {
            return Err(EpochError::Full { epochs: Self::EPOCHS });
        }
        let statement = record.statement();
        if statement.tree != self.tree || statement.zone != self.zone {
            return Err(EpochError::OtherZone { number, expected: self.zone, found: statement.zone });
        }
        if statement.number != number || statement.previous != self.newest_hash() {
            return Err(EpochError::Chain { number });
        }
        let access_error = |error| EpochError::Access { number, error };
        if let Some(last) = self.records.last().map(EpochRecord::statement) {
            let access_in_order = log.is_at_or_after(&statement.access, &last.access).map_err(access_error)?;
            if !access_in_order || statement.time < last.time {
                return Err(EpochError::Chain { number });
            }
        }
        record.verify_signature()?;
        let signer = record.certificate().node().id();
        log.may_write(&signer, &statement.access, statement.time).map_err(access_error)?;
        self.records.push(record);
        Ok(())
    }

    fn newest_hash(&self) -> RecordHash {
        self.records.last().map_or(RecordHash(self.zone.0), EpochRecord::hash)
    }
}
