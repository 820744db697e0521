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
/// Bytes that a process can say of itself in all.
pub const WORDS: u64 = 16 << 10;
/// Bytes of that which are shown when it ended.
pub const LAST_WORDS: usize = 2048;
/// The largest component, in bytes.
pub const COMPONENT_SIZE: usize = 64 << 20;
/// The largest compiled component, in bytes.
pub const CODE_SIZE: u64 = 1 << 30;
/// Bytes that the code cache may have; the oldest is removed first.
pub const CACHE_SIZE: u64 = 2 << 30;
/// Bytes that are read from a channel at a time, at least.
pub const READ_BUFFER: usize = 16 << 10;
/// Parts of a response that wait for the client.
pub const RESPONSE_PARTS: usize = 4;
/// Bytes of a guest's own stack.
pub const GUEST_STACK: usize = 512 << 10;
/// Bytes of the stack that a guest and what it calls of its host share.
pub const HOST_STACK: usize = 2 << 20;
/// Linear memories of one call; a component rarely has more than one.
pub const MEMORIES: u32 = 4;
/// Tables of one call.
pub const TABLES: u32 = 8;
/// How long a guest runs before others have their turn.
pub const TURN: Duration = Duration::from_millis(10);
/// Bytes that wait to be sent before whoever sends more has to wait.
pub const SEND_BUFFER: usize = 256 << 10;
/// Bytes of a body or a file that are asked for at a time.
pub const READ_AHEAD: usize = 256 << 10;
/// Bytes that a guest may write to a stream at a time.
pub const WRITE_SIZE: usize = 64 << 10;
/// Bytes that are sent of what a guest says when it fails.
pub const FAILURE_SIZE: usize = 4 << 10;
/// The longest name of a file, in bytes.
pub const NAME_SIZE: usize = 255;
/// Files that the process of an app may have open: a channel for each call, and a few more.
pub const OPEN_CHANNELS: u64 = 65_536;
/// Requests to other hosts that an app may have under way.
pub const OUTGOING_REQUESTS: usize = 256;
/// Addresses of a name that are tried.
pub const OUTGOING_ADDRESSES: usize = 4;
/// How long it may take until another host is connected.
pub const CONNECT_TIME: Duration = Duration::from_secs(15);
/// How long another host may take until its answer begins, unless the guest says less or more.
pub const ANSWER_TIME: Duration = Duration::from_secs(600);
