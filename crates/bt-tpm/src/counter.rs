//! A number in the TPM that only rises: what tells an older copy of a node's directory.

use bt_base::Entropy;
use tss_esapi::attributes::NvIndexAttributes;
use tss_esapi::constants::NvIndexType;
use tss_esapi::handles::{NvIndexHandle, NvIndexTpmHandle, ObjectHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::resource_handles::{NvAuth, Provision};
use tss_esapi::structures::{Auth, NvPublic};
use zeroize::Zeroizing;

use crate::connection::{Connection, Step, wrong_value};
use crate::error::{TpmError, trying};

/// The indices that are the owner's to give out (TCG Registry of Reserved TPM 2.0 Handles, 2.2.2).
const FIRST_INDEX: u32 = 0x0180_0000;
const INDICES: u32 = 0x0040_0000;
/// Indices that are tried before the TPM counts as full.
const TRIES: u32 = 8;

/// A counter that was defined for one node.
#[derive(Clone, PartialEq, Eq)]
pub struct Counter {
    /// What records call it: random, so that no other counter is taken for it.
    pub(crate) id: [u8; 32],
    pub(crate) index: u32,
    /// What reading and raising it takes.
    pub(crate) auth: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for Counter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Counter({:#x})", self.index)
    }
}

/// What defining a counter takes of randomness.
#[derive(Clone)]
pub(crate) struct Draw {
    id: [u8; 32],
    auth: Zeroizing<[u8; 32]>,
    indices: Vec<u32>,
}

impl Draw {
    pub(crate) fn new(entropy: &mut dyn Entropy) -> Self {
        let mut draw = Self { id: [0; 32], auth: Zeroizing::new([0; 32]), indices: Vec::new() };
        entropy.fill(&mut draw.id);
        entropy.fill(&mut *draw.auth);
        for _ in 0..TRIES {
            let mut bytes = [0; 4];
            entropy.fill(&mut bytes);
            draw.indices.push(FIRST_INDEX + u32::from_le_bytes(bytes) % INDICES);
        }
        draw
    }
}

impl Counter {
    /// What records call it.
    pub fn id(&self) -> &[u8; 32] {
        &self.id
    }

    /// Whether the numbers are those of a counter that this program defines.
    pub(crate) fn is_valid(&self) -> bool {
        (FIRST_INDEX..FIRST_INDEX + INDICES).contains(&self.index)
    }

    /// Defines a counter and raises it once, which gives it its first value.
    pub(crate) fn define(connection: &mut Connection, draw: Draw) -> Result<Self, TpmError> {
        for index in draw.indices {
            let counter = Self { id: draw.id, index, auth: draw.auth.clone() };
            match counter.define_at(connection) {
                Ok(()) => {
                    counter.step(connection)?;
                    return Ok(counter);
                }
                Err(failed) if failed.is_defined() => {}
                Err(failed) => return Err(connection.explain(failed)),
            }
        }
        Err(TpmError::Full { what: "a counter" })
    }

    fn define_at(&self, connection: &mut Connection) -> Step<()> {
        let trying = trying("a counter");
        let public = NvPublic::builder()
            .with_nv_index(NvIndexTpmHandle::new(self.index).map_err(&trying)?)
            .with_index_name_algorithm(HashingAlgorithm::Sha256)
            .with_index_attributes(attributes().map_err(&trying)?)
            .with_data_area_size(8)
            .build()
            .map_err(&trying)?;
        let auth = Auth::try_from(&self.auth[..]).map_err(&trying)?;
        let session = connection.session();
        let context = &mut connection.context;
        let handle = context
            .execute_with_session(Some(session), |context| {
                context.nv_define_space(Provision::Owner, Some(auth), public)
            })
            .map_err(&trying)?;
        context.tr_close(&mut handle.into()).map_err(&trying)
    }

    /// The present value.
    pub(crate) fn read(&self, connection: &mut Connection) -> Result<u64, TpmError> {
        self.with_handle(connection, |connection, handle| {
            let trying = trying("the value of a counter");
            let session = connection.session();
            let bytes = connection
                .context
                .execute_with_session(Some(session), |context| context.nv_read(NvAuth::NvIndex(handle), handle, 8, 0))
                .map_err(&trying)?;
            let bytes = bytes.value().try_into().map_err(|_| trying(wrong_value()))?;
            Ok(u64::from_be_bytes(bytes))
        })
    }

    /// Raises it by one.
    pub(crate) fn step(&self, connection: &mut Connection) -> Result<(), TpmError> {
        self.with_handle(connection, |connection, handle| {
            let session = connection.session();
            connection
                .context
                .execute_with_session(Some(session), |context| context.nv_increment(NvAuth::NvIndex(handle), handle))
                .map_err(trying("a step of a counter"))
        })
    }

    /// Deletes it. A counter that is defined later begins above it.
    pub(crate) fn remove(&self, connection: &mut Connection) -> Result<(), TpmError> {
        // Undefining closes the handle too.
        let removed = self.find(connection).and_then(|handle| {
            let session = connection.session();
            connection
                .context
                .execute_with_session(Some(session), |context| context.nv_undefine_space(Provision::Owner, handle))
                .map_err(trying("deleting a counter"))
        });
        removed.map_err(|failed| connection.explain(failed))
    }

    fn find(&self, connection: &mut Connection) -> Step<NvIndexHandle> {
        let trying = trying("finding a counter");
        let handle = NvIndexTpmHandle::new(self.index).map_err(&trying)?;
        let object = connection
            .context
            .execute_without_session(|context| context.tr_from_tpm_public(handle.into()))
            .map_err(&trying)?;
        Ok(NvIndexHandle::from(object))
    }

    fn with_handle<T>(
        &self,
        connection: &mut Connection,
        work: impl FnOnce(&mut Connection, NvIndexHandle) -> Step<T>,
    ) -> Result<T, TpmError> {
        let handle = match self.find(connection) {
            Ok(handle) => handle,
            Err(failed) if failed.is_no_handle() => return Err(TpmError::CounterGone),
            Err(failed) => return Err(connection.explain(failed)),
        };
        let result = self.use_handle(connection, handle, work);
        let closed = connection.context.tr_close(&mut ObjectHandle::from(handle)).map_err(trying("closing a counter"));
        let value = match result {
            Ok(Some(value)) => value,
            // Something else stands at its place.
            Ok(None) => return Err(TpmError::CounterGone),
            Err(failed) if failed.is_wrong_auth() => return Err(TpmError::CounterGone),
            Err(failed) => return Err(connection.explain(failed)),
        };
        closed.map_err(|failed| connection.explain(failed))?;
        Ok(value)
    }

    /// None where the index is no counter of ours: one that can be written would say what a thief wants.
    fn use_handle<T>(
        &self,
        connection: &mut Connection,
        handle: NvIndexHandle,
        work: impl FnOnce(&mut Connection, NvIndexHandle) -> Step<T>,
    ) -> Step<Option<T>> {
        let trying = trying("looking at a counter");
        let (public, _) =
            connection.context.execute_without_session(|context| context.nv_read_public(handle)).map_err(&trying)?;
        if !public.attributes().index_type().is_ok_and(|kind| kind == NvIndexType::Counter) {
            return Ok(None);
        }
        let auth = Auth::try_from(&self.auth[..]).map_err(&trying)?;
        connection.context.tr_set_auth(handle.into(), auth).map_err(&trying)?;
        work(connection, handle).map(Some)
    }
}

fn attributes() -> tss_esapi::Result<NvIndexAttributes> {
    NvIndexAttributes::builder()
        .with_nv_index_type(NvIndexType::Counter)
        .with_auth_read(true)
        .with_auth_write(true)
        .with_no_da(true)
        .build()
}
