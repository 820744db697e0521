//! Where a mounted tree may differ from ext4, and why. `doc/posix.md` tells the user the same.

use super::run::NOTHING;

/// One allowed difference: these lines of these cases.
#[derive(Debug)]
pub struct Exception {
    /// Each as `group::case`.
    pub cases: &'static [&'static str],
    /// A part of the observation's text.
    pub what: &'static str,
    /// A part of what ext4 gives there.
    pub ext4: &'static str,
    /// A part of what the mount gives there.
    pub mount: &'static str,
    /// Whether it may also not happen: with one transport only, or as caches are.
    pub sometimes: bool,
    /// Why this cannot or should not be the same.
    pub why: &'static str,
}

const fn differs(
    cases: &'static [&'static str],
    what: &'static str,
    ext4: &'static str,
    mount: &'static str,
    why: &'static str,
) -> Exception {
    Exception { cases, what, ext4, mount, sometimes: false, why }
}

const fn sometimes(
    cases: &'static [&'static str],
    what: &'static str,
    ext4: &'static str,
    mount: &'static str,
    why: &'static str,
) -> Exception {
    Exception { cases, what, ext4, mount, sometimes: true, why }
}

const KILLS: &[&str] = &[
    "modes::a_write_by_an_ordinary_user_clears_setuid",
    "modes::truncating_clears_setuid",
    "modes::growing_clears_setuid",
    "modes::opening_with_o_trunc_clears_setuid",
    "modes::allocating_clears_setuid",
    "modes::a_direct_write_clears_setuid",
    "modes::copying_into_a_file_clears_setuid",
];
const LIST: &[&str] = &["sparse::collapsing_and_inserting"];
const CHOWN: &[&str] = &["modes::chown_clears_setuid"];
const TEMPORARY: &[&str] = &[
    "unlinked::a_temporary_file_gets_a_name",
    "unlinked::a_temporary_file_without_a_name_goes",
    "unlinked::a_temporary_file_that_may_not_be_named",
];

const SETGID: &str = "the FUSE protocol has the file system drop set-group-id only where the group may execute; \
                      without that right the bit means nothing on Linux";
const NOTHING_TO_CHANGE: &str = "the kernel asks a FUSE file system for nothing when a change of owner names neither";
const NO_SHIFT: &str = "the kernel refuses to collapse and insert ranges on FUSE before asking";
const CACHED: &str = "a read that the page cache answers reaches no FUSE file system";
const SAME_SIZE: &str =
    "with its writeback cache the kernel keeps these times itself, and leaves them when the size stays";
const NO_STATX: &str = "the FUSE protocol carries the birth time in STATX only, which is not served";
const NO_TMPFILE: &str = "the crate fuser has no TMPFILE request; the transport over io_uring has";
const NO_ACL_FLAG: &str = "the crate fuser does not pass on that setting this list must drop set-group-id";

/// All of them. One that should always happen and does not fails the test, so that the list stays true.
pub const EXCEPTIONS: &[Exception] = &[
    differs(LIST, "COLLAPSE_RANGE", "ok", "EOPNOTSUPP", NO_SHIFT),
    differs(LIST, "fstat", "size=234464", "size=300000", NO_SHIFT),
    differs(LIST, "INSERT_RANGE", "ok", "EOPNOTSUPP", NO_SHIFT),
    differs(KILLS, "2767 after", "file 0767", "file 2767", SETGID),
    differs(KILLS, "6767 after", "file 0767", "file 2767", SETGID),
    differs(KILLS, "6666 after", "file 0666", "file 2666", SETGID),
    differs(CHOWN, "4777 after chown of nothing", "file 0777", "file 4777", NOTHING_TO_CHANGE),
    differs(CHOWN, "2777 after chown of nothing", "file 0777", "file 2777", NOTHING_TO_CHANGE),
    differs(CHOWN, "6777 after chown of nothing", "file 0777", "file 6777", NOTHING_TO_CHANGE),
    differs(CHOWN, "6767 after chown of nothing", "file 2767", "file 6767", NOTHING_TO_CHANGE),
    differs(CHOWN, "6666 after chown of nothing", "file 2666", "file 6666", NOTHING_TO_CHANGE),
    sometimes(&["times::a_cached_read_changes_atime"], "content", "atime", "", CACHED),
    sometimes(&["times::a_mapped_store_changes_mtime"], "Mapping", "atime mtime ctime", "mtime ctime", CACHED),
    differs(
        &["times::what_changes_the_data_changes_mtime_and_ctime"],
        "truncate to the same size",
        "mtime ctime",
        "",
        SAME_SIZE,
    ),
    differs(&["times::the_birth_time_stays"], "STATX_BTIME", "true", "false", NO_STATX),
    sometimes(TEMPORARY, "O_TMPFILE", "open", "EOPNOTSUPP", NO_TMPFILE),
    sometimes(TEMPORARY, "", "", NOTHING, NO_TMPFILE),
    sometimes(&["acl::a_default_is_inherited"], "O_TMPFILE", "file 0660", "EOPNOTSUPP", NO_TMPFILE),
    sometimes(&["modes::new_files_belong_to_their_maker"], "O_TMPFILE", "file 0600", "EOPNOTSUPP", NO_TMPFILE),
    sometimes(
        &["permissions::changing_a_directory_needs_write_and_search"],
        "tmpfile 753",
        "open",
        "EOPNOTSUPP",
        NO_TMPFILE,
    ),
    sometimes(&["acl::setgid_goes_when_a_stranger_sets_a_list"], "lstat", "file 0670", "file 2670", NO_ACL_FLAG),
];
