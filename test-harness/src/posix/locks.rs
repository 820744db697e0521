//! flock, fcntl and open-file-description locks, between processes.

use super::{cases, see};
use crate::sys::*;

fn file() -> Fd {
    open("a", O_RDWR | O_CREAT, 0o644).unwrap()
}

cases! {
    fn flock_excludes_other_open_files(log) {
        let (first, second) = (file(), file());
        see!(log, flock(&first, LOCK_EX));
        see!(log, flock(&second, LOCK_EX | LOCK_NB));
        see!(log, flock(&second, LOCK_SH | LOCK_NB));
        log.child(|log| {
            let other = file();
            see!(log, flock(&other, LOCK_EX | LOCK_NB));
            see!(log, flock(&first, LOCK_EX | LOCK_NB));
        });
        see!(log, flock(&first, LOCK_SH));
        see!(log, flock(&second, LOCK_SH | LOCK_NB));
        see!(log, flock(&second, LOCK_EX | LOCK_NB));
        see!(log, flock(&first, LOCK_UN));
        see!(log, flock(&second, LOCK_EX | LOCK_NB));
        drop(second);
        see!(log, flock(&first, LOCK_EX | LOCK_NB));
    }

    fn flock_ends_with_its_process(log) {
        let child = Child::start(|signals| {
            let fd = file();
            flock(&fd, LOCK_EX).unwrap();
            signals.ready();
            signals.wait();
            Vec::new()
        }).unwrap();
        child.wait_ready().unwrap();
        let fd = file();
        see!(log, flock(&fd, LOCK_EX | LOCK_NB));
        child.kill();
        see!(log, flock(&fd, LOCK_EX | LOCK_NB));
    }

    fn flock_waits(log) {
        let fd = file();
        see!(log, flock(&fd, LOCK_EX));
        let mut child = Child::start(|signals| {
            let fd = file();
            signals.ready();
            flock(&fd, LOCK_EX).unwrap();
            content("a").unwrap()
        }).unwrap();
        child.wait_ready().unwrap();
        child.go();
        see!(log, pwrite(&fd, "written under the lock", 0));
        see!(log, flock(&fd, LOCK_UN));
        see!(log, child.finish());
    }

    fn ranges_exclude_other_processes(log) {
        let fd = file();
        see!(log, lock_range(&fd, F_WRLCK, 0, 100));
        see!(log, lock_range(&fd, F_RDLCK, 200, 100));
        see!(log, test_lock(&fd, F_WRLCK, 0, 0));
        log.child(|log| {
            let fd = file();
            see!(log, lock_range(&fd, F_WRLCK, 50, 10));
            see!(log, lock_range(&fd, F_RDLCK, 99, 1));
            see!(log, lock_range(&fd, F_WRLCK, 100, 100));
            see!(log, lock_range(&fd, F_RDLCK, 250, 10));
            see!(log, lock_range(&fd, F_WRLCK, 250, 10));
            see!(log, test_lock(&fd, F_WRLCK, 0, 0));
            see!(log, test_lock(&fd, F_RDLCK, 150, 0));
            see!(log, test_lock(&fd, F_WRLCK, 260, 5));
        });
        see!(log, lock_range(&fd, F_UNLCK, 40, 20));
        log.child(|log| {
            let fd = file();
            see!(log, lock_range(&fd, F_WRLCK, 40, 20));
            see!(log, lock_range(&fd, F_WRLCK, 39, 1));
            see!(log, lock_range(&fd, F_WRLCK, 60, 1));
            see!(log, test_lock(&fd, F_WRLCK, 60, 0));
        });
    }

    fn a_process_owns_its_ranges_whole(log) {
        let (first, second) = (file(), file());
        see!(log, lock_range(&first, F_WRLCK, 0, 0));
        see!(log, lock_range(&second, F_WRLCK, 0, 0));
        see!(log, lock_range(&second, F_RDLCK, 10, 10));
        log.child(|log| see!(log, lock_range(&file(), F_RDLCK, 10, 10)));
        // Closing any descriptor of the file gives up all its locks of this process.
        drop(second);
        log.child(|log| see!(log, lock_range(&file(), F_WRLCK, 0, 0)));
        see!(log, lock_range(&first, F_WRLCK, 0, 0));
    }

    fn ranges_end_with_their_process(log) {
        let child = Child::start(|signals| {
            let fd = file();
            lock_range(&fd, F_WRLCK, 0, 0).unwrap();
            signals.ready();
            signals.wait();
            Vec::new()
        }).unwrap();
        child.wait_ready().unwrap();
        let fd = file();
        see!(log, lock_range(&fd, F_WRLCK, 0, 0));
        child.kill();
        see!(log, lock_range(&fd, F_WRLCK, 0, 0));
    }

    fn a_range_is_waited_for(log) {
        let fd = file();
        see!(log, lock_range(&fd, F_WRLCK, 0, 10));
        let mut child = Child::start(|signals| {
            let fd = file();
            signals.ready();
            lock_range_waiting(&fd, F_WRLCK, 5, 10).unwrap();
            content("a").unwrap()
        }).unwrap();
        child.wait_ready().unwrap();
        child.go();
        see!(log, pwrite(&fd, "written under the lock", 0));
        see!(log, lock_range(&fd, F_UNLCK, 0, 0));
        see!(log, child.finish());
    }

    fn waiting_in_a_circle_is_a_deadlock(log) {
        let fd = file();
        see!(log, lock_range(&fd, F_WRLCK, 0, 1));
        let mut child = Child::start(|signals| {
            let fd = file();
            lock_range(&fd, F_WRLCK, 1, 1).unwrap();
            signals.ready();
            let got = lock_range_waiting(&fd, F_WRLCK, 0, 1);
            format!("{got:?}").into_bytes()
        }).unwrap();
        child.wait_ready().unwrap();
        child.go();
        // Whoever comes second is told; then the other one gets both.
        let ours = lock_range_waiting(&fd, F_WRLCK, 1, 1);
        see!(log, lock_range(&fd, F_UNLCK, 0, 0));
        let theirs = child.finish().unwrap();
        let deadlocks = usize::from(ours == Err(Errno(libc::EDEADLK))) + usize::from(theirs == b"Err(EDEADLK)");
        see!(log, deadlocks);
    }

    fn locks_of_an_open_file(log) {
        let (first, second) = (file(), file());
        see!(log, lock_open_file(&first, F_WRLCK, 0, 100));
        see!(log, lock_open_file(&second, F_WRLCK, 50, 100));
        see!(log, lock_open_file(&second, F_WRLCK, 100, 100));
        see!(log, lock_range(&first, F_RDLCK, 0, 10));
        log.child(|log| {
            see!(log, lock_open_file(&first, F_WRLCK, 0, 50));
            see!(log, lock_open_file(&file(), F_RDLCK, 0, 50));
        });
        drop(first);
        see!(log, lock_open_file(&second, F_WRLCK, 0, 0));
    }

    fn the_two_families_do_not_meet(log) {
        let (first, second) = (file(), file());
        see!(log, flock(&first, LOCK_EX));
        see!(log, lock_open_file(&second, F_WRLCK, 0, 0));
        log.child(|log| see!(log, flock(&file(), LOCK_SH | LOCK_NB)));
    }

    fn a_lock_does_not_stop_reads_and_writes(log) {
        let fd = file();
        see!(log, lock_range(&fd, F_WRLCK, 0, 0));
        see!(log, flock(&fd, LOCK_EX));
        log.child(|log| {
            see!(log, put("a", "advisory"));
            see!(log, content("a"));
        });
    }

    fn the_kind_of_lock_needs_the_right(log) {
        file();
        let reader = open("a", O_RDONLY, 0).unwrap();
        let writer = open("a", O_WRONLY, 0).unwrap();
        see!(log, lock_range(&reader, F_WRLCK, 0, 0));
        see!(log, lock_range(&reader, F_RDLCK, 0, 0));
        see!(log, lock_range(&writer, F_RDLCK, 0, 0));
        see!(log, lock_range(&writer, F_WRLCK, 0, 0));
        see!(log, flock(&reader, LOCK_EX));
        see!(log, flock(&reader, LOCK_UN));
        see!(log, flock(&writer, LOCK_SH));
        see!(log, lock_range(&reader, F_RDLCK, -1, 10));
    }

    fn directories_can_be_locked(log) {
        see!(log, mkdir("d", 0o755));
        let first = open("d", O_RDONLY | O_DIRECTORY, 0).unwrap();
        let second = open("d", O_RDONLY | O_DIRECTORY, 0).unwrap();
        see!(log, flock(&first, LOCK_EX));
        see!(log, flock(&second, LOCK_EX | LOCK_NB));
        see!(log, lock_range(&first, F_RDLCK, 0, 0));
    }
}
