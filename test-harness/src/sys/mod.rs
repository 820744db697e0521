//! Linux system calls as plain functions that return an [`Errno`], for tests that must say exactly what they ask.
//!
//! The only module of the test harness with `unsafe`: every call passes pointers to values that live across it, and
//! lengths that belong to them. Paths are any bytes, relative to the working directory.
#![allow(unsafe_code)]

mod errno;
mod file;
mod lock;
mod path;
mod process;
mod xattr;

pub use errno::{Errno, Sys};
pub use file::*;
pub use lock::*;
pub use path::*;
pub use process::*;
pub use xattr::*;

use std::ffi::CString;

/// A path as the kernel wants it.
pub(crate) fn c_path(path: impl AsRef<[u8]>) -> CString {
    CString::new(path.as_ref()).expect("a test's path holds no zero byte")
}

/// The result of a call that returns -1 and sets errno, or a number.
pub(crate) fn check(result: impl Into<i64>) -> Sys<i64> {
    match result.into() {
        -1 => Err(Errno::last()),
        value => Ok(value),
    }
}

/// As [`check`], for calls whose number means nothing.
pub(crate) fn done(result: impl Into<i64>) -> Sys<()> {
    check(result).map(|_| ())
}
