//! Keeps keys out of core dumps and away from other processes of the same user.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// No core dump is written for this process and those it starts, and no ordinary process can attach to this one.
pub fn forbid_core_dumps() {
    // Both calls only ever lower what is allowed, which is always permitted.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).expect("a limit can be lowered");
    set_dumpable_behavior(DumpableBehavior::NotDumpable).expect("a process can give up being dumpable");
}
