//! Sets of platform configuration registers: where measured boot records what a machine was started with.

use std::fmt;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::structures::{PcrSelectionList, PcrSlot};

/// PCRs of the SHA-256 bank, 0 to 23, as a set. Shown and read as `0,2,7`.
#[derive(Clone, Copy, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Pcrs(u32);

/// Text that is no set of PCRs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no list of PCRs: name numbers from 0 to 23, as in 0,2,7")]
pub struct PcrsError(String);

impl Pcrs {
    /// PCRs of a TPM of a PC.
    pub const COUNT: u8 = 24;

    /// The set of these numbers; None where one of them is not below [`Self::COUNT`].
    pub fn new(numbers: &[u8]) -> Option<Self> {
        numbers.iter().try_fold(Self(0), |set, &number| (number < Self::COUNT).then_some(Self(set.0 | 1 << number)))
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many there are.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The numbers, rising.
    pub fn numbers(self) -> impl Iterator<Item = u8> {
        (0..Self::COUNT).filter(move |number| self.0 & 1 << number != 0)
    }

    /// Whether only bits of PCRs are set: decoded bytes may hold others.
    pub(crate) fn is_valid(self) -> bool {
        self.0 >> Self::COUNT == 0
    }

    /// The set in the TPM's terms.
    pub(crate) fn selection(self) -> tss_esapi::Result<PcrSelectionList> {
        let slots: Vec<PcrSlot> =
            self.numbers().map(|number| PcrSlot::try_from(1 << number)).collect::<Result<_, _>>()?;
        PcrSelectionList::builder().with_selection(HashingAlgorithm::Sha256, &slots).build()
    }
}

impl fmt::Display for Pcrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.numbers().map(|number| number.to_string()).collect();
        f.write_str(&numbers.join(","))
    }
}

impl fmt::Debug for Pcrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pcrs({self})")
    }
}

impl FromStr for Pcrs {
    type Err = PcrsError;

    fn from_str(text: &str) -> Result<Self, PcrsError> {
        let refused = || PcrsError(text.to_owned());
        let numbers: Vec<u8> =
            text.split(',').map(|number| number.trim().parse().map_err(|_| refused())).collect::<Result<_, _>>()?;
        Self::new(&numbers).ok_or_else(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_read_and_shown_alike() {
        let set: Pcrs = "7, 0,2,7".parse().unwrap();
        assert_eq!(set.to_string(), "0,2,7");
        assert_eq!(set.numbers().collect::<Vec<_>>(), [0, 2, 7]);
        assert_eq!((set.len(), set.is_empty()), (3, false));
        for wrong in ["", "24", "1,", "a", "-1", "1 2"] {
            assert_eq!(wrong.parse::<Pcrs>(), Err(PcrsError(wrong.to_owned())));
        }
    }

    #[test]
    fn the_highest_pcr_has_a_selection() {
        for number in 0..Pcrs::COUNT {
            let selection = Pcrs::new(&[number]).unwrap().selection().unwrap();
            assert_eq!(selection.len(), 1);
        }
    }
}
