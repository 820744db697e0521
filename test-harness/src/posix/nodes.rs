//! FIFOs, sockets and device nodes.

use super::{cases, see};
use crate::sys::*;

const NULL_DEVICE: u64 = 0x103;

cases! {
    fn every_kind_of_node(log) {
        see!(log, mknod("file", S_IFREG | 0o640, 0));
        see!(log, mknod("untyped", 0o604, 0));
        see!(log, mknod("fifo", S_IFIFO | 0o620, 0));
        see!(log, mknod("socket", S_IFSOCK | 0o600, 0));
        see!(log, mknod("char", S_IFCHR | 0o666, NULL_DEVICE));
        see!(log, mknod("block", S_IFBLK | 0o660, 0x0811));
        see!(log, mknod("large", S_IFCHR | 0o600, libc::makedev(0xabc, 0x12345)));
        for name in ["file", "untyped", "fifo", "socket", "char", "block", "large"] {
            see!(log, lstat(name));
        }
        see!(log, list("."));
    }

    fn mknod_errors(log) {
        see!(log, mknod("d", S_IFDIR | 0o755, 0));
        see!(log, mknod("l", S_IFLNK | 0o777, 0));
        see!(log, mknod("wrong", 0o170_000 | 0o644, 0));
        see!(log, put("a", ""));
        see!(log, mknod("a", S_IFREG | 0o644, 0));
        see!(log, mkfifo("a", 0o644));
        see!(log, mkfifo("no/p", 0o644));
        see!(log, mkfifo("a/p", 0o644));
        see!(log, names("."));
    }

    fn nodes_are_linked_renamed_and_removed(log) {
        see!(log, mkfifo("p", 0o644));
        see!(log, mknod("c", S_IFCHR | 0o666, NULL_DEVICE));
        see!(log, link("p", "q"));
        see!(log, lstat("q"));
        see!(log, rename("q", "r"));
        see!(log, rename("c", "p"));
        see!(log, lstat("p"));
        see!(log, lstat("r"));
        see!(log, chmod("p", 0o600));
        see!(log, chown("p", 5, 6));
        see!(log, lstat("p"));
        see!(log, unlink("p"));
        see!(log, unlink("r"));
        see!(log, names("."));
    }

    fn a_fifo_carries_bytes(log) {
        see!(log, mkfifo("p", 0o644));
        see!(log, open("p", O_WRONLY | O_NONBLOCK, 0));
        let reader = open("p", O_RDONLY | O_NONBLOCK, 0).unwrap();
        let writer = open("p", O_WRONLY | O_NONBLOCK, 0).unwrap();
        see!(log, write(&writer, "through"));
        see!(log, read(&reader, 100));
        see!(log, read(&reader, 100));
        drop(writer);
        see!(log, read(&reader, 100));
        see!(log, pread(&reader, 1, 0));
        see!(log, seek(&reader, 0, SEEK_SET));
        see!(log, truncate("p", 0));
        see!(log, lstat("p"));
    }

    fn a_fifo_between_processes(log) {
        see!(log, mkfifo("p", 0o644));
        let child = Child::start(|_| {
            let fd = open("p", O_WRONLY, 0).unwrap();
            write(&fd, "from the child").unwrap();
            Vec::new()
        }).unwrap();
        let reader = open("p", O_RDONLY, 0).unwrap();
        see!(log, read(&reader, 100));
        see!(log, child.finish());
    }

    fn a_socket_is_bound_and_reached(log) {
        use std::io::{Read, Write};
        use std::os::unix::net::{UnixListener, UnixStream};
        see!(log, bind_socket("dead"));
        see!(log, lstat("dead"));
        see!(log, bind_socket("dead"));
        see!(log, open("dead", O_RDONLY, 0));
        see!(log, UnixStream::connect("dead").is_err());
        let listener = UnixListener::bind("live").unwrap();
        let mut client = UnixStream::connect("live").unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"hello").unwrap();
        drop(client);
        let mut heard = Vec::new();
        server.read_to_end(&mut heard).unwrap();
        see!(log, heard);
        see!(log, unlink("live"));
        see!(log, UnixStream::connect("live").is_err());
        see!(log, unlink("dead"));
    }

    fn opening_a_node_creates_nothing(log) {
        see!(log, mkfifo("p", 0o644));
        see!(log, open("p", O_RDONLY | O_NONBLOCK | O_CREAT, 0o644));
        see!(log, open("p", O_RDONLY | O_NONBLOCK | O_CREAT | O_EXCL, 0o644));
        see!(log, open("p", O_RDONLY | O_NONBLOCK | O_DIRECTORY, 0));
        see!(log, lstat("p"));
    }
}
