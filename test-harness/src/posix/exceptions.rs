//! Where a mounted tree may differ from ext4, and why. `doc/posix.md` tells the user the same.

/// One allowed difference: this line of this case.
#[derive(Debug)]
pub struct Exception {
    /// `group::case`.
    pub case: &'static str,
    /// A part of the observation's text.
    pub what: &'static str,
    /// What ext4 gives there.
    pub ext4: &'static str,
    /// What the mount gives there.
    pub mount: &'static str,
    /// Why this cannot or should not be the same.
    pub why: &'static str,
}

/// All of them. One that no longer happens fails the test, so that the list stays true.
pub const EXCEPTIONS: &[Exception] = &[];
