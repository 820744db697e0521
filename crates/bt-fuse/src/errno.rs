//! Linux error numbers as the kernel wants them in a reply.

/// A Linux error number, positive. The kernel hands it to the calling program as `errno`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

/// What every call of [`crate::FileSystem`] returns.
pub type Result<T> = std::result::Result<T, Errno>;

macro_rules! errnos {
    ($($name:ident: $meaning:literal,)*) => {
        impl Errno {
            $(#[doc = $meaning] pub const $name: Errno = Errno(libc::$name);)*

            /// The symbolic name, when it is one of the constants of this type.
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $(Errno::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    EPERM: "The caller may not do this at all.",
    ENOENT: "No such name, or no such node.",
    EINTR: "A signal interrupted the call.",
    EIO: "The data could not be read or written, or was damaged.",
    ENXIO: "Seeking for data or a hole past the end of the file.",
    E2BIG: "The value is larger than what can be stored.",
    EBADF: "The file is not open for this.",
    EAGAIN: "Try again.",
    ENOMEM: "Out of memory.",
    EACCES: "The mode or ACL of the file forbids it.",
    EBUSY: "In use.",
    EEXIST: "The name exists.",
    EXDEV: "The two names are not in the same zone.",
    ENODEV: "No such device.",
    ENOTDIR: "Not a directory.",
    EISDIR: "A directory.",
    EINVAL: "An argument makes no sense.",
    ENFILE: "Too many open files in the system.",
    EMFILE: "Too many open files in the process.",
    ETXTBSY: "A running program's file.",
    EFBIG: "Larger than the largest file.",
    ENOSPC: "No space left.",
    ESPIPE: "Cannot seek.",
    EROFS: "Read-only.",
    EMLINK: "Too many links.",
    ERANGE: "The result does not fit the buffer.",
    ENAMETOOLONG: "The name is too long.",
    ENOSYS: "Not implemented; for some requests the kernel then never asks again.",
    ENOTEMPTY: "The directory is not empty.",
    ELOOP: "Too many symbolic links.",
    ENODATA: "No such extended attribute.",
    EOVERFLOW: "A number does not fit.",
    EOPNOTSUPP: "Not supported by this file system.",
    ENOTCONN: "The file system is no longer connected.",
    ETIMEDOUT: "Took too long.",
    ESTALE: "The node is gone.",
    EDQUOT: "Over quota.",
    EKEYREJECTED: "The key does not fit, or was revoked.",
    EKEYEXPIRED: "The key has expired.",
}

impl std::fmt::Debug for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "Errno({})", self.0),
        }
    }
}

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

impl std::error::Error for Errno {}

/// An error of the operating system; EIO when it has no number.
impl From<std::io::Error> for Errno {
    fn from(error: std::io::Error) -> Errno {
        error.raw_os_error().map_or(Errno::EIO, Errno)
    }
}

#[cfg(test)]
mod tests {
    use super::Errno;

    #[test]
    fn names_itself() {
        assert_eq!(format!("{:?}", Errno::ENOENT), "ENOENT");
        assert_eq!(format!("{:?}", Errno(12345)), "Errno(12345)");
        assert_eq!(Errno::from(std::io::Error::from_raw_os_error(28)), Errno::ENOSPC);
    }
}
