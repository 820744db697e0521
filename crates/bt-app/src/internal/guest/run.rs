//! A call of `wasi:cli/run`.

use wasmtime::Store;
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::CommandPre;

use super::channel::Channel;
use super::{Guest, failure};
use crate::error::GuestFailure;
use crate::protocol::message::FromGuest;

/// Calls the guest and sends its exit code.
pub(super) async fn call(entry: &CommandPre<Guest>, store: Store<Guest>, channel: &Channel) {
    match run(entry, store).await {
        Ok(code) => channel.tell(&FromGuest::Exit(code)),
        Err((failure, details)) => channel.tell_failure(&failure, &details),
    }
}

async fn run(entry: &CommandPre<Guest>, mut store: Store<Guest>) -> Result<u8, (GuestFailure, String)> {
    let command = match entry.instantiate_async(&mut store).await {
        Ok(command) => command,
        Err(error) => return Err(failure(&error, &store)),
    };
    match command.wasi_cli_run().call_run(&mut store).await {
        Ok(Ok(())) => Ok(0),
        Ok(Err(())) => Ok(1),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            // As a shell shows it.
            Some(exit) => Ok(exit.0.to_le_bytes()[0]),
            None => Err(failure(&error, &store)),
        },
    }
}
