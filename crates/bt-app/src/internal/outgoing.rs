//! The process that makes requests to other hosts for one app.

use std::io;
use std::os::fd::AsFd;

use crate::limits::CONTROL_SIZE;
use crate::outgoing::{OutgoingRule, Tls, serve};
use crate::{packets, sandbox};

pub(super) fn run() -> Result<(), String> {
    // Files of this machine, which it cannot read any more afterwards.
    let tls = Tls::of_this_machine()?;
    sandbox::enter(sandbox::Role::Outgoing).map_err(|error| format!("the process cannot be confined: {error}"))?;
    let control = io::stdin().as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
    let mut buffer = vec![0; CONTROL_SIZE];
    let (length, app) = packets::receive(&control, &mut buffer).map_err(|error| error.to_string())?;
    let rules: Vec<OutgoingRule> = postcard::from_bytes(&buffer[..length]).map_err(|error| error.to_string())?;
    let app = app.ok_or("no app came with the rules")?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(serve(app, rules, tls)).map_err(|error| error.to_string())
}
