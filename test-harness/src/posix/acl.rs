//! POSIX access control lists.

use super::{cases, see};
use crate::sys::*;

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

/// Owner rw, user 1000 `user`, group r, mask `mask`, others nothing.
fn named(user: u16, mask: u16) -> Vec<u8> {
    acl(&[Acl::Owner(6), Acl::User(1000, user), Acl::Group(4), Acl::Mask(mask), Acl::Other(0)])
}

fn inherited() -> Vec<u8> {
    acl(&[Acl::Owner(7), Acl::User(1000, 7), Acl::Group(5), Acl::NamedGroup(2000, 6), Acl::Mask(7), Acl::Other(1)])
}

cases! {
    fn none_at_first(log) {
        see!(log, put("a", ""));
        see!(log, mkdir("d", 0o755));
        see!(log, get_xattr("a", ACCESS));
        see!(log, get_xattr("a", DEFAULT));
        see!(log, get_xattr("d", DEFAULT));
        see!(log, remove_xattr("a", ACCESS));
        see!(log, remove_xattr("d", DEFAULT));
        see!(log, list_xattr("a"));
    }

    fn the_mask_is_the_group_of_the_mode(log) {
        see!(log, put("a", ""));
        see!(log, set_xattr("a", ACCESS, named(6, 6), 0));
        see!(log, get_xattr("a", ACCESS));
        see!(log, list_xattr("a"));
        see!(log, lstat("a"));
        see!(log, chmod("a", 0o640));
        see!(log, get_xattr("a", ACCESS));
        see!(log, chmod("a", 0o707));
        see!(log, get_xattr("a", ACCESS));
        see!(log, lstat("a"));
        see!(log, remove_xattr("a", ACCESS));
        see!(log, lstat("a"));
        see!(log, list_xattr("a"));
    }

    fn one_that_says_no_more_than_the_mode_is_not_kept(log) {
        see!(log, put("a", ""));
        see!(log, set_xattr("a", ACCESS, acl(&[Acl::Owner(6), Acl::Group(4), Acl::Other(4)]), 0));
        see!(log, lstat("a"));
        see!(log, list_xattr("a"));
        see!(log, set_xattr("a", ACCESS, acl(&[Acl::Owner(7), Acl::Group(1), Acl::Other(2)]), 0));
        see!(log, lstat("a"));
        see!(log, get_xattr("a", ACCESS));
    }

    fn what_is_not_valid_is_refused(log) {
        see!(log, put("a", ""));
        see!(log, mkdir("d", 0o755));
        see!(log, set_xattr("a", ACCESS, "rubbish", 0));
        see!(log, set_xattr("a", ACCESS, "", 0));
        see!(log, set_xattr("a", ACCESS, acl(&[]), 0));
        see!(log, set_xattr("a", ACCESS, acl(&[Acl::Owner(6)]), 0));
        see!(log, set_xattr("a", ACCESS, acl(&[Acl::Owner(6), Acl::User(1, 6), Acl::Group(4), Acl::Other(0)]), 0));
        see!(log, set_xattr("a", ACCESS, acl(&[Acl::Other(0), Acl::Group(4), Acl::Owner(6)]), 0));
        see!(log, set_xattr("a", ACCESS, acl(&[Acl::Owner(9), Acl::Group(4), Acl::Other(0)]), 0));
        let mut version_1 = named(6, 6);
        version_1[0] = 1;
        see!(log, set_xattr("a", ACCESS, version_1, 0));
        see!(log, set_xattr("a", DEFAULT, named(6, 6), 0));
        see!(log, set_xattr("d", DEFAULT, "rubbish", 0));
        see!(log, list_xattr("a"));
        see!(log, list_xattr("d"));
        see!(log, lstat("a"));
    }

    fn a_named_user_gets_in(log) {
        see!(log, put("a", "secret"));
        see!(log, set_xattr("a", ACCESS, named(6, 6), 0));
        log.as_user(1000, 1000, &[], |log| {
            see!(log, content("a"));
            see!(log, put("a", "written"));
            see!(log, access("a", R_OK | W_OK));
        });
        log.as_user(1001, 1001, &[], |log| {
            see!(log, content("a"));
            see!(log, access("a", R_OK));
        });
        see!(log, set_xattr("a", ACCESS, named(6, 4), 0));
        log.as_user(1000, 1000, &[], |log| {
            see!(log, content("a"));
            see!(log, put("a", "masked"));
        });
        see!(log, set_xattr("a", ACCESS, named(0, 6), 0));
        log.as_user(1000, 0, &[], |log| see!(log, content("a")));
    }

    fn a_named_group_gets_in(log) {
        see!(log, put("a", "secret"));
        let list = acl(&[Acl::Owner(6), Acl::Group(0), Acl::NamedGroup(2000, 6), Acl::Mask(6), Acl::Other(0)]);
        see!(log, set_xattr("a", ACCESS, list, 0));
        log.as_user(1000, 2000, &[], |log| see!(log, content("a")));
        log.as_user(1000, 1000, &[2000], |log| see!(log, put("a", "by a member")));
        log.as_user(1000, 1000, &[], |log| see!(log, content("a")));
        log.as_user(1000, 0, &[], |log| see!(log, content("a")));
        see!(log, content("a"));
    }

    fn a_default_is_inherited(log) {
        see!(log, mkdir("d", 0o755));
        see!(log, set_xattr("d", DEFAULT, inherited(), 0));
        see!(log, list_xattr("d"));
        see!(log, lstat("d"));
        umask(0o077);
        see!(log, open("d/file", O_WRONLY | O_CREAT, 0o666));
        see!(log, open("d/strict", O_WRONLY | O_CREAT, 0o600));
        see!(log, mkdir("d/directory", 0o777));
        see!(log, mkfifo("d/fifo", 0o644));
        see!(log, symlink("x", "d/link"));
        see!(log, open("d", O_TMPFILE | O_RDWR, 0o666).and_then(|fd| fstat(&fd)));
        for name in ["d/file", "d/strict", "d/directory", "d/fifo", "d/link"] {
            see!(log, lstat(name));
            see!(log, lget_xattr(name, ACCESS));
            see!(log, lget_xattr(name, DEFAULT));
        }
        see!(log, mkdir("d/directory/deeper", 0o750));
        see!(log, lstat("d/directory/deeper"));
        see!(log, get_xattr("d/directory/deeper", DEFAULT));
        see!(log, remove_xattr("d", DEFAULT));
        see!(log, open("d/after", O_WRONLY | O_CREAT, 0o666));
        see!(log, lstat("d/after"));
        see!(log, list_xattr("d/after"));
    }

    fn a_minimal_default_replaces_the_umask(log) {
        see!(log, mkdir("d", 0o755));
        see!(log, set_xattr("d", DEFAULT, acl(&[Acl::Owner(7), Acl::Group(7), Acl::Other(7)]), 0));
        umask(0o077);
        see!(log, open("d/file", O_WRONLY | O_CREAT, 0o666));
        see!(log, mkdir("d/directory", 0o777));
        see!(log, lstat("d/file"));
        see!(log, lstat("d/directory"));
        see!(log, list_xattr("d/file"));
        see!(log, list_xattr("d/directory"));
    }

    fn a_renamed_file_keeps_its_own(log) {
        see!(log, mkdir("d", 0o755));
        see!(log, set_xattr("d", DEFAULT, inherited(), 0));
        see!(log, put("a", ""));
        see!(log, rename("a", "d/a"));
        see!(log, list_xattr("d/a"));
        see!(log, put("b", ""));
        see!(log, set_xattr("b", ACCESS, named(6, 6), 0));
        see!(log, rename("b", "d/b"));
        see!(log, get_xattr("d/b", ACCESS));
        see!(log, link("d/b", "c"));
        see!(log, get_xattr("c", ACCESS));
    }

    fn only_the_owner_may_change_it(log) {
        see!(log, put("a", ""));
        see!(log, chmod("a", 0o666));
        see!(log, put("mine", ""));
        see!(log, chown("mine", 1000, 1000));
        log.user(|log| {
            see!(log, set_xattr("a", ACCESS, named(6, 6), 0));
            see!(log, set_xattr("mine", ACCESS, named(7, 7), 0));
            see!(log, get_xattr("mine", ACCESS));
            see!(log, lstat("mine"));
        });
    }

    fn setgid_goes_when_a_stranger_sets_a_list(log) {
        see!(log, put("a", ""));
        see!(log, chown("a", 1000, 5));
        see!(log, chmod("a", 0o2775));
        log.user(|log| {
            see!(log, set_xattr("a", ACCESS, named(7, 7), 0));
            see!(log, lstat("a"));
        });
    }

    fn on_a_symbolic_link(log) {
        see!(log, symlink("x", "l"));
        see!(log, lset_xattr("l", ACCESS, named(6, 6)));
        see!(log, lget_xattr("l", ACCESS));
    }
}
