//! One process of an app, from its start to its end.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::child::{Child, Spawn, how};
use super::code::{for_last_words, text_of};
use super::process::ProcessOptions;
use crate::error::AppError;
use crate::limits::{CONTROL_SIZE, START_TIME};
use crate::outgoing::OutgoingRule;
use crate::packets;
use crate::protocol::VERSION;
use crate::protocol::control::{FromProcess, ToProcess};

/// A process that can be called. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    /// Carries whole messages, which tokio need not know.
    control: UnixStream,
    kill: Arc<Notify>,
    /// It is being killed; nothing more is asked of it.
    doomed: AtomicBool,
    /// How it ended, once it did.
    ended: watch::Receiver<Option<String>>,
    id: u32,
}

impl Running {
    /// Starts a process and waits until it can be called.
    pub async fn start(options: &ProcessOptions) -> Result<Self, AppError> {
        let (ours, theirs) = packets::pair().map_err(AppError::Process)?;
        rustix::io::ioctl_fionbio(&ours, true).map_err(|error| AppError::Process(error.into()))?;
        let said = for_last_words().map_err(AppError::Process)?;
        let child = Child::spawn(Spawn {
            program: &options.program,
            role: "app",
            input: theirs.into(),
            output: std::process::Stdio::null(),
            errors: said.try_clone().map_err(AppError::Process)?.into(),
        })
        .await
        .map_err(AppError::Process)?;
        let outgoing = match &options.outgoing[..] {
            [] => None,
            rules => Some(start_outgoing(options, rules).await?),
        };
        let (outgoing, connection) = outgoing.unzip();
        let id = child.id();
        let control = UnixStream::from_std(ours.into()).map_err(AppError::Process)?;
        let (kill, ended) = watched(child, outgoing, said);
        let running = Self { control, kill, doomed: AtomicBool::new(false), ended, id };
        match timeout(START_TIME, running.load(options, connection)).await {
            Ok(Ok(())) => Ok(running),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(AppError::Load(format!("it is not ready after {START_TIME:?}"))),
        }
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Kills the process; [`Self::ended`] then says how it ended.
    pub fn kill(&self) {
        self.doomed.store(true, Ordering::Release);
        self.kill.notify_one();
    }

    /// Whether it has ended, or is about to.
    pub fn has_ended(&self) -> bool {
        self.doomed.load(Ordering::Acquire) || self.ended.borrow().is_some()
    }

    /// Waits until it ended, and says how.
    pub async fn ended(&self) -> String {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(how) => how.clone().expect("waited for it"),
            // The runtime is ending.
            Err(_) => "it was stopped".to_owned(),
        }
    }

    /// Hands over the channel of a call.
    pub async fn hand_over(&self, channel: OwnedFd) -> io::Result<()> {
        self.send(&ToProcess::Call, &channel).await
    }

    async fn load(&self, options: &ProcessOptions, outgoing: Option<OwnedFd>) -> Result<(), AppError> {
        let (limits, entry) = (options.limits.clone(), options.entry);
        let load = ToProcess::Load { version: VERSION, limits, entry, outgoing: outgoing.is_some() };
        let answer = async {
            self.send(&load, &options.code).await?;
            if let Some(socket) = &outgoing {
                self.send(&ToProcess::Outgoing, socket).await?;
            }
            self.receive().await
        };
        match answer.await {
            Ok(FromProcess::Ready) => Ok(()),
            Ok(FromProcess::Failed(why)) => Err(AppError::Load(why)),
            Err(_) => {
                self.kill();
                Err(AppError::Load(self.ended().await))
            }
        }
    }

    async fn send(&self, message: &ToProcess, file: &impl AsFd) -> io::Result<()> {
        let bytes = postcard::to_stdvec(message).expect("messages can be encoded");
        self.control.async_io(Interest::WRITABLE, || packets::send(&self.control, &bytes, Some(file.as_fd()))).await
    }

    async fn receive(&self) -> io::Result<FromProcess> {
        let mut buffer = vec![0; CONTROL_SIZE];
        let received = || packets::receive_only(&self.control, &mut buffer);
        let length = self.control.async_io(Interest::READABLE, received).await?;
        postcard::from_bytes(&buffer[..length]).map_err(|_| io::ErrorKind::InvalidData.into())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts the process that makes requests to other hosts for this one, and the socket between them.
async fn start_outgoing(options: &ProcessOptions, rules: &[OutgoingRule]) -> Result<(Child, OwnedFd), AppError> {
    let message = postcard::to_stdvec(rules).expect("rules can be encoded");
    if message.len() > CONTROL_SIZE {
        return Err(AppError::Load("it may reach more hosts than one app can".to_owned()));
    }
    let (ours, theirs) = packets::pair().map_err(AppError::Process)?;
    let (app, outgoing) = packets::pair().map_err(AppError::Process)?;
    packets::send(&ours, &message, Some(outgoing.as_fd())).map_err(AppError::Process)?;
    let null = std::process::Stdio::null;
    let spawn =
        Spawn { program: &options.program, role: "outgoing", input: theirs.into(), output: null(), errors: null() };
    Ok((Child::spawn(spawn).await.map_err(AppError::Process)?, app))
}

async fn ended_if_there(child: &mut Option<Child>) {
    match child {
        // However it ended.
        Some(child) => drop(child.ended().await),
        None => std::future::pending().await,
    }
}

/// Watches over a process: kills it when told to, and says how it ended. It ends with the one that makes its requests.
fn watched(
    mut child: Child,
    mut outgoing: Option<Child>,
    mut said: File,
) -> (Arc<Notify>, watch::Receiver<Option<String>>) {
    let kill = Arc::new(Notify::new());
    let (end, ended) = watch::channel(None);
    let told = Arc::clone(&kill);
    tokio::spawn(async move {
        let status = tokio::select! {
            status = child.ended() => status,
            () = told.notified() => {
                child.kill();
                child.ended().await
            }
            _ = ended_if_there(&mut outgoing) => {
                child.kill();
                child.ended().await
            }
        };
        let mut text = status.map_or_else(|error| format!("it cannot be watched: {error}"), how);
        match text_of(&mut said) {
            Ok(words) if !words.is_empty() => text = format!("{text}: {words}"),
            _ => {}
        }
        end.send_replace(Some(text));
    });
    (kill, ended)
}
