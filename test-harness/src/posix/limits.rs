//! Many of everything.

use super::{cases, see};
use crate::sys::*;

cases! {
    fn ten_thousand_open_files(log) {
        see!(log, allow_open_files(20_000));
        let mut files = Vec::new();
        for number in 0..10_000 {
            files.push(open(format!("{number}"), O_RDWR | O_CREAT, 0o644).unwrap());
        }
        for (number, fd) in files.iter().enumerate() {
            write(fd, format!("file {number}")).unwrap();
        }
        let right = files.iter().enumerate().all(|(number, fd)| {
            pread(fd, 20, 0).unwrap() == format!("file {number}").into_bytes()
        });
        see!(log, right);
        for number in 0..10_000 {
            unlink(format!("{number}")).unwrap();
        }
        let right = files.iter().enumerate().all(|(number, fd)| {
            pread(fd, 20, 0).unwrap() == format!("file {number}").into_bytes() && fstat(fd).unwrap().st_nlink == 0
        });
        see!(log, right);
        see!(log, names("."));
    }

    fn one_file_opened_ten_thousand_times(log) {
        see!(log, allow_open_files(20_000));
        see!(log, put("a", "content"));
        let files: Vec<Fd> = (0..10_000).map(|_| open("a", O_RDONLY, 0).unwrap()).collect();
        see!(log, files.iter().all(|fd| pread(fd, 7, 0).unwrap() == b"content"));
        see!(log, unlink("a"));
        see!(log, pread(&files[9_999], 7, 0));
    }

    fn twenty_thousand_entries_come_and_go(log) {
        for number in 0..20_000 {
            mknod(format!("entry {number}"), S_IFREG | 0o644, 0).unwrap();
        }
        see!(log, names(".").unwrap().len());
        for number in 0..20_000 {
            if number % 10 != 0 {
                unlink(format!("entry {number}")).unwrap();
            }
        }
        let left = names(".").unwrap();
        see!(log, left.len());
        see!(log, left.iter().all(|name| name.ends_with(b"0")));
        see!(log, lstat("entry 19990"));
        see!(log, lstat("entry 19991"));
    }

    fn a_hundred_levels(log) {
        let path = vec!["d"; 100].join("/");
        let mut made = String::new();
        for _ in 0..100 {
            made += "d";
            mkdir(&made, 0o755).unwrap();
            made += "/";
        }
        see!(log, put(format!("{path}/a"), "bottom"));
        see!(log, rename("d", "e"));
        see!(log, content(format!("e{}/a", &path[1..])));
    }

    fn two_processes_make_the_same_names(log) {
        let race = || {
            let made = (0..2000).filter(|number| mkdir(format!("{number}"), 0o755).is_ok()).count();
            made.to_string().into_bytes()
        };
        let mut child = Child::start(|signals| {
            signals.ready();
            signals.wait();
            race()
        }).unwrap();
        child.wait_ready().unwrap();
        child.go();
        let ours: usize = String::from_utf8(race()).unwrap().parse().unwrap();
        let theirs: usize = String::from_utf8(child.finish().unwrap()).unwrap().parse().unwrap();
        see!(log, ours + theirs);
        see!(log, names(".").unwrap().len());
        see!(log, lstat("."));
    }
}
