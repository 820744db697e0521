//! An app on its author's machine: a folder with an `app.toml`, from which a package is made.
//!
//! [`project`] reads the folder, [`component`] makes what compilers give into a component and looks at what it exports,
//! [`package`] reads and writes package files, [`templates`] are the folders that `bt app new` makes.

pub mod component;
pub mod package;
pub mod project;
pub mod templates;
