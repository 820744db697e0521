//! Why a TPM did not do what was asked.

use bt_crypto::KeyError;
use tss_esapi::Error;
use tss_esapi::constants::response_code::{Tss2ResponseCode, Tss2ResponseCodeKind as Kind};

use crate::pcr::Pcrs;

/// The layers of tpm2-tss that an error code may come from (TSS 2.0 Overview, section 4): what carries bytes to the TPM.
const TCTI_LAYER: u32 = 10;

/// A TPM, or a key in it, that could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TpmError {
    /// The name of a TPM's connection has no known form.
    #[error(
        "{tcti:?} names no TPM: use device:/dev/tpmrm0, or the form that tpm2-tss knows for other connections (swtpm:..., \
         tabrmd:...)"
    )]
    BadTcti {
        /// The name.
        tcti: String,
    },
    /// Nothing answers there.
    #[error(
        "no TPM answers at {tcti}: {why}. Check that the TPM is switched on in the firmware's settings and that you may \
         use it; if it is gone for good, admit this node with new keys and the root credential: `bt node key migrate`"
    )]
    Absent {
        /// The connection.
        tcti: String,
        /// What was tried.
        why: String,
    },
    /// The TPM did not answer in time.
    #[error(
        "the TPM at {tcti} did not answer within {seconds} s: another program keeps it busy. Try again, or go through the \
         kernel's resource manager (device:/dev/tpmrm0)"
    )]
    Busy {
        /// The connection.
        tcti: String,
        /// Seconds waited.
        seconds: u64,
    },
    /// The TPM does not want to do it now.
    #[error("the TPM wants to be asked again later: it tests itself, or limits how often its memory is written")]
    NotNow,
    /// The TPM refuses passphrases for a time.
    #[error(
        "the TPM is locked: too many wrong passphrases were tried. Wait until it takes one again (minutes to hours, as it \
         is set), or let its owner lift the lock (`tpm2_dictionarylockout --clear-lockout`)"
    )]
    Locked,
    /// The passphrase is not that of the key.
    #[error("the TPM refused the recovery passphrase: it is another one. Each wrong try counts towards its lock")]
    WrongPassphrase,
    /// The TPM's owner has a password.
    #[error(
        "the TPM asks for its owner's password, which this program does not know: clear it (`tpm2_changeauth -c owner`)"
    )]
    OwnerPassword,
    /// The keys were made in another TPM.
    #[error(
        "the keys of this file were made in another TPM, or this TPM was cleared since: a copied key file is of no use \
         elsewhere. Admit this node with new keys and the root credential: `bt node key migrate`"
    )]
    OtherTpm,
    /// The machine was started with other software than the keys are bound to.
    #[error(
        "the TPM holds the key back: PCR {changed} changed since the key was bound to PCR {bound}: this machine's firmware, \
         boot settings or boot loader are not what they were. If you changed them, bind the key to the present state with \
         the recovery passphrase: `bt node key rebind`"
    )]
    PcrChanged {
        /// Those that changed.
        changed: Pcrs,
        /// All that the key is bound to.
        bound: Pcrs,
    },
    /// A PCR is not there.
    #[error("the TPM has no SHA-256 value of PCR {missing}: choose others")]
    NoPcr {
        /// Those without a value.
        missing: Pcrs,
    },
    /// The keys are not bound to anything that could be renewed.
    #[error("this node's key is not bound to PCRs: make it with `--tpm-pcrs` to bind it")]
    NotBound,
    /// The rollback counter is gone.
    #[error(
        "the counter of this node is gone from the TPM: it was deleted, or the TPM was cleared. Whether the directory is \
         the newest cannot be told any more; make a new one with `bt node key migrate`"
    )]
    CounterGone,
    /// No more room for keys or counters.
    #[error(
        "the TPM has no room left: {what}. Something else fills it; a restart of the machine frees what is not kept"
    )]
    Full {
        /// What was tried.
        what: &'static str,
    },
    /// What was loaded is gone.
    #[error("the TPM forgot what was loaded into it: it was started anew in the middle of a use. Try again")]
    Forgot,
    /// The thread that owns the TPM ended.
    #[error("the thread that talks to the TPM is gone after an error: start the program again")]
    Gone,
    /// Anything else.
    #[error("the TPM refused {what}: {why}")]
    Unexpected {
        /// What was tried.
        what: &'static str,
        /// What it said.
        why: String,
    },
}

impl From<TpmError> for KeyError {
    fn from(error: TpmError) -> Self {
        Self::Unavailable { why: error.to_string() }
    }
}

/// What went wrong between this process and the TPM, before it is known what it means.
#[derive(Debug)]
pub(crate) struct Failed {
    /// What was tried.
    pub(crate) what: &'static str,
    pub(crate) error: Error,
}

/// Says what was tried.
pub(crate) fn trying(what: &'static str) -> impl Fn(Error) -> Failed {
    move |error| Failed { what, error }
}

impl Failed {
    fn kind(&self) -> Option<Kind> {
        match self.error {
            Error::Tss2Error(code) if layer(code) != TCTI_LAYER => code.kind(),
            _ => None,
        }
    }

    /// Whether the bytes did not reach the TPM, or its answer not us.
    pub(crate) fn is_transport(&self) -> bool {
        matches!(self.error, Error::Tss2Error(code) if layer(code) == TCTI_LAYER)
    }

    /// Whether a policy did not hold.
    pub(crate) fn is_policy(&self) -> bool {
        matches!(self.kind(), Some(Kind::PolicyFail | Kind::PcrChanged | Kind::Value))
    }

    /// Whether an authorisation value was wrong.
    pub(crate) fn is_wrong_auth(&self) -> bool {
        matches!(self.kind(), Some(Kind::AuthFail | Kind::BadAuth))
    }

    /// Whether a handle names nothing.
    pub(crate) fn is_no_handle(&self) -> bool {
        matches!(self.kind(), Some(Kind::Handle))
    }

    /// Whether a handle is taken.
    pub(crate) fn is_defined(&self) -> bool {
        matches!(self.kind(), Some(Kind::NvDefined))
    }

    /// The error to show.
    pub(crate) fn explain(self, tcti: &str) -> TpmError {
        if self.is_transport() {
            return TpmError::Absent { tcti: tcti.to_owned(), why: format!("{} failed on the way", self.what) };
        }
        match self.kind() {
            Some(Kind::Lockout) => TpmError::Locked,
            Some(Kind::Integrity) => TpmError::OtherTpm,
            Some(
                Kind::ObjectMemory
                | Kind::SessionMemory
                | Kind::Memory
                | Kind::ObjectHandles
                | Kind::SessionHandles
                | Kind::NvSpace,
            ) => TpmError::Full { what: self.what },
            Some(
                Kind::ReferenceH0
                | Kind::ReferenceH1
                | Kind::ReferenceH2
                | Kind::ReferenceS0
                | Kind::ReferenceS1
                | Kind::ReferenceS2,
            ) => TpmError::Forgot,
            Some(Kind::Retry | Kind::Yielded | Kind::Canceled | Kind::Testing | Kind::NvRate | Kind::NvUnavailable) => {
                TpmError::NotNow
            }
            _ => TpmError::Unexpected { what: self.what, why: self.error.to_string() },
        }
    }
}

/// The layer that a code comes from: its bits 16 to 23, which the crate shows only in the code's text.
fn layer(code: Tss2ResponseCode) -> u32 {
    let text = match code {
        Tss2ResponseCode::Success => return 0,
        Tss2ResponseCode::FormatZero(code) => code.to_string(),
        Tss2ResponseCode::FormatOne(code) => code.to_string(),
    };
    let number = text.rsplit("0x").next().and_then(|digits| u32::from_str_radix(digits, 16).ok());
    number.map_or(0, |number| number >> 16 & 0xff)
}
