//! The process of one installed app: loads its code once, then serves calls until the node is gone.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::net::UnixStream;

use super::guest::App;
use super::{engine, trusted};
use crate::limits::{CODE_SIZE, CONTROL_SIZE, FAILURE_SIZE};
use crate::protocol::VERSION;
use crate::protocol::control::{FromProcess, ToProcess};
use crate::{packets, sandbox};

pub(super) fn run() -> Result<(), String> {
    sandbox::enter(sandbox::Role::App).map_err(|error| format!("the process cannot be confined: {error}"))?;
    let control = io::stdin().as_fd().try_clone_to_owned().map_err(text)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(text)?;
    let entered = runtime.enter();
    let app = match load(&control) {
        Ok(app) => app,
        Err(mut why) => {
            why.truncate(why.floor_char_boundary(FAILURE_SIZE));
            return answer(&control, &FromProcess::Failed(why));
        }
    };
    drop(entered);
    sandbox::forbid_new_code().map_err(text)?;
    answer(&control, &FromProcess::Ready)?;
    runtime.block_on(serve(control, app)).map_err(text)
}

fn answer(control: &OwnedFd, answer: &FromProcess) -> Result<(), String> {
    let bytes = postcard::to_stdvec(answer).expect("answers can be encoded");
    packets::send(control, &bytes, None).map_err(text)
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

/// Takes the node's first message and loads what came with it.
fn load(control: &OwnedFd) -> Result<Arc<App>, String> {
    let mut buffer = vec![0; CONTROL_SIZE];
    let (length, file) = packets::receive(control, &mut buffer).map_err(text)?;
    let ToProcess::Load { version, limits, entry, outgoing } = postcard::from_bytes(&buffer[..length]).map_err(text)?
    else {
        return Err("the first message is not what to load".to_owned());
    };
    if version != VERSION {
        return Err(format!("the node speaks version {version} of the protocol, this process {VERSION}"));
    }
    let code = read(File::from(file.ok_or("no code came")?)).map_err(text)?;
    let engine = engine::running(&limits).map_err(|error| format!("{error:#}"))?;
    let component = trusted::component(&engine, &code).map_err(|error| format!("{error:#}"))?;
    // Takes a file in memory, which cannot be made later.
    component.initialize_copy_on_write_image().map_err(|error| format!("{error:#}"))?;
    let outgoing = if outgoing { Some(connected(control).map_err(text)?) } else { None };
    App::new(&engine, &component, entry, limits, outgoing).map_err(|error| format!("{error:#}"))
}

/// Takes the socket to the process that makes requests to other hosts.
fn connected(control: &OwnedFd) -> io::Result<UnixStream> {
    let (_, socket) = packets::receive(control, &mut [0; 64])?;
    let socket = socket.ok_or(io::ErrorKind::InvalidData)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    UnixStream::from_std(socket.into())
}

/// Reads a file whose position others move too.
fn read(mut file: File) -> io::Result<Vec<u8>> {
    let size = file.seek(SeekFrom::End(0))?.min(CODE_SIZE);
    let mut bytes = vec![0; size as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

async fn serve(control: OwnedFd, app: Arc<App>) -> io::Result<()> {
    rustix::io::ioctl_fionbio(&control, true)?;
    let control = UnixStream::from_std(control.into())?;
    let mut buffer = vec![0; CONTROL_SIZE];
    loop {
        let received = control.async_io(Interest::READABLE, || packets::receive(&control, &mut buffer));
        match received.await? {
            // The node is gone, or wants this process no more.
            (0, _) => return Ok(()),
            (_, Some(channel)) => {
                let stream = UnixStream::from_std(channel.into())?;
                tokio::spawn(Arc::clone(&app).serve(stream));
            }
            (_, None) => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}
