//! Serving a mount from a process of its own: the starting side and its report back.
//!
//! `bt mount` starts itself again with the same arguments and `--report`. That process leaves the terminal's
//! session, serves in the foreground, and sends one [`Report`] over its standard output when the mount is up or
//! could not be made. The first process waits for it and passes it on.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bt_crypto::{NODE_KEY_SIZE, SoftwareKeyStore};
use bt_node::control::{Failure, wire};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::log;

/// The hidden argument of the process in the background.
pub const REPORT_ARGUMENT: &str = "--report";

/// The most bytes of a report.
const REPORT_BYTES: usize = 64 * 1024;

/// A mount that is up.
#[derive(Debug, Serialize, Deserialize)]
pub struct Up {
    /// The process that serves it.
    pub pid: u32,
    /// How requests of the kernel reach it.
    pub transport: String,
}

/// What the process in the background says once.
pub type Report = Result<Up, Failure>;

/// Starts this command again in the background and waits until the mount of `dir` is up. That process gets `key`, for
/// whose principal it acts, over its standard input.
pub fn start(dir: &Path, key: Option<&SoftwareKeyStore>) -> Report {
    let failed = |error| Failure::io("starting the process that serves the mount", &error);
    let mut child = spawn(dir, key.is_some()).map_err(failed)?;
    if let (Some(key), Some(mut pipe)) = (key, child.stdin.take()) {
        // A process that ended already says why below.
        let _ = pipe.write_all(&key.encode());
    }
    let mut pipe = child.stdout.take().expect("its standard output is a pipe");
    match wire::receive::<Report>(&mut pipe, REPORT_BYTES) {
        Ok(Some(report)) => report,
        Ok(None) | Err(_) => Err(died(child, dir)),
    }
}

fn spawn(dir: &Path, with_key: bool) -> io::Result<Child> {
    // What goes wrong outside of the log (an abort, the dynamic linker) lands in the same file.
    let errors = log::append_to(&dir.join("log"))?;
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let end = arguments.iter().position(|argument| argument == "--").unwrap_or(arguments.len());
    arguments.insert(end, REPORT_ARGUMENT.into());
    let mut command = Command::new(std::env::current_exe()?);
    // Pages are taken by the threads of the mount and given back by the committing one: with an arena for each thread,
    // glibc would keep their memory several times over.
    command.env("MALLOC_ARENA_MAX", "2");
    let stdin = if with_key { Stdio::piped() } else { Stdio::null() };
    command.args(arguments).stdin(stdin).stdout(Stdio::piped()).stderr(errors).spawn()
}

/// The key that the starting process sends.
pub fn receive_key() -> Result<SoftwareKeyStore, Failure> {
    let mut bytes = Zeroizing::new([0; NODE_KEY_SIZE]);
    io::stdin().lock().read_exact(&mut *bytes).map_err(|error| Failure::io("receiving the principal's key", &error))?;
    SoftwareKeyStore::decode(&*bytes).map_err(|error| Failure::problem(error.to_string(), ""))
}

fn died(mut child: Child, dir: &Path) -> Failure {
    let how = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
    Failure::problem(
        format!("the process that was to serve {} ended before the mount was up: {how}", dir.display()),
        format!("look at the end of {}", dir.join("log").display()),
    )
}

/// Makes this process one of the background: a session of its own, no directory held busy.
pub fn leave_terminal() -> io::Result<()> {
    // A process that leads its group already cannot start a session; then it has one of its own.
    let _ = rustix::process::setsid();
    std::env::set_current_dir("/")
}

/// Sends the one report and lets go of standard output. An error means that the starting process is gone.
pub fn send(report: &Report) -> io::Result<()> {
    let sent =
        wire::send(&mut io::stdout().lock(), report, REPORT_BYTES).and_then(|()| io::Write::flush(&mut io::stdout()));
    let nowhere = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(nowhere)?;
    sent
}
