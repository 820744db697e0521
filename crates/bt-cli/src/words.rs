//! The 24 words of a root: shown once, and read again.

use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Read};
use std::path::Path;

use bt_crypto::RootSeed;
use bt_node::control::Failure;
use zeroize::Zeroizing;

use crate::passphrase::say;

/// Words of a root.
const COUNT: usize = 24;
/// More than 24 words have bytes.
const LIMIT: usize = 4096;

/// The words in numbered lines, with what they are for and what losing them means.
pub fn to_be_kept(words: &str) -> Zeroizing<String> {
    let words: Vec<&str> = words.split(' ').collect();
    let mut text = Zeroizing::new(String::with_capacity(LIMIT));
    text.push_str(
        "Write these words down and keep them off this machine. Together they are the root key; they are shown only\n\
         now:\n\n",
    );
    for (line, words) in words.chunks(6).enumerate() {
        for (at, word) in words.iter().enumerate() {
            let (gap, width) = if at == 0 { ("  ", 10) } else { (" ", 10) };
            let width = if at + 1 == words.len() { 0 } else { width };
            text.push_str(&format!("{gap}{:2} {word:width$}", line * 6 + at + 1));
        }
        text.push('\n');
    }
    text.push_str(
        "\nMounting, reading and writing never need them. Admitting nodes, sharing as the root and revoking do: they\n\
         need root.key with its passphrase, or these words. Who loses both never shares, revokes or admits a node as the\n\
         root again, and nobody can help; who finds them owns the tree.\n",
    );
    text
}

/// The root that the words in a file stand for.
pub fn from_file(path: &Path) -> Result<RootSeed, Failure> {
    let mut text = Zeroizing::new(String::with_capacity(LIMIT + 1));
    File::open(path)
        .and_then(|file| file.take(LIMIT as u64 + 1).read_to_string(&mut text))
        .map_err(|error| Failure::io(format!("reading the words from {}", path.display()), &error))?;
    parse(&text)
}

/// The root that words typed on the terminal stand for, on one line or on many.
pub fn ask() -> Result<RootSeed, Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let hint = "give --words-file FILE, or --from FILE with a copy of the root file";
        return Err(Failure::usage("the 24 words are needed, and there is no terminal to ask on", hint));
    }
    say("The 24 words of the root, on one line or on many:\n")?;
    let mut text = Zeroizing::new(String::with_capacity(LIMIT));
    while text.split_whitespace().count() < COUNT && text.len() < LIMIT {
        let read = io::stdin().lock().read_line(&mut text);
        if read.map_err(|error| Failure::io("reading from the terminal", &error))? == 0 {
            return Err(Failure::interrupted());
        }
    }
    parse(&text)
}

fn parse(text: &str) -> Result<RootSeed, Failure> {
    RootSeed::from_words(text)
        .map_err(|error| Failure::usage(error.to_string(), "compare them with the paper, word by word"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon \
                         abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon art";

    #[test]
    fn words_are_shown_numbered_and_can_be_read_without_the_numbers() {
        let shown = to_be_kept(WORDS);
        assert!(
            shown.contains("\n   1 abandon     2 abandon     3 abandon     4 abandon     5 abandon     6 abandon\n")
        );
        assert!(shown.contains(" 24 art\n"), "{}", *shown);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), WORDS.replacen(' ', "\n", 5)).unwrap();
        assert_eq!(*from_file(file.path()).unwrap().to_words(), WORDS);
        std::fs::write(file.path(), "abandon").unwrap();
        assert_eq!(from_file(file.path()).unwrap_err().what, "a root seed has 24 words, here are 1");
    }
}
