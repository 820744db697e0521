//! What a crash left of zones that were being made.

use bt_base::ZoneId;
use bt_tree::Birth;

use super::Zones;
use crate::control::Failure;
use crate::error::EngineError;
use crate::identity;
use crate::layout::ZoneLayout;

impl Zones {
    /// Removes zones that were being filled when a crash came, unless their entrance is there.
    pub(crate) fn remove_leftovers(&self) -> Result<(), Failure> {
        if self.is_made_root(&self.top().identity.zone()) {
            // Who may not read the top zone cannot say what is entered there.
            return Ok(());
        }
        let filling: Vec<_> = self.table().slots.zones().filter(|(_, slotted)| slotted.filling).collect();
        for (slot, slotted) in filling {
            if self.is_led_to(&slotted.zone) {
                self.change_slots(|slots| slots.filled(slot))?;
            } else {
                tracing::info!(zone = %slotted.zone, "what a crash left of a zone that was being made is removed");
                self.remove_zone(slot, &slotted.zone)?;
            }
        }
        Ok(())
    }

    /// Whether the zone's parent has an entrance for it. One that cannot be opened may have.
    fn is_led_to(&self, zone: &ZoneId) -> bool {
        let name = ZoneLayout::new(zone).birth();
        // Its records are written whole before anything leads to it: one that is damaged may belong to a finished zone.
        if matches!(self.storage.exists(&name), Ok(false)) {
            return false;
        }
        let birth =
            identity::read(&*self.storage, &name).map(|bytes| Birth::decode_for(self.node.tree(), zone, &bytes));
        let Ok(Ok(birth)) = birth else { return true };
        let Some(parent) = birth.parent() else { return true };
        let engine = match *parent == self.top().identity.zone() {
            true => Ok(self.top().clone()),
            false => self.slot_of(parent, false).map_or(Err(super::EnterError::Unknown), |slot| self.engine(slot)),
        };
        engine.map_or(true, |engine| engine.entrances().iter().any(|(_, entered)| entered == zone))
    }

    /// Removes the files of a zone that nothing leads to, and gives its slot back.
    pub(super) fn remove_zone(&self, slot: u32, zone: &ZoneId) -> Result<(), Failure> {
        let io = |error: bt_store::StoreError| EngineError::from(error).into_failure("removing an unfinished zone");
        let directory = ZoneLayout::new(zone).directory;
        for below in [format!("{directory}/containers"), directory] {
            for name in self.storage.list(&below).map_err(io)? {
                self.storage.remove(&name).map_err(io)?;
            }
            self.storage.remove_dir(&below).map_err(io)?;
        }
        self.change_slots(|slots| slots.remove(slot))
    }
}
