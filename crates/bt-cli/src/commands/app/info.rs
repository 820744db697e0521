//! `bt app info`: what a package says about itself.

use std::path::PathBuf;

use bt_base::{PackageId, PrincipalId};
use bt_tree::app::{AppName, Entry, Limits, Manifest, Package, PackageError, UnsignedPackage};
use serde::Serialize;

use super::show::info as installed;
use crate::Outcome;
use crate::arguments::OutputOption;
use crate::authoring::package;
use crate::output::{columns, show};
use crate::units;

/// Show what a package is, who signed it, and what it asks for; or, of an installed app, what it was granted, and by whom
///
/// Every byte of it is checked. What it would be allowed to do is said in bt's words first, then in the author's.
#[derive(Debug, clap::Args)]
pub struct Info {
    /// The package, or the folder of the app whose package it is; for an installed app, the node's directory or the mount
    /// point
    package: PathBuf,
    /// An app that is installed there
    name: Option<AppName>,
    #[command(flatten)]
    output: OutputOption,
}

/// What is known of a package.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    name: String,
    version: String,
    about: String,
    id: PackageId,
    author: PrincipalId,
    authors_before: Vec<PrincipalId>,
    signed: bool,
    entries: Vec<String>,
    permissions: Vec<PermissionReport>,
    limits: LimitsReport,
    minimum_node: String,
    bytes: u64,
    component_bytes: u64,
    assets: Vec<String>,
}

#[derive(Debug, Serialize)]
struct PermissionReport {
    name: String,
    allows: String,
    why: String,
}

#[derive(Debug, Serialize)]
struct LimitsReport {
    memory_bytes: u64,
    call_ms: u64,
    concurrent_calls: u32,
    body_bytes: u64,
    output_bytes: u64,
    log_bytes: u64,
    table_elements: u32,
    instances: u32,
    fuel: Option<u64>,
}

/// Runs the command.
pub fn run(arguments: &Info) -> Outcome {
    if let Some(name) = &arguments.name {
        return installed(&arguments.package, name, arguments.output);
    }
    let path = package::file_of(&arguments.package)?;
    let bytes = package::read(&path)?;
    let len = bytes.len() as u64;
    let report = match Package::open(bytes.clone()) {
        Ok(package) => Report::new(package.manifest(), package.id(), true, len),
        Err(PackageError::NotSigned { .. }) => {
            let unsigned = UnsignedPackage::open(bytes).map_err(|error| package::refused(&path, &error))?;
            Report::new(unsigned.manifest(), unsigned.id(), false, len)
        }
        Err(error) => return Err(package::refused(&path, &error).into()),
    };
    show(arguments.output.output, &report, Report::to_text)
}

impl Report {
    fn new(manifest: &Manifest, id: &PackageId, signed: bool, bytes: u64) -> Self {
        let permission = |asked: &bt_tree::app::Permission| PermissionReport {
            name: asked.name.to_string(),
            allows: asked.in_words(),
            why: asked.why.to_string(),
        };
        Self {
            name: manifest.name.to_string(),
            version: manifest.version.to_string(),
            about: manifest.about.to_string(),
            id: *id,
            author: manifest.author.id(),
            authors_before: manifest.handovers.iter().map(|handover| handover.before().id()).collect(),
            signed,
            entries: manifest.entries.iter().map(entry_in_words).collect(),
            permissions: manifest.permissions.iter().map(permission).collect(),
            limits: LimitsReport::new(&manifest.limits),
            minimum_node: manifest.minimum_node.to_string(),
            bytes,
            component_bytes: manifest.component.len,
            assets: manifest.assets.iter().map(|(name, _)| name.as_str().to_owned()).collect(),
        }
    }

    fn to_text(&self) -> String {
        let mut lines = vec![
            ("app", format!("{} {}: {}", self.name, self.version, self.about)),
            ("id", self.id.to_string()),
            ("author", self.author.to_string()),
            ("signed", if self.signed { "yes" } else { "no; its author does that with `bt app sign`" }.to_owned()),
        ];
        lines.extend(self.authors_before.iter().map(|author| ("author before", author.to_string())));
        lines.extend(self.entries.iter().map(|entry| ("called", entry.clone())));
        lines.push(("limits", self.limits.to_text()));
        lines.push(("needs", format!("bt {} or newer", self.minimum_node)));
        let component = units::bytes(self.component_bytes);
        lines.push((
            "size",
            format!("{}: component {component}, {} assets", units::bytes(self.bytes), self.assets.len()),
        ));
        let mut text = columns(&lines);
        match self.permissions.is_empty() {
            true => text.push_str("\nIt asks for no permissions.\n"),
            false => text.push_str("\nIt asks to:\n"),
        }
        for asked in &self.permissions {
            text.push_str(&format!("  {}: {}\n      the author says: {}\n", asked.name, asked.allows, asked.why));
        }
        text
    }
}

impl LimitsReport {
    fn new(limits: &Limits) -> Self {
        Self {
            memory_bytes: limits.memory_bytes,
            call_ms: limits.call_ms,
            concurrent_calls: limits.concurrent_calls,
            body_bytes: limits.body_bytes,
            output_bytes: limits.output_bytes,
            log_bytes: limits.log_bytes,
            table_elements: limits.table_elements,
            instances: limits.instances,
            fuel: limits.fuel,
        }
    }

    fn to_text(&self) -> String {
        let bytes = units::bytes;
        let fuel = self.fuel.map_or(String::new(), |fuel| format!(", {fuel} units of fuel"));
        format!(
            "{} memory, {} s, {} calls at a time, {} in, {} out, {} log{fuel}",
            bytes(self.memory_bytes),
            self.call_ms as f64 / 1000.0,
            self.concurrent_calls,
            bytes(self.body_bytes),
            bytes(self.output_bytes),
            bytes(self.log_bytes),
        )
    }
}

fn entry_in_words(entry: &Entry) -> String {
    match entry {
        Entry::Http => "over HTTP".to_owned(),
        Entry::Job => "as a job".to_owned(),
        Entry::Watch { files } => format!("when something changes in its directory {files}"),
    }
}
