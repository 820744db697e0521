//! tpm2-tss writes what it sees to standard error, between the lines of a command that says the same for people. It looks
//! at a variable of the environment first, and a process cannot safely change its own: the command starts itself again.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use bt_node::credentials;

/// What tpm2-tss reads, and what makes it silent.
const VARIABLE: &str = "TSS2_LOG";
const SILENT: &str = "all+NONE";

/// Starts the command again with a silent tpm2-tss, if it is going to use a TPM and nobody asked to hear it.
pub fn silence_tpm_library() {
    if std::env::var_os(VARIABLE).is_some() || !std::env::args_os().skip(1).any(|argument| concerns_tpm(&argument)) {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    // When it fails the command goes on, with more words.
    let _ = Command::new(program).args(std::env::args_os().skip(1)).env(VARIABLE, SILENT).exec();
}

/// Whether an argument names a TPM, or a directory whose node's key is in one.
fn concerns_tpm(argument: &OsStr) -> bool {
    let names_one = argument.to_str().is_some_and(|text| text.starts_with("--tpm"));
    names_one || {
        let mut start = Vec::new();
        let read = File::open(Path::new(argument).join(credentials::NODE_KEY_FILE))
            .and_then(|file| file.take(64).read_to_end(&mut start));
        read.is_ok() && credentials::is_in_tpm(&start)
    }
}
