//! Tokens of callers: each bound to a principal. The node keeps hashes; a token is shown once.
//!
//! File `tokens` of the node's directory, rewritten whole; `doc/format/tokens.md`.

use std::sync::{Arc, RwLock};

use borsh::{BorshDeserialize, BorshSerialize};
use bt_base::codec::{DecodeError, decode_exact, encode};
use bt_base::{Entropy, PrincipalId, Timestamp, TreeId, label};
use bt_crypto::labelled_hash;
use bt_store::Storage;

use super::limits::TOKENS;
use crate::control::Failure;
use crate::control::app::{NewToken, TokenReport};
use crate::identity;
use crate::layout;
use crate::system::{SystemEntropy, now};

/// What a token begins with, so that people and scanners know it.
const PREFIX: &str = "btt1";
/// The most bytes of the file.
const FILE_BYTES: usize = 2 + 4 + TOKENS * (32 + 32 + 12 + 13);
const VERSION: u16 = 1;
/// Digits of a hash that name a token.
const ID_DIGITS: usize = 12;
/// The fewest digits of an id that a person gives.
const LEAST_DIGITS: usize = 4;

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Token {
    hash: [u8; 32],
    principal: PrincipalId,
    created: Timestamp,
    until: Option<Timestamp>,
}

impl Token {
    fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now <= until)
    }

    fn id(&self) -> String {
        self.hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>()[..ID_DIGITS].to_owned()
    }

    fn report(&self) -> TokenReport {
        TokenReport { id: self.id(), principal: self.principal, created: self.created, until: self.until }
    }
}

/// The tokens of a node.
pub(crate) struct Tokens {
    storage: Arc<dyn Storage>,
    tree: TreeId,
    list: RwLock<Vec<Token>>,
}

impl Tokens {
    /// Reads the node's file; none is an empty list.
    pub(crate) fn load(storage: Arc<dyn Storage>, tree: TreeId) -> Result<Self, Failure> {
        let exists = storage.exists(layout::TOKENS).map_err(|error| Failure::problem(error.to_string(), ""))?;
        let list = match exists {
            false => Vec::new(),
            true => decode(&identity::read(&*storage, layout::TOKENS)?).map_err(|error| {
                Failure::problem(
                    format!("{} is damaged: {error}", layout::TOKENS),
                    "remove the file, and make new tokens with `bt app token create`",
                )
            })?,
        };
        Ok(Self { storage, tree, list: RwLock::new(list) })
    }

    /// Makes a token.
    pub(crate) fn create(&self, principal: PrincipalId, until: Option<Timestamp>) -> Result<NewToken, Failure> {
        let mut secret = [0; 32];
        SystemEntropy.fill(&mut secret);
        let token: String = PREFIX.chars().chain(secret.iter().flat_map(|byte| hex(*byte))).collect();
        let (created, hash) = (now(), self.hash_of(&token));
        let made = Token { hash, principal, created, until };
        let report = made.report();
        self.change(|list| {
            list.retain(|token| token.holds(created));
            if list.len() == TOKENS {
                let what = format!("there are {TOKENS} tokens already");
                return Err(Failure::refused(what, "revoke some with `bt app token revoke`"));
            }
            list.push(made);
            Ok(())
        })?;
        Ok(NewToken { token, report })
    }

    /// Those that hold, oldest first.
    pub(crate) fn list(&self) -> Vec<TokenReport> {
        let (now, list) = (now(), self.list.read().expect("no panic under this lock"));
        list.iter().filter(|token| token.holds(now)).map(Token::report).collect()
    }

    /// Makes a token worthless.
    pub(crate) fn revoke(&self, id: &str) -> Result<(), Failure> {
        self.change(|list| {
            let is_meant = |token: &Token| id.len() >= LEAST_DIGITS && token.id().starts_with(id);
            match list.iter().filter(|token| is_meant(token)).count() {
                1 => {
                    list.retain(|token| !is_meant(token));
                    Ok(())
                }
                0 => Err(Failure::refused(format!("no token {id} holds"), "`bt app token list` shows those that do")),
                _ => Err(Failure::usage(format!("several tokens begin with {id}"), "give more digits")),
            }
        })
    }

    /// Whom the bearer of a token acts for; none where it does not hold.
    pub(crate) fn principal_of(&self, token: &str) -> Option<PrincipalId> {
        let (hash, now) = (self.hash_of(token), now());
        let list = self.list.read().expect("no panic under this lock");
        // What is compared is a hash: how long that takes tells nothing of a token.
        list.iter().find(|token| token.hash == hash && token.holds(now)).map(|token| token.principal)
    }

    fn hash_of(&self, token: &str) -> [u8; 32] {
        labelled_hash(label::TOKEN, &self.tree, &[token.as_bytes()])
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Token>) -> Result<(), Failure>) -> Result<(), Failure> {
        let mut list = self.list.write().expect("no panic under this lock");
        let mut changed = list.clone();
        change(&mut changed)?;
        identity::write(&*self.storage, layout::TOKENS, &to_bytes(&changed))?;
        *list = changed;
        Ok(())
    }
}

/// Whether text in an `Authorization` header is a token of ours, and not one of an app.
pub(crate) fn is_token(text: &str) -> bool {
    text.starts_with(PREFIX)
}

fn hex(byte: u8) -> impl Iterator<Item = char> {
    [byte >> 4, byte & 15].into_iter().map(|digit| char::from_digit(digit.into(), 16).expect("a digit"))
}

fn to_bytes(list: &[Token]) -> Vec<u8> {
    [&VERSION.to_le_bytes()[..], &encode(&list.to_vec())].concat()
}

fn decode(bytes: &[u8]) -> Result<Vec<Token>, DecodeError> {
    const WHAT: &str = "list of tokens";
    let (version, rest) = bytes.split_first_chunk().ok_or_else(|| DecodeError::malformed(WHAT, "no version"))?;
    match u16::from_le_bytes(*version) {
        VERSION => decode_exact(WHAT, rest, FILE_BYTES),
        0 => Err(DecodeError::malformed(WHAT, "version 0")),
        found => Err(DecodeError::Version { what: WHAT, found, known: VERSION }),
    }
}

#[cfg(test)]
mod tests {
    use bt_store::MemoryStorage;

    use super::*;

    const WHO: PrincipalId = PrincipalId([7; 32]);

    fn tokens(storage: &MemoryStorage) -> Tokens {
        Tokens::load(Arc::new(storage.clone()), TreeId([1; 32])).unwrap()
    }

    #[test]
    fn a_token_holds_until_it_is_revoked_or_its_time_is_over() {
        let storage = MemoryStorage::new();
        let list = tokens(&storage);
        let made = list.create(WHO, None).unwrap();
        let past = list.create(WHO, Some(Timestamp::new(5, 0))).unwrap();
        let list = tokens(&storage);
        assert_eq!(list.principal_of(&made.token), Some(WHO));
        assert_eq!(list.principal_of(&past.token), None);
        assert_eq!(list.list(), std::slice::from_ref(&made.report));
        for other in ["", "btt1", &made.token[..made.token.len() - 1], &made.token.to_uppercase()] {
            assert_eq!(list.principal_of(other), None, "{other:?}");
        }
        assert!(list.revoke("abc").is_err() && list.revoke("").is_err());
        list.revoke(&made.report.id[..6]).unwrap();
        assert_eq!(tokens(&storage).principal_of(&made.token), None);
    }

    #[test]
    fn the_node_does_not_keep_the_token() {
        let storage = MemoryStorage::new();
        let made = tokens(&storage).create(WHO, None).unwrap();
        let bytes = identity::read(&storage, layout::TOKENS).unwrap();
        let secret: Vec<u8> = (4..made.token.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&made.token[at..at + 2], 16).unwrap())
            .collect();
        for part in [&secret[..8], &made.token.as_bytes()[4..20]] {
            assert!(!bytes.windows(part.len()).any(|window| window == part));
        }
    }

    #[test]
    fn the_file_is_as_it_ever_was_and_damage_is_refused() {
        let token = |byte, until| Token { hash: [byte; 32], principal: WHO, created: Timestamp::new(3, 4), until };
        let list = vec![token(1, None), token(2, Some(Timestamp::new(5, 6)))];
        let bytes = to_bytes(&list);
        let created = "0300000000000000".to_owned() + "04000000";
        let expected = ["0100", "02000000", &"01".repeat(32), &"07".repeat(32), &created, "00"].concat()
            + &[
                "02".repeat(32),
                "07".repeat(32),
                created.clone(),
                "01".into(),
                "0500000000000000".into(),
                "06000000".into(),
            ]
            .concat();
        assert_eq!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), expected);
        assert_eq!(decode(&bytes).unwrap(), list);
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_err(), "{len} bytes");
        }
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(decode(&changed).ok().as_ref(), Some(&list), "bit {bit}");
        }
    }
}
