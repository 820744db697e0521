//! Passphrases, new ones and those of files that exist: from a file, or asked for on a terminal, never waited for without one.

use std::env;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use bt_node::control::Failure;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// The variable that names a file with a passphrase.
pub const VARIABLE: &str = "BT_PASSPHRASE_FILE";

/// The variable that names a file with the passphrase that is to replace another.
pub const NEW_VARIABLE: &str = "BT_NEW_PASSPHRASE_FILE";

/// The variable that names a file with the recovery passphrase of a key in a TPM.
pub const RECOVERY_VARIABLE: &str = "BT_RECOVERY_PASSPHRASE_FILE";

/// The longest passphrase, in bytes.
const LIMIT: usize = 4096;

/// A new passphrase: from `file`, else from the file that BT_PASSPHRASE_FILE names, else asked for twice.
pub fn new_passphrase(file: Option<&Path>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    match given(file, VARIABLE) {
        Some(path) => from_file(&path),
        None => ask_twice("New passphrase: ", "--passphrase-file", VARIABLE),
    }
}

/// The passphrase that is to replace that of another file: from `file`, else from the file that
/// BT_NEW_PASSPHRASE_FILE names, else asked for twice.
pub fn replacing_passphrase(file: Option<&Path>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    match given(file, NEW_VARIABLE) {
        Some(path) => from_file(&path),
        None => ask_twice("New passphrase: ", "--new-passphrase-file", NEW_VARIABLE),
    }
}

/// A new recovery passphrase for a key in a TPM, from where BT_RECOVERY_PASSPHRASE_FILE says, else asked for twice.
pub fn new_recovery_passphrase(file: Option<&Path>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    match given(file, RECOVERY_VARIABLE) {
        Some(path) => from_file(&path),
        None => ask_twice("New recovery passphrase: ", "--recovery-passphrase-file", RECOVERY_VARIABLE),
    }
}

/// The recovery passphrase of a key in a TPM, as [`new_recovery_passphrase`], asked for once.
pub fn recovery_passphrase(file: Option<&Path>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if let Some(path) = given(file, RECOVERY_VARIABLE) {
        return from_file(&path);
    }
    refuse_without_terminal("--recovery-passphrase-file", RECOVERY_VARIABLE)?;
    ask("Recovery passphrase: ")
}

/// The passphrase of the file with keys at `of`: from `file`, else from the file that BT_PASSPHRASE_FILE names, else
/// asked for once.
pub fn passphrase_of(of: &Path, file: Option<&Path>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if let Some(path) = given(file, VARIABLE) {
        return from_file(&path);
    }
    refuse_without_terminal("--passphrase-file", VARIABLE)?;
    ask(&format!("Passphrase of {}: ", of.display()))
}

fn given(file: Option<&Path>, variable: &str) -> Option<PathBuf> {
    file.map(Path::to_owned).or_else(|| env::var_os(variable).map(PathBuf::from))
}

/// The content of the file; one line end after it does not count.
fn from_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failed = |error| Failure::io(format!("reading the passphrase from {}", path.display()), &error);
    // As large as it can get, so that it never moves and leaves a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LIMIT + 3));
    File::open(path).and_then(|file| file.take(LIMIT as u64 + 3).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    if bytes.is_empty() {
        return Err(Failure::usage(
            format!("the passphrase file {} is empty", path.display()),
            "write a passphrase into it",
        ));
    }
    if bytes.len() > LIMIT {
        return Err(Failure::usage(
            format!("the passphrase in {} is longer than {LIMIT} bytes", path.display()),
            "name a file that holds nothing but the passphrase",
        ));
    }
    Ok(bytes)
}

fn refuse_without_terminal(option: &str, variable: &str) -> Result<(), Failure> {
    if io::stdin().is_terminal() && io::stderr().is_terminal() {
        return Ok(());
    }
    Err(Failure::usage(
        "a passphrase is needed, and there is no terminal to ask on",
        format!("give {option} FILE, or set {variable}"),
    ))
}

fn ask_twice(question: &str, option: &str, variable: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    refuse_without_terminal(option, variable)?;
    loop {
        let first = ask(question)?;
        if first.is_empty() {
            say("It must not be empty.\n")?;
        } else if first == ask("Once more: ")? {
            return Ok(first);
        } else {
            say("The two differ.\n")?;
        }
    }
}

/// Says something on the terminal that is asked on.
pub fn say(text: &str) -> Result<(), Failure> {
    io::stderr().write_all(text.as_bytes()).map_err(|error| Failure::io("writing to the terminal", &error))
}

/// Reads one line without showing it. Backspace and Ctrl-U work, Ctrl-C and Ctrl-D end the command.
fn ask(question: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let hidden = Hidden::begin().map_err(|error| Failure::io("setting up the terminal", &error))?;
    say(question)?;
    let mut line = Zeroizing::new(Vec::with_capacity(LIMIT));
    let answer = loop {
        let mut byte = [0];
        if io::stdin().read(&mut byte).map_err(|error| Failure::io("reading from the terminal", &error))? == 0 {
            break Err(Failure::interrupted());
        }
        match byte[0] {
            b'\r' | b'\n' => break Ok(line),
            3 | 4 => break Err(Failure::interrupted()),
            8 | 127 => erase_character(&mut line),
            21 => line.clear(),
            byte if line.len() < LIMIT => line.push(byte),
            _ => {}
        }
    };
    drop(hidden);
    say("\n")?;
    answer
}

/// Takes the last UTF-8 character off.
fn erase_character(line: &mut Vec<u8>) {
    while line.pop().is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000) {}
}

/// A terminal that shows nothing and gives every key at once; as before when dropped.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        hidden.special_codes[SpecialCodeIndex::VMIN] = 1;
        hidden.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // When the terminal is gone there is nothing to restore.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bt_node::control::FailureKind;

    fn read(content: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        from_file(file.path())
    }

    #[test]
    fn one_line_end_does_not_count() {
        assert_eq!(*read(b"secret").unwrap(), b"secret");
        assert_eq!(*read(b"secret\n").unwrap(), b"secret");
        assert_eq!(*read(b"secret\r\n").unwrap(), b"secret");
        assert_eq!(*read(b" se cret \n\n").unwrap(), b" se cret \n");
    }

    #[test]
    fn empty_and_endless_files_are_refused() {
        assert_eq!(read(b"\n").unwrap_err().kind, FailureKind::Usage);
        assert_eq!(*read(&[b'a'; LIMIT]).unwrap(), [b'a'; LIMIT]);
        assert_eq!(read(&[b'a'; LIMIT + 1]).unwrap_err().kind, FailureKind::Usage);
        assert_eq!(from_file(Path::new("/dev/zero")).unwrap_err().kind, FailureKind::Usage);
        assert_eq!(from_file(Path::new("/no/such/file")).unwrap_err().kind, FailureKind::Io);
    }

    #[test]
    fn backspace_takes_a_whole_character() {
        let mut line = "aü".as_bytes().to_vec();
        erase_character(&mut line);
        assert_eq!(line, b"a");
        erase_character(&mut line);
        erase_character(&mut line);
        assert_eq!(line, b"");
    }
}
