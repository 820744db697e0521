//! One connection to a TPM: what the thread that owns it does there.
//!
//! While it lasts, the primary key and one session stay loaded. Everything else is flushed by the function that loaded it:
//! a TPM has room for three keys and three sessions at a time.

use bt_crypto::TpmMaker;
use tss_esapi::Context;
use tss_esapi::attributes::SessionAttributesBuilder;
use tss_esapi::constants::tss::{TPM2_RH_NULL, TPM2_ST_HASHCHECK};
use tss_esapi::constants::{PropertyTag, SessionType};
use tss_esapi::handles::{KeyHandle, ObjectHandle, SessionHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{
    Auth, Digest, HashcheckTicket, Private, Public, Signature, SignatureScheme, SymmetricDefinition,
};
use tss_esapi::tss2_esys::TPMT_TK_HASHCHECK;

use crate::binding::Binding;
use crate::error::{Failed, TpmError, trying};
use crate::key::{Role, WrappedKey, padded, point, primary_template, template};
use crate::tcti::Tcti;

/// The algorithm that a name begins with, SHA-256; its 32 bytes follow.
const NAME_ALGORITHM: [u8; 2] = [0, 0x0b];

/// The result of one step, before it is known what its failure means.
pub(crate) type Step<T> = Result<T, Failed>;

/// A connection to a TPM.
pub(crate) struct Connection {
    pub(crate) context: Context,
    tcti: Tcti,
    parent: KeyHandle,
    parent_name: [u8; 32],
    session: AuthSession,
    maker: TpmMaker,
    is_broken: bool,
}

impl Connection {
    /// Connects, has the TPM derive the primary, and begins a session with it.
    pub(crate) fn open(tcti: &Tcti) -> Result<Self, TpmError> {
        tcti.probe()?;
        let mut context = Context::new(tcti.configuration())
            .map_err(|error| tcti.absent(format_args!("tpm2-tss does not connect: {error}")))?;
        let explain = |failed: Failed| failed.explain(tcti.as_str());
        let maker = maker(&mut context, tcti).map_err(explain)?;
        let (parent, parent_name) = primary(&mut context).map_err(|failed| match failed.is_wrong_auth() {
            true => TpmError::OwnerPassword,
            false => explain(failed),
        })?;
        let session = start_session(&mut context, parent, SessionType::Hmac).map_err(explain)?;
        Ok(Self { context, tcti: tcti.clone(), parent, parent_name, session, maker, is_broken: false })
    }

    /// What the TPM says of itself.
    pub(crate) fn maker(&self) -> &TpmMaker {
        &self.maker
    }

    /// The name of the primary key: it tells one TPM from another, and from itself after it was cleared.
    pub(crate) fn parent_name(&self) -> &[u8; 32] {
        &self.parent_name
    }

    /// The session that authorises where no policy does.
    pub(crate) fn session(&self) -> AuthSession {
        self.session
    }

    /// Whether the connection failed and another has to be made.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Refuses a TPM whose primary is not the one that the keys were made below.
    pub(crate) fn expect_parent(&self, name: &[u8; 32]) -> Result<(), TpmError> {
        match self.parent_name == *name {
            true => Ok(()),
            false => Err(TpmError::OtherTpm),
        }
    }

    /// Does one thing with the TPM, and says what its failure means. After one that is not understood the connection is
    /// given up: a session may be left in the middle.
    pub(crate) fn attempt<T>(&mut self, work: impl FnOnce(&mut Self) -> Step<T>) -> Result<T, TpmError> {
        work(self).map_err(|failed| self.explain(failed))
    }

    /// The error for a step that failed.
    pub(crate) fn explain(&mut self, failed: Failed) -> TpmError {
        let error = failed.explain(self.tcti.as_str());
        self.is_broken |= matches!(
            error,
            TpmError::Absent { .. }
                | TpmError::NotNow
                | TpmError::Forgot
                | TpmError::Full { .. }
                | TpmError::Unexpected { .. }
        );
        error
    }

    /// Makes a key, which is not loaded.
    pub(crate) fn create(&mut self, role: Role, policy: Option<[u8; 32]>, auth: Option<Auth>) -> Step<WrappedKey> {
        let trying = trying("making a key");
        let public = template(role, policy, None).map_err(&trying)?;
        let parent = self.parent;
        let made = self
            .context
            .execute_with_session(Some(self.session), |context| context.create(parent, public, auth, None, None, None))
            .map_err(&trying)?;
        let Public::Ecc { unique, .. } = &made.out_public else {
            return Err(trying(wrong_value()));
        };
        let (x, y) = (padded(unique.x().value()), padded(unique.y().value()));
        let at = x.zip(y).ok_or_else(|| trying(wrong_value()))?;
        Ok(WrappedKey { role, point: at, private: made.out_private.value().to_vec(), policy })
    }

    /// Loads a key for the time of `work`.
    pub(crate) fn with_key<T>(
        &mut self,
        key: &WrappedKey,
        work: impl FnOnce(&mut Self, KeyHandle) -> Step<T>,
    ) -> Step<T> {
        let trying = trying("loading a key");
        let private = Private::try_from(&key.private[..]).map_err(&trying)?;
        let public = key.public().map_err(&trying)?;
        let parent = self.parent;
        let handle = self
            .context
            .execute_with_session(Some(self.session), |context| context.load(parent, private, public))
            .map_err(&trying)?;
        self.flushing(handle.into(), |connection| work(connection, handle))
    }

    /// Begins a policy session for the time of `work`.
    pub(crate) fn with_policy_session<T>(&mut self, work: impl FnOnce(&mut Self, AuthSession) -> Step<T>) -> Step<T> {
        let session = start_session(&mut self.context, self.parent, SessionType::Policy)?;
        self.flushing(SessionHandle::from(session).into(), |connection| work(connection, session))
    }

    /// Signs a digest.
    pub(crate) fn sign(&mut self, key: &WrappedKey, binding: Option<&Binding>, digest: [u8; 32]) -> Step<[u8; 64]> {
        self.authorised(binding, |connection, session| {
            connection.with_key(key, |connection, handle| connection.sign_with(handle, session, digest))
        })
    }

    /// Signs a digest with a loaded key.
    pub(crate) fn sign_with(&mut self, key: KeyHandle, session: AuthSession, digest: [u8; 32]) -> Step<[u8; 64]> {
        let trying = trying("a signature");
        let digest = Digest::try_from(&digest[..]).map_err(&trying)?;
        let unhashed = no_ticket().map_err(&trying)?;
        let signature = self
            .context
            .execute_with_session(Some(session), |context| context.sign(key, digest, SignatureScheme::Null, unhashed))
            .map_err(&trying)?;
        let Signature::EcDsa(signature) = signature else {
            return Err(trying(wrong_value()));
        };
        let (r, s) = (padded(signature.signature_r().value()), padded(signature.signature_s().value()));
        let (r, s) = r.zip(s).ok_or_else(|| trying(wrong_value()))?;
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&r);
        bytes[32..].copy_from_slice(&s);
        Ok(bytes)
    }

    /// The x coordinate shared with the holder of a point.
    pub(crate) fn agree(
        &mut self,
        key: &WrappedKey,
        binding: Option<&Binding>,
        peer: ([u8; 32], [u8; 32]),
    ) -> Step<[u8; 32]> {
        self.authorised(binding, |connection, session| {
            connection.with_key(key, |connection, handle| {
                let trying = trying("a key agreement");
                let peer = point(&peer.0, &peer.1).map_err(&trying)?;
                let shared = connection
                    .context
                    .execute_with_session(Some(session), |context| context.ecdh_z_gen(handle, peer))
                    .map_err(&trying)?;
                padded(shared.x().value()).ok_or_else(|| trying(wrong_value()))
            })
        })
    }

    /// Runs `work` with the session that authorises the node's keys: a policy session where they are bound.
    fn authorised<T>(
        &mut self,
        binding: Option<&Binding>,
        work: impl FnOnce(&mut Self, AuthSession) -> Step<T>,
    ) -> Step<T> {
        match binding {
            None => work(self, self.session),
            Some(binding) => self.with_policy_session(|connection, session| {
                binding.satisfy(connection, session)?;
                work(connection, session)
            }),
        }
    }

    /// Runs `work`, then flushes what was loaded for it.
    fn flushing<T>(&mut self, handle: ObjectHandle, work: impl FnOnce(&mut Self) -> Step<T>) -> Step<T> {
        let result = work(self);
        let flushed = self.context.execute_without_session(|context| context.flush_context(handle));
        // What is left loaded goes with the connection.
        self.is_broken |= flushed.is_err();
        result
    }
}

/// The error for an answer that does not fit its question.
pub(crate) fn wrong_value() -> tss_esapi::Error {
    tss_esapi::Error::WrapperError(tss_esapi::WrapperErrorKind::WrongValueFromTpm)
}

fn maker(context: &mut Context, tcti: &Tcti) -> Step<TpmMaker> {
    let trying = trying("a question for its maker");
    let mut letters = |tag| context.get_tpm_property(tag).map(|value| value.unwrap_or(0).to_be_bytes());
    let manufacturer = letters(PropertyTag::Manufacturer).map_err(&trying)?;
    let model = letters(PropertyTag::VendorString1).map_err(&trying)?;
    let text = String::from_utf8_lossy(&manufacturer);
    Ok(TpmMaker {
        manufacturer: text.trim_end_matches(['\0', ' ']).to_owned(),
        is_software: tcti.is_software() || model.starts_with(b"SW"),
    })
}

/// Has the TPM derive the primary; gives its handle and name.
fn primary(context: &mut Context) -> Step<(KeyHandle, [u8; 32])> {
    let trying = trying("its primary key");
    let public = primary_template().map_err(&trying)?;
    let made = context
        .execute_with_session(Some(AuthSession::Password), |context| {
            context.create_primary(Hierarchy::Owner, public, None, None, None, None)
        })
        .map_err(&trying)?;
    let name = context.tr_get_name(made.key_handle.into()).map_err(&trying)?;
    let digest = name.value().strip_prefix(&NAME_ALGORITHM[..]).and_then(|digest| digest.try_into().ok());
    Ok((made.key_handle, digest.ok_or_else(|| trying(wrong_value()))?))
}

/// Begins a session whose secret is sealed to the primary; parameters and answers are encrypted in it.
fn start_session(context: &mut Context, parent: KeyHandle, kind: SessionType) -> Step<AuthSession> {
    let trying = trying("a session");
    let cipher = SymmetricDefinition::AES_128_CFB;
    let session = context
        .execute_without_session(|context| {
            context.start_auth_session(Some(parent), None, None, kind, cipher, HashingAlgorithm::Sha256)
        })
        .map_err(&trying)?
        .ok_or_else(|| trying(wrong_value()))?;
    let (attributes, mask) =
        SessionAttributesBuilder::new().with_continue_session(true).with_decrypt(true).with_encrypt(true).build();
    context.tr_sess_set_attributes(session, attributes, mask).map_err(&trying)?;
    Ok(session)
}

/// Says that what is signed was not hashed by the TPM.
fn no_ticket() -> tss_esapi::Result<HashcheckTicket> {
    let ticket = TPMT_TK_HASHCHECK { tag: TPM2_ST_HASHCHECK, hierarchy: TPM2_RH_NULL, digest: Default::default() };
    HashcheckTicket::try_from(ticket)
}
