//! Keys in a TPM on the command line: the options that make them, and how they are shown.

use std::path::PathBuf;

use bt_node::control::Failure;
use bt_node::control::report::NodeKeyStatus;
use bt_node::options::{Binding, NodeKeyOptions, Pcrs};

use crate::passphrase::new_recovery_passphrase;

/// The options of commands that make a node's key.
#[derive(Debug, clap::Args)]
pub struct TpmOptions {
    /// Make this node's key in the TPM that is reached so, in the form of tpm2-tss: device:/dev/tpmrm0
    ///
    /// The key never leaves the TPM: a copy of DIR is of no use on another machine.
    #[arg(long, value_name = "TCTI")]
    tpm: Option<String>,
    /// Bind the key to the present values of these PCRs, as in 0,2,7: it works while the machine is started as it is now
    ///
    /// A recovery passphrase binds it anew (bt node key rebind) after an update of firmware or boot loader.
    #[arg(long, value_name = "LIST", requires = "tpm")]
    tpm_pcrs: Option<Pcrs>,
    /// Count in the TPM, so that an older copy of DIR is told from the newest
    #[arg(long, requires = "tpm")]
    tpm_counter: bool,
    /// A file with the recovery passphrase of --tpm-pcrs; else BT_RECOVERY_PASSPHRASE_FILE names one, else it is asked for
    #[arg(long, value_name = "FILE", requires = "tpm_pcrs")]
    recovery_passphrase_file: Option<PathBuf>,
}

impl TpmOptions {
    /// What they ask for; None without a TPM.
    pub fn node_key(&self) -> Result<Option<NodeKeyOptions>, Failure> {
        let Some(tcti) = self.tpm.clone() else { return Ok(None) };
        let binding = match self.tpm_pcrs {
            Some(pcrs) => {
                let passphrase = new_recovery_passphrase(self.recovery_passphrase_file.as_deref())?;
                Some(Binding { pcrs, passphrase })
            }
            None => None,
        };
        Ok(Some(NodeKeyOptions::Tpm { tcti, binding, with_counter: self.tpm_counter }))
    }
}

/// Where a key is and what it is bound to, for people.
pub fn place(key: &NodeKeyStatus) -> String {
    let Some(tpm) = &key.tpm else { return "in the file node.key".to_owned() };
    let maker = match (&tpm.manufacturer, tpm.is_software) {
        (_, true) => " (software TPM (for tests))".to_owned(),
        (Some(manufacturer), false) => format!(" (made by {manufacturer})"),
        (None, false) => String::new(),
    };
    let pcrs: Vec<String> = tpm.pcrs.iter().map(u8::to_string).collect();
    let bound = match pcrs.is_empty() {
        true => ", not bound to PCRs".to_owned(),
        false => format!(", bound to PCR {}", pcrs.join(",")),
    };
    let counter = if tpm.has_counter { ", with a rollback counter" } else { "" };
    format!("in the TPM at {}{maker}{bound}{counter}", tpm.tcti)
}

#[cfg(test)]
mod tests {
    use bt_node::control::report::TpmStatus;

    use super::*;

    #[test]
    fn a_software_tpm_is_called_so() {
        let tpm = TpmStatus {
            tcti: "swtpm".into(),
            manufacturer: Some("IBM".into()),
            is_software: true,
            pcrs: vec![0, 7],
            has_counter: true,
        };
        let shown = place(&NodeKeyStatus { tpm: Some(tpm.clone()) });
        assert_eq!(shown, "in the TPM at swtpm (software TPM (for tests)), bound to PCR 0,7, with a rollback counter");
        let tpm = TpmStatus {
            tcti: "device:/dev/tpmrm0".into(),
            manufacturer: Some("INTC".into()),
            is_software: false,
            pcrs: vec![],
            has_counter: false,
        };
        assert_eq!(
            place(&NodeKeyStatus { tpm: Some(tpm) }),
            "in the TPM at device:/dev/tpmrm0 (made by INTC), not bound to PCRs"
        );
        assert_eq!(place(&NodeKeyStatus { tpm: None }), "in the file node.key");
    }
}
