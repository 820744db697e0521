//! The package: one file with a signed manifest and all that it names.

use std::collections::BTreeMap;
use std::ops::Range;

use bt_base::codec::{DecodeError, encode};
use bt_base::{PackageId, PrincipalId, label};
use bt_crypto::{KeyError, KeyStore, NO_TREE};

use super::limits::{MANIFEST_BYTES, PACKAGE_BYTES};
use super::manifest::{Manifest, ManifestError, Part};
use super::words::TreePath;
use crate::envelope::{Envelope, Kind};

const WHAT: &str = "package";
const KIND: Kind = Kind { what: "manifest", label: label::PACKAGE, limit: MANIFEST_BYTES };
/// The first bytes of a package; the line end is damaged by what damages text.
const MAGIC: &[u8; 8] = b"BTPKG\r\n\x1a";
/// Magic and length of the manifest.
const HEADER: usize = 8 + 4;

/// Why a file is no package that could be installed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackageError {
    /// It does not begin as packages do.
    #[error("this is no package: it does not begin as one that `bt app pack` made")]
    NotAPackage,
    /// The bytes do not follow the format.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The manifest is none that a package may have.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Nobody has signed it.
    #[error("the package of {name} is not signed: its author signs it with `bt app sign`")]
    NotSigned {
        /// The app's name.
        name: String,
    },
    /// The author did not sign it, or not this manifest.
    #[error("the package says that {author} is its author, but {author} did not sign it: it is damaged or forged")]
    Signature {
        /// The author that the manifest names.
        author: PrincipalId,
    },
    /// Bytes are missing, or there are too many.
    #[error("the package should have {expected} bytes and has {found}: it was cut or added to, get it again")]
    Length {
        /// What the manifest says, in bytes.
        expected: u64,
        /// What is there, in bytes.
        found: u64,
    },
    /// A part is not what the manifest says.
    #[error("the {part} of the package is not what its manifest names: the package is damaged or forged, get it again")]
    Part {
        /// "component", or the asset's name.
        part: String,
    },
    /// It is another package.
    #[error("this is package {found}, expected was package {expected}: it was exchanged")]
    OtherPackage {
        /// The id that was asked for.
        expected: PackageId,
        /// The id of what is there.
        found: PackageId,
    },
    /// Who signs is not the author in the manifest.
    #[error("the manifest names {author} as author, and {signer} would sign: pack it with the author that signs it")]
    OtherSigner {
        /// In the manifest.
        author: PrincipalId,
        /// Whose key it is.
        signer: PrincipalId,
    },
    /// The author's key did not sign.
    #[error("the author's key could not sign the package: {0}")]
    Key(#[from] KeyError),
}

/// A package all of whose bytes were checked: signature, hashes, limits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Package {
    contents: Contents,
}

impl Package {
    /// Opens a package; each byte of `file` is covered by the author's signature.
    pub fn open(file: Vec<u8>) -> Result<Self, PackageError> {
        let (contents, envelope) = Contents::read(file)?;
        let author = &contents.manifest.author;
        if envelope.is_unsigned() {
            return Err(PackageError::NotSigned { name: contents.manifest.name.to_string() });
        }
        match envelope.is_signed_by_credential(KIND, &NO_TREE, &author.verifying_key) {
            true => Ok(Self { contents }),
            false => Err(PackageError::Signature { author: author.id() }),
        }
    }

    /// Opens the package of a known id.
    pub fn open_as(expected: &PackageId, file: Vec<u8>) -> Result<Self, PackageError> {
        let package = Self::open(file)?;
        match package.id() == expected {
            true => Ok(package),
            false => Err(PackageError::OtherPackage { expected: *expected, found: *package.id() }),
        }
    }

    /// Its name: the hash of its manifest, which covers everything in it.
    pub fn id(&self) -> &PackageId {
        &self.contents.id
    }

    /// What it says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.contents.manifest
    }

    /// The WebAssembly component.
    pub fn component(&self) -> &[u8] {
        &self.contents.file[self.contents.component.clone()]
    }

    /// The assets by name, in order.
    pub fn assets(&self) -> impl Iterator<Item = (&TreePath, &[u8])> {
        let parts = self.contents.manifest.assets.iter();
        parts.scan(self.contents.component.end, |at, (name, part)| {
            let start = *at;
            *at += part.len as usize;
            Some((name, &self.contents.file[start..*at]))
        })
    }

    /// The whole file.
    pub fn as_bytes(&self) -> &[u8] {
        &self.contents.file
    }
}

/// A package that may lack its author's signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnsignedPackage {
    contents: Contents,
}

impl UnsignedPackage {
    /// Puts a package together; the parts of `manifest` are set to those given.
    pub fn pack(
        mut manifest: Manifest,
        component: &[u8],
        assets: &BTreeMap<TreePath, Vec<u8>>,
    ) -> Result<Self, PackageError> {
        manifest.component = Part::of(component);
        manifest.assets = assets.iter().map(|(name, bytes)| (name.clone(), Part::of(bytes))).collect();
        manifest.check()?;
        let mut file = with_envelope(&Envelope::unsigned(KIND, encode(&manifest)));
        file.extend_from_slice(component);
        assets.values().for_each(|bytes| file.extend_from_slice(bytes));
        Self::open(file)
    }

    /// Opens a package, signed or not; all but the signature is checked.
    pub fn open(file: Vec<u8>) -> Result<Self, PackageError> {
        Contents::read(file).map(|(contents, _)| Self { contents })
    }

    /// Signs it; the id stays.
    pub fn sign(self, author: &dyn KeyStore) -> Result<Package, PackageError> {
        let Contents { manifest, component, file, .. } = &self.contents;
        if manifest.author != *author.credential() {
            let (author, signer) = (manifest.author.id(), author.credential().id());
            return Err(PackageError::OtherSigner { author, signer });
        }
        let envelope = Envelope::by_credential(KIND, &NO_TREE, author, encode(manifest))?;
        let mut signed = with_envelope(&envelope);
        signed.extend_from_slice(&file[component.start..]);
        Package::open(signed)
    }

    /// What it says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.contents.manifest
    }

    /// The id that it has, signed or not.
    pub fn id(&self) -> &PackageId {
        &self.contents.id
    }

    /// The whole file.
    pub fn as_bytes(&self) -> &[u8] {
        &self.contents.file
    }
}

/// A file whose parts are those that its manifest names.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Contents {
    file: Vec<u8>,
    id: PackageId,
    manifest: Manifest,
    component: Range<usize>,
}

impl Contents {
    fn read(file: Vec<u8>) -> Result<(Self, Envelope), PackageError> {
        if file.len() > PACKAGE_BYTES {
            return Err(DecodeError::TooLong { what: WHAT, len: file.len(), limit: PACKAGE_BYTES }.into());
        }
        let rest = file.strip_prefix(MAGIC).ok_or(PackageError::NotAPackage)?;
        let cut = || DecodeError::malformed(WHAT, "it ends within its manifest");
        let (len, rest) = rest.split_first_chunk().ok_or_else(cut)?;
        let (signed, _) = rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or_else(cut)?;
        let envelope = Envelope::decode(KIND, signed)?;
        let manifest: Manifest = envelope.decode_body(KIND)?;
        manifest.check()?;
        let id = PackageId(envelope.hash(KIND, &NO_TREE));
        let start = HEADER + signed.len();
        let expected = (start as u64).saturating_add(manifest.part_bytes());
        if expected != file.len() as u64 {
            return Err(PackageError::Length { expected, found: file.len() as u64 });
        }
        let component = start..start + manifest.component.len as usize;
        check_part("component".to_owned(), &manifest.component, &file[component.clone()])?;
        let mut at = component.end;
        for (name, part) in &manifest.assets {
            let end = at + part.len as usize;
            check_part(format!("asset {name}"), part, &file[at..end])?;
            at = end;
        }
        Ok((Self { file, id, manifest, component }, envelope))
    }
}

fn check_part(part: String, expected: &Part, bytes: &[u8]) -> Result<(), PackageError> {
    if Part::of(bytes) == *expected { Ok(()) } else { Err(PackageError::Part { part }) }
}

fn with_envelope(envelope: &Envelope) -> Vec<u8> {
    let signed = envelope.to_bytes();
    let len = u32::try_from(signed.len()).expect("a manifest is far smaller than 4 GiB");
    [&MAGIC[..], &len.to_le_bytes(), &signed].concat()
}
