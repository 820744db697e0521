//! A watcher: keeps SHA256SUMS, a list that `sha256sum --check` understands, of the files in its directory.
//!
//! A file is read again only when its size or time of change is another than when it was listed: that is kept in
//! SHA256SUMS.state, beside the list. Neither is written unless it changes: writing is a change, too, and would run this
//! app again.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::process::ExitCode;
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

/// The directory of the permission `dropped`.
const DIRECTORY: &str = "/dropped";
const LIST: &str = "SHA256SUMS";
const STATE: &str = "SHA256SUMS.state";

fn main() -> ExitCode {
    match keep_lists() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the checksums could not be kept: {error}");
            ExitCode::FAILURE
        }
    }
}

fn keep_lists() -> io::Result<()> {
    let known = known();
    let (mut list, mut state) = (String::new(), String::new());
    for (name, metadata) in files()? {
        let stamp = stamp(&metadata);
        let checksum = match known.get(&name) {
            Some((before, checksum)) if *before == stamp => checksum.clone(),
            _ => checksum(&path(&name))?,
        };
        list.push_str(&format!("{checksum}  {name}\n"));
        state.push_str(&format!("{stamp} {checksum} {name}\n"));
    }
    keep(LIST, &list)?;
    keep(STATE, &state)
}

/// The plain files, by name; names that a list of lines cannot hold are left out, and so is what is hidden.
fn files() -> io::Result<BTreeMap<String, Metadata>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(DIRECTORY)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let is_ours = name == LIST || name == STATE || name.starts_with('.');
        if entry.file_type()?.is_file() && !is_ours && !name.contains(['\n', '\\']) {
            files.insert(name, entry.metadata()?);
        }
    }
    Ok(files)
}

/// What was listed: size and time, and the checksum.
fn known() -> BTreeMap<String, (String, String)> {
    let text = fs::read_to_string(path(STATE)).unwrap_or_default();
    let parse = |line: &str| {
        let mut parts = line.splitn(3, ' ');
        let (stamp, checksum, name) = (parts.next()?, parts.next()?, parts.next()?);
        Some((name.to_owned(), (stamp.to_owned(), checksum.to_owned())))
    };
    text.lines().filter_map(parse).collect()
}

fn stamp(metadata: &Metadata) -> String {
    let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    format!("{}@{}", metadata.len(), changed.as_nanos())
}

fn checksum(path: &str) -> io::Result<String> {
    let (mut file, mut hasher, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// A reader has the old list or the new one.
fn keep(name: &str, text: &str) -> io::Result<()> {
    if fs::read_to_string(path(name)).is_ok_and(|before| before == text) {
        return Ok(());
    }
    let beside = path(&format!(".{name}"));
    fs::write(&beside, text)?;
    fs::rename(beside, path(name))
}

fn path(name: &str) -> String {
    format!("{DIRECTORY}/{name}")
}
