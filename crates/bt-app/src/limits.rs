//! Bounds on what an app may use, and on what passes between a node and the process of an app.

use std::time::Duration;

/// The most bytes in one frame of a call's channel, its header aside.
pub const FRAME_SIZE: usize = (1 << 20) + 4096;
/// The most bytes of content in one frame: of a body, of output, of a file.
pub const CHUNK_SIZE: usize = 1 << 20;
/// The most bytes of a message on a process's control socket.
pub const CONTROL_SIZE: usize = 64 << 10;
/// The most header fields of a request or a response.
pub const HEADERS: usize = 128;
/// The most bytes of all header fields of a request or a response.
pub const HEADERS_SIZE: usize = 64 << 10;
/// The longest path that a guest may name, in bytes.
pub const PATH_SIZE: usize = 4096;
/// The most directories that a call may be given.
pub const ROOTS: usize = 64;
/// The most files and directories that a call may have open.
pub const OPEN_FILES: usize = 256;
/// The most entries of a directory in one reply.
pub const DIRECTORY_ENTRIES: usize = 1024;
/// How long a client may keep a call waiting in all, beside what it earns by moving bytes.
pub const CLIENT_PATIENCE: Duration = Duration::from_secs(30);
/// Bytes that earn a client another second of waiting.
pub const CLIENT_RATE: usize = 16 << 10;
/// How long a process may take to let go of a call that was ended, before it is killed.
pub const SETTLE: Duration = Duration::from_secs(2);
/// How long a process may take until it can be called.
pub const START_TIME: Duration = Duration::from_secs(60);
/// How long compiling a component may take.
pub const COMPILE_TIME: Duration = Duration::from_secs(300);
/// Calls that wait for others of the same app to end.
pub const WAITING_CALLS: usize = 4096;
/// Times that a process may end in a row without having answered, before it is left alone for a while.
pub const ENDS_IN_A_ROW: u32 = 5;
/// How long it is left alone.
pub const REST: Duration = Duration::from_secs(10);
/// Bytes that are kept of what a process said when it ended.
pub const LAST_WORDS: usize = 2048;
/// The largest component, in bytes.
pub const COMPONENT_SIZE: usize = 64 << 20;
/// The largest compiled component, in bytes.
pub const CODE_SIZE: u64 = 1 << 30;
/// Bytes that the code cache may have; the oldest is removed first.
pub const CACHE_SIZE: u64 = 2 << 30;
