//! `bt app pack`: makes the package of an app.

use std::path::PathBuf;

use bt_base::PackageId;
use bt_node::control::Failure;
use bt_tree::app::UnsignedPackage;
use serde::Serialize;

use crate::Outcome;
use crate::arguments::OutputOption;
use crate::authoring::package;
use crate::authoring::project::Project;
use crate::output::{columns, show};
use crate::units;

/// Put what was built into a package, NAME-VERSION.btpkg in the app's folder
///
/// The package names its author and is not signed yet; `bt app sign` does that. Its id, the hash of all that is in it,
/// does not change by signing.
#[derive(Debug, clap::Args)]
pub struct Pack {
    /// The app's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Who is going to sign it: a credential file, a file with a public key, or the public key; else the one in app.toml
    #[arg(long, value_name = "PRINCIPAL")]
    author: Option<String>,
    #[command(flatten)]
    output: OutputOption,
}

#[derive(Debug, Serialize)]
struct Packed {
    package: PathBuf,
    id: PackageId,
    bytes: u64,
}

/// Runs the command.
pub fn run(arguments: &Pack) -> Outcome {
    let project = Project::open(&arguments.folder)?;
    let manifest = project.manifest(arguments.author.as_deref())?;
    let (component, assets) = (project.component()?, project.assets()?);
    let path = project.package_path();
    let unsigned = UnsignedPackage::pack(manifest, component.as_bytes(), &assets)
        .map_err(|error| Failure::usage(format!("no package can be made: {error}"), "change app.toml"))?;
    package::write(&path, unsigned.as_bytes())?;
    let packed = Packed { package: path, id: *unsigned.id(), bytes: unsigned.as_bytes().len() as u64 };
    show(arguments.output.output, &packed, |packed| {
        columns(&[
            ("package", packed.package.display().to_string()),
            ("id", packed.id.to_string()),
            ("size", units::bytes(packed.bytes)),
        ])
    })
}
