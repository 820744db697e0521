//! A principal on the command line: its public key as text, or a file that holds it.

use std::path::Path;

use bt_crypto::{Credential, PRINCIPAL_PREFIX};
use bt_node::control::Failure;
use bt_node::credentials;

/// The principal that `text` stands for: a public key (`btp1...`), a file with one, or a credential file.
pub fn credential_of(text: &str) -> Result<Credential, Failure> {
    let file = Path::new(text);
    let is_key = text.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(&PRINCIPAL_PREFIX[..3]));
    if is_key && !file.exists() {
        return text.parse().map_err(|error: bt_crypto::PrincipalTextError| Failure::usage(error.to_string(), ""));
    }
    if matches!(file.try_exists(), Ok(false)) {
        let what = format!("{text} is no principal: neither a public key nor a file with one");
        return Err(Failure::usage(what, WHAT_IT_LOOKS_LIKE));
    }
    credentials::public_of_file(file)
}

/// Where a principal's key comes from.
const WHAT_IT_LOOKS_LIKE: &str =
    "a public key is btp1 and 120 more letters and digits: `bt principal show FILE` and `bt whoami DIR` print it";

#[cfg(test)]
mod tests {
    use bt_crypto::{KeyStore, SoftwareKeyStore};
    use bt_node::control::FailureKind;

    use super::*;

    #[test]
    fn a_principal_is_its_key_or_a_file_with_it() {
        let principal = *SoftwareKeyStore::from_seed(&[1; 32]).credential();
        let text = principal.to_string();
        assert_eq!(credential_of(&text), Ok(principal));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{text}\n")).unwrap();
        assert_eq!(credential_of(file.path().to_str().unwrap()), Ok(principal));
    }

    #[test]
    fn what_is_no_principal_is_said() {
        let refused = |text: &str| credential_of(text).unwrap_err();
        let cut = refused("BTP1qyqqzq");
        assert_eq!(
            (cut.kind, &*cut.what),
            (FailureKind::Usage, "the public key has 10 characters, a whole one has 124: copy all of it",)
        );
        let nothing = refused("zzzz");
        assert_eq!((nothing.kind, &*nothing.hint), (FailureKind::Usage, WHAT_IT_LOOKS_LIKE));
        assert!(nothing.what.contains("zzzz is no principal"), "{nothing:?}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [0xff, 0xfe]).unwrap();
        let neither = refused(file.path().to_str().unwrap());
        assert!(neither.what.ends_with("is neither the credential file of a principal nor holds a public key"));
    }
}
