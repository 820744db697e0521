//! Every case of `test_harness::posix` on ext4 and on a mounted tree.
//!
//! `cargo test -p test-harness --test posix [GROUP::CASE]`. Under nextest, which starts a process for each test,
//! the cases of a group are one test.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use anyhow::{Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use test_harness::posix::{GROUPS, case_main, compare, observe};
use test_harness::subject::Subject;

/// Room for the reference and for what a case writes.
const SIZE_MIB: u64 = 2048;

/// The mount that all cases share, made by the first.
type Shared = Arc<Mutex<Option<Subject>>>;

fn main() -> ExitCode {
    if let Some(code) = case_main() {
        return code;
    }
    let mut arguments = Arguments::from_args();
    // Cases compete for two cores and one mount: one at a time, each as fast as it can.
    arguments.test_threads.get_or_insert(1);
    let shared = Shared::default();
    let by_group = std::env::var_os("NEXTEST").is_some();
    let conclusion = libtest_mimic::run(&arguments, trials(by_group, &shared));
    let finished = shared.lock().expect("a failed case is reported, it does not panic").take().map(Subject::finish);
    if let Some(Err(error)) = finished {
        eprintln!("the mount did not end well: {error:#}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

fn trials(by_group: bool, shared: &Shared) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (group, cases) in GROUPS {
        let names: Vec<String> = cases.iter().map(|(case, _)| format!("{group}::{case}")).collect();
        if by_group {
            trials.push(trial((*group).to_owned(), names, shared));
        } else {
            trials.extend(names.into_iter().map(|name| trial(name.clone(), vec![name], shared)));
        }
    }
    trials
}

fn trial(title: String, names: Vec<String>, shared: &Shared) -> Trial {
    let shared = Arc::clone(shared);
    Trial::test(title, move || {
        let failures: Vec<String> =
            names.iter().filter_map(|name| check(name, &shared).err()).map(|error| format!("{error:#}")).collect();
        if failures.is_empty() { Ok(()) } else { Err(Failed::from(failures.join("\n"))) }
    })
}

fn check(name: &str, shared: &Shared) -> Result<()> {
    let (ext4, mount) = directories(shared)?;
    let seen_on_ext4 = observe(name, &ext4)?;
    ensure!(!seen_on_ext4.is_empty(), "{name} observed nothing on ext4");
    let seen_on_mount = observe(name, &mount)?;
    compare(name, &seen_on_ext4, &seen_on_mount)
}

fn directories(shared: &Shared) -> Result<(PathBuf, PathBuf)> {
    let mut shared = shared.lock().map_err(|_| anyhow::anyhow!("the mount could not be made"))?;
    if shared.is_none() {
        *shared = Some(Subject::new("posix", SIZE_MIB)?);
    }
    let subject = shared.as_ref().expect("made above");
    Ok((subject.reference().to_path_buf(), subject.directory().to_path_buf()))
}
