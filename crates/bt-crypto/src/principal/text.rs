//! A public credential as text that a person can paste: `btp1` and 120 characters.
//!
//! The characters are those of bech32 (BIP-173), which has none that look alike; each stands for five bits, the
//! highest first. They hold the 70 bytes of the credential and the first five of the hash of those. Reading ignores
//! case, and white space where a mail or a terminal broke the line.

use std::fmt;
use std::str::FromStr;

use bt_base::codec::{decode_exact, encode};
use bt_base::label::PRINCIPAL_TEXT;

use crate::credential::{CREDENTIAL_SIZE, Credential};
use crate::curve;
use crate::labelled::{NO_TREE, labelled_hash};

/// What the text begins with; the digit is the version of the form.
pub const PRINCIPAL_PREFIX: &str = "btp1";
/// Characters of the text.
pub const PRINCIPAL_TEXT_SIZE: usize = PRINCIPAL_PREFIX.len() + (CREDENTIAL_SIZE + CHECKSUM) * 8 / 5;

const CHECKSUM: usize = 5;
const CHARACTERS: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// Text that is no public credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrincipalTextError {
    /// It does not begin as one does.
    #[error("this is not the public key of a principal, which begins with {PRINCIPAL_PREFIX}")]
    OtherPrefix,
    /// It has a newer form.
    #[error("this public key has the form btp{found}, this program knows {PRINCIPAL_PREFIX}: use a newer bt")]
    TooNew {
        /// The version found.
        found: char,
    },
    /// A character that is never part of one.
    #[error("character {position} of the public key, {character:?}, is never part of one: copy it again")]
    Character {
        /// Which, counted from 1, white space left out.
        position: usize,
        /// What stands there.
        character: char,
    },
    /// Too many or too few characters.
    #[error("the public key has {found} characters, a whole one has {PRINCIPAL_TEXT_SIZE}: copy all of it")]
    Length {
        /// Characters found, white space left out.
        found: usize,
    },
    /// The characters do not belong together.
    #[error("the public key was changed on its way, a character is wrong or two are swapped: copy it again")]
    Checksum,
    /// The checksum holds, but the content is no credential with two points of the curve.
    #[error("the public key holds no usable keys: ask its owner for it again")]
    NoKeys,
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let credential = encode(self);
        let bytes = [&credential[..], &checksum(&credential)].concat();
        let mut text = String::with_capacity(PRINCIPAL_TEXT_SIZE);
        text.push_str(PRINCIPAL_PREFIX);
        for chunk in bytes.chunks(5) {
            let bits = chunk.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
            text.extend((0..8).rev().map(|at| char::from(CHARACTERS[(bits >> (5 * at) & 31) as usize])));
        }
        f.pad(&text)
    }
}

impl FromStr for Credential {
    type Err = PrincipalTextError;

    fn from_str(text: &str) -> Result<Self, PrincipalTextError> {
        let text: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_ascii_lowercase()).collect();
        let (prefix, rest) = text.split_at(PRINCIPAL_PREFIX.len().min(text.len()));
        match prefix {
            ['b', 't', 'p', '1'] => {}
            ['b', 't', 'p', found @ '2'..='9'] => return Err(PrincipalTextError::TooNew { found: *found }),
            _ => return Err(PrincipalTextError::OtherPrefix),
        }
        let mut values = Vec::with_capacity(rest.len());
        for (at, character) in rest.iter().enumerate() {
            let value = CHARACTERS.iter().position(|known| char::from(*known) == *character);
            let (position, character) = (PRINCIPAL_PREFIX.len() + at + 1, *character);
            values.push(value.ok_or(PrincipalTextError::Character { position, character })? as u64);
        }
        if text.len() != PRINCIPAL_TEXT_SIZE {
            return Err(PrincipalTextError::Length { found: text.len() });
        }
        from_values(&values)
    }
}

/// The credential that five bits a value stand for.
fn from_values(values: &[u64]) -> Result<Credential, PrincipalTextError> {
    let bytes: Vec<u8> = values
        .chunks(8)
        .flat_map(|chunk| {
            let bits = chunk.iter().fold(0, |bits, value| bits << 5 | value);
            (0..5).rev().map(move |at| (bits >> (8 * at)) as u8)
        })
        .collect();
    let (credential, sum) = bytes.split_at(CREDENTIAL_SIZE);
    if sum != checksum(credential) {
        return Err(PrincipalTextError::Checksum);
    }
    let credential: Credential =
        decode_exact("credential", credential, CREDENTIAL_SIZE).map_err(|_| PrincipalTextError::NoKeys)?;
    let points = [&credential.verifying_key.0, &credential.agreement_public.0];
    match points.into_iter().all(|point| curve::public_from_bytes(point).is_some()) {
        true => Ok(credential),
        false => Err(PrincipalTextError::NoKeys),
    }
}

fn checksum(credential: &[u8]) -> [u8; CHECKSUM] {
    let hash = labelled_hash(PRINCIPAL_TEXT, &NO_TREE, &[credential]);
    *hash.first_chunk().expect("a hash is longer than a checksum")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keystore::{KeyStore, SoftwareKeyStore};

    fn credential() -> Credential {
        *SoftwareKeyStore::from_seed(&[5; 32]).credential()
    }

    #[test]
    fn a_credential_survives_its_text() {
        let text = credential().to_string();
        assert_eq!(text.len(), PRINCIPAL_TEXT_SIZE);
        assert_eq!(text.parse(), Ok(credential()));
        assert_eq!(text.to_uppercase().parse(), Ok(credential()));
        let broken = format!(" {}\r\n  {}\n", &text[..70], &text[70..]);
        assert_eq!(broken.parse(), Ok(credential()));
    }

    #[test]
    fn every_wrong_character_and_every_swap_is_found() {
        let text = credential().to_string();
        for at in PRINCIPAL_PREFIX.len()..text.len() {
            for wrong in CHARACTERS.iter().filter(|c| **c != text.as_bytes()[at]) {
                let mut bytes = text.clone().into_bytes();
                bytes[at] = *wrong;
                let changed = String::from_utf8(bytes).unwrap();
                assert_eq!(changed.parse::<Credential>(), Err(PrincipalTextError::Checksum), "{at}");
            }
            let mut bytes = text.clone().into_bytes();
            bytes.swap(at - 1, at);
            if bytes != text.as_bytes() {
                assert!(String::from_utf8(bytes).unwrap().parse::<Credential>().is_err(), "{at}");
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let text = credential().to_string();
        let error = |text: &str| text.parse::<Credential>().unwrap_err();
        assert_eq!(error(""), PrincipalTextError::OtherPrefix);
        assert_eq!(error("bt"), PrincipalTextError::OtherPrefix);
        assert_eq!(error("age1qqqq"), PrincipalTextError::OtherPrefix);
        assert_eq!(error(&text.replacen("btp1", "btp2", 1)), PrincipalTextError::TooNew { found: '2' });
        assert_eq!(error(&text[..100]), PrincipalTextError::Length { found: 100 });
        assert_eq!(error(&format!("{text}q")), PrincipalTextError::Length { found: 125 });
        assert_eq!(error("btp1qb"), PrincipalTextError::Character { position: 6, character: 'b' });
        assert_eq!(error("btp1ä"), PrincipalTextError::Character { position: 5, character: 'ä' });
    }

    #[test]
    fn keys_that_are_no_points_are_refused() {
        for change in [
            |credential: &mut Credential| credential.verifying_key.0 = [0xff; 33],
            |credential: &mut Credential| credential.agreement_public.0 = [0; 33],
        ] {
            let mut credential = credential();
            change(&mut credential);
            assert_eq!(credential.to_string().parse::<Credential>(), Err(PrincipalTextError::NoKeys));
        }
    }
}
