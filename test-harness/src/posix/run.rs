//! Runs cases in processes of their own and compares what they saw.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::exceptions::{EXCEPTIONS, Exception};
use super::{Log, find};

/// First argument of a process that runs one case.
const CASE_ARGUMENT: &str = "--run-posix-case";
/// Stands for an observation that was not made.
pub(super) const NOTHING: &str = "(nothing)";
/// A case ends within this time.
const CASE_TIMEOUT: Duration = Duration::from_secs(120);

/// Runs the case that the command line asks for, if it asks for one: call this first in `main`.
#[must_use]
pub fn case_main() -> Option<ExitCode> {
    let arguments: Vec<String> = env::args().collect();
    let [_, first, name] = arguments.as_slice() else { return None };
    if first != CASE_ARGUMENT {
        return None;
    }
    let Some(case) = find(name) else {
        eprintln!("there is no case {name}");
        return Some(ExitCode::from(2));
    };
    crate::sys::umask(0o022);
    case(&mut Log::printing());
    Some(ExitCode::SUCCESS)
}

/// Runs the case `name` in a new directory under `base` and returns its observations.
///
/// # Errors
/// When the case cannot be started or does not end; a case that panics is an observation.
pub fn observe(name: &str, base: &Path) -> Result<Vec<String>> {
    let directory = base.join(name.replace("::", "."));
    fs::create_dir(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
    let mut command = Command::new(env::current_exe()?);
    command.args([CASE_ARGUMENT, name]).current_dir(&directory);
    let finished = harness::run(&mut command, CASE_TIMEOUT)?;
    let mut lines: Vec<String> = finished.stdout.lines().map(Into::into).collect();
    if !finished.status.success() {
        lines.push(format!("the case's end -> {} {}", finished.status, finished.stderr.replace('\n', " ")));
    }
    // What a case made may be large; it must not weigh on the next one.
    fs::remove_dir_all(&directory).with_context(|| format!("cannot remove {} again", directory.display()))?;
    Ok(lines)
}

/// Compares two lists of observations of one case.
///
/// # Errors
/// When they differ in a way that is not an [`Exception`], or when an exception did not happen.
pub fn compare(name: &str, ext4: &[String], mount: &[String]) -> Result<()> {
    let allowed: Vec<&Exception> = EXCEPTIONS.iter().filter(|exception| exception.cases.contains(&name)).collect();
    let mut used = vec![false; allowed.len()];
    let mut differences = Vec::new();
    for index in 0..ext4.len().max(mount.len()) {
        let (ours, theirs) = (mount.get(index), ext4.get(index));
        if ours == theirs {
            continue;
        }
        let excuse = theirs.and_then(|theirs| allowed.iter().position(|exception| excuses(exception, theirs, ours)));
        match excuse {
            Some(position) => used[position] = true,
            None => differences.push(format!("  ext4:  {}\n  mount: {}", text(theirs), text(ours))),
        }
    }
    for (exception, _) in allowed.iter().zip(&used).filter(|(exception, used)| !**used && !exception.sometimes) {
        differences.push(format!("  this exception did not happen: {exception:?}"));
    }
    if !differences.is_empty() {
        bail!("{name} differs:\n{}", differences.join("\n"));
    }
    Ok(())
}

fn text(line: Option<&String>) -> &str {
    line.map_or(NOTHING, String::as_str)
}

/// Whether `exception` allows this pair of lines.
fn excuses(exception: &Exception, ext4: &str, mount: Option<&String>) -> bool {
    let Some((theirs, their_value)) = ext4.rsplit_once(" -> ") else { return false };
    if !theirs.contains(exception.what) || !their_value.contains(exception.ext4) {
        return false;
    }
    match mount.map(|line| line.rsplit_once(" -> ")) {
        None => exception.mount == NOTHING,
        Some(Some((ours, our_value))) => ours == theirs && our_value.contains(exception.mount),
        Some(None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[&str]) -> Vec<String> {
        text.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn a_difference_is_reported_with_both_sides() {
        let error = compare("g::c", &lines(&["a -> ok"]), &lines(&["a -> EIO"])).unwrap_err().to_string();
        assert!(error.contains("ext4:  a -> ok") && error.contains("mount: a -> EIO"), "{error}");
    }

    #[test]
    fn a_missing_line_is_a_difference() {
        compare("g::c", &lines(&["a -> ok", "b -> ok"]), &lines(&["a -> ok"])).unwrap_err();
        compare("g::c", &lines(&["a -> ok"]), &lines(&["a -> ok"])).unwrap();
    }

    #[test]
    fn every_exception_names_a_case() {
        for exception in EXCEPTIONS {
            assert!(exception.cases.iter().all(|case| find(case).is_some()), "{exception:?}");
        }
    }
}
