//! The credential of a person: as a file behind a passphrase, and its public half as text to hand to others.

mod file;
mod text;

pub use file::{PRINCIPAL_FILE_SIZE, PrincipalFileError};
pub use text::{PRINCIPAL_PREFIX, PRINCIPAL_TEXT_SIZE, PrincipalTextError};
