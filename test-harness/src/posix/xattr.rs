//! Extended attributes.

use super::{cases, see};
use crate::sys::*;

cases! {
    fn set_read_list_remove(log) {
        see!(log, put("a", ""));
        see!(log, list_xattr("a"));
        see!(log, set_xattr("a", "user.one", "1", 0));
        see!(log, set_xattr("a", "user.two", "", 0));
        see!(log, set_xattr("a", "trusted.three", "3", 0));
        see!(log, set_xattr("a", "security.four", "4", 0));
        see!(log, list_xattr("a"));
        for name in ["user.one", "user.two", "trusted.three", "security.four", "user.none"] {
            see!(log, get_xattr("a", name));
        }
        see!(log, set_xattr("a", "user.one", "changed", 0));
        see!(log, get_xattr("a", "user.one"));
        see!(log, remove_xattr("a", "user.one"));
        see!(log, remove_xattr("a", "user.one"));
        see!(log, get_xattr("a", "user.one"));
        see!(log, list_xattr("a"));
    }

    fn create_and_replace(log) {
        see!(log, put("a", ""));
        see!(log, set_xattr("a", "user.x", "1", XATTR_REPLACE));
        see!(log, set_xattr("a", "user.x", "1", XATTR_CREATE));
        see!(log, set_xattr("a", "user.x", "2", XATTR_CREATE));
        see!(log, get_xattr("a", "user.x"));
        see!(log, set_xattr("a", "user.x", "3", XATTR_REPLACE));
        see!(log, get_xattr("a", "user.x"));
        see!(log, set_xattr("a", "user.x", "4", XATTR_CREATE | XATTR_REPLACE));
        see!(log, set_xattr("a", "user.x", "4", 8));
        see!(log, get_xattr("a", "user.x"));
    }

    fn sizes_of_buffers(log) {
        see!(log, put("a", ""));
        see!(log, set_xattr("a", "user.x", "0123456789", 0));
        see!(log, get_xattr_into("a", "user.x", 0));
        see!(log, get_xattr_into("a", "user.x", 5));
        see!(log, get_xattr_into("a", "user.x", 10));
        see!(log, list_xattr_into("a", 0));
        see!(log, list_xattr_into("a", 3));
        see!(log, list_xattr_into("a", 7));
    }

    fn names_of_attributes(log) {
        see!(log, put("a", ""));
        let longest = format!("user.{}", "n".repeat(250));
        see!(log, set_xattr("a", &longest, "x", 0));
        see!(log, get_xattr("a", &longest));
        see!(log, set_xattr("a", format!("{longest}n"), "x", 0));
        see!(log, set_xattr("a", "user.", "x", 0));
        see!(log, set_xattr("a", "", "x", 0));
        see!(log, set_xattr("a", "unknown.x", "x", 0));
        see!(log, set_xattr("a", "plain", "x", 0));
        see!(log, get_xattr("a", "unknown.x"));
        see!(log, set_xattr("a", b"user.\xff\xfe\x01", "bytes", 0));
        see!(log, get_xattr("a", b"user.\xff\xfe\x01"));
        see!(log, list_xattr("a"));
        see!(log, set_xattr("a", "system.unknown", "x", 0));
        see!(log, get_xattr("a", "system.unknown"));
    }

    fn values_of_attributes(log) {
        see!(log, put("a", ""));
        for length in [1, 100, 1000, 3500] {
            see!(log, set_xattr("a", "user.x", vec![b'v'; length], 0));
            see!(log, get_xattr("a", "user.x"));
        }
        see!(log, set_xattr("a", "user.x", b"\0\xff\0", 0));
        see!(log, get_xattr("a", "user.x"));
        see!(log, set_xattr("a", "user.x", vec![b'v'; 65_537], 0));
        see!(log, get_xattr("a", "user.x"));
    }

    fn on_every_kind_of_file(log) {
        see!(log, mkdir("d", 0o755));
        see!(log, symlink("nowhere", "l"));
        see!(log, mkfifo("p", 0o644));
        see!(log, mknod("c", S_IFCHR | 0o644, 0x103));
        for name in ["d", "l", "p", "c"] {
            see!(log, lset_xattr(name, "user.x", "1"));
            see!(log, lset_xattr(name, "trusted.x", "2"));
            see!(log, lset_xattr(name, "security.x", "3"));
            see!(log, lget_xattr(name, "user.x"));
            see!(log, lget_xattr(name, "trusted.x"));
            see!(log, lget_xattr(name, "security.x"));
            see!(log, list_xattr(name));
        }
    }

    fn missing_files(log) {
        see!(log, set_xattr("no", "user.x", "1", 0));
        see!(log, get_xattr("no", "user.x"));
        see!(log, list_xattr("no"));
        see!(log, remove_xattr("no", "user.x"));
    }

    fn they_follow_a_rename_and_a_link(log) {
        see!(log, put("a", ""));
        see!(log, set_xattr("a", "user.x", "kept", 0));
        see!(log, rename("a", "b"));
        see!(log, link("b", "c"));
        see!(log, get_xattr("b", "user.x"));
        see!(log, get_xattr("c", "user.x"));
        see!(log, put("b", "truncated and written"));
        see!(log, get_xattr("c", "user.x"));
        see!(log, put("d", ""));
        see!(log, rename("d", "b"));
        see!(log, list_xattr("b"));
        see!(log, list_xattr("c"));
    }

    fn an_ordinary_user(log) {
        see!(log, put("a", ""));
        see!(log, chown("a", 1000, 1000));
        see!(log, set_xattr("a", "trusted.x", "root's", 0));
        see!(log, set_xattr("a", "security.x", "root's", 0));
        see!(log, put("b", ""));
        see!(log, set_xattr("b", "user.x", "root's", 0));
        see!(log, put("c", ""));
        see!(log, chmod("c", 0o600));
        see!(log, set_xattr("c", "user.x", "root's", 0));
        see!(log, mkdir("sticky", 0o1777));
        log.user(|log| {
            see!(log, set_xattr("a", "user.x", "mine", 0));
            see!(log, get_xattr("a", "user.x"));
            see!(log, set_xattr("a", "trusted.x", "mine", 0));
            see!(log, get_xattr("a", "trusted.x"));
            see!(log, remove_xattr("a", "trusted.x"));
            see!(log, set_xattr("a", "security.x", "mine", 0));
            see!(log, get_xattr("a", "security.x"));
            see!(log, list_xattr("a"));
            see!(log, set_xattr("b", "user.x", "mine", 0));
            see!(log, get_xattr("b", "user.x"));
            see!(log, remove_xattr("b", "user.x"));
            see!(log, get_xattr("c", "user.x"));
            see!(log, list_xattr("c"));
            see!(log, set_xattr("sticky", "user.x", "mine", 0));
        });
        see!(log, list_xattr("a"));
    }

    fn many_attributes(log) {
        see!(log, put("a", ""));
        for number in 0..60 {
            set_xattr("a", format!("user.{number}"), format!("value {number}"), 0).unwrap();
        }
        see!(log, list_xattr("a"));
        for number in (0..60).step_by(2) {
            remove_xattr("a", format!("user.{number}")).unwrap();
        }
        see!(log, list_xattr("a"));
        see!(log, get_xattr("a", "user.31"));
    }

    fn file_capabilities_go_with_a_write(log) {
        // linux/capability.h: version 2, effective, all sets of the first capability.
        let capability = [1, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        see!(log, put("a", "program"));
        see!(log, set_xattr("a", "security.capability", capability, 0));
        see!(log, list_xattr("a"));
        let fd = open("a", O_WRONLY, 0).unwrap();
        see!(log, write(&fd, "x"));
        see!(log, list_xattr("a"));
        see!(log, set_xattr("a", "security.capability", capability, 0));
        see!(log, truncate("a", 2));
        see!(log, list_xattr("a"));
        see!(log, set_xattr("a", "security.capability", capability, 0));
        see!(log, chown("a", 5, 5));
        see!(log, list_xattr("a"));
    }
}
