//! Keys that the TPM uses only while the machine is started as it was, and the passphrase that lets that change.
//!
//! The policy of both keys is TPM2_PolicyAuthorize: they may be used under whatever policy the *recovery key* has signed.
//! That key lives in the TPM too and wants the recovery passphrase; wrong ones count towards the TPM's lock, and nobody
//! can try any without that TPM. What it signs is a TPM2_PolicyPCR for chosen PCRs and values. Binding anew is one more
//! signature: the keys, and so the node's name in the tree, stay.

use bt_base::label::TPM_RECOVERY;
use bt_crypto::{NO_TREE, labelled_hash};
use openssl::sha::sha256;
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{Auth, Digest, EccParameter, EccSignature, Name, Nonce, Signature};
use tss_esapi::traits::Marshall;

use crate::connection::{Connection, Step, wrong_value};
use crate::error::{TpmError, trying};
use crate::key::{Role, WrappedKey};
use crate::pcr::Pcrs;

/// TPM_CC_PolicyPCR and TPM_CC_PolicyAuthorize, as they go into a policy's digest.
const POLICY_PCR: [u8; 4] = [0, 0, 0x01, 0x7f];
const POLICY_AUTHORIZE: [u8; 4] = [0, 0, 0x01, 0x6a];
/// TPM_ALG_SHA256.
const SHA256: [u8; 2] = [0, 0x0b];

/// The PCRs and values that the recovery key approved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) pcrs: Pcrs,
    /// The value of each PCR, in the order of their numbers.
    pub(crate) values: Vec<[u8; 32]>,
    pub(crate) recovery: WrappedKey,
    /// The recovery key's signature over the policy of `pcrs` and `values`: r, then s.
    pub(crate) approval: [u8; 64],
}

/// Makes a recovery key for a passphrase.
pub(crate) fn create_recovery(connection: &mut Connection, passphrase: &[u8]) -> Step<WrappedKey> {
    let auth = auth(passphrase).map_err(trying("a passphrase"))?;
    connection.create(Role::Recovery, None, Some(auth))
}

/// The policy of keys that `recovery` may bind: TPM2_PolicyAuthorize with its name and no reference.
pub(crate) fn policy(recovery: &WrappedKey) -> Step<[u8; 32]> {
    let name = name(recovery)?;
    let named = sha256(&[&[0; 32][..], &POLICY_AUTHORIZE, name.value()].concat());
    Ok(sha256(&named))
}

/// Reads the PCRs' present values, and has the recovery key approve them.
pub(crate) fn bind(
    connection: &mut Connection,
    pcrs: Pcrs,
    recovery: &WrappedKey,
    passphrase: &[u8],
) -> Result<Binding, TpmError> {
    let values =
        connection.attempt(|connection| read(connection, pcrs))?.map_err(|missing| TpmError::NoPcr { missing })?;
    let digest = approved_digest(&pcr_policy(pcrs, &values));
    let signed = connection.with_key(recovery, |connection, handle| {
        let trying = trying("the recovery passphrase");
        let auth = auth(passphrase).map_err(&trying)?;
        connection.context.tr_set_auth(handle.into(), auth).map_err(&trying)?;
        connection.sign_with(handle, connection.session(), digest)
    });
    match signed {
        Ok(approval) => Ok(Binding { pcrs, values, recovery: recovery.clone(), approval }),
        Err(failed) if failed.is_wrong_auth() => Err(TpmError::WrongPassphrase),
        Err(failed) => Err(connection.explain(failed)),
    }
}

impl Binding {
    /// Tells which PCRs have other values than those that the keys are bound to, if any.
    pub(crate) fn check(&self, connection: &mut Connection) -> Result<(), TpmError> {
        let now = connection.attempt(|connection| read(connection, self.pcrs))?;
        let now = now.map_err(|missing| TpmError::NoPcr { missing })?;
        let changed: Vec<u8> = self
            .pcrs
            .numbers()
            .zip(self.values.iter().zip(&now))
            .filter_map(|(number, (bound, now))| (bound != now).then_some(number))
            .collect();
        match changed.is_empty() {
            true => Ok(()),
            false => Err(TpmError::PcrChanged {
                changed: Pcrs::new(&changed).expect("they are numbers of PCRs"),
                bound: self.pcrs,
            }),
        }
    }

    /// Brings a policy session into the state in which the keys may be used.
    pub(crate) fn satisfy(&self, connection: &mut Connection, session: AuthSession) -> Step<()> {
        let trying = trying("the policy of a key");
        let session = PolicySession::try_from(session).map_err(&trying)?;
        let approved = pcr_policy(self.pcrs, &self.values);
        let digest = Digest::try_from(&approved_digest(&approved)[..]).map_err(&trying)?;
        let signature = self.signature().map_err(&trying)?;
        let ticket = connection.with_key(&self.recovery, |connection, handle| {
            let verified = connection
                .context
                .execute_without_session(|context| context.verify_signature(handle, digest, signature));
            verified.map_err(crate::error::trying("the approval of a policy"))
        })?;
        let values = Digest::try_from(&values_digest(&self.values)[..]).map_err(&trying)?;
        let selection = self.pcrs.selection().map_err(&trying)?;
        let approved = Digest::try_from(&approved[..]).map_err(&trying)?;
        let name = name(&self.recovery)?;
        connection
            .context
            .execute_without_session(|context| {
                context.policy_pcr(session, values, selection)?;
                context.policy_authorize(session, approved, Nonce::default(), &name, ticket)
            })
            .map_err(&trying)
    }

    fn signature(&self) -> tss_esapi::Result<Signature> {
        let (r, s) = self.approval.split_at(32);
        let (r, s) = (EccParameter::try_from(r)?, EccParameter::try_from(s)?);
        Ok(Signature::EcDsa(EccSignature::create(HashingAlgorithm::Sha256, r, s)?))
    }
}

/// What the TPM is given for a passphrase. No slow derivation: the TPM counts wrong ones, and only it can tell.
fn auth(passphrase: &[u8]) -> tss_esapi::Result<Auth> {
    Auth::try_from(&labelled_hash(TPM_RECOVERY, &NO_TREE, &[passphrase])[..])
}

/// The name of a key: the hash of its public area.
fn name(key: &WrappedKey) -> Step<Name> {
    let trying = trying("the name of a key");
    let public = key.public().and_then(|public| public.marshall()).map_err(&trying)?;
    Name::try_from([&SHA256[..], &sha256(&public)].concat()).map_err(&trying)
}

/// The digest of TPM2_PolicyPCR (TPM 2.0 Library, part 3, 23.7).
fn pcr_policy(pcrs: Pcrs, values: &[[u8; 32]]) -> [u8; 32] {
    let mut bitmap = [0; 3];
    pcrs.numbers().for_each(|number| bitmap[usize::from(number / 8)] |= 1 << (number % 8));
    let selection = [&[0, 0, 0, 1][..], &SHA256, &[3], &bitmap].concat();
    sha256(&[&[0; 32][..], &POLICY_PCR, &selection, &values_digest(values)].concat())
}

fn values_digest(values: &[[u8; 32]]) -> [u8; 32] {
    sha256(&values.concat())
}

/// What the recovery key signs: the hash of the policy and of no reference.
fn approved_digest(policy: &[u8; 32]) -> [u8; 32] {
    sha256(policy)
}

/// The present values in the order of their numbers, or the PCRs that have none.
fn read(connection: &mut Connection, pcrs: Pcrs) -> Step<Result<Vec<[u8; 32]>, Pcrs>> {
    let trying = trying("the values of PCRs");
    let mut values = Vec::new();
    for number in pcrs.numbers() {
        let one = Pcrs::new(&[number]).expect("it is the number of a PCR");
        let selection = one.selection().map_err(&trying)?;
        let (_, _, digests) =
            connection.context.execute_without_session(|context| context.pcr_read(selection)).map_err(&trying)?;
        match digests.value() {
            [] => return Ok(Err(one)),
            [digest] => values.push(digest.value().try_into().map_err(|_| trying(wrong_value()))?),
            _ => return Err(trying(wrong_value())),
        }
    }
    Ok(Ok(values))
}
