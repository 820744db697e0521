//! Disk space held back, so that deleting and committing still work on a full disk.

use std::sync::Arc;

use crate::error::Result;
use crate::storage::{Storage, StorageFile, directory_of};

/// A preallocated file that is given up when the disk is full, and taken back when there is room again.
#[derive(Debug)]
pub struct Ballast {
    storage: Arc<dyn Storage>,
    file: Arc<dyn StorageFile>,
    size: u64,
}

impl Ballast {
    /// The ballast in the file `name`, which is to hold `size` bytes. It may not be held yet: see
    /// [`Ballast::restore`].
    pub fn open(storage: Arc<dyn Storage>, name: &str, size: u64) -> Result<Self> {
        let file = storage.open(name, true)?;
        storage.sync_dir(directory_of(name))?;
        Ok(Self { storage, file, size })
    }

    /// Whether the space is held.
    pub fn is_held(&self) -> Result<bool> {
        Ok(self.file.len()? >= self.size)
    }

    /// Gives the space back to the disk, and returns how many bytes that was.
    pub fn release(&self) -> Result<u64> {
        let held = self.file.len()?;
        self.file.set_len(0)?;
        // The blocks of a cut file come back when the file system has committed the cut.
        self.file.sync_data()?;
        Ok(held)
    }

    /// Takes the space again; [`StoreError::NoSpace`](crate::StoreError::NoSpace) if the disk has less than twice the
    /// ballast free, so that it is not given up again at once.
    pub fn restore(&self) -> Result<()> {
        if self.is_held()? {
            return Ok(());
        }
        if self.storage.space()?.free < 2 * self.size {
            let file = self.file.name().to_owned();
            return Err(crate::StoreError::NoSpace { op: "allocate", file, offset: 0 });
        }
        let taken = self.file.allocate(0, self.size).and_then(|()| self.file.sync_data());
        if taken.is_err() {
            // A partial ballast would pass for none: leave none.
            self.file.set_len(0)?;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    #[test]
    fn what_the_ballast_gives_up_can_be_written() {
        let storage = MemoryStorage::with_capacity(1 << 20);
        let ballast = Ballast::open(Arc::new(storage.clone()), "ballast", 256 << 10).unwrap();
        assert!(!ballast.is_held().unwrap());
        ballast.restore().unwrap();
        assert!(ballast.is_held().unwrap());

        let file = storage.open("data", true).unwrap();
        file.write_at(&vec![1; 768 << 10], 0).unwrap();
        assert!(file.write_at(&[1], 768 << 10).unwrap_err().is_no_space());
        assert!(ballast.restore().is_ok(), "it is still held");
        assert_eq!(ballast.release().unwrap(), 256 << 10);
        file.write_at(&[1], 768 << 10).unwrap();

        assert!(ballast.restore().unwrap_err().is_no_space());
        storage.remove("data").unwrap();
        ballast.restore().unwrap();
        assert!(Ballast::open(Arc::new(storage), "ballast", 256 << 10).unwrap().is_held().unwrap());
    }
}
