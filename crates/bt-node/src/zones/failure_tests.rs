//! Making a zone while the disk fails, the power fails, or another zone is being made.

use std::ops::ControlFlow;
use std::sync::Arc;

use bt_store::storage::{Call, Fault, FaultPlan, FaultStorage, Repeat};
use bt_store::{MemoryStorage, Storage};

use super::tests::{Bed, ROOT};
use super::{NewZone, Zones, open_top};
use crate::control::Failure;
use crate::identity::NodeIdentity;
use crate::options::OpenOptions;

/// A directory `work` with a file in it, committed.
fn committed() -> Bed {
    let bed = Bed::new();
    let work = bed.directory(ROOT, "work");
    bed.file(work, "file", &content());
    let below = bed.directory(work, "below");
    for number in 0..5 {
        bed.file(below, &format!("{number}"), b"small");
    }
    bed.reopen(None)
}

fn content() -> Vec<u8> {
    crate::engine::testing::noise(100_000, 5)
}

/// Makes a zone of `work` on a disk; tells how many calls that took too.
fn share_on(disk: &FaultStorage, bed: &Bed, plan: Option<FaultPlan>) -> Result<u64, Failure> {
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let node = Arc::new(NodeIdentity::load(&*storage)?);
    let top = open_top(&storage, &node, &OpenOptions::default())?;
    let zones = Zones::new(storage, node, top, &OpenOptions::default())?;
    let (birth, access) = bed.sign("work", None);
    let (slot, parent, inode) = zones.resolve(b"work")?;
    let new = NewZone::decode(&parent, birth.as_bytes(), &access.to_bytes())?;
    disk.inject(plan);
    let before = disk.all_calls();
    let made = zones.make(slot, &parent, inode, &new, &mut |_| ControlFlow::Continue(()));
    disk.inject(None);
    made.map(|_| disk.all_calls() - before)
}

#[track_caller]
fn expect_all(image: MemoryStorage, what: &str) {
    expect_all_on(Arc::new(image.clone()), image, what);
}

/// All is there when the node is opened again on a disk.
#[track_caller]
fn expect_all_on(disk: Arc<dyn Storage>, storage: MemoryStorage, what: &str) {
    let bed = Bed::on(disk, storage, crate::engine::testing::principal(1), None);
    assert!(bed.content(bed.node("work/file")) == content(), "{what}");
    assert_eq!(bed.content(bed.node("work/below/4")), b"small", "{what}");
    let mut report = bed.zones.check(true, &mut |_| ControlFlow::Continue(())).unwrap();
    report.problems.retain(|problem| !problem.hint.contains("nothing is to be done"));
    assert_eq!(report.problems, [], "{what}");
}

#[test]
fn a_disk_that_fails_while_a_zone_is_made_loses_nothing() {
    let bed = committed();
    let all = share_on(&FaultStorage::over(&bed.storage), &bed, None).unwrap();
    // The last calls are those around the entrance.
    let after = (0..all).step_by(23).chain(all.saturating_sub(25)..all);
    for (number, after) in after.enumerate() {
        let (fault, repeat) =
            if number % 2 == 0 { (Fault::LateEio, Repeat::Once) } else { (Fault::NoSpace, Repeat::Forever) };
        let disk = FaultStorage::over(&bed.storage);
        let made = share_on(&disk, &bed, Some(FaultPlan { on: None, after, fault, repeat }));
        let what = format!("{fault:?} after {after} of {all}: {made:?}");
        expect_all(disk.crash(disk.operation_count(), after), &what);
        expect_all_on(Arc::new(disk), bed.storage.clone(), &what);
    }
}

#[test]
fn a_crash_while_a_zone_is_made_loses_nothing() {
    let bed = committed();
    let disk = FaultStorage::over(&bed.storage);
    share_on(&disk, &bed, None).unwrap();
    for point in (0..=disk.operation_count()).step_by(3) {
        expect_all(disk.crash_during(point, point as u64), &format!("crash at {point} of {}", disk.operation_count()));
    }
}

#[test]
fn only_one_zone_is_made_at_a_time() {
    let bed = committed();
    bed.directory(ROOT, "other");
    let mut second = None;
    bed.share_with("work", None, &mut |_| {
        if bed.zones.top().holds_changes() && second.is_none() {
            second = Some(bed.share("other", None));
            assert!(bed.zones.top().holds_changes(), "the other one let changes go on");
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    let refused = second.unwrap().unwrap_err();
    assert!(refused.what.contains("another zone is being made"), "{refused}");
    bed.share("other", None).unwrap();
    bed.expect_clean();
}

#[test]
fn a_zone_that_is_there_is_not_made_again() {
    let bed = committed();
    bed.directory(ROOT, "other");
    let (birth, access) = bed.sign("work", None);
    let make = |path: &str| {
        let (slot, parent, inode) = bed.zones.resolve(path.as_bytes()).unwrap();
        let new = NewZone::decode(&parent, birth.as_bytes(), &access.to_bytes()).unwrap();
        bed.zones.make(slot, &parent, inode, &new, &mut |_| ControlFlow::Continue(()))
    };
    make("work").unwrap();
    let refused = make("other").unwrap_err();
    assert!(refused.what.contains("exists"), "{refused}");
    assert!(bed.content(bed.node("work/file")) == content());
    bed.zones.close_idle(std::time::Duration::ZERO);
    make("other").unwrap_err();
    expect_all(bed.storage.deep_copy(), "after it was tried again");
}

#[test]
fn a_zone_that_cannot_be_committed_is_not_closed() {
    let bed = committed();
    bed.share("work", None).unwrap();
    let bed = bed.reopen(None);
    let disk = FaultStorage::over(&bed.storage);
    let full = Bed::on(Arc::new(disk.clone()), bed.storage.clone(), crate::engine::testing::principal(1), None);
    let file = full.file(full.node("work"), "new", &content());
    disk.inject(Some(FaultPlan { on: Some(Call::Write), after: 0, fault: Fault::NoSpace, repeat: Repeat::Forever }));
    full.zones.close_idle(std::time::Duration::ZERO);
    disk.inject(None);
    assert!(full.content(file) == content());
    full.expect_clean();
    full.zones.close_idle(std::time::Duration::ZERO);
    assert_eq!(full.zones.open_zones().len(), 1);
    assert!(full.content(file) == content());
}

#[test]
fn a_zone_whose_slot_was_not_settled_stays_even_where_it_is_damaged() {
    let bed = committed();
    bed.share("work", None).unwrap();
    let zone = bed.zones.engine(1).unwrap().identity.zone();
    let bed = bed.reopen(None);
    let slots = String::from_utf8(crate::identity::read(&bed.storage, crate::layout::SLOTS).unwrap()).unwrap();
    let filling = slots.replace(&zone.to_string(), &format!("{zone} filling"));
    crate::identity::write(&bed.storage, crate::layout::SLOTS, filling.as_bytes()).unwrap();
    let access = crate::layout::ZoneLayout::new(&zone).access();
    crate::engine::testing::flip(&bed.storage, &access, 100);
    let bed = bed.crash(None);
    assert!(bed.lookup(ROOT, "work").is_err());
    crate::engine::testing::flip(&bed.storage, &access, 100);
    expect_all(bed.storage.deep_copy(), "the damage was repaired");
}
