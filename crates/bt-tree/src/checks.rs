//! Checks that a test can leave out, to see that an attack works without exactly that one.
//!
//! A program that is not built for tests has nothing to switch: [`enforce`] gives back what it is given.

/// A check that stands between an attacker and what it wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    /// A head is that of the zone at hand.
    HeadZone,
    /// The session key signed the head.
    HeadSignature,
    /// A session's certificate holds at the time of what it signed.
    SessionTime,
    /// A head continues the one before it.
    Follows,
    /// The signer has the right to write.
    Rights,
    /// Heads after a revocation's last head do not count.
    Revocation,
    /// What names an access record names one that the log has.
    KnownRecord,
    /// An access record follows the one before it in its zone.
    RecordChain,
    /// Who an access record names as signer signed it, and is an admin.
    RecordSigner,
    /// A birth record is that of the zone at hand.
    ZoneName,
    /// A new zone obeys the tree's newest root.
    NewestRoot,
    /// A key fits the commitment of its epoch.
    Commitment,
    /// New keys follow a change of who may read.
    NewKeys,
    /// There is one head of a revision.
    Fork,
    /// The newest head is not older than one that was published before.
    NewestSeen,
}

/// `result`, unless a test leaves the check out.
#[inline]
pub fn enforce<E>(check: Check, result: Result<(), E>) -> Result<(), E> {
    match is_left_out(check) {
        true => Ok(()),
        false => result,
    }
}

#[cfg(not(any(test, feature = "testing")))]
#[inline]
fn is_left_out(_: Check) -> bool {
    false
}

#[cfg(any(test, feature = "testing"))]
use switch::is_left_out;
#[cfg(any(test, feature = "testing"))]
pub use switch::without;

#[cfg(any(test, feature = "testing"))]
mod switch {
    use std::cell::Cell;

    use super::Check;

    thread_local! {
        static LEFT_OUT: Cell<Option<Check>> = const { Cell::new(None) };
    }

    pub(super) fn is_left_out(check: Check) -> bool {
        LEFT_OUT.get() == Some(check)
    }

    /// Runs `attack` while this thread leaves one check out.
    pub fn without<T>(check: Check, attack: impl FnOnce() -> T) -> T {
        struct Restore;
        impl Drop for Restore {
            fn drop(&mut self) {
                LEFT_OUT.set(None);
            }
        }
        let _restore = Restore;
        LEFT_OUT.set(Some(check));
        attack()
    }
}
