//! Why an app could not be called, or a call failed.

use std::io;
use std::time::Duration;

/// Why an app could not be started or called, or a call failed. Other apps and other calls go on, except where it says so.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The component cannot be compiled.
    #[error("the app's code cannot be compiled: {0}; ask its author for another version")]
    Compile(String),
    /// The component cannot be run: it asks for an interface that does not exist, or has not the entry.
    #[error("the app cannot be loaded: {0}; ask its author for another version")]
    Load(String),
    /// A process could not be started.
    #[error("the app's process cannot be started: {0}")]
    Process(#[source] io::Error),
    /// The cache of compiled code cannot be used.
    #[error("the cache of compiled code cannot be used: {0}")]
    Cache(#[source] io::Error),
    /// The process ended again and again, and is not started for a while.
    #[error("the app's process ended {times} times in a row ({last}); it is tried again in {wait:?}")]
    KeepsEnding {
        /// How often.
        times: u32,
        /// How it ended the last time.
        last: String,
        /// Until it is tried again.
        wait: Duration,
    },
    /// The process ended while this call was running.
    #[error("the app's process ended during the call: {0}; it is started again for the next call")]
    Ended(String),
    /// The process said something that none may say. It was killed.
    #[error("the app's process broke the rules and was killed: {0}")]
    Misbehaved(String),
    /// As many calls run as may.
    #[error("the app is busy: {limit} calls are running; try again later")]
    Busy {
        /// How many may run at a time.
        limit: u32,
    },
    /// The call took too long.
    #[error("the app did not finish within {limit:?}")]
    TimedOut {
        /// How long it may take.
        limit: Duration,
    },
    /// The client sent its request, or took the response, too slowly.
    #[error("the client was too slow; send or take at least 16 KiB a second")]
    ClientTooSlow,
    /// The client is gone.
    #[error("the client went away")]
    ClientGone,
    /// The guest failed.
    #[error("the app failed: {0}")]
    Guest(GuestFailure),
    /// The response, or the output, is larger than allowed.
    #[error("the app's output is larger than the {limit} bytes that it may have")]
    OutputTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The call does not fit the limits of the protocol.
    #[error("the call cannot be made: {0}")]
    Call(&'static str),
}

/// How a guest failed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, thiserror::Error)]
pub enum GuestFailure {
    /// It trapped.
    #[error("it trapped: {0}")]
    Trap(String),
    /// It asked for more memory than it may have.
    #[error("it needs more memory than the {limit} bytes that it may have")]
    Memory {
        /// The limit in bytes.
        limit: u64,
    },
    /// Its stack is full.
    #[error("its stack overflowed")]
    Stack,
    /// It used up its fuel.
    #[error("it used up the {limit} units of fuel that it may have")]
    Fuel {
        /// The limit in units of wasmtime.
        limit: u64,
    },
    /// It cannot be instantiated.
    #[error("it cannot be instantiated: {0}")]
    Instantiate(String),
    /// It returned without a response.
    #[error("it returned without a response")]
    NoResponse,
    /// Its response was an error of `wasi:http`.
    #[error("it answered with an error: {0}")]
    Response(String),
    /// It left its response unfinished.
    #[error("it left its response unfinished")]
    Unfinished,
}
