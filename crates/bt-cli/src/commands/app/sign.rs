//! `bt app sign`: the author signs a package.

use std::path::PathBuf;

use bt_base::{PackageId, PrincipalId};
use bt_tree::app::UnsignedPackage;
use serde::Serialize;

use crate::Outcome;
use crate::arguments::OutputOption;
use crate::authoring::package;
use crate::output::{columns, show};
use crate::signer::open_principal;

/// Sign a package as its author
#[derive(Debug, clap::Args)]
pub struct Sign {
    /// The package, or the folder of the app whose package it is
    #[arg(default_value = ".")]
    package: PathBuf,
    /// The author's credential file
    #[arg(long = "as", value_name = "FILE")]
    author: PathBuf,
    /// A file with its passphrase; else BT_PASSPHRASE_FILE names one, else it is asked for
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    output: OutputOption,
}

#[derive(Debug, Serialize)]
struct Signed {
    package: PathBuf,
    id: PackageId,
    author: PrincipalId,
}

/// Runs the command.
pub fn run(arguments: &Sign) -> Outcome {
    let path = package::file_of(&arguments.package)?;
    let refused = |error| package::refused(&path, &error);
    let unsigned = UnsignedPackage::open(package::read(&path)?).map_err(refused)?;
    let author = open_principal(&arguments.author, arguments.passphrase_file.as_deref())?;
    let signed = unsigned.sign(&author).map_err(refused)?;
    package::write(&path, signed.as_bytes())?;
    let signed = Signed { package: path, id: *signed.id(), author: signed.manifest().author.id() };
    show(arguments.output.output, &signed, |signed| {
        columns(&[
            ("signed", signed.package.display().to_string()),
            ("id", signed.id.to_string()),
            ("author", signed.author.to_string()),
        ])
    })
}
