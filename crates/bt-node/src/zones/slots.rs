//! Which zone has which slot: the numbers under which a mount shows the inodes of its zones, the same for ever.

use bt_base::ZoneId;
use bt_store::Storage;

use crate::control::Failure;
use crate::identity;
use crate::layout;

/// The first line of the file.
const HEADER: &str = "blocktree zone slots, version 1";
/// What follows a zone that is being filled: nothing leads there yet.
const FILLING: &str = "filling";
/// A slot that no zone has any more.
const FREE: &str = "-";
/// The most slots: a mount's numbers have room for no more.
pub(crate) const SLOTS: usize = 1 << 18;

/// A zone in its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slotted {
    pub(crate) zone: ZoneId,
    /// The zone is being made: what a crash leaves of it goes, unless its entrance is there.
    pub(crate) filling: bool,
}

/// The slots by number, from 1; the zone at the top has 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotList(Vec<Option<Slotted>>);

impl SlotList {
    /// Reads the file; none is an empty list.
    pub(crate) fn load(storage: &dyn Storage) -> Result<Self, Failure> {
        let exists = storage.exists(layout::SLOTS).map_err(|error| Failure::problem(error.to_string(), ""))?;
        if !exists {
            return Ok(Self::default());
        }
        let bytes = identity::read(storage, layout::SLOTS)?;
        Self::decode(&bytes).ok_or_else(|| {
            let what = format!("{} is damaged: it is not what bt writes", layout::SLOTS);
            Failure::problem(what, "restore it from a backup, or remove it: the zones get new inode numbers then")
        })
    }

    /// Writes the file; durable when this returns.
    pub(crate) fn store(&self, storage: &dyn Storage) -> Result<(), Failure> {
        identity::write(storage, layout::SLOTS, &self.encode())
    }

    /// The content of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = format!("{HEADER}\n");
        for slot in &self.0 {
            match slot {
                Some(Slotted { zone, filling: false }) => text.push_str(&format!("{zone}\n")),
                Some(Slotted { zone, filling: true }) => text.push_str(&format!("{zone} {FILLING}\n")),
                None => text.push_str(&format!("{FREE}\n")),
            }
        }
        text.into_bytes()
    }

    /// Reads the content of a file; none where bt writes no such thing.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
        let mut lines = text.split('\n');
        if lines.next()? != HEADER {
            return None;
        }
        let mut slots = Vec::new();
        for line in lines {
            let slot = match line.split_once(' ') {
                None if line == FREE => None,
                None => Some(Slotted { zone: line.parse().ok()?, filling: false }),
                Some((zone, FILLING)) => Some(Slotted { zone: zone.parse().ok()?, filling: true }),
                Some(_) => return None,
            };
            slots.push(slot);
        }
        (slots.len() < SLOTS).then_some(Self(slots))
    }

    /// The slots that zones have.
    pub(crate) fn zones(&self) -> impl Iterator<Item = (u32, Slotted)> + '_ {
        (1..).zip(&self.0).filter_map(|(number, slot)| Some((number, (*slot)?)))
    }

    /// The slot of a zone.
    pub(crate) fn find(&self, zone: &ZoneId) -> Option<u32> {
        self.zones().find(|(_, slotted)| slotted.zone == *zone).map(|(number, _)| number)
    }

    /// Gives a zone a slot; none when all are taken.
    pub(crate) fn add(&mut self, slotted: Slotted) -> Option<u32> {
        let free = self.0.iter().position(Option::is_none);
        let index = free.unwrap_or(self.0.len());
        if index + 1 >= SLOTS {
            return None;
        }
        if index == self.0.len() {
            self.0.push(None);
        }
        self.0[index] = Some(slotted);
        u32::try_from(index + 1).ok()
    }

    /// The zone of a slot is filled, and led to.
    pub(crate) fn filled(&mut self, slot: u32) {
        if let Some(Some(slotted)) = self.0.get_mut(slot as usize - 1) {
            slotted.filling = false;
        }
    }

    /// Nobody has the slot any more.
    pub(crate) fn remove(&mut self, slot: u32) {
        if let Some(taken) = self.0.get_mut(slot as usize - 1) {
            *taken = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slotted(byte: u8, filling: bool) -> Slotted {
        Slotted { zone: ZoneId([byte; 32]), filling }
    }

    #[test]
    fn slots_keep_their_numbers_over_the_file() {
        let storage = bt_store::MemoryStorage::new();
        storage.create_dir(layout::ZONES).unwrap();
        let mut list = SlotList::load(&storage).unwrap();
        assert_eq!([1, 2, 3].map(|byte| list.add(slotted(byte, byte == 2))), [Some(1), Some(2), Some(3)]);
        list.remove(1);
        list.store(&storage).unwrap();
        let mut again = SlotList::load(&storage).unwrap();
        assert_eq!(again, list);
        assert_eq!(again.zones().collect::<Vec<_>>(), [(2, slotted(2, true)), (3, slotted(3, false))]);
        again.filled(2);
        assert_eq!(again.add(slotted(9, false)), Some(1), "a free slot is given again");
        assert_eq!(again.find(&ZoneId([2; 32])), Some(2));
    }

    #[test]
    fn the_file_is_as_it_ever_was() {
        let mut list = SlotList::default();
        for byte in [1, 2, 3] {
            list.add(slotted(byte, byte == 3));
        }
        list.remove(1);
        let (two, three) = ("02".repeat(32), "03".repeat(32));
        let text = format!("blocktree zone slots, version 1\n-\n{two}\n{three} filling\n");
        assert_eq!(list.encode(), text.as_bytes());
        assert_eq!(SlotList::decode(text.as_bytes()), Some(list));
    }

    #[test]
    fn changed_bytes_are_refused_or_another_list() {
        let mut list = SlotList::default();
        list.add(slotted(7, true));
        list.add(slotted(8, false));
        let good = list.encode();
        for len in 0..good.len() {
            assert_ne!(SlotList::decode(&good[..len]).as_ref(), Some(&list), "{len} bytes");
        }
        for bit in 0..good.len() * 8 {
            let mut changed = good.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(SlotList::decode(&changed).as_ref(), Some(&list), "bit {bit}");
        }
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let mut list = SlotList::default();
        list.add(slotted(7, true));
        let good = list.encode();
        for bad in [&b""[..], b"x\n", &good[..good.len() - 1], &good[1..], &[&good[..], b"zz\n"].concat()] {
            assert_eq!(SlotList::decode(bad), None, "{:?}", String::from_utf8_lossy(bad));
        }
    }
}
