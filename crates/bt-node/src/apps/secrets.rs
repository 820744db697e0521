//! Secrets of apps: sealed to the node that may run them, in a file of the tree.
//!
//! `doc/format/app-secret.md` has the bytes. The path is covered: a secret does not open under another name.

use borsh::{BorshDeserialize, BorshSerialize};
use bt_base::codec::{DecodeError, decode_exact};
use bt_base::{PrincipalId, TreeId, label};
use bt_crypto::hpke::{self, ENCAPSULATED_SIZE};
use bt_crypto::{KeyStore, labelled_hash};
use bt_tree::app::{AppName, PermissionName};
use zeroize::Zeroizing;

use super::store::SECRET_BYTES;
use crate::control::Failure;
use crate::system::SystemEntropy;

/// The most bytes of a secret.
const LENGTH: usize = 32 << 10;
const WHAT: &str = "secret";

#[derive(BorshSerialize, BorshDeserialize)]
struct Sealed {
    version: u16,
    recipient: PrincipalId,
    encapsulated: [u8; ENCAPSULATED_SIZE],
    ciphertext: Vec<u8>,
}

/// What a secret is for.
pub(super) struct Purpose<'a> {
    pub(super) tree: &'a TreeId,
    pub(super) app: &'a AppName,
    pub(super) permission: &'a PermissionName,
}

impl Purpose<'_> {
    fn info(&self) -> [u8; 32] {
        let parts = [self.app.as_str().as_bytes(), b"/", self.permission.as_str().as_bytes()];
        labelled_hash(label::APP_SECRET, self.tree, &parts)
    }

    /// Seals a secret to the holder of `node`'s keys.
    pub(super) fn seal(&self, node: &dyn KeyStore, secret: &str) -> Result<Vec<u8>, Failure> {
        if secret.is_empty() || secret.len() > LENGTH || secret.contains('\0') {
            let what = format!("a secret has 1 to {LENGTH} bytes of text without NUL");
            return Err(Failure::usage(what, "give another"));
        }
        let recipient = node.credential();
        let key = &recipient.agreement_public;
        let (encapsulated, ciphertext) = hpke::seal(key, &self.info(), b"", secret.as_bytes(), &mut SystemEntropy)
            .map_err(|error| Failure::problem(error.to_string(), ""))?;
        let sealed = Sealed { version: label::APP_SECRET.version, recipient: recipient.id(), encapsulated, ciphertext };
        Ok(bt_base::codec::encode(&sealed))
    }

    /// Opens a secret.
    pub(super) fn open(&self, node: &dyn KeyStore, bytes: &[u8]) -> Result<Zeroizing<String>, Failure> {
        let set_again = "set it again with `bt app secret set`";
        let name = || format!("the secret {} of {}", self.permission, self.app);
        let damaged = |error: DecodeError| Failure::problem(format!("{} is damaged: {error}", name()), set_again);
        let sealed: Sealed = decode_exact(WHAT, bytes, SECRET_BYTES).map_err(damaged)?;
        let (found, known) = (sealed.version, label::APP_SECRET.version);
        if found != known {
            return Err(damaged(DecodeError::Version { what: WHAT, found, known }));
        }
        if sealed.recipient != node.credential().id() {
            return Err(Failure::refused(format!("{} is sealed to another node", name()), set_again));
        }
        let opened = hpke::open(node, &sealed.encapsulated, &self.info(), b"", &sealed.ciphertext)
            .map_err(|error| Failure::problem(format!("{}: {error}", name()), set_again))?;
        let text =
            std::str::from_utf8(&opened).map_err(|_| Failure::problem(format!("{} is no text", name()), set_again))?;
        Ok(Zeroizing::new(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use bt_crypto::SoftwareKeyStore;

    use super::*;

    #[test]
    fn a_secret_opens_for_its_node_and_name_only() {
        let (tree, app, permission) = (TreeId([1; 32]), "notes".parse().unwrap(), "token".parse().unwrap());
        let purpose = Purpose { tree: &tree, app: &app, permission: &permission };
        let [node, other] = [1, 2].map(|seed| SoftwareKeyStore::from_seed(&[seed; 32]));
        let sealed = purpose.seal(&node, "s3cret").unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"s3cret"));
        assert_eq!(purpose.open(&node, &sealed).unwrap().as_str(), "s3cret");
        assert!(purpose.open(&other, &sealed).unwrap_err().what.contains("another node"));
        let renamed = "other".parse().unwrap();
        assert!(Purpose { app: &renamed, ..purpose }.open(&node, &sealed).is_err());
        for len in 0..sealed.len() {
            assert!(purpose.open(&node, &sealed[..len]).is_err(), "{len} bytes");
        }
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(purpose.open(&node, &changed).is_err(), "bit {bit}");
        }
        for wrong in ["", "a\0b"] {
            assert!(purpose.seal(&node, wrong).is_err());
        }
    }
}
