//! Child processes: started with nothing but what they are given, and never left behind.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::oneshot;

use crate::options::Program;

/// What a child is started with.
pub(crate) struct Spawn<'a> {
    pub program: &'a Program,
    /// Which of the roles of [`crate::internal::run`] it has.
    pub role: &'static str,
    pub input: Stdio,
    pub output: Stdio,
    pub errors: Stdio,
}

/// A child process. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Child {
    handle: OwnedFd,
    id: u32,
    status: oneshot::Receiver<io::Result<ExitStatus>>,
}

impl Child {
    /// Starts a child without environment, in the root directory.
    ///
    /// The kernel tells a child that its parent died when the thread that started it ends: so each has a thread that
    /// starts it and then waits for its end.
    pub async fn spawn(spawn: Spawn<'_>) -> io::Result<Self> {
        let mut command = Command::new(&spawn.program.path);
        command.args(&spawn.program.arguments).arg(spawn.role).env_clear().current_dir("/");
        command.stdin(spawn.input).stdout(spawn.output).stderr(spawn.errors);
        let (answer, started) = oneshot::channel();
        let (end, status) = oneshot::channel();
        thread::Builder::new().name(format!("bt-app-{}", spawn.role)).spawn(move || accompany(command, answer, end))?;
        let (id, handle) = started.await.map_err(io::Error::other)??;
        Ok(Self { handle, id, status })
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Kills it, if it has not ended.
    pub fn kill(&self) {
        // It may have ended already, which is as good.
        let _ = pidfd_send_signal(&self.handle, Signal::KILL);
    }

    /// Waits until it ended, and says how. To be called once.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        (&mut self.status).await.map_err(io::Error::other)?
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

type Started = io::Result<(u32, OwnedFd)>;

fn accompany(mut command: Command, answer: oneshot::Sender<Started>, end: oneshot::Sender<io::Result<ExitStatus>>) {
    let mut process = match command.spawn() {
        Ok(process) => process,
        Err(error) => {
            // Nobody is there to be told if the call was given up.
            let _ = answer.send(Err(error));
            return;
        }
    };
    // What the child was given is closed here, so that its end is seen at the other ends.
    drop(command);
    let id = process.id();
    let pid = Pid::from_raw(id.cast_signed()).expect("a process has an id");
    let handle = pidfd_open(pid, PidfdFlags::empty()).map(|handle| (id, handle)).map_err(io::Error::from);
    let failed = handle.is_err();
    // A child that nobody could kill later, or that nobody wants, is killed now.
    if answer.send(handle).is_err() || failed {
        let _ = process.kill();
    }
    let _ = end.send(process.wait());
}

/// How a process ended, for people.
pub(crate) fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with exit code {code}"),
        (None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None) => "it ended".to_owned(),
    }
}
