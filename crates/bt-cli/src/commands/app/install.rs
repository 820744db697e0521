//! `bt app install`, `upgrade` and `rollback`: which package runs under a name.

use std::path::{Path, PathBuf};

use bt_node::control::Failure;
use bt_node::control::app::Upgrade as Terms;
use bt_tree::app::limits::PACKAGE_BYTES;
use bt_tree::app::{Installation, Manifest, Package, Permission, Version};

use super::grants::GrantOptions;
use super::{Next, Which, decide};
use crate::Outcome;
use crate::output::{note, print};
use crate::signer::SignerOptions;
use crate::units::bytes;

/// Install an app from its package.
///
/// Shows who wrote it and what it asks for, and asks what it gets unless an option says. The root or an admin of the tree's
/// top zone signs. A granted directory is used as far as whoever calls may use it, too; --as-app lets everybody use it
/// through the app.
#[derive(Debug, clap::Args)]
pub struct Install {
    /// The node's directory, or the mount point
    dir: PathBuf,
    /// The package (NAME-VERSION.btpkg)
    package: PathBuf,
    #[command(flatten)]
    grants: GrantOptions,
    #[command(flatten)]
    signer: SignerOptions,
}

/// Replace an installed app by a later version of the same author.
///
/// It keeps what was granted. A version that asks for more waits: --grant-all, --grant NAME or --grant-none says what it gets
/// of that.
#[derive(Debug, clap::Args)]
pub struct Upgrade {
    /// The node's directory, or the mount point
    dir: PathBuf,
    /// The package of the later version
    package: PathBuf,
    /// Go on answering requests for the version before by its id
    #[arg(long)]
    keep_id: bool,
    #[command(flatten)]
    grants: GrantOptions,
    #[command(flatten)]
    signer: SignerOptions,
}

/// Go back to an earlier version of an app.
#[derive(Debug, clap::Args)]
pub struct Rollback {
    #[command(flatten)]
    which: Which,
    /// To this version; without it, the one before
    #[arg(long, value_name = "VERSION")]
    to: Option<Version>,
    #[command(flatten)]
    signer: SignerOptions,
}

/// Runs `bt app install`.
pub fn install(arguments: &Install) -> Outcome {
    let package = read_package(&arguments.package)?;
    let manifest = package.manifest().clone();
    note(&described(&package));
    let grants = arguments.grants.decide(&manifest.permissions)?;
    let installed = decide(&arguments.dir, &manifest.name, &arguments.signer, |terms| {
        Ok(Next::Installed(Box::new(terms.install(&package, grants)?), Some(Box::new(package))))
    })?;
    print(&done("installed", installed.as_ref(), &manifest))
}

/// Runs `bt app upgrade`.
pub fn upgrade(arguments: &Upgrade) -> Outcome {
    let package = read_package(&arguments.package)?;
    let manifest = package.manifest().clone();
    let installed = decide(&arguments.dir, &manifest.name, &arguments.signer, |terms| {
        let mut next = terms.upgrade(&package, None, arguments.keep_id)?;
        if let Terms::AsksFor(more) = &next {
            let decided = match arguments.grants.is_decided() {
                true => arguments.grants.decide(more)?,
                false => return Err(waits(&manifest, more)),
            };
            next = terms.upgrade(&package, Some(decided), arguments.keep_id)?;
        }
        match next {
            Terms::Ready(next) => Ok(Next::Installed(next, Some(Box::new(package)))),
            Terms::AsksFor(more) => Err(waits(&manifest, &more)),
        }
    })?;
    print(&done("upgraded", installed.as_ref(), &manifest))
}

/// Runs `bt app rollback`.
pub fn rollback(arguments: &Rollback) -> Outcome {
    let name = &arguments.which.name;
    let installed = decide(&arguments.which.dir, name, &arguments.signer, |terms| {
        Ok(Next::Installed(Box::new(terms.rollback(name, arguments.to)?), None))
    })?;
    let version = installed.map_or_else(String::new, |installed| installed.version.to_string());
    print(&format!("{name} is {version} again\n"))
}

/// Reads a package, and refuses one that is not whole or not signed.
fn read_package(path: &Path) -> Result<Package, Failure> {
    let failed = |error| Failure::io(format!("reading {}", path.display()), &error);
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > PACKAGE_BYTES as u64 {
        let what =
            format!("{} has {}, a package has at most {}", path.display(), bytes(size), bytes(PACKAGE_BYTES as u64));
        return Err(Failure::refused(what, "name a package that `bt app pack` made"));
    }
    let file = std::fs::read(path).map_err(failed)?;
    Package::open(file).map_err(|error| Failure::refused(format!("{}: {error}", path.display()), ""))
}

fn waits(manifest: &Manifest, more: &[Permission]) -> Failure {
    let asked: Vec<String> = more.iter().map(|permission| format!("\n  {}: {permission}", permission.name)).collect();
    Failure::refused(
        format!("{} {} asks for more than the version before:{}", manifest.name, manifest.version, asked.concat()),
        "say what it gets with --grant-all, --grant NAME or --grant-none",
    )
}

/// Who wrote it and what it asks for: what an owner reads before deciding.
fn described(package: &Package) -> String {
    let manifest = package.manifest();
    let mut text = format!(
        "{} {}: {}\nby {}\npackage {}\n",
        manifest.name,
        manifest.version,
        manifest.about,
        manifest.author.id(),
        package.id()
    );
    let limits = &manifest.limits;
    text.push_str(&format!(
        "a call has {} of memory and {:.1} s; {} run at a time\n",
        bytes(limits.memory_bytes),
        limits.call_ms as f64 / 1000.0,
        limits.concurrent_calls
    ));
    match manifest.permissions.is_empty() {
        true => text.push_str("it asks for nothing"),
        false => text.push_str("it asks to"),
    }
    for permission in &manifest.permissions {
        text.push_str(&format!("\n  {}: {permission}", permission.name));
    }
    text
}

fn done(what: &str, installed: Option<&Installation>, manifest: &Manifest) -> String {
    let mut text = format!("{} {} is {what}\n", manifest.name, manifest.version);
    for grant in installed.iter().flat_map(|installed| &installed.grants) {
        text.push_str(&format!("  it may {}\n", grant.in_words()));
    }
    text
}
