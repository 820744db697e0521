//! What one worker did.

use super::data::{Change, FileHistory};
use super::names::{FileId, NameOperation, Names};

/// A file that replaced another by rename must have at least this much of its data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Replacement {
    /// The rename: number of operations on names before it.
    pub after: usize,
    /// The file that was moved.
    pub file: FileId,
    /// Changes of its data at that time.
    pub changes: usize,
}

/// How far a history had come at some moment: what an acknowledged sync that began then makes durable.
#[derive(Debug, Clone)]
pub struct Mark {
    names: usize,
    /// Changes of each file that is covered.
    files: Vec<(FileId, usize)>,
}

impl Mark {
    /// The same for data alone.
    #[must_use]
    pub fn without_names(&self) -> Self {
        Self { names: 0, files: self.files.clone() }
    }
}

/// Everything that was done in one directory, and how much of it is durable.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Operations on names, the last of which may be under way.
    pub(crate) operations: Vec<NameOperation>,
    completed: usize,
    durable: usize,
    pub(crate) files: Vec<FileHistory>,
    pub(crate) replacements: Vec<Replacement>,
    /// The names after all completed operations.
    pub names: Names,
}

impl History {
    /// Writes down an operation on names that is about to be made.
    pub fn begin_name(&mut self, operation: NameOperation) {
        if let NameOperation::Create(_, file) = &operation {
            assert_eq!(*file, self.files.len(), "files are numbered in the order of their creation");
            self.files.push(FileHistory::default());
        }
        if let NameOperation::Rename(from, to) = &operation
            && let (Some(super::Node::File(file)), Some(super::Node::File(_))) =
                (self.names.0.get(from), self.names.0.get(to))
        {
            let changes = self.files[*file].completed();
            self.replacements.push(Replacement { after: self.operations.len(), file: *file, changes });
        }
        self.operations.push(operation);
    }

    /// The last operation begun has returned well.
    pub fn complete_name(&mut self) {
        let operation = self.operations.last().expect("one has begun");
        self.names.apply(operation);
        self.completed = self.operations.len();
    }

    /// Writes down a change of data that is about to be made.
    pub fn begin_change(&mut self, file: FileId, change: Change) {
        self.files[file].begin(change);
    }

    /// The last change begun of `file` has returned well.
    pub fn complete_change(&mut self, file: FileId) {
        self.files[file].complete();
    }

    /// What a sync of everything that begins now covers.
    #[must_use]
    pub fn mark_all(&self) -> Mark {
        let files = self.files.iter().enumerate().map(|(file, history)| (file, history.completed()));
        Mark { names: self.completed, files: files.collect() }
    }

    /// What a sync of names that begins now covers, and of the data of `file` if it is of this history.
    #[must_use]
    pub fn mark(&self, file: Option<FileId>) -> Mark {
        let files = file.map(|file| (file, self.files[file].completed()));
        Mark { names: self.completed, files: files.into_iter().collect() }
    }

    /// The sync `what` that began at `mark` has returned well.
    pub fn acknowledge(&mut self, mark: &Mark, what: &'static str) {
        self.durable = self.durable.max(mark.names);
        for (file, changes) in &mark.files {
            self.files[*file].make_durable(*changes, what);
        }
    }

    /// How many operations on names are durable.
    #[must_use]
    pub fn durable_names(&self) -> usize {
        self.durable
    }

    /// The number of files made so far.
    #[must_use]
    pub fn file_count(&self) -> usize {
        self.files.len()
    }
}
