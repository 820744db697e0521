//! Fuzz targets: every decoder of bytes that come from a disk, a socket or another node.
//!
//! A target is a function of bytes that must return, whatever they are: it panics when a decoder breaks its promise (it
//! panicked, or what it accepted does not encode to the same bytes). Nothing here needs a fuzzer: `cargo test -p bt-fuzz`
//! runs each target on its corpus (`corpus/TARGET/*`), on what the crates' golden vectors hold, and on random changes of
//! both. A fuzzer calls [`TARGETS`] by name; what it finds goes into the corpus.
//!
//! This crate imports every other one, and none imports it. The messages of the kernel are not here: `bt-fuse` shows no
//! decoder, and its own tests feed it random ones.

mod app_channel;
mod apps;
mod control;
mod keys;
mod records;
mod store;
mod trust;

use std::path::Path;

/// A decoder under test.
pub struct Target {
    /// Its name, and that of its folder in `corpus/`.
    pub name: &'static str,
    /// Feeds it.
    pub run: fn(&[u8]),
    /// Inputs that it accepts, to begin from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "index-node", run: records::index_node, seeds: records::index_node_seeds },
    Target { name: "index-key", run: records::index_key, seeds: records::index_key_seeds },
    Target { name: "index-record", run: records::index_record, seeds: records::index_record_seeds },
    Target { name: "journal-records", run: records::journal_records, seeds: records::journal_records_seeds },
    Target { name: "genesis", run: trust::genesis, seeds: trust::genesis_seeds },
    Target { name: "successions", run: trust::successions, seeds: trust::successions_seeds },
    Target { name: "counter", run: trust::counter, seeds: trust::counter_seeds },
    Target { name: "birth", run: trust::birth, seeds: trust::birth_seeds },
    Target { name: "access", run: trust::access, seeds: trust::access_seeds },
    Target { name: "epochs", run: trust::epochs, seeds: trust::epochs_seeds },
    Target { name: "session", run: trust::session, seeds: trust::session_seeds },
    Target { name: "head", run: trust::head, seeds: trust::head_seeds },
    Target { name: "batch", run: trust::batch, seeds: trust::batch_seeds },
    Target { name: "package", run: apps::package, seeds: apps::package_seeds },
    Target { name: "author-handover", run: apps::handover, seeds: apps::handover_seeds },
    Target { name: "installation", run: apps::installation, seeds: apps::installation_seeds },
    Target { name: "app-channel", run: app_channel::channel, seeds: app_channel::channel_seeds },
    Target { name: "root-file", run: keys::root_file, seeds: keys::root_file_seeds },
    Target { name: "recovery-words", run: keys::recovery_words, seeds: keys::recovery_words_seeds },
    Target { name: "node-key", run: keys::node_key, seeds: keys::node_key_seeds },
    Target { name: "principal-file", run: keys::principal_file, seeds: keys::principal_file_seeds },
    Target { name: "principal-text", run: keys::principal_text, seeds: keys::principal_text_seeds },
    Target { name: "node-key-tpm", run: keys::node_key_tpm, seeds: keys::node_key_tpm_seeds },
    Target { name: "control-request", run: control::request, seeds: control::request_seeds },
    Target { name: "control-reply", run: control::reply, seeds: control::reply_seeds },
    Target { name: "container", run: store::container, seeds: store::container_seeds },
    Target { name: "locations", run: store::locations, seeds: store::locations_seeds },
    Target { name: "head-slots", run: store::head_slots, seeds: store::head_slots_seeds },
    Target { name: "record-file", run: store::record_file, seeds: store::record_file_seeds },
    Target { name: "slots", run: store::slots, seeds: store::slots_seeds },
    Target { name: "journal-file", run: store::journal_file, seeds: store::journal_file_seeds },
];

/// The bytes of a golden vector of another crate: a file of hexadecimal digits where its name ends so.
fn vector(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if path.extension().is_none_or(|extension| extension != "hex") {
        return bytes;
    }
    let digits: Vec<u32> = bytes.iter().filter_map(|byte| char::from(*byte).to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}
