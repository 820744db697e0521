//! Crashes and failing disks, at every point of long random workloads.
//!
//! A [`Driver`](workload::Driver) works at random on an engine over a storage that records every change of the disk,
//! and on a [`Model`](model::Model) beside it. Then the disk is cut at a point: all that was synced is there, the rest
//! is dropped, reordered or torn. What the engine recovers must be allowed by the model, whole, and good to work on.
//!
//! # The rule
//!
//! Operations are numbered; one is a request of the kernel. After a crash there is a number `p` such that
//!
//! 1. names, attributes, links and snapshots are exactly as after operation `p`;
//! 2. `p` is not below any operation that had ended before something was acknowledged (fsync, `bt sync`, a snapshot),
//!    and not above the last one that had begun;
//! 3. each file that has a name has exactly a content that it had after some operation `v`, not above `p`, and not
//!    below the last one before an fsync of this file or a commit was acknowledged, and the time of that content;
//! 4. where operation `r`, at or below `p`, gave the file its name by rename or link, `v` is not below `r`;
//! 5. each snapshot shows exactly the names and contents of the moment when it was taken;
//! 6. nothing else is there: inodes without a name are gone;
//! 7. recovering again, after a crash during recovery, gives the same state;
//! 8. checking the zone finds nothing, and the recovered zone takes changes, closes and opens as any other.
//!
//! A copy of a range is not one operation: it may end after any of its steps.
//!
//! # Running it
//!
//! The default run samples. `BT_CRASH_LONG=1` replays every point, many more seeds, and fails every call;
//! `BT_CRASH_CASE=SEED[:POINT[:DISK]]` runs one case again, as each failure prints it.

mod case;
mod faults;
mod model;
mod random;
mod readback;
mod replay;
mod workload;
mod writers;
