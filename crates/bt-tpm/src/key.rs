//! What the keys in the TPM look like: the primary that wraps, and the three kinds it wraps.

use bt_crypto::{AgreementPublic, VerifyingKey};
use tss_esapi::Result;
use tss_esapi::attributes::ObjectAttributes;
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::structures::{
    Digest, EccParameter, EccPoint, EccScheme, HashScheme, KeyDerivationFunctionScheme, Public, PublicBuilder,
    PublicEccParameters, SymmetricDefinitionObject,
};

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Signs for the node.
    Signing,
    /// Agrees on secrets for the node.
    Agreement,
    /// Approves the states of the machine in which the two others may be used; needs a passphrase.
    Recovery,
}

/// A key as the node's directory keeps it: its public point, and its private half wrapped by the TPM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WrappedKey {
    pub(crate) role: Role,
    /// Coordinates of the public point, big endian.
    pub(crate) point: ([u8; 32], [u8; 32]),
    pub(crate) private: Vec<u8>,
    /// The policy under which it may be used; none where a use needs no policy.
    pub(crate) policy: Option<[u8; 32]>,
}

impl WrappedKey {
    pub(crate) fn verifying_key(&self) -> Option<VerifyingKey> {
        VerifyingKey::from_coordinates(&self.point.0, &self.point.1)
    }

    pub(crate) fn agreement_public(&self) -> Option<AgreementPublic> {
        AgreementPublic::from_coordinates(&self.point.0, &self.point.1)
    }

    /// The public area that the TPM needs to load it.
    pub(crate) fn public(&self) -> Result<Public> {
        template(self.role, self.policy, Some(self.point))
    }
}

/// The public area of a key: of a new one where `at` is none.
pub(crate) fn template(role: Role, policy: Option<[u8; 32]>, at: Option<([u8; 32], [u8; 32])>) -> Result<Public> {
    let unique = match at {
        Some((x, y)) => point(&x, &y)?,
        None => EccPoint::default(),
    };
    let sha256 = HashScheme::new(HashingAlgorithm::Sha256);
    let scheme = match role {
        Role::Signing | Role::Recovery => EccScheme::EcDsa(sha256),
        Role::Agreement => EccScheme::EcDh(sha256),
    };
    let policy = policy.map(|digest| Digest::try_from(&digest[..])).transpose()?;
    let attributes = ObjectAttributes::builder()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(policy.is_none())
        .with_admin_with_policy(policy.is_some())
        // Only wrong passphrases count towards the TPM's lock.
        .with_no_da(role != Role::Recovery)
        .with_sign_encrypt(role != Role::Agreement)
        .with_decrypt(role == Role::Agreement)
        .build()?;
    ecc(attributes, SymmetricDefinitionObject::Null, scheme, unique, policy.unwrap_or_default())
}

/// The primary: the storage key of the TCG's template for P-256 (TPM v2.0 Provisioning Guidance, 7.5.1). The TPM derives
/// the same key each time, from the seed of its owner's hierarchy.
pub(crate) fn primary_template() -> Result<Public> {
    let attributes = ObjectAttributes::builder()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
        .with_restricted(true)
        .with_decrypt(true)
        .build()?;
    let unique = point(&[0; 32], &[0; 32])?;
    ecc(attributes, SymmetricDefinitionObject::AES_128_CFB, EccScheme::Null, unique, Digest::default())
}

/// A point in the TPM's terms.
pub(crate) fn point(x: &[u8; 32], y: &[u8; 32]) -> Result<EccPoint> {
    Ok(EccPoint::new(EccParameter::try_from(&x[..])?, EccParameter::try_from(&y[..])?))
}

/// A number of the TPM's, with the zeros before it that some TPMs leave out; None when it is too long.
pub(crate) fn padded(number: &[u8]) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let start = bytes.len().checked_sub(number.len())?;
    bytes[start..].copy_from_slice(number);
    Some(bytes)
}

fn ecc(
    attributes: ObjectAttributes,
    symmetric: SymmetricDefinitionObject,
    scheme: EccScheme,
    unique: EccPoint,
    policy: Digest,
) -> Result<Public> {
    let no_derivation = KeyDerivationFunctionScheme::Null;
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_auth_policy(policy)
        .with_ecc_parameters(PublicEccParameters::new(symmetric, scheme, EccCurve::NistP256, no_derivation))
        .with_ecc_unique_identifier(unique)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_get_their_zeros_back() {
        assert_eq!(padded(&[7; 32]), Some([7; 32]));
        let mut short = [0; 32];
        short[31] = 9;
        assert_eq!(padded(&[9]), Some(short));
        assert_eq!(padded(&[0; 33]), None);
    }
}
