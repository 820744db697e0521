//! Compares a directory after a crash with its history.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};

use super::history::History;
use super::names::{FileId, Names, Node};
use crate::sys;

/// What is found under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    File { inode: u64 },
    Directory,
    Link(String),
}

/// Checks that `directory` is as a crash after `history` may leave it; returns how many operations on names it shows.
///
/// # Errors
/// With what is not explained by any moment of the history.
pub fn verify(directory: &Path, history: &History) -> Result<usize> {
    let mut found = BTreeMap::new();
    walk(directory, "", &mut found)?;
    let mut names = Names::default();
    let mut nearest = None;
    for count in 0..=history.operations.len() {
        if let Some(operation) = count.checked_sub(1).map(|last| &history.operations[last]) {
            names.apply(operation);
        }
        if count < history.durable_names() {
            continue;
        }
        match explains(&names, &found) {
            Ok(inodes) => match check_data(directory, history, count, &names, &inodes) {
                Ok(()) => return Ok(count),
                Err(error) => nearest = Some(error.context(format!("the names are those after {count} operations"))),
            },
            Err(difference) if nearest.is_none() && count == history.durable_names() => {
                nearest = Some(anyhow!("{difference} (compared with the {count} durable operations on names)"));
            }
            Err(_) => {}
        }
    }
    let error = nearest.unwrap_or_else(|| anyhow!("nothing matches"));
    let operations = &history.operations;
    let shown = operations.iter().enumerate().skip(history.durable_names().saturating_sub(10));
    let shown: Vec<String> = shown.map(|(number, operation)| format!("{number}: {operation:?}")).collect();
    Err(error.context(format!(
        "{} is not as a crash may leave it; {} of {} operations on names were durable:\n  {}",
        directory.display(),
        history.durable_names(),
        operations.len(),
        shown.join("\n  ")
    )))
}

/// Whether these names are the ones found; gives the inode of each file.
fn explains(names: &Names, found: &BTreeMap<String, Found>) -> Result<BTreeMap<FileId, u64>, String> {
    if let Some(path) = found.keys().find(|path| !names.0.contains_key(*path)) {
        return Err(format!("{path} is there and should not be"));
    }
    let mut inodes = BTreeMap::new();
    for (path, node) in &names.0 {
        match (node, found.get(path)) {
            (Node::File(file), Some(Found::File { inode })) => {
                if *inodes.entry(*file).or_insert(*inode) != *inode {
                    return Err(format!("{path} is another file than its other names"));
                }
            }
            (Node::Directory, Some(Found::Directory)) => {}
            (Node::Link(target), Some(Found::Link(there))) if target == there => {}
            (node, there) => return Err(format!("{path} should be {node:?} and is {there:?}")),
        }
    }
    let mut distinct: Vec<u64> = inodes.values().copied().collect();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() != inodes.len() { Err("two files have become one".into()) } else { Ok(inodes) }
}

fn check_data(
    directory: &Path,
    history: &History,
    count: usize,
    names: &Names,
    inodes: &BTreeMap<FileId, u64>,
) -> Result<()> {
    for file in inodes.keys() {
        let path = names.0.iter().find(|(_, node)| **node == Node::File(*file)).map(|(path, _)| path);
        let path = path.context("a file that was found has a name")?;
        let shown = history.replacements.iter().filter(|replacement| replacement.after < count);
        let at_least = shown.filter(|replacement| replacement.file == *file).map(|replacement| replacement.changes);
        let content = sys::content(directory.join(path).as_os_str().as_encoded_bytes())
            .with_context(|| format!("reading {path}"))?;
        history.files[*file]
            .allows(&content, at_least.max().unwrap_or(0))
            .with_context(|| format!("{path} (file {file})"))?;
    }
    Ok(())
}

fn walk(directory: &Path, prefix: &str, found: &mut BTreeMap<String, Found>) -> Result<()> {
    let here = directory.join(prefix);
    for name in sys::names(here.as_os_str().as_encoded_bytes()).with_context(|| format!("listing {prefix:?}"))? {
        let name = String::from_utf8(name).context("a name that no test made")?;
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        let full = directory.join(&path);
        let full = full.as_os_str().as_encoded_bytes();
        let stat = sys::lstat(full).with_context(|| format!("stat of {path}"))?;
        let what = match stat.st_mode & sys::S_IFMT {
            sys::S_IFREG => Found::File { inode: stat.st_ino },
            sys::S_IFDIR => Found::Directory,
            sys::S_IFLNK => Found::Link(String::from_utf8_lossy(&sys::readlink(full)?).into_owned()),
            other => bail!("{path} has type {other:o}, which no test made"),
        };
        let is_directory = what == Found::Directory;
        found.insert(path.clone(), what);
        if is_directory {
            walk(directory, &path, found)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::{Acknowledge, Mark, Worker};
    use super::*;

    struct Alone(Mutex<History>);

    impl Acknowledge for Alone {
        fn mark_names(&self, _: usize, file: FileId) -> Vec<Mark> {
            vec![self.0.lock().unwrap().mark((file != FileId::MAX).then_some(file))]
        }

        fn acknowledge(&self, marks: &[Mark], what: &'static str) {
            self.0.lock().unwrap().acknowledge(&marks[0], what);
        }
    }

    /// A directory after 400 steps that no crash ended.
    fn worked(name: &str) -> (harness::Scratch, std::path::PathBuf, History) {
        let scratch = harness::Scratch::new(name).unwrap();
        let directory = scratch.directory("work").unwrap();
        let all = Alone(Mutex::default());
        let mut worker = Worker::new(0, &directory, &all.0, 7);
        for _ in 0..400 {
            worker.step(&all).unwrap();
        }
        (scratch, directory, all.0.into_inner().unwrap())
    }

    #[test]
    fn what_no_crash_touched_is_as_the_history_says() {
        let (_scratch, directory, history) = worked("oracle");
        assert_eq!(verify(&directory, &history).unwrap(), history.operations.len());
        assert!(history.durable_names() > 50, "some syncs were acknowledged");
    }

    #[test]
    fn a_lost_name_a_lost_byte_and_a_name_too_many_are_found() {
        let (_scratch, directory, mut history) = worked("oracle-lost");
        let all = history.mark_all();
        history.acknowledge(&all, "bt sync");
        let files = history.names.paths(|node| matches!(node, Node::File(_)));
        let path = files.iter().map(|path| directory.join(path)).find(|path| path.metadata().unwrap().len() > 100);
        let path = path.unwrap();
        std::fs::write(directory.join("extra"), "").unwrap();
        verify(&directory, &history).unwrap_err();
        std::fs::remove_file(directory.join("extra")).unwrap();
        verify(&directory, &history).unwrap();
        let content = std::fs::read(&path).unwrap();
        std::fs::write(&path, &content[..content.len() - 1]).unwrap();
        verify(&directory, &history).unwrap_err();
        std::fs::write(&path, &content).unwrap();
        verify(&directory, &history).unwrap();
        std::fs::rename(&path, directory.join("elsewhere")).unwrap();
        verify(&directory, &history).unwrap_err();
    }
}
