//! Files as guests see them, over the channel of a call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bt_app::limits::READ_AHEAD;
use bt_app::path::{Component, parse};
use bt_app::protocol::{DirectoryEntry, FileError, FileId, FileKind, FileReply, FileRequest, Root, Start};
use bt_app::{Entry, Limits, OutputStream, Services};

use crate::fixture::{Cache, body, job};
use crate::guests;

/// One directory with files, which remembers what it was asked.
#[derive(Default)]
struct Directory {
    files: Mutex<HashMap<String, Vec<u8>>>,
    open: Mutex<HashMap<FileId, String>>,
    asked: Mutex<Vec<FileRequest>>,
    output: Mutex<Vec<u8>>,
}

impl Directory {
    fn with(name: &str, content: Vec<u8>) -> Arc<Self> {
        let directory = Self::default();
        directory.files.lock().unwrap().insert(name.to_owned(), content);
        Arc::new(directory)
    }

    fn answer(&self, request: FileRequest) -> Result<FileReply, FileError> {
        let mut files = self.files.lock().unwrap();
        let mut open = self.open.lock().unwrap();
        match request {
            FileRequest::Open { at: FileId(0), path, flags, .. } => {
                let [Component::Name(name)] = parse(&path)?.components[..] else { return Err(FileError::NotPermitted) };
                if flags.create {
                    files.insert(name.to_owned(), Vec::new());
                }
                files.get(name).ok_or(FileError::NoEntry)?;
                let file = FileId(100 + open.len() as u32);
                open.insert(file, name.to_owned());
                Ok(FileReply::Opened { file, kind: FileKind::File })
            }
            FileRequest::Close { file } => open.remove(&file).map(|_| FileReply::Done).ok_or(FileError::BadDescriptor),
            FileRequest::Read { file, offset, length } => {
                let content = &files[open.get(&file).ok_or(FileError::BadDescriptor)?];
                let from = content.len().min(offset as usize);
                let to = content.len().min(from + length as usize);
                Ok(FileReply::Data(content[from..to].to_vec().into()))
            }
            FileRequest::Write { file, offset, data } => {
                let content = files.get_mut(open.get(&file).ok_or(FileError::BadDescriptor)?).unwrap();
                assert_eq!(offset.unwrap_or(content.len() as u64), content.len() as u64, "written in order");
                content.extend_from_slice(&data);
                Ok(FileReply::Written { end: content.len() as u64 })
            }
            FileRequest::ReadDirectory { directory: FileId(0), after } => {
                let named =
                    |cookie: u64| DirectoryEntry { name: format!("file {cookie}"), kind: FileKind::File, cookie };
                let entries: Vec<_> = (after + 1..=2500).take(1000).map(named).collect();
                Ok(FileReply::Entries { end: after + 1000 >= 2500, entries })
            }
            other => panic!("the guest asked for {other:?}"),
        }
    }
}

impl Services for Directory {
    fn files(&self, request: FileRequest) -> FileReply {
        self.asked.lock().unwrap().push(request.clone());
        self.answer(request).unwrap_or_else(FileReply::Failed)
    }

    fn output(&self, stream: OutputStream, bytes: &[u8]) {
        assert_eq!(stream, OutputStream::Standard, "{}", String::from_utf8_lossy(bytes));
        self.output.lock().unwrap().extend_from_slice(bytes);
    }
}

/// The interfaces, and: `$fail` prints E and the letter of the error at 68, `$print` prints bytes.
const IMPORTS: &str = r#"
  (import "wasi:cli/environment@0.2.12" "get-arguments" (func $arguments (param i32)))
  (import "wasi:cli/stdout@0.2.12" "get-stdout" (func $stdout (result i32)))
  (import "wasi:io/streams@0.2.12" "[method]input-stream.blocking-read" (func $read (param i32 i64 i32)))
  (import "wasi:io/streams@0.2.12" "[method]output-stream.blocking-write-and-flush" (func $write (param i32 i32 i32 i32)))
  (import "wasi:filesystem/preopens@0.2.12" "get-directories" (func $directories (param i32)))
  (import "wasi:filesystem/types@0.2.12" "[method]descriptor.open-at" (func $open (param i32 i32 i32 i32 i32 i32 i32)))
  (import "wasi:filesystem/types@0.2.12" "[method]descriptor.read-via-stream" (func $reading (param i32 i64 i32)))
  (import "wasi:filesystem/types@0.2.12" "[method]descriptor.append-via-stream" (func $appending (param i32 i32)))
  (import "wasi:filesystem/types@0.2.12" "[method]descriptor.read-directory" (func $listing (param i32 i32)))
  (import "wasi:filesystem/types@0.2.12" "[method]directory-entry-stream.read-directory-entry" (func $entry (param i32 i32)))
  (import "wasi:io/streams@0.2.12" "[resource-drop]input-stream" (func $close-input (param i32)))
  (import "wasi:filesystem/types@0.2.12" "[resource-drop]descriptor" (func $close (param i32)))
  (func $print (param $at i32) (param $length i32)
    (call $write (call $stdout) (local.get $at) (local.get $length) (i32.const 96)))
  (func $fail (result i32)
    (i32.store8 (i32.const 80) (i32.const 69))
    (i32.store8 (i32.const 81) (i32.add (i32.const 65) (i32.load8_u (i32.const 68))))
    (call $print (i32.const 80) (i32.const 2))
    (i32.const 1))
  ;; The first directory.
  (func $root (result i32)
    (call $directories (i32.const 64))
    (i32.load (i32.load (i32.const 64))))
  ;; Opens what the second argument names; the result is at 64.
  (func $open-argument (param $do i32) (param $for i32)
    (local $argument i32)
    (call $arguments (i32.const 64))
    (local.set $argument (i32.add (i32.load (i32.const 64)) (i32.const 8)))
    (call $open (call $root) (i32.const 1) (i32.load (local.get $argument)) (i32.load offset=4 (local.get $argument))
      (local.get $do) (local.get $for) (i32.const 64)))
"#;

/// Prints the file.
fn reads() -> Vec<u8> {
    guests::command(
        "(local $file i32) (local $stream i32)
         (call $open-argument (i32.const 0) (i32.const 1))
         (if (i32.load8_u (i32.const 64)) (then (return (call $fail))))
         (local.set $file (i32.load (i32.const 68)))
         (call $reading (local.get $file) (i64.const 0) (i32.const 64))
         (if (i32.load8_u (i32.const 64)) (then (return (call $fail))))
         (local.set $stream (i32.load (i32.const 68)))
         (call $close (local.get $file))
         (block $done
           (loop $more
             (global.set $heap (i32.const 4096))
             (call $read (local.get $stream) (i64.const 4096) (i32.const 64))
             (br_if $done (i32.load8_u (i32.const 64)))
             (call $print (i32.load (i32.const 68)) (i32.load (i32.const 72)))
             (br $more)))
         (call $close-input (local.get $stream))
         (i32.const 0)",
        IMPORTS,
    )
}

/// Writes 100 times 4096 bytes to a new file.
fn writes() -> Vec<u8> {
    guests::command(
        "(local $left i32)
         (call $open-argument (i32.const 9) (i32.const 2))
         (if (i32.load8_u (i32.const 64)) (then (return (call $fail))))
         (call $appending (i32.load (i32.const 68)) (i32.const 64))
         (if (i32.load8_u (i32.const 64)) (then (return (call $fail))))
         (local.set $left (i32.const 100))
         (loop $more
           (call $write (i32.load (i32.const 68)) (i32.const 4096) (i32.const 4096) (i32.const 96))
           (if (i32.load8_u (i32.const 96)) (then (unreachable)))
           (local.set $left (i32.sub (local.get $left) (i32.const 1)))
           (br_if $more (local.get $left)))
         (i32.const 0)",
        IMPORTS,
    )
}

/// Prints the names in the directory.
fn lists() -> Vec<u8> {
    guests::command(
        "(local $stream i32)
         (call $listing (call $root) (i32.const 64))
         (if (i32.load8_u (i32.const 64)) (then (return (call $fail))))
         (local.set $stream (i32.load (i32.const 68)))
         (block $done
           (loop $more
             (global.set $heap (i32.const 4096))
             (call $entry (local.get $stream) (i32.const 64))
             (br_if $done (i32.load8_u (i32.const 64)))
             (br_if $done (i32.eqz (i32.load8_u (i32.const 68))))
             (call $print (i32.load (i32.const 76)) (i32.load (i32.const 80)))
             (i32.store8 (i32.const 90) (i32.const 10))
             (call $print (i32.const 90) (i32.const 1))
             (br $more)))
         (i32.const 0)",
        IMPORTS,
    )
}

fn with_root(mut start: Start, write: bool) -> Start {
    start.roots.push(Root { name: "/data".to_owned(), write });
    start
}

/// Runs a guest on a path; gives its exit code and output.
async fn run(component: &[u8], path: &str, write: bool, directory: &Arc<Directory>) -> (u8, Vec<u8>) {
    let limits = Limits { output: 16 << 20, ..Limits::default() };
    let app = Cache::new().app(component, Entry::Run, limits).await;
    let code = app.run(with_root(job(&["guest", path]), write), body(""), directory.clone()).await.unwrap();
    (code, std::mem::take(&mut *directory.output.lock().unwrap()))
}

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 7 % 251) as u8).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_read_whole_whatever_its_length() {
    for length in [0, 1, 5000, READ_AHEAD - 1, READ_AHEAD, READ_AHEAD + 1, 3 * READ_AHEAD, 900_000] {
        let directory = Directory::with("name", text(length));
        let (code, output) = run(&reads(), "name", false, &directory).await;
        assert_eq!((code, output.len()), (0, length));
        assert!(output == text(length), "content of {length} bytes");
        assert!(directory.open.lock().unwrap().is_empty(), "closed with its stream");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_written_in_order() {
    let directory = Directory::with("other", Vec::new());
    let (code, output) = run(&writes(), "new", true, &directory).await;
    assert_eq!((code, output), (0, Vec::new()));
    assert_eq!(directory.files.lock().unwrap()["new"].len(), 100 * 4096);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_directory_is_listed_page_by_page() {
    let (code, output) = run(&lists(), "", false, &Directory::with("", Vec::new())).await;
    let expected: String = (1..=2500).map(|number| format!("file {number}\n")).collect();
    assert_eq!((code, String::from_utf8(output).unwrap()), (0, expected));
}

/// As `$fail` prints them: the place in the list of `wasi:filesystem`.
const NO_ENTRY: &[u8] = b"EU";
const INVALID: &[u8] = b"EM";
const NOT_PERMITTED: &[u8] = b"E`";
const READ_ONLY: &[u8] = b"Eb";

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_cannot_be_any_do_not_even_reach_the_node() {
    let directory = Directory::with("name", text(3));
    for (path, error) in [("/name", NOT_PERMITTED), ("/", NOT_PERMITTED), ("", NO_ENTRY), ("na\0me", INVALID)] {
        let (code, output) = run(&reads(), path, false, &directory).await;
        assert_eq!((code, output.as_slice()), (1, error), "{path:?}");
    }
    let (code, output) = run(&writes(), "name", false, &directory).await;
    assert_eq!((code, output.as_slice()), (1, READ_ONLY));
    assert!(directory.asked.lock().unwrap().is_empty(), "{:?}", directory.asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_node_refuses_is_the_guests_error() {
    let directory = Directory::with("name", text(3));
    for (path, error) in [("missing", NO_ENTRY), ("../name", NOT_PERMITTED), ("a/../../name", NOT_PERMITTED)] {
        let (code, output) = run(&reads(), path, false, &directory).await;
        assert_eq!((code, output.as_slice()), (1, error), "{path:?}");
    }
    assert_eq!(directory.asked.lock().unwrap().len(), 3);
}
