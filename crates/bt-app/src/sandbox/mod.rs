//! What the processes of this crate take from themselves before they look at anything that others made.
//!
//! No files but the three that they were started with; no file system (landlock); no sockets, programs, processes or
//! anything else of the kernel beyond threads, memory and what is open (seccomp); no way to more rights; gone when the node
//! is gone. What is refused fails with EPERM, so that code which can do without does.

mod filter;

use std::io;

use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, Scope, path_beneath_rules};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getrlimit, set_dumpable_behavior, set_parent_process_death_signal,
    setrlimit,
};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

use crate::internal::trusted;
use crate::limits::{CODE_SIZE, OPEN_CHANNELS};

pub use filter::forbid_new_code;

/// What a process is for, and so what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Running an app.
    App,
    /// Compiling a component.
    Compile,
    /// Making requests to other hosts.
    Outgoing,
}

/// Confines this process. It must have one thread only.
///
/// # Errors
/// When something cannot be taken away: the process must end then.
pub fn enter(role: Role) -> io::Result<()> {
    trusted::close_files()?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    set_no_new_privs(true)?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    limit(Resource::Core, 0)?;
    match role {
        Role::App | Role::Outgoing => limit(Resource::Nofile, OPEN_CHANNELS)?,
        Role::Compile => limit(Resource::Fsize, CODE_SIZE)?,
    }
    leave_file_system(role).map_err(io::Error::other)?;
    filter::apply(role)
}

/// Lowers a limit for good. One that is lower already stays.
fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let most = getrlimit(resource).maximum.map_or(most, |maximum| most.min(maximum));
    Ok(setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?)
}

/// As much as this kernel can: the filter of system calls stands beside it.
fn leave_file_system(role: Role) -> Result<(), landlock::RulesetError> {
    let newest = ABI::V6;
    let ruleset = Ruleset::default().handle_access(AccessFs::from_all(newest))?.scope(Scope::from_all(newest))?;
    let ruleset = match role {
        Role::App | Role::Compile => ruleset.handle_access(AccessNet::from_all(newest))?.create()?,
        Role::Outgoing => {
            let ruleset = ruleset.handle_access(AccessNet::BindTcp)?.create()?;
            ruleset.add_rules(path_beneath_rules(NAMES, AccessFs::from_read(newest)))?
        }
    };
    ruleset.restrict_self().map(drop)
}

/// What the C library reads to turn names into addresses. What is not there is left out.
const NAMES: [&str; 13] = [
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/nsswitch.conf",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/lib",
    "/lib64",
    "/run/systemd/resolve",
    "/usr/lib",
    "/usr/lib64",
];
