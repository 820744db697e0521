//! Changes of one file's data, and which contents they allow after a crash.

use anyhow::{Result, ensure};

/// One change of the data of a file.
#[derive(Debug, Clone, Copy)]
pub enum Change {
    /// `length` bytes `fill` at `offset`.
    Write {
        /// Where, in bytes.
        offset: usize,
        /// How many bytes.
        length: usize,
        /// The byte.
        fill: u8,
    },
    /// A new size in bytes.
    Truncate(usize),
}

/// All changes of a file in their order.
#[derive(Debug, Clone, Default)]
pub struct FileHistory {
    changes: Vec<Change>,
    /// How many have returned; one more may be under way.
    completed: usize,
    /// How many are known to be durable.
    durable: usize,
    /// What acknowledged that.
    durable_by: &'static str,
}

impl FileHistory {
    /// Writes down a change that is about to be made.
    pub fn begin(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// The last change begun has returned.
    pub fn complete(&mut self) {
        self.completed = self.changes.len();
    }

    /// How many changes have returned.
    #[must_use]
    pub fn completed(&self) -> usize {
        self.completed
    }

    /// The first `count` changes were acknowledged as durable by `what`.
    pub fn make_durable(&mut self, count: usize, what: &'static str) {
        if count > self.durable {
            (self.durable, self.durable_by) = (count, what);
        }
    }

    /// The content after all changes.
    #[must_use]
    pub fn content(&self) -> Vec<u8> {
        content_after(&self.changes)
    }

    /// Checks what was found after a crash, when also the first `at_least` changes must be there.
    ///
    /// # Errors
    /// With the first byte, or the size, that no moment of the history explains.
    pub fn allows(&self, found: &[u8], at_least: usize) -> Result<()> {
        let sure = self.durable.max(at_least);
        let base = content_after(&self.changes[..sure]);
        let later = &self.changes[sure..];
        let sizes = sizes(base.len(), later);
        let (smallest, largest) = (sizes.iter().min().expect("one at least"), sizes.iter().max().expect("one"));
        ensure!(
            (*smallest..=*largest).contains(&found.len()),
            "its size is {}, not from {smallest} to {largest} ({})",
            found.len(),
            self.explained(at_least)
        );
        for (at, byte) in found.iter().enumerate() {
            let durable = base.get(at) == Some(byte);
            // What lay beyond the end at some moment may read as a hole.
            let hole = *byte == 0 && at >= *smallest;
            ensure!(
                durable || hole || later.iter().any(|change| change.puts(at, *byte)),
                "byte {at} is {byte:#04x}, the durable content has {:x?} there ({})",
                base.get(at),
                self.explained(at_least)
            );
        }
        Ok(())
    }

    fn explained(&self, at_least: usize) -> String {
        format!(
            "of {} changes {} were acknowledged as durable, last by {:?}, {at_least} belong to a rename over another \
             file; the last changes: {:?}",
            self.changes.len(),
            self.durable,
            self.durable_by,
            &self.changes[self.changes.len().saturating_sub(6)..]
        )
    }
}

impl Change {
    fn apply(self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, length, fill } => {
                if content.len() < offset + length {
                    content.resize(offset + length, 0);
                }
                content[offset..offset + length].fill(fill);
            }
            Self::Truncate(size) => content.resize(size, 0),
        }
    }

    fn puts(self, at: usize, byte: u8) -> bool {
        matches!(self, Self::Write { offset, length, fill } if fill == byte && (offset..offset + length).contains(&at))
    }
}

fn content_after(changes: &[Change]) -> Vec<u8> {
    let mut content = Vec::new();
    changes.iter().for_each(|change| change.apply(&mut content));
    content
}

/// The size before and after each of `changes`.
fn sizes(base: usize, changes: &[Change]) -> Vec<usize> {
    let mut sizes = vec![base];
    for change in changes {
        let last = sizes[sizes.len() - 1];
        sizes.push(match *change {
            Change::Write { offset, length, .. } => last.max(offset + length),
            Change::Truncate(size) => size,
        });
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(durable: usize) -> FileHistory {
        let mut history = FileHistory::default();
        history.begin(Change::Write { offset: 0, length: 4, fill: 1 });
        history.begin(Change::Write { offset: 2, length: 4, fill: 2 });
        history.complete();
        history.make_durable(durable, "fsync");
        history
    }

    #[test]
    fn durable_data_must_be_there() {
        history(1).allows(&[1, 1, 1, 1], 0).unwrap();
        history(1).allows(&[1, 1, 2, 1], 0).unwrap();
        history(1).allows(&[1, 1, 1], 0).unwrap_err();
        history(1).allows(&[1, 0, 1, 1], 0).unwrap_err();
        history(2).allows(&[1, 1, 2, 2, 2, 2], 0).unwrap();
        history(2).allows(&[1, 1, 1, 2, 2, 2], 0).unwrap_err();
        history(0).allows(&[], 0).unwrap();
        history(0).allows(&[], 1).unwrap_err();
    }

    #[test]
    fn bytes_never_written_are_wrong() {
        history(0).allows(&[1, 3], 0).unwrap_err();
        history(1).allows(&[1, 1, 1, 1, 0, 2], 0).unwrap();
        history(1).allows(&[1, 1, 1, 1, 1], 0).unwrap_err();
    }
}
